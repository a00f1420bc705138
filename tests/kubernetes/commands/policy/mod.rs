//! `palisade policy …` against a cluster.

mod judged;

use std::process::Output;

use serde_json::Value;
use time::OffsetDateTime;

use crate::example::json_lines;
use crate::harness::{BOUND, Mesh, stdout, text, wait_for, wait_or_say};
use crate::shop::Shop;

fn policy(mesh: &Mesh, arguments: &[&str]) -> Output {
    mesh.palisade(&[&["policy"], arguments, &["-o", "json"]].concat())
}

/// One answer, and the exit code.
fn answer(mesh: &Mesh, arguments: &[&str]) -> (Value, i32) {
    let output = policy(mesh, arguments);
    let said = text(&output.stdout);
    let answer = said
        .lines()
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    let answer = answer.unwrap_or_else(|| panic!("{arguments:?}: {output:?}"));
    (answer, output.status.code().unwrap())
}

#[test]
fn rules_are_applied_explained_prolonged_and_counted() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh, "policy", 2);
    let name = shop.namespace.name().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rule.yaml");
    let rule = shop.rule(5432).replace(
        "{name: servers}",
        &format!("{{name: servers, namespace: {name}}}"),
    );
    std::fs::write(&file, rule).unwrap();
    let (applied, code) = answer(
        &mesh,
        &["apply", file.to_str().unwrap(), "--wait", "-n", &name],
    );
    assert_eq!(code, 0, "{applied}");
    assert_eq!(applied["enforced"]["enforcing"], 2, "{applied}");
    assert!(shop.call_anew("client") && !shop.call_anew("stranger"));

    warned_each_time(&mesh, &shop);
    explained(&mesh, &shop);
    let_in_for_a_while(&mesh, &shop);
    counted(&mesh, &name, &format!("{name}/stranger"));
    // Rules that nobody made for a while are not control's to delete.
    let control = "--as=system:serviceaccount:palisade-system:palisade-control";
    let refused = shop
        .namespace
        .kubectl(&["delete", "authorizationpolicy", "servers", control]);
    assert!(
        text(&refused.stderr).contains("control may delete no rule"),
        "{refused:?}"
    );
}

/// Also where the same is applied again, which changes nothing.
fn warned_each_time(mesh: &Mesh, shop: &Shop) {
    let name = shop.namespace.name();
    let file = tempfile::NamedTempFile::new().unwrap();
    let rule = shop.rule(5432).replace(
        "{name: servers}",
        &format!("{{name: again, namespace: {name}, labels: {{team: shop}}}}"),
    );
    let rule = rule
        .replace(&format!("{name}/client"), &format!("{name}/cleint"))
        .replace(
            "effect: allow",
            "effect: allow, mode: enforce, reason: INC-1, expires: 2999-01-01T02:00:00+02:00",
        );
    std::fs::write(file.path(), &rule).unwrap();
    let apply = ["apply", file.path().to_str().unwrap(), "-n", name];
    let [first, again] = [(); 2].map(|()| answer(mesh, &apply));
    let warned = first.0["warnings"].to_string();
    assert!(
        warned.contains("cleint") && warned.contains("client"),
        "{warned}"
    );
    assert_eq!((&again.0["warnings"], again.1), (&first.0["warnings"], 0));
    // Another program that applies the same file neither conflicts with it nor changes anything.
    let generation = || {
        shop.namespace
            .words(&["authorizationpolicy", "again"], "{.metadata.generation}")
    };
    let before = generation();
    let kubectl = ["kubectl", "apply", "--server-side", "-f", "-"];
    stdout(&mesh.cluster().fed(&kubectl, &rule));
    assert_eq!(generation(), before);
    let team = shop
        .namespace
        .words(&["authorizationpolicy", "again"], "{.metadata.labels.team}");
    assert_eq!(team, ["shop"]);
    let removed = shop
        .namespace
        .kubectl(&["delete", "authorizationpolicy", "again"]);
    assert!(removed.status.success(), "{removed:?}");
}

/// As the rules are written, and as a sidecar enforces them.
fn explained(mesh: &Mesh, shop: &Shop) {
    let name = shop.namespace.name();
    let (client, stranger) = (format!("{name}/client"), format!("{name}/stranger"));
    let server = format!("{name}/server");
    let pod = shop
        .namespace
        .words(&["pods", "-l", "app=server"], "{.items[0].metadata.name}");
    let proxy = format!("{name}/{}", pod.first().unwrap());
    for (from, decision) in [(&client, "allow"), (&stranger, "deny")] {
        for whom in [["--to", &server], ["--proxy", &proxy]] {
            let asked = [
                &["explain", "-n", name, "--from", from, "--port", "5432"],
                &whom[..],
            ]
            .concat();
            let (said, code) = answer(mesh, &asked);
            assert_eq!(
                (said["decision"].as_str(), code),
                (Some(decision), i32::from(decision == "deny")),
                "{said}"
            );
        }
    }
}

fn let_in_for_a_while(mesh: &Mesh, shop: &Shop) {
    let name = shop.namespace.name();
    let (server, stranger) = (format!("{name}/server"), format!("{name}/stranger"));
    let span = ["--port", "5432", "--for", "20s", "--reason", "INC-8"];
    let whom = ["allow", "-n", name, "--from", &stranger, "--to", &server];
    let (made, code) = answer(mesh, &[&whom[..], &span].concat());
    assert_eq!(
        (code, &made["because"]),
        (0, &Value::from("INC-8")),
        "{made}"
    );
    assert!(shop.call_anew("stranger"));
    let record = wait_for("a record that says why", BOUND, || {
        let records = shop.records("server");
        records
            .into_iter()
            .find(|record| record["policy.because"] == "INC-8")
    });
    assert!(record["policy.expires"].is_string(), "{record}");
    wait_for("the rule to be removed", BOUND, || {
        let rules = shop
            .namespace
            .words(&["authorizationpolicies"], "{.items[*].metadata.name}");
        (rules == ["servers"]).then_some(())
    });
    shop.failed("stranger", OffsetDateTime::now_utc());
}

fn counted(mesh: &Mesh, name: &str, stranger: &str) {
    let rule = format!("{name}/servers/callers");
    let usage = wait_for("the counts", BOUND, || {
        let (usage, _) = answer(mesh, &["usage", "-n", name]);
        let rules = usage["rules"].as_array()?;
        let is_counted = rules
            .iter()
            .any(|one| one["rule"] == *rule && one["count"].as_u64() > Some(0));
        let denied = usage["denied"].as_array()?;
        (is_counted && denied.iter().any(|one| one["from"] == stranger)).then_some(usage)
    });
    assert_eq!(usage["unused"], Value::Array(Vec::new()), "{usage}");
    // Who was let in for a while is kept out already. A replica of control that begins may not have heard of all.
    for scope in [&["-n", name][..], &[]] {
        wait_or_say("all to be ready", BOUND, || {
            let asked = [&["readiness", name][..], scope].concat();
            let output = policy(mesh, &asked);
            let said = json_lines(&text(&output.stdout));
            let edges = said.first().and_then(|report| report["edges"].as_u64());
            let is_ready = output.status.code() == Some(0) && edges >= Some(2);
            is_ready.then_some(()).ok_or_else(|| format!("{output:?}"))
        });
    }
    // Of the whole mesh unless a namespace is named, whatever the kubeconfig says.
    let (usage, _) = answer(mesh, &["usage"]);
    let mut denied = usage["denied"].as_array().unwrap().iter();
    assert!(denied.any(|one| one["from"] == stranger), "{usage}");
    stdout(&mesh.palisade(&["policy", "usage", "-n", name, "-o", "text"]));
}
