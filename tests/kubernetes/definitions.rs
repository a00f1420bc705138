//! Rules whose definition goes away: they are in force until they are there again, whatever becomes of control.

use serde_json::Value;
use time::OffsetDateTime;

use crate::example::json_lines;
use crate::harness::{BOUND, Mesh, stdout, text, wait_for, wait_or_say};
use crate::rules::{closed_by_policy, log_of_control};
use crate::shop::Shop;

#[test]
fn rules_outlive_their_definition() {
    let mesh = Mesh::alone();
    // Those of other tests go with their namespaces, but that may take longer than a test should wait.
    let others = [
        "delete",
        DEFINITION_OF_ALLOWANCES,
        "--all",
        "--all-namespaces",
        // Whoever waits by kubectl waits on when one goes with its namespace.
        "--wait=false",
    ];
    stdout(&mesh.cluster().kubectl(&others));
    let start = OffsetDateTime::now_utc();
    let shop = Shop::open(&mesh, "undefined", 1);
    shop.namespace.apply(&shop.rule(5432));
    shop.enforced_by(1);
    shop.answered("client", start);
    alone(&mesh, "authorizationpolicies");
    let before = OffsetDateTime::now_utc();
    let definition = DEFINITION_OF_ALLOWANCES;
    stdout(&mesh.cluster().kubectl(&["delete", "crd", definition]));
    // Its other definition, whose name ends like this one's, may have gone in a test before.
    let frozen = format!("because {definition} went away");
    wait_for(&frozen, BOUND, || {
        log_of_control(&mesh).contains(&frozen).then_some(())
    });
    // New connections are judged as before, and those that are open stay so.
    assert!(shop.call_anew("client") && !shop.call_anew("stranger"));
    let now = OffsetDateTime::now_utc();
    shop.answered("client", now);
    shop.failed("stranger", now);
    nothing_is_told_of_rules_that_are_not_listed(&mesh, &shop);
    mesh.mend();
    shop.namespace.apply(&shop.rule(5432));
    shop.enforced_by(1);
    assert!(shop.call_anew("client") && !shop.call_anew("stranger"));
    let calls = shop.calls("client", before);
    assert!(calls.iter().all(|call| call.answered), "{calls:?}");
    assert!(closed_by_policy(&shop.records("server"), start).is_empty());
    // It is the truth again what the API server lists: a rule that is deleted is gone.
    stdout(
        &shop
            .namespace
            .kubectl(&["delete", "authorizationpolicy", "servers"]),
    );
    shop.failed("client", OffsetDateTime::now_utc());
    assert!(
        shop.calls("stranger", start)
            .iter()
            .all(|call| !call.answered)
    );
}

/// By the rules that are listed, everybody would be denied.
fn nothing_is_told_of_rules_that_are_not_listed(mesh: &Mesh, shop: &Shop) {
    let to = shop.explained(mesh, "--to");
    assert_eq!(to.status.code(), Some(2), "{to:?}");
    let said = text(&to.stderr);
    assert!(said.contains(DEFINITION_OF_ALLOWANCES), "{said}");
    let proxy = shop.explained(mesh, "--proxy");
    assert!(proxy.status.success(), "the sidecar knows: {proxy:?}");
}

#[test]
fn a_denial_outlives_its_definition_and_every_replica_of_control() {
    let mesh = Mesh::alone();
    let start = OffsetDateTime::now_utc();
    let shop = Shop::open(&mesh, "denied", 1);
    shop.namespace.apply(&shop.rule(5432));
    shop.enforced_by(1);
    shop.answered("client", start);
    let denial = denial(shop.namespace.name());
    mesh.cluster().apply(&denial);
    alone(&mesh, "clusterauthorizationpolicies");
    wait_for("the denial", BOUND, || {
        (!shop.call_anew("client")).then_some(())
    });
    stdout(&mesh.cluster().kubectl(&["delete", "crd", DEFINITION]));
    mesh.mend();
    told(&mesh, "1 of 1 rules are in force");
    // A replica that starts knows nothing but that a rule is missing, and serves nobody.
    let restart = ["rollout", "restart", "deployment/palisade-control"];
    stdout(&mesh.system(&restart));
    let why = "1 rules that were in force are not there since";
    wait_or_say("a replica that waits", BOUND, || {
        let said = readiness(&mesh);
        said.contains(why).then_some(()).ok_or(said)
    });
    assert!(log_of_control(&mesh).contains("the definition was made again"));
    // Nor do they when none is left that remembers.
    let pods = ["pods", "-l", CONTROL, "--force", "--grace-period=0"];
    stdout(&mesh.system(&[&["delete"], &pods[..]].concat()));
    told(&mesh, "0 of 2 replicas are ready");
    told(&mesh, "1 of 1 rules are in force");
    assert!(!shop.call_anew("client"), "the denial is in force");
    // It is there again, and so is control.
    mesh.cluster().apply(&denial);
    mesh.ready();
    wait_or_say("nothing of it in a check", BOUND, || {
        let said = errors(&mesh);
        said.is_empty().then_some(()).ok_or_else(|| said.join("\n"))
    });
    assert!(!shop.call_anew("client"), "the denial is in force");
    let name = format!("denied-{}", shop.namespace.name());
    let delete = ["delete", "clusterauthorizationpolicy", &name];
    stdout(&mesh.cluster().kubectl(&delete));
    shop.answered("client", OffsetDateTime::now_utc());
}

/// Waits until no rule of this kind is there but one, and that is on record: what other tests left is not missed.
fn alone(mesh: &Mesh, plural: &str) {
    let definition = format!("{plural}.palisade.dev");
    let path = format!("jsonpath={{.data.{}}}", definition.replace('.', "\\."));
    wait_or_say("a rule that is alone", BOUND, || {
        let rules = mesh
            .cluster()
            .kubectl(&["get", &definition, "-A", "-o", "name"]);
        let recorded = mesh.system(&["get", "configmap", "palisade-rules", "-o", &path]);
        let (rules, recorded) = (stdout(&rules), text(&recorded.stdout));
        let is_alone = rules.lines().count() == 1 && recorded.contains("\"rules\":1,");
        is_alone.then_some(()).ok_or_else(|| rules + &recorded)
    });
}

/// What the newest replica says of its readiness.
fn readiness(mesh: &Mesh) -> String {
    let newest = [
        "--sort-by=.metadata.creationTimestamp",
        "-o=jsonpath={.items[-1:].status.podIP}",
    ];
    let pods = ["get", "pods", "-l", CONTROL];
    let address = stdout(&mesh.system(&[&pods[..], &newest].concat()));
    let url = format!("http://{address}:15020/ready");
    let said = mesh.cluster().run(&["exec", "curl", "-s", &url]);
    text(&said.stdout) + &text(&said.stderr)
}

/// Waits for an error in what `palisade check` says.
fn told(mesh: &Mesh, what: &str) {
    wait_or_say(&format!("a check that says {what}"), BOUND, || {
        let said = errors(mesh);
        let is_said = said.iter().any(|error| error.contains(what));
        is_said.then_some(()).ok_or_else(|| said.join("\n"))
    });
}

fn errors(mesh: &Mesh) -> Vec<String> {
    let said = mesh.palisade(&["check", "-o", "json"]);
    let findings = json_lines(&text(&said.stdout));
    assert!(!findings.is_empty(), "{said:?}");
    let errors = findings
        .iter()
        .filter(|finding| finding["severity"] == "error");
    errors.map(Value::to_string).collect()
}

/// Nobody lets the client in, whatever the namespace's own rules say.
fn denial(namespace: &str) -> String {
    format!(
        r"
apiVersion: palisade.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: {{name: denied-{namespace}}}
spec:
  target: {{namespaces: [{namespace}]}}
  rules:
  - {{name: client, effect: deny, from: [{{serviceAccount: {namespace}/client}}]}}
"
    )
}

const DEFINITION: &str = "clusterauthorizationpolicies.palisade.dev";
const DEFINITION_OF_ALLOWANCES: &str = "authorizationpolicies.palisade.dev";
const CONTROL: &str = "app.kubernetes.io/name=palisade-control";
