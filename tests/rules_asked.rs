//! What is asked of the rules of files: by names of nobody, at ports that no rule decides, and out of pipes.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{json_lines, palisade, text, wait_until};

const RULES: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: web-places-orders, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080]}
";

const MANIFESTS: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec:
  template:
    metadata: {labels: {app: orders}, annotations: {palisade.dev/exclude-inbound-ports: \"9090, 9100\"}}
    spec: {serviceAccountName: orders}
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn policy(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = palisade(folder);
    command.arg("policy").args(arguments).output().unwrap()
}

#[test]
fn names_of_nobody_are_told_beside_other_mistakes_of_the_same_rule() {
    for (good, bad, said) in [
        ("effect: allow", "effect: alow", "did you mean `allow`?"),
        ("effect: allow", "effect: permit", "write `allow` or `deny`"),
        ("effect: allow, ", "", "`effect` is missing"),
        ("web-places-orders", "Web_", "`name` cannot be \"Web_\""),
    ] {
        let rules = RULES.replace("shop/web", "shop/wbe").replace(good, bad);
        let folder = folder(&[("rules.yaml", &rules), ("shop.yaml", MANIFESTS)]);
        let check = policy(folder.path(), &["check", ".", "-o", "text"]);
        let shown = text(&check.stdout);
        assert_eq!(check.status.code(), Some(1), "{shown}");
        for part in [said, "no service account `wbe` in namespace `shop`"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}

#[test]
fn names_of_nobody_are_told_beside_other_mistakes_of_the_same_expectations() {
    let mesh = "apiVersion: palisade.dev/v1alpha1
kind: LocalMesh
metadata: {name: m}
spec:
  rules: .
  workloads:
  - {name: orders, namespace: shop, command: [x], ports: [8080]}
  - {name: web, namespace: shop, command: [x]}
";
    let tests = "apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
metadata: {name: t}
spec:
  tests:
  - {from: shop/wbe, to: shop/orders, port: 8080, expect: allow}
  - {from: shop/web, to: shop/ordrs, port: 0, expect: allow, rule: web-place-orders}
";
    let folder = folder(&[
        ("rules.yaml", RULES),
        ("mesh.yaml", mesh),
        ("tests.yaml", tests),
    ]);
    let asked = policy(folder.path(), &["test", "."]);
    let error = text(&asked.stderr);
    assert_eq!(asked.status.code(), Some(2), "{error}");
    for part in [
        "tests.yaml:6:12: error: there is no workload and no service account shop/wbe",
        "tests.yaml:7:26: error: there is no workload and no service account shop/ordrs",
        "tests.yaml:7:44: error: 0 is no port",
        "tests.yaml:7:68: error: there is no rule `web-place-orders`",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// Whoever took what rules say there for a wall would be wrong.
#[test]
fn at_a_port_that_the_sidecar_does_not_see_no_rule_is_asked() {
    let tests = "apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
metadata: {name: t}
spec:
  tests:
  - {from: shop/web, to: shop/orders, port: 8080, expect: allow}
  - {from: shop/web, to: shop/orders, ports: [9089-9101], expect: deny}
";
    let folder = folder(&[
        ("rules.yaml", RULES),
        ("shop.yaml", MANIFESTS),
        ("tests.yaml", tests),
    ]);
    let explain = |port: &str, output: &str| {
        let who = ["--from", "shop/web", "--to", "shop/orders", "--port", port];
        let arguments = [&["explain", "-f", ".", "-o", output][..], &who].concat();
        policy(folder.path(), &arguments)
    };
    let why = "not enforced at this port: it is excluded from the sidecar (palisade.dev/exclude-inbound-ports), so no rule is \
               asked there, and whoever calls gets in";
    for (port, code, excluded) in [("9090", 2, true), ("9091", 1, false), ("8080", 0, false)] {
        let shown = explain(port, "text");
        assert_eq!(shown.status.code(), Some(code), "{shown:?}");
        assert_eq!(text(&shown.stdout).contains(why), excluded, "{shown:?}");
        let line = &json_lines(&explain(port, "json").stdout)[0];
        assert_eq!(line["excluded"] == true, excluded, "{line}");
        assert_eq!(line["enforced"] == false, excluded, "{line}");
    }
    let asked = policy(folder.path(), &["test", ".", "-o", "text"]);
    let shown = text(&asked.stdout);
    assert_eq!(asked.status.code(), Some(1), "{shown}");
    let expected =
        "expected deny, got no answer: the port is excluded from the sidecar, at ports 9090, 9100";
    for part in [expected, why, "2 expectations: 1 failed"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

/// Neither is one where the injector gives none.
#[test]
fn where_no_sidecar_is_no_rule_is_asked() {
    let tests = "apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
metadata: {name: t}
spec:
  tests:
  - {from: shop/web, to: shop/orders, port: 5432, expect: deny}
";
    let out = |field: &str| {
        let manifests = MANIFESTS.replace("palisade.dev/exclude-inbound-ports", field);
        let files = [
            ("rules.yaml", RULES),
            ("shop.yaml", &*manifests),
            ("tests.yaml", tests),
        ];
        let folder = folder(&files);
        let who = [
            "--from",
            "shop/web",
            "--to",
            "shop/orders",
            "--port",
            "5432",
        ];
        let explained = policy(folder.path(), &[&["explain", "-f", "."][..], &who].concat());
        let asked = policy(folder.path(), &["test", ".", "-o", "text"]);
        (explained, asked)
    };
    let (explained, asked) = out("palisade.dev/exclude-inbound-ports");
    assert_eq!(
        (explained.status.code(), asked.status.code()),
        (Some(1), Some(0))
    );
    let (explained, asked) = out("palisade.dev/inject: disabled, x");
    assert_eq!(
        (explained.status.code(), asked.status.code()),
        (Some(2), Some(1))
    );
    let shown = text(&asked.stdout);
    let expected = "expected deny, got no answer: no rule is asked where there is no sidecar";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn records_come_out_of_pipes_that_somebody_writes_to() {
    let folder = folder(&[("rules.yaml", RULES), ("shop.yaml", MANIFESTS)]);
    mkfifo(&folder.path().join("pipe"), Mode::S_IRWXU).unwrap();
    let simulate = |records: &str| {
        let mut command = palisade(folder.path());
        let simulate = ["policy", "simulate", ".", "-o", "json", "--records"];
        command.args(simulate).arg(records);
        command
    };
    let silent = simulate("pipe").output().unwrap();
    let error = text(&silent.stderr);
    assert_eq!(silent.status.code(), Some(2), "{error}");
    let expected = "error: cannot read pipe: nobody writes to this pipe; ";
    assert!(error.starts_with(expected), "{error}");

    // Somebody opens it first and writes when it is read; a shell's `<(…)` is such a path, too.
    let pipe = folder.path().join("pipe");
    let writing = std::thread::spawn(move || std::fs::write(pipe, RECORD).unwrap());
    let shown = wait_until("the pipe to be read", || {
        let shown = simulate("pipe").output().unwrap();
        (!text(&shown.stderr).contains("nobody writes to this pipe")).then_some(shown)
    });
    writing.join().unwrap();
    let mut piped = simulate("/dev/stdin");
    let piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    let mut stdin = piped.stdin.take().unwrap();
    stdin.write_all(RECORD.as_bytes()).unwrap();
    drop(stdin);
    for output in [shown, piped.wait_with_output().unwrap()] {
        let lines = json_lines(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let flips = lines.iter().filter(|one| one["kind"] == "flip");
        assert_eq!(flips.count(), 1, "{lines:?}");
    }
}

/// A connection that the rules deny and that was let in.
const RECORD: &str = r#"{"time":"2026-11-22T02:23:12Z","event":"close","conn.id":"000000000000000000000000000000a1","direction":"inbound","src.addr":"10.0.0.1:4000","dst.addr":"10.0.0.2:9000","src.identity":"spiffe://cluster.local/ns/shop/sa/web","dst.identity":"spiffe://cluster.local/ns/shop/sa/orders","dst.workload":"orders-0","dst.namespace":"shop","dst.port":9000,"policy.decision":"allow","policy.reason":"rule","bytes_sent":1,"bytes_recv":1,"duration_ms":2}
"#;
