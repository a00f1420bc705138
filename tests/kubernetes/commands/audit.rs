//! Control says by itself what `palisade check` says when it is asked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::idle;
use crate::example::json_lines;
use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, text, wait_for, wait_or_say};

#[test]
fn the_elected_replica_tells_of_the_same_findings_as_check() {
    let mesh = Mesh::alone();
    let namespace = mesh.cluster().namespace("audit");
    let lost = mesh.cluster().namespace("audit-lost");
    let hook = Hook(mesh.cluster(), format!("{}-hook", namespace.name()));
    spoil(&namespace, &lost, &hook.1);
    let expected = [
        "api-calls",
        "exemptions",
        "namespaces",
        "plaintext",
        "unmeshed",
    ];
    let findings = wait_or_say("check to find all of it", BOUND, || {
        let found = wrong(&mesh, &namespace);
        let checks: BTreeSet<&str> = found.iter().map(|one| word(one, "check")).collect();
        if checks == BTreeSet::from(expected) {
            Ok(found)
        } else {
            Err(format!("{found:?}"))
        }
    });
    let without = wait_for("a sidecar without control to be found", BOUND, || {
        let found = wrong(&mesh, &lost);
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(word(&without[0], "check"), "sidecars", "{without:?}");
    assert_eq!(word(&without[0], "severity"), "error");

    // A leader looks soon after its election.
    stdout(&mesh.system(&["rollout", "restart", "deployment/palisade-control"]));
    mesh.ready();
    for (place, findings) in [(&namespace, &findings), (&lost, &without)] {
        wait_or_say("an Event for each", BOUND, || {
            let events = events(place);
            let silent = findings
                .iter()
                .find(|finding| !events.iter().any(|event| tells(event, finding)));
            silent.map_or(Ok(()), |finding| Err(format!("{finding}: {events:?}")))
        });
    }
    for event in events(&namespace) {
        let of_windows = event["involvedObject"]["name"] == "windows";
        assert!(!of_windows || event["reason"] == "Exemptions", "{event}");
    }
    counted(&mesh, findings.iter().chain(&without));
}

/// A webhook's configuration, which belongs to no namespace; deleted when this is dropped.
struct Hook(&'static Cluster, String);

impl Drop for Hook {
    fn drop(&mut self) {
        let Self(cluster, name) = self;
        cluster.kubectl(&["delete", "validatingwebhookconfiguration", name]);
    }
}

/// Does what should not be done.
fn spoil(namespace: &Namespace, lost: &Namespace, hook: &str) {
    idle(namespace, "old", "{}");
    let name = namespace.name();
    for annotation in [
        "palisade.dev/inject=enabled",
        "palisade.dev/mtls=permissive",
        "palisade.dev/allow-opt-out=true",
    ] {
        stdout(&namespace.kubectl(&["annotate", "namespace", name, annotation]));
    }
    let exclude = "{palisade.dev/exclude-inbound-ports: '9090'}";
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, annotations: {exclude}}}, \
         spec: {{containers: [{{name: a, image: i}}]}}}}"
    );
    let try_it = [
        "kubectl",
        "-n",
        name,
        "create",
        "--dry-run=server",
        "-f",
        "-",
    ];
    wait_for("exclusions to be allowed", BOUND, || {
        let tried = namespace.cluster().fed(&try_it, &pod);
        tried.status.success().then_some(())
    });
    idle(namespace, "partly", exclude);
    namespace.apply(WARNED);
    webhook(namespace, hook);
    super::lost(lost);
}

/// The API server calls a meshed pod, for things that there are none of.
fn webhook(namespace: &Namespace, hook: &str) {
    let name = namespace.name();
    namespace.cluster().apply(&format!(
        r"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: {hook}}}
webhooks:
- name: nobody.palisade.dev
  failurePolicy: Ignore
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {{service: {{namespace: {name}, name: partly}}}}
  rules: [{{apiGroups: [nobody.palisade.dev], apiVersions: [v1], operations: [CREATE], resources: [things]}}]
"
    ));
}

/// What `check` says of a namespace that is not well, but for what needs rights that control has not.
fn wrong(mesh: &Mesh, namespace: &Namespace) -> Vec<Value> {
    let output = mesh.palisade(&["check", "-n", namespace.name(), "-o", "json"]);
    let mut findings = json_lines(&text(&output.stdout));
    findings.retain(|one| {
        matches!(word(one, "severity"), "error" | "warning") && one["check"] != "callers"
    });
    findings
}

fn events(namespace: &Namespace) -> Vec<Value> {
    let found = stdout(&namespace.kubectl(&["get", "events", "-o", "json"]));
    let list: Value = serde_json::from_str(&found).unwrap();
    let ours = list["items"].as_array().unwrap().iter();
    ours.filter(|event| event["reportingComponent"] == "palisade-control")
        .cloned()
        .collect()
}

/// Whether an Event is about the object of a finding, and says the same.
fn tells(event: &Value, finding: &Value) -> bool {
    let object = &event["involvedObject"];
    let place = match word(object, "kind") {
        "Namespace" => word(object, "name").to_owned(),
        kind => format!(
            "{kind} {}/{}",
            word(object, "namespace"),
            word(object, "name")
        ),
    };
    let reason = word(event, "reason").to_lowercase();
    place == word(finding, "place")
        && reason == word(finding, "check").replace('-', "")
        && word(event, "message").contains(word(finding, "what"))
        && !word(object, "uid").is_empty()
}

/// The replica that leads counts each of them.
fn counted<'a>(mesh: &Mesh, findings: impl Iterator<Item = &'a Value>) {
    let pods = [
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=palisade-control",
    ];
    let pods = [&pods[..], &["-o", "jsonpath={.items[*].status.podIP}"]].concat();
    let mut metrics = String::new();
    for addr in stdout(&mesh.system(&pods)).split_whitespace() {
        let url = format!("http://{addr}:15020/metrics");
        let curl = ["exec", "curl", "-sS", "--max-time", "10", &url];
        metrics += &text(&mesh.cluster().run(&curl).stdout);
    }
    for finding in findings {
        let (check, severity) = (word(finding, "check"), word(finding, "severity"));
        let line = format!("palisade_findings{{check=\"{check}\",severity=\"{severity}\"}} ");
        let count = metrics.lines().find_map(|found| found.strip_prefix(&line));
        let count: u64 = count.map_or(0, |count| count.parse().unwrap());
        assert!(count > 0, "{finding}: {metrics}");
    }
    let unread = metrics
        .lines()
        .find(|line| line.contains(r#"severity="unknown""#) && !line.ends_with(" 0"));
    assert_eq!(unread, None, "control may read all that it judges");
}

fn word<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

const WARNED: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: windows}
spec: {os: {name: windows}, containers: [{name: a, image: 'kube.local/none:1', imagePullPolicy: Never}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: a, image: 'kube.local/none:1', imagePullPolicy: Never}]}
---
apiVersion: v1
kind: Service
metadata: {name: partly}
spec: {selector: {app: partly}, ports: [{port: 443, targetPort: 8443}]}
---
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: open}
spec: {rules: [{name: r, effect: allow, from: [{unauthenticated: {cidr: 192.0.2.0/24}}]}]}
";

#[test]
fn a_network_that_hides_the_addresses_of_pods_from_control_is_found() {
    let mesh = Mesh::alone();
    let namespace = mesh.namespace("hidden");
    let hidden = Hidden::behind_nodes(&mesh);
    namespace.apply(
        r"
apiVersion: v1
kind: Pod
metadata: {name: hidden}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: app, image: 'kube.local/busybox:1', imagePullPolicy: Never, command: [sleep, infinity]}]
",
    );
    let found = wait_or_say("check to find it", BOUND, || {
        let found = wrong(&mesh, &namespace);
        let of_addresses = found.iter().find(|one| one["check"] == "addresses");
        of_addresses.cloned().ok_or_else(|| format!("{found:?}"))
    });
    assert_eq!(word(&found, "severity"), "error", "{found}");
    let pod = format!("{}/hidden", namespace.name());
    assert!(word(&found, "what").contains(&pod), "{found}");
    assert!(
        word(&found, "remedy").contains("--attest-address=off"),
        "{found}"
    );
    drop(hidden);
    wait_or_say("its identity, and nothing to say", BOUND, || {
        let found = wrong(&mesh, &namespace);
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

/// Control sees nodes where pods call it, until this is dropped.
struct Hidden<'a>(&'a Mesh);

impl<'a> Hidden<'a> {
    fn behind_nodes(mesh: &'a Mesh) -> Self {
        let hidden = Self(mesh);
        let rules = "add table inet hidden; \
            add chain inet hidden out { type nat hook postrouting priority 90; }; \
            add rule inet hidden out tcp dport 15012 masquerade";
        hidden.on_nodes(rules);
        hidden
    }

    fn on_nodes(&self, rules: &str) {
        for node in ["node1", "node2"] {
            stdout(&self.0.cluster().run(&["on", node, "nft", rules]));
        }
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        self.on_nodes("delete table inet hidden");
    }
}
