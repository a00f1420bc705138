//! `palisade policy …` against a mesh that runs.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::Value;

use super::{CALLERS, ORDERS, RULES};
use crate::harness::{Mesh, at, json_lines, signal, stdout, text, wait_until};

pub(super) fn policy(mesh: &Mesh, arguments: &[&str]) -> Output {
    shown(mesh, &[arguments, &["-o", "json"]].concat())
}

/// As people see it, where the arguments say so.
pub(super) fn shown(mesh: &Mesh, arguments: &[&str]) -> Output {
    let mut command = mesh.palisade();
    command.arg("policy").args(arguments);
    command.output().unwrap()
}

/// One answer, and the exit code.
pub(super) fn answer(mesh: &Mesh, arguments: &[&str]) -> (Value, i32) {
    let output = policy(mesh, arguments);
    let said = text(&output.stdout);
    let answer = said
        .lines()
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    let answer = answer.unwrap_or_else(|| panic!("{arguments:?}: {output:?}"));
    (answer, output.status.code().unwrap())
}

pub(super) const QUESTION: [&str; 7] = [
    "explain",
    "--from",
    "shop/web",
    "--to",
    "shop/orders",
    "--port",
    "8080",
];

/// Who asks for which port, what is decided, and by which rule.
type Decided = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
);

const QUESTIONS: [Decided; 6] = [
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
];

#[test]
fn what_the_rules_say_is_what_the_sidecar_enforces() {
    let mesh = Mesh::up(CALLERS, RULES);
    for (from, port, decision, rule) in QUESTIONS {
        let asked = ["explain", "--from", from, "--port", port];
        let (written, code) = answer(&mesh, &[&asked[..], &["--to", "shop/orders"]].concat());
        let (enforced, enforced_code) =
            answer(&mesh, &[&asked[..], &["--proxy", "shop/orders-0"]].concat());
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
    who_is_asked_about(&mesh);
}

/// Of one without a sidecar its addresses, and each way is answered; of nobody, who is near.
fn who_is_asked_about(mesh: &Mesh) {
    let ask = |from: &str| {
        let to = ["--to", "shop/orders", "--port", "8080"];
        policy(mesh, &[&["explain", "--from", from], &to[..]].concat())
    };
    let outsider = ask("shop/outsider");
    let lines = json_lines(&outsider.stdout);
    assert_eq!(lines.len(), 2, "{outsider:?}");
    for line in lines {
        assert_eq!(line["source"], "unauthenticated");
        assert_eq!(line["decision"], "deny");
    }
    let typo = ask("shop/wbe");
    assert_eq!(typo.status.code(), Some(2));
    let said = text(&typo.stderr);
    assert!(said.contains("did you mean shop/web?"), "{said}");
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
    assert_refused(&mesh, &changed);

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
    // What is no rule may stand beside them.
    let beside = mesh.folder().join("beside");
    std::fs::create_dir(&beside).unwrap();
    std::fs::copy(&file, beside.join("rules.yaml")).unwrap();
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n";
    std::fs::write(beside.join("accounts.yaml"), account).unwrap();
    let (applied, code) = answer(&mesh, &["apply", beside.to_str().unwrap(), "--wait"]);
    assert_eq!(code, 0, "{applied}");
    assert!(!mesh.folder().join("rules/accounts.yaml").exists());
    // At once, with no patience.
    stdout(&mesh.call_once("stranger", ORDERS));
    assert!(!mesh.call_once("web", ORDERS).status.success());
}

/// What cannot be written as a whole, or says what the mesh says already, changes nothing.
fn assert_refused(mesh: &Mesh, rules: &str) {
    let folder = tempfile::tempdir().unwrap();
    let in_force = mesh.folder().join("rules");
    let rules_of = |name: &str| rules.replace("name: orders,", &format!("name: {name},"));
    let write = |file: &str, text: &str| {
        let file = folder.path().join(file);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    std::fs::create_dir(in_force.join(".z.yaml.new")).unwrap();
    let files = [
        write("a.yaml", &rules_of("one")),
        write("z.yaml", &rules_of("two")),
    ];
    let before = std::fs::read_to_string(in_force.join("rules.yaml")).unwrap();
    let refused = policy(mesh, &["apply", &files[0], &files[1]]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("nothing was applied"),
        "{refused:?}"
    );
    let after = std::fs::read_to_string(in_force.join("rules.yaml")).unwrap();
    assert_eq!(before, after);
    assert!(!in_force.join("a.yaml").exists() && !in_force.join(".a.yaml.new").exists());
    std::fs::remove_dir(in_force.join(".z.yaml.new")).unwrap();
    // What the mesh file says already.
    let namespace = "apiVersion: palisade.dev/v1alpha1\nkind: Workload\nmetadata: {name: web-0, namespace: shop}\n\
                     spec: {serviceAccount: web, addresses: [10.9.9.9]}\n---\n";
    let twice = write(
        "twice.yaml",
        &format!("{namespace}{}", rules_of("three").trim_start()),
    );
    let refused = policy(mesh, &["apply", &twice]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("there are two of Workload shop/web-0"),
        "{refused:?}"
    );
}

/// What else stands in a file is not taken away with it: whoever was revoked stays so, in what is answered, too.
#[test]
fn apply_takes_no_revocation_away_and_explain_knows_of_it() {
    let mesh = Mesh::up(CALLERS, RULES);
    let revocations = "---\napiVersion: palisade.dev/v1alpha1\nkind: Revocations\nmetadata: {name: stolen}\n\
                       spec: {identities: [spiffe://cluster.local/ns/shop/sa/web]}\n";
    mesh.write_rules(&format!("{}{revocations}", RULES.trim_start()));
    let (said, code) = answer(&mesh, &QUESTION);
    assert_eq!((&said["reason"], code), (&"revoked".into(), 1), "{said}");
    let file = mesh.folder().join("rules.yaml");
    std::fs::write(&file, RULES).unwrap();
    let (applied, code) = answer(&mesh, &["apply", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{applied}");
    let (said, code) = answer(&mesh, &QUESTION);
    assert_eq!((&said["reason"], code), (&"revoked".into(), 1), "{said}");
}

pub(super) fn allow(mesh: &Mesh, from: &str, span: &str) -> Output {
    let said = ["--to", "shop/orders", "--port", "8080"];
    let why = ["--reason", "INC-7: they wait"];
    let arguments = [&["allow", "--from", from, "--for", span], &said[..], &why];
    policy(mesh, &arguments.concat())
}

/// How many rules were made for a while, and are there.
fn made(mesh: &Mesh) -> usize {
    let entries = std::fs::read_dir(mesh.folder().join("rules")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let names = names.filter(|name| name.to_string_lossy().starts_with("break-glass-"));
    names.count()
}

#[test]
fn break_glass_lets_nobody_in_whom_a_rule_denies_or_lets_in_anyway() {
    let mesh = Mesh::up(CALLERS, RULES);
    for (from, code, said) in [
        ("shop/banned", 1, "shop/orders/no-banned"),
        ("shop/web", 0, "allowed already"),
    ] {
        let output = allow(&mesh, from, "1m");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer["why"].as_str().unwrap().contains(said), "{answer}");
        assert_eq!(answer["applied"], serde_json::json!([]));
    }
    assert_eq!(made(&mesh), 0);
}

#[test]
fn break_glass_lets_in_says_why_and_removes_itself() {
    let mesh = Mesh::up(CALLERS, RULES);
    mesh.answers("web", &[ORDERS]);
    assert!(!mesh.call_once("stranger", ORDERS).status.success());
    stdout(&allow(&mesh, "shop/stranger", "20s"));
    stdout(&mesh.call_once("stranger", ORDERS));
    let of_stranger = |record: &Value| {
        let ended =
            (&record["direction"], &record["event"]) == (&"inbound".into(), &"close".into());
        ended && record["src.workload"] == "stranger-0"
    };
    let record = mesh.record("admitted for a while", of_stranger);
    assert_eq!(record["policy.because"], "INC-7: they wait");
    let expires = at(&record, "policy.expires");
    let kept = mesh.calling("stranger", &[ORDERS, "--keep", "--every", "100ms"]);
    kept.says_more(2);
    let ended = mesh.record("its live connection's end", |record| {
        of_stranger(record) && record["close.by"] == "policy"
    });
    assert!(at(&ended, "time") >= expires, "{ended}");
    assert!(!mesh.call_once("stranger", ORDERS).status.success());
    wait_until("the rule to be removed", || {
        (made(&mesh) == 0).then_some(())
    });
}

#[test]
fn what_is_used_and_what_would_break_is_told() {
    let open = "palisade.dev/authorization: shadow, palisade.dev/mtls: permissive";
    let workloads = CALLERS.trim_start().lines();
    let workloads: String = workloads.map(|line| format!("  {line}\n")).collect();
    let spec = format!(
        "  namespaces:\n  - {{name: shop, annotations: {{{open}}}}}\n  workloads:\n{workloads}"
    );
    let mesh = Mesh::with_spec(&spec, RULES);
    mesh.answers("web", &[ORDERS]);
    for caller in ["stranger", "watched", "outsider"] {
        stdout(&mesh.call_once(caller, ORDERS));
    }
    assert!(!mesh.call_once("banned", ORDERS).status.success());
    let broken = wait_until("all to be counted", || {
        let (report, code) = answer(&mesh, &["readiness", "shop/orders"]);
        assert_eq!(code, i32::from(report["ready"] == false), "{report}");
        let broken = broken(&report);
        (broken.len() >= 3).then_some(broken)
    });
    let is_broken = |from: &str, by: &str| {
        let mut broken = broken.iter();
        broken.any(|(who, what)| who.contains(from) && what == by)
    };
    assert!(is_broken("shop/stranger", "authorization"), "{broken:?}");
    assert!(is_broken("shop/watched", "mode"), "{broken:?}");
    assert!(is_broken("shop/outsider", "mtls"), "{broken:?}");
    for nobody in ["shpo", "shop/wbe"] {
        let told = policy(&mesh, &["readiness", nobody]);
        assert_eq!(told.status.code(), Some(2), "{told:?}");
    }
    used(&mesh);
    not_told_where_control_is_cut_off(&mesh);
}

/// Nobody knows who calls where a sidecar's counts do not arrive.
fn not_told_where_control_is_cut_off(mesh: &Mesh) {
    let asked = ["readiness", "shop/stranger"];
    let (report, code) = answer(mesh, &asked);
    assert_eq!(
        (code, &report["ready"]),
        (0, &Value::from(true)),
        "{report}"
    );
    let proxy = mesh.pid_of("stranger-0", "proxy");
    signal(proxy, "STOP");
    let told = wait_until("control to miss a sidecar", || {
        Some(policy(mesh, &asked)).filter(|told| told.status.code() == Some(2))
    });
    signal(proxy, "CONT");
    let said = text(&told.stderr);
    assert!(
        said.contains("shop/stranger-0 has no connection to control"),
        "{said}"
    );
    wait_until("it to be connected again", || {
        let told = policy(mesh, &asked);
        told.status.success().then_some(())
    });
}

/// From whom, and what would have to be switched on.
fn broken(report: &Value) -> BTreeSet<(String, String)> {
    let breaks = report["breaks"].as_array().unwrap().iter();
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    breaks
        .map(|one| (word(one, "from"), word(one, "by")))
        .collect()
}

fn used(mesh: &Mesh) {
    let (usage, _) = answer(mesh, &["usage"]);
    let rules = usage["rules"].as_array().unwrap();
    let count = |name: &str| {
        let rule = rules.iter().find(|rule| rule["rule"] == name);
        rule.unwrap_or_else(|| panic!("{usage}"))["count"]
            .as_u64()
            .unwrap()
    };
    assert!(count("shop/orders/callers") >= 2, "{usage}");
    assert_eq!(count("shop/orders/no-banned"), 1, "{usage}");
    assert_eq!(count("shop/orders/other-port"), 0, "{usage}");
    let mut denied = usage["denied"].as_array().unwrap().iter();
    assert!(
        denied.any(|one| one["from"] == "shop/banned" && one["count"] == 1),
        "{usage}"
    );
    let unused = usage["unused"].as_array().unwrap();
    let is_unused = |from: &str| unused.iter().any(|one| one["from"] == from);
    assert!(
        is_unused("shop/elsewhere") && !is_unused("shop/web"),
        "{usage}"
    );
}
