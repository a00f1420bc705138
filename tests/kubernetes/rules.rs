//! Rules written with kubectl: in force within a second, and never wider than what was written.

use std::process::Output;
use std::time::Duration;

use palisade_api::manifest::check_object;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::example::json_lines;
use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, text, wait_for, wait_or_say};
use crate::shop::Shop;

const SERVERS: usize = 12;
const ROUNDS: usize = 4;

#[test]
fn a_rule_is_enforced_everywhere_within_a_second_and_its_status_says_where() {
    let mesh = Mesh::shared();
    let start = OffsetDateTime::now_utc();
    let shop = Shop::open(&mesh, "rules", SERVERS);
    assert!(
        shop.calls("client", start)
            .iter()
            .all(|call| !call.answered),
        "what no rule allows is denied"
    );
    shop.namespace.apply(&shop.rule(5432));
    shop.enforced_by(SERVERS);
    shop.answered("client", start);
    let (mut closing, mut opening) = (Took::default(), Took::default());
    for _round in 0..ROUNDS {
        let before = OffsetDateTime::now_utc();
        shop.namespace.apply(&shop.rule(9999));
        let after = OffsetDateTime::now_utc();
        for side in ["server", "client"] {
            let ends = wait_for(
                &format!("the connections' ends at the {side}"),
                BOUND,
                || {
                    let ends = closed_by_policy(&shop.records(side), before);
                    (ends.len() >= SERVERS).then_some(ends)
                },
            );
            closing.note(&ends, before, after);
        }
        shop.failed("client", OffsetDateTime::now_utc());
        let before = OffsetDateTime::now_utc();
        shop.namespace.apply(&shop.rule(5432));
        let after = OffsetDateTime::now_utc();
        opening.note(&shop.answered("client", before), before, after);
    }
    println!("a rule closes what it forbids: {}", closing.text());
    println!(
        "a rule lets in the next of five calls a second: {}",
        opening.text()
    );
    assert!(closing.worst() < BOUNDED && opening.worst() < BOUNDED);
    assert!(
        shop.calls("stranger", start)
            .iter()
            .all(|call| !call.answered),
        "no rule ever let the stranger in"
    );
    shop.enforced_by(SERVERS);
    // Pods that go are proxies that the rule no longer waits for.
    let scale = ["scale", "deployment/server", "--replicas=3"];
    stdout(&shop.namespace.kubectl(&scale));
    shop.enforced_by(3);
    assert_eq!(
        shop.of_rule("{.status.pending} {.status.refusing}"),
        "[] []"
    );
    // Nor does it wait for one that never runs.
    shop.namespace.apply(NOWHERE);
    wait_for("the pod that does not run to be told apart", BOUND, || {
        (shop.of_rule("{.status.notRunning}") == "1").then_some(())
    });
    shop.enforced_by(3);
}

/// No node has the label.
const NOWHERE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: nowhere, labels: {app: server}}
spec:
  serviceAccountName: server
  nodeSelector: {example.org/nowhere: "true"}
  containers:
  - {name: app, image: "kube.local/none:1", imagePullPolicy: Never}
"#;

#[test]
fn a_wrong_rule_is_refused_with_the_words_of_the_validator() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("wrong");
    let wrong = mistyped(&namespace, "wrong");
    let found = check_object(&wrong.to_string()).unwrap_err();
    assert_eq!(found.len(), 3, "{found:?}");
    // With `ignore` the API server itself looks at no field.
    for validate in ["--validate=strict", "--validate=ignore"] {
        let refused = apply(&namespace, &wrong, validate);
        assert!(!refused.status.success(), "{refused:?}");
        for diagnostic in &found {
            let said = text(&refused.stderr);
            assert!(
                said.contains(&diagnostic.to_string()),
                "{diagnostic}: {said}"
            );
        }
    }
    let rules = namespace.words(&["authorizationpolicies"], "{.items[*].metadata.name}");
    assert!(rules.is_empty(), "{rules:?}");
}

#[test]
fn without_the_webhook_a_mistyped_rule_widens_nothing() {
    let mesh = Mesh::alone();
    let start = OffsetDateTime::now_utc();
    let shop = Shop::open(&mesh, "unwatched", 1);
    shop.namespace.apply(&shop.rule(5432));
    shop.enforced_by(1);
    shop.answered("client", start);
    let webhook = ["validatingwebhookconfiguration", "palisade-injector"];
    stdout(
        &mesh
            .cluster()
            .kubectl(&[&["delete"], &webhook[..]].concat()),
    );
    // Were a field that nobody knows left out, this would let in everybody, at every port.
    put_wrong(&mesh, &shop, "servers", "its generation 1 stays in force");
    let invalid = told_invalid(&shop, "servers");
    assert_eq!(invalid["observedGeneration"], 2);
    assert_eq!(invalid["enforcedGeneration"], 1);
    assert_eq!(
        (&invalid["proxies"], &invalid["enforcing"]),
        (&json!(1), &json!(1))
    );
    let now = OffsetDateTime::now_utc();
    shop.answered("client", now);
    shop.failed("stranger", now);
    assert!(shop.call_anew("client") && !shop.call_anew("stranger"));
    assert!(
        shop.calls("stranger", start)
            .iter()
            .all(|call| !call.answered)
    );
    who_decides(&mesh, &shop, "generation 1 stays in force", 0);
    // One that never was right may hold a denial, and whom it is about cannot be read: all are closed.
    put_wrong(&mesh, &shop, "another", "was never right");
    shop.failed("client", OffsetDateTime::now_utc());
    assert!(!shop.call_anew("client") && !shop.call_anew("stranger"));
    let invalid = told_invalid(&shop, "another");
    assert_eq!(invalid["observedGeneration"], 1);
    assert_eq!(invalid.get("enforcedGeneration"), None);
    found_by_check(&mesh, &shop);
    who_decides(&mesh, &shop, "closes", 1);
    stdout(
        &shop
            .namespace
            .kubectl(&["delete", "authorizationpolicy", "another"]),
    );
    shop.answered("client", OffsetDateTime::now_utc());
    // What is right again is taken.
    shop.namespace.apply(&shop.rule(5433));
    shop.failed("client", OffsetDateTime::now_utc());
    shop.enforced_by(1);
    mesh.mend();
}

/// What such an object decides is told by nobody but a sidecar.
fn who_decides(mesh: &Mesh, shop: &Shop, what_is_so: &str, code: i32) {
    let to = shop.explained(mesh, "--to");
    assert_eq!(to.status.code(), Some(2), "{to:?}");
    let said = text(&to.stderr);
    for part in [what_is_so, "palisade policy explain --proxy"] {
        assert!(said.contains(part), "{said}");
    }
    let proxy = shop.explained(mesh, "--proxy");
    assert_eq!(proxy.status.code(), Some(code), "{proxy:?}");
}

/// Posts it past every check, and waits for what control says of it.
fn put_wrong(mesh: &Mesh, shop: &Shop, rule: &str, verdict: &str) {
    let wrong = mistyped(&shop.namespace, rule);
    stdout(&apply(&shop.namespace, &wrong, "--validate=ignore"));
    let said = format!("{}/{rule} is wrong, and {verdict}", shop.namespace.name());
    wait_for(&said, BOUND, || {
        log_of_control(mesh).contains(&said).then_some(())
    });
}

/// Waits until the status of a rule says that it has mistakes, in the validator's words.
fn told_invalid(shop: &Shop, rule: &str) -> Value {
    let mistakes = check_object(&mistyped(&shop.namespace, rule).to_string()).unwrap_err();
    wait_for(&format!("{rule} to be told invalid"), BOUND, || {
        let found = [
            "get",
            "authorizationpolicy",
            rule,
            "-o",
            "jsonpath={.status}",
        ];
        let status = stdout(&shop.namespace.kubectl(&found));
        let status: Value = serde_json::from_str(&status).ok()?;
        let ready = status["conditions"].get(0)?.clone();
        (ready["reason"] == "Invalid").then(|| {
            assert_eq!(ready["status"], "False");
            let said = ready["message"].as_str().unwrap();
            assert!(
                mistakes.iter().all(|one| said.contains(&one.to_string())),
                "{said}"
            );
            status
        })
    })
}

/// Both rules with mistakes are errors, with what stands in for them.
fn found_by_check(mesh: &Mesh, shop: &Shop) {
    let output = mesh.palisade(&["check", "-n", shop.namespace.name(), "-o", "json"]);
    let findings = json_lines(&text(&output.stdout));
    for (rule, meanwhile) in [
        ("servers", "generation 1 stays in force"),
        ("another", "closes"),
    ] {
        let place = format!("AuthorizationPolicy {}/{rule}", shop.namespace.name());
        let found = findings.iter().find(|one| one["place"] == place);
        let found = found.unwrap_or_else(|| panic!("{rule}: {findings:?}"));
        assert_eq!(found["severity"], "error");
        let what = found["what"].as_str().unwrap();
        assert!(
            what.contains(meanwhile) && what.contains("spec.targets"),
            "{what}"
        );
    }
}

/// Three mistakes, none of which may mean "everybody" or "every port".
fn mistyped(namespace: &Namespace, name: &str) -> Value {
    json!({
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace.name()},
        "spec": {
            "targets": {"labels": {"app": "nobody"}},
            "rules": [{
                "name": "everybody",
                "effect": "allow",
                "from": [{"namespace": namespace.name(), "serviceAcount": "client"}],
                "port": [9999],
            }],
        },
    })
}

fn apply(namespace: &Namespace, object: &Value, validate: &str) -> Output {
    let kubectl = [
        "kubectl",
        "-n",
        namespace.name(),
        "apply",
        validate,
        "-f",
        "-",
    ];
    Cluster::shared().fed(&kubectl, &object.to_string())
}

/// What all replicas of control have logged. One that goes while kubectl reads makes it fail: it reads again then.
pub(crate) fn log_of_control(mesh: &Mesh) -> String {
    let control = "app.kubernetes.io/name=palisade-control";
    wait_or_say("the log of control", BOUND, || {
        let said = mesh.system(&["logs", "-l", control, "--tail=-1"]);
        let is_whole = said.status.success();
        is_whole
            .then(|| text(&said.stdout))
            .ok_or_else(|| text(&said.stderr))
    })
}

/// When connections were closed because of a rule, after this moment.
pub(crate) fn closed_by_policy(records: &[Value], since: OffsetDateTime) -> Vec<OffsetDateTime> {
    let ended = records
        .iter()
        .filter(|record| record["event"] == "close" && record["close.by"] == "policy");
    ended
        .filter_map(|record| OffsetDateTime::parse(record["time"].as_str()?, &Rfc3339).ok())
        .filter(|at| *at >= since)
        .collect()
}

/// How long after kubectl began, and after it returned, something was so.
#[derive(Debug, Default)]
struct Took {
    from_start: Vec<Duration>,
    from_return: Vec<Duration>,
}

impl Took {
    fn note(&mut self, ends: &[OffsetDateTime], before: OffsetDateTime, after: OffsetDateTime) {
        // Zero for what was so before kubectl returned.
        let since = |from: OffsetDateTime| {
            ends.iter()
                .map(move |end| Duration::try_from(*end - from).unwrap_or_default())
        };
        self.from_start.extend(since(before));
        self.from_return.extend(since(after));
    }

    fn text(&mut self) -> String {
        [
            ("kubectl apply began", &mut self.from_start),
            ("it returned", &mut self.from_return),
        ]
        .map(|(since, took)| {
            took.sort_unstable();
            let at = |percent: usize| {
                took.get((took.len() * percent / 100).min(took.len() - 1))
                    .unwrap()
            };
            let (p50, p99, count) = (at(50), at(99), took.len());
            format!("p50 {p50:?} p99 {p99:?} after {since} ({count} proxies)")
        })
        .join("; ")
    }

    /// After it returned: how long kubectl itself takes is nobody's promise.
    fn worst(&self) -> Duration {
        self.from_return.iter().max().copied().unwrap()
    }
}

/// A second is promised; the machines of tests are busy.
const BOUNDED: Duration = Duration::from_secs(5);
