//! `palisade check`: what is wrong is said with what to do, and doing it helps.

use serde_json::Value;

use super::idle;
use crate::example::json_lines;
use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_for};

#[test]
fn check_finds_what_is_wrong_in_a_namespace_and_its_remedy_helps() {
    let mesh = Mesh::shared();
    // Its first pod is older than its place in the mesh.
    let namespace = mesh.cluster().namespace("check");
    idle(&namespace, "old", "{}");
    annotate(&namespace, "palisade.dev/inject=enabled");
    let (code, findings) = check(&mesh, &namespace);
    assert_eq!(code, Some(1), "{findings:?}");
    let unmeshed = of(&findings, "unmeshed");
    assert_eq!(unmeshed["severity"], "error");
    assert_eq!(
        unmeshed["place"],
        format!("Deployment {}/old", namespace.name())
    );
    let remedy: Vec<&str> = unmeshed["remedy"].as_str().unwrap().split(' ').collect();
    stdout(&mesh.cluster().run(&remedy));
    namespace.rolled_out("deployment/old");
    healthy(&mesh, &namespace);

    annotate(&namespace, "palisade.dev/mtls=permissive");
    let (code, findings) = check(&mesh, &namespace);
    assert_eq!(code, Some(0), "{findings:?}");
    let permissive = of(&findings, "namespaces");
    assert_eq!(permissive["severity"], "warning");
    let what = permissive["what"].as_str().unwrap();
    assert!(what.contains("permissive"), "{what}");
    annotate(&namespace, "palisade.dev/mtls-");
    a_caller_outside(&mesh, &namespace);
    opt_outs(&mesh, &namespace);

    let output = mesh.palisade(&["check", "-n", namespace.name(), "-o", "text"]);
    let last = stdout(&output);
    let last = last.lines().last().unwrap();
    assert!(last.starts_with("0 errors, "), "{last}");
}

/// Who calls without a sidecar is refused, and named with what to do.
fn a_caller_outside(mesh: &Mesh, namespace: &Namespace) {
    let outside = mesh.cluster().namespace("check-outside");
    idle(&outside, "legacy", "{}");
    let pods = ["pods", "-l", "app=old"];
    let addrs = namespace.words(&pods, "{.items[*].status.podIP}");
    let call = format!("echo hello | nc -w 2 {} 8080", addrs.first().unwrap());
    wait_for("the caller to be named", BOUND, || {
        outside.exec("deployment/legacy", &["sh", "-c", &call]);
        let (code, findings) = check(mesh, namespace);
        assert_eq!(code, Some(0), "{findings:?}");
        let found = of(&findings, "callers");
        let (what, remedy) = (found["what"].as_str()?, found["remedy"].as_str()?);
        assert_eq!(found["severity"], "warning");
        assert_eq!(
            found["place"],
            format!("Deployment {}/old", namespace.name())
        );
        let caller = format!("{}/legacy-", outside.name());
        assert!(
            what.contains(&caller) && what.contains("refused") && what.contains("8080"),
            "{what}"
        );
        let annotate = format!(
            "kubectl annotate namespace {} palisade.dev/inject=enabled",
            outside.name()
        );
        assert!(remedy.contains(&annotate), "{remedy}");
        Some(())
    });
}

fn opt_outs(mesh: &Mesh, namespace: &Namespace) {
    annotate(namespace, "palisade.dev/allow-opt-out=true");
    // The injector learns of the annotation by its watch.
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {palisade.dev/inject: disabled}}, \
        spec: {containers: [{name: a, image: i}]}}";
    let create = [
        "kubectl",
        "-n",
        namespace.name(),
        "create",
        "--dry-run=server",
        "-f",
        "-",
    ];
    wait_for("opt-outs to be allowed", BOUND, || {
        let tried = mesh.cluster().fed(&create, pod);
        tried.status.success().then_some(())
    });
    idle(namespace, "out", "{palisade.dev/inject: disabled}");
    idle(
        namespace,
        "partly",
        "{palisade.dev/exclude-inbound-ports: '9090'}",
    );
    let (code, findings) = check(mesh, namespace);
    assert_eq!(code, Some(0), "{findings:?}");
    for (name, what) in [("out", "not meshed"), ("partly", "9090")] {
        let place = format!("Deployment {}/{name}", namespace.name());
        let found = findings
            .iter()
            .find(|one| one["check"] == "exemptions" && one["place"] == place);
        let found = found.unwrap_or_else(|| panic!("{name}: {findings:?}"));
        assert_eq!(found["severity"], "warning");
        assert!(found["what"].as_str().unwrap().contains(what), "{found}");
    }
}

/// Nothing but what is well.
fn healthy(mesh: &Mesh, namespace: &Namespace) {
    // The pod that is replaced ends at its own pace.
    wait_for("a healthy namespace", BOUND, || {
        let (code, findings) = check(mesh, namespace);
        let well = findings.iter().all(|one| one["severity"] == "ok");
        (code == Some(0) && well).then_some(())
    });
}

#[test]
fn a_check_before_the_installation_says_whether_it_will_work() {
    let mesh = Mesh::shared();
    let output = mesh.palisade(&["check", "--pre", "-o", "json"]);
    let findings = json_lines(&stdout(&output));
    for check in ["api-server", "kubelet", "rights"] {
        assert_eq!(of(&findings, check)["severity"], "ok", "{findings:?}");
    }
}

#[test]
fn a_cluster_that_cannot_be_asked_is_neither_good_nor_bad() {
    let mesh = Mesh::shared();
    let output = mesh.palisade(&["check", "--kubeconfig", "/nowhere/kubeconfig"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("--kubeconfig"), "{output:?}");
}

fn check(mesh: &Mesh, namespace: &Namespace) -> (Option<i32>, Vec<Value>) {
    let output = mesh.palisade(&["check", "-n", namespace.name(), "-o", "json"]);
    (output.status.code(), json_lines(&text(&output.stdout)))
}

fn of<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{check}: {findings:?}"))
}

fn annotate(namespace: &Namespace, annotation: &str) {
    stdout(&namespace.kubectl(&["annotate", "namespace", namespace.name(), annotation]));
}
