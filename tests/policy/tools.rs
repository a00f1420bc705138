//! `palisade policy …` against a mesh that runs.

use std::process::Output;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{CALLERS, ORDERS, RULES};
use crate::harness::{Mesh, at, stdout, text, wait_until};

fn policy(mesh: &Mesh, arguments: &[&str]) -> Output {
    let mut command = mesh.palisade();
    command.arg("policy").args(arguments).args(["-o", "json"]);
    command.output().unwrap()
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
fn what_the_rules_say_is_what_the_sidecar_enforces() {
    let mesh = Mesh::up(CALLERS, RULES);
    for (from, port, decision, rule) in [
        ("shop/web", "8080", "allow", Some("shop/orders/callers")),
        ("shop/stranger", "8080", "deny", None),
        ("shop/banned", "8080", "deny", Some("shop/orders/no-banned")),
        ("shop/elsewhere", "8080", "deny", None),
        (
            "shop/elsewhere",
            "9999",
            "allow",
            Some("shop/orders/other-port"),
        ),
        ("shop/tried", "8080", "deny", None),
    ] {
        let written = [
            "explain",
            "--from",
            from,
            "--to",
            "shop/orders",
            "--port",
            port,
        ];
        let (written, code) = answer(&mesh, &written);
        let enforced = [
            "explain",
            "--from",
            from,
            "--proxy",
            "shop/orders-0",
            "--port",
            port,
        ];
        let (enforced, enforced_code) = answer(&mesh, &enforced);
        assert_eq!(code, i32::from(decision == "deny"), "{written}");
        assert_eq!(code, enforced_code, "{enforced}");
        for said in [&written, &enforced] {
            assert_eq!(said["decision"], decision, "{from}: {said}");
            assert_eq!(said["rule"]["name"].as_str(), rule, "{from}: {said}");
        }
        assert_eq!(written["near_miss"], enforced["near_miss"], "{from}");
        assert_eq!(written["shadow"], enforced["shadow"], "{from}");
        assert!(enforced["revision"].as_u64().unwrap() > 0, "{enforced}");
    }
    // Of one without a sidecar its addresses are asked, and each way is answered.
    let outsider = policy(
        &mesh,
        &[
            "explain",
            "--from",
            "shop/outsider",
            "--to",
            "shop/orders",
            "--port",
            "8080",
        ],
    );
    let lines: Vec<Value> = text(&outsider.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{outsider:?}");
    assert!(
        lines
            .iter()
            .all(|line| line["source"] == "unauthenticated" && line["decision"] == "deny")
    );
    let typo = policy(
        &mesh,
        &[
            "explain",
            "--from",
            "shop/wbe",
            "--to",
            "shop/orders",
            "--port",
            "8080",
        ],
    );
    assert_eq!(typo.status.code(), Some(2));
    assert!(
        text(&typo.stderr).contains("did you mean shop/web?"),
        "{typo:?}"
    );
}

#[test]
fn apply_returns_when_every_sidecar_enforces_it_and_changes_nothing_that_is_wrong() {
    let mesh = Mesh::up(CALLERS, RULES);
    let changed = RULES.replace("serviceAccount: shop/web", "serviceAccount: shop/stranger");
    let file = mesh.folder().join("rules.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, changed.replace("effect: allow", "effect: permit")).unwrap();
    let wrong = policy(&mesh, &["apply", path, "--wait"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let in_force = mesh.folder().join("rules/rules.yaml");
    assert!(
        !std::fs::read_to_string(&in_force)
            .unwrap()
            .contains("permit")
    );
    // Another file that says the same policy cannot stand beside it.
    let twice = mesh.folder().join("twice.yaml");
    std::fs::write(&twice, &changed).unwrap();
    let twice = policy(&mesh, &["apply", twice.to_str().unwrap()]);
    assert_eq!(twice.status.code(), Some(2), "{twice:?}");
    assert!(!mesh.folder().join("rules/twice.yaml").exists());

    std::fs::write(&file, &changed).unwrap();
    let (applied, code) = answer(&mesh, &["apply", path, "--wait"]);
    assert_eq!(code, 0, "{applied}");
    assert_eq!(
        (
            &applied["enforced"]["proxies"],
            &applied["enforced"]["enforcing"]
        ),
        (&1.into(), &1.into())
    );
    assert!(
        applied["enforced"]["p99_ms"].as_u64().is_some(),
        "{applied}"
    );
    // At once, with no patience.
    stdout(&mesh.call_once("stranger", ORDERS));
    assert!(!mesh.call_once("web", ORDERS).status.success());
}

#[test]
fn break_glass_lets_in_says_why_and_removes_itself() {
    let mesh = Mesh::up(CALLERS, RULES);
    mesh.answers("web", &[ORDERS]);
    let allow = |from: &str, span: &str| {
        let said = [
            "--to",
            "shop/orders",
            "--port",
            "8080",
            "--reason",
            "INC-7: they wait",
        ];
        let arguments = [&["allow", "--from", from, "--for", span], &said[..]].concat();
        policy(&mesh, &arguments)
    };
    let denied = allow("shop/banned", "1m");
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    assert!(
        text(&denied.stderr).contains("shop/orders/no-banned"),
        "{denied:?}"
    );
    let already = allow("shop/web", "1m");
    assert_eq!(already.status.code(), Some(0), "{already:?}");
    assert!(
        text(&already.stderr).contains("allowed already"),
        "{already:?}"
    );
    let made = || {
        let entries = std::fs::read_dir(mesh.folder().join("rules")).unwrap();
        entries
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("break-glass-")
            })
            .count()
    };
    assert_eq!(made(), 0);

    assert!(!mesh.call_once("stranger", ORDERS).status.success());
    stdout(&allow("shop/stranger", "20s"));
    stdout(&mesh.call_once("stranger", ORDERS));
    let record = mesh.record("admitted for a while", |record| {
        record["direction"] == "inbound"
            && record["event"] == "close"
            && record["src.workload"] == "stranger-0"
    });
    assert_eq!(record["policy.because"], "INC-7: they wait");
    let expires = record["policy.expires"].as_str().unwrap();
    let expires = OffsetDateTime::parse(expires, &Rfc3339).unwrap();
    let kept = mesh.calling("stranger", &[ORDERS, "--keep", "--every", "100ms"]);
    kept.says_more(2);
    let ended = mesh.record("its live connection's end", |record| {
        record["direction"] == "inbound"
            && record["close.by"] == "policy"
            && record["event"] == "close"
            && record["src.workload"] == "stranger-0"
    });
    assert!(at(&ended, "time") >= expires, "{ended}");
    assert!(!mesh.call_once("stranger", ORDERS).status.success());
    wait_until("the rule to be removed", || (made() == 0).then_some(()));
}

#[test]
fn what_is_used_and_what_would_break_is_told() {
    let spec = format!(
        "  namespaces:\n  - {{name: shop, annotations: {{palisade.dev/authorization: shadow, palisade.dev/mtls: permissive}}}}\n  workloads:\n{}",
        CALLERS
            .trim_start()
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    );
    let mesh = Mesh::with_spec(&spec, RULES);
    mesh.answers("web", &[ORDERS]);
    for caller in ["stranger", "watched", "outsider"] {
        stdout(&mesh.call_once(caller, ORDERS));
    }
    assert!(!mesh.call_once("banned", ORDERS).status.success());
    let broken = |report: &Value| -> Vec<(String, String)> {
        let breaks = report["breaks"].as_array().unwrap().iter();
        let mut breaks: Vec<_> = breaks
            .map(|one| {
                let word = |key: &str| one[key].as_str().unwrap().to_owned();
                (word("from"), word("by"))
            })
            .collect();
        breaks.sort();
        breaks.dedup();
        breaks
    };
    let readiness = wait_until("all to be counted", || {
        let (report, code) = answer(&mesh, &["readiness", "shop/orders"]);
        assert!(code == i32::from(report["ready"] == false), "{report}");
        (broken(&report).len() >= 3).then_some(report)
    });
    let broken = broken(&readiness);
    assert!(
        broken.contains(&("shop/stranger".to_owned(), "authorization".to_owned())),
        "{broken:?}"
    );
    assert!(
        broken.contains(&("shop/watched".to_owned(), "mode".to_owned())),
        "{broken:?}"
    );
    let clear = broken.iter().find(|(_, by)| by == "mtls");
    assert!(
        clear.is_some_and(|(from, _)| from.contains("shop/outsider")),
        "{broken:?}"
    );

    let (usage, _) = answer(&mesh, &["usage"]);
    let rules = usage["rules"].as_array().unwrap();
    let count = |name: &str| {
        let rule = rules.iter().find(|rule| rule["rule"] == name);
        rule.unwrap_or_else(|| panic!("{usage}"))["count"]
            .as_u64()
            .unwrap()
    };
    assert!(count("shop/orders/callers") >= 2, "{usage}");
    assert_eq!(
        (
            count("shop/orders/no-banned"),
            count("shop/orders/other-port")
        ),
        (1, 0)
    );
    let denied = usage["denied"].as_array().unwrap();
    assert!(
        denied
            .iter()
            .any(|one| one["from"] == "shop/banned" && one["count"] == 1),
        "{usage}"
    );
    let unused = usage["unused"].as_array().unwrap();
    let is_unused = |from: &str| unused.iter().any(|one| one["from"] == from);
    assert!(
        is_unused("shop/elsewhere") && !is_unused("shop/web"),
        "{usage}"
    );
}
