//! What people see of rules that are checked and tested: `palisade policy check` and `palisade policy test`.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::harness::{json_lines, palisade, repository, text};

const BROKEN: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - name: web-places-orders
    effect: permit
    form:
    - serviceAccount: shop/web
    ports: [8080-80, 99999]
";

const SOUND: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - name: web-places-orders
    effect: allow
    from:
    - serviceAccount: shop/wbe
    ports: [8080]
";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}, spec: {serviceAccountName: web}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
";

const EXPECTATIONS: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
metadata: {name: orders}
spec:
  tests:
  - {from: spiffe://cluster.local/ns/shop/sa/wbe, to: shop/orders, port: 8080, expect: allow}
  - name: the <web> & its orders
    from: shop/web
    to: shop/orders
    port: 8080
    expect: allow
";

/// A folder with these files in `rules/`.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join("rules").join(name), text).unwrap();
    }
    folder
}

fn policy(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = palisade(folder);
    command.arg("policy").args(arguments).output().unwrap()
}

/// Standard output and the exit code.
fn said(folder: &Path, arguments: &[&str]) -> (String, i32) {
    let output = policy(folder, arguments);
    assert_eq!(text(&output.stderr), "");
    (text(&output.stdout), output.status.code().unwrap())
}

#[test]
fn every_mistake_is_shown_with_its_line() {
    let folder = folder(&[("a.yaml", BROKEN), ("b.yaml", "a: [")]);
    let (shown, code) = said(folder.path(), &["check", "rules", "-o", "text"]);
    assert_eq!(code, 1);
    let expected = "\
rules/a.yaml:8:13: error: `effect` cannot be \"permit\" [invalid]
 8 |     effect: permit
   |             ^^^^^^
   = help: write `allow` or `deny`

rules/a.yaml:9:5: error: `rules` has no field \"form\" [invalid]
 9 |     form:
   |     ^^^^
   = help: did you mean `from`?

rules/a.yaml:11:13: error: the range 8080-80 ends before it begins [invalid]
 11 |     ports: [8080-80, 99999]
    |             ^^^^^^^
    = help: write 80-8080

rules/a.yaml:11:22: error: 99999 is no port [invalid]
 11 |     ports: [8080-80, 99999]
    |                      ^^^^^
    = help: write a number from 1 to 65535

rules/b.yaml:1:";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(
        shown.ends_with("\nno rules in 2 files: 5 mistakes, no warnings\n"),
        "{shown}"
    );
    let output = policy(folder.path(), &["check", "rules"]);
    let lines = json_lines(&output.stdout);
    assert_eq!(lines.len(), 5, "a pipe gets JSON");
    let first = serde_json::json!({
        "severity": "error", "code": "invalid", "file": "rules/a.yaml", "line": 8, "column": 13,
        "message": "`effect` cannot be \"permit\"", "remedy": "write `allow` or `deny`",
    });
    assert_eq!(lines[0], first);
}

#[test]
fn other_commands_show_mistakes_in_the_same_form() {
    let folder = folder(&[("a.yaml", BROKEN)]);
    let question = [
        "explain",
        "-f",
        "rules",
        "--from",
        "shop/web",
        "--to",
        "shop/orders",
        "--port",
        "80",
    ];
    let explain = policy(folder.path(), &question);
    assert_eq!(explain.status.code(), Some(2));
    let mesh = "apiVersion: palisade.dev/v1alpha1
kind: LocalMesh
metadata: {name: m}
spec: {rules: rules, workloads: [{name: web, namespace: shop, command: [x]}]}
";
    std::fs::write(folder.path().join("mesh.yaml"), mesh).unwrap();
    let up = palisade(folder.path())
        .args(["up", "mesh.yaml"])
        .output()
        .unwrap();
    assert_eq!(up.status.code(), Some(1));
    for output in [explain, up] {
        let error = text(&output.stderr);
        assert!(error.contains(" 9 |     form:\n   |     ^^^^\n"), "{error}");
    }
}

/// As `kubectl get authorizationpolicies,deployments -o yaml` prints them.
const LIST: &str = "\
apiVersion: v1
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata:
    name: web
    namespace: shop
  spec:
    template:
      metadata:
        labels:
          app: web
      spec:
        serviceAccountName: web
- apiVersion: palisade.dev/v1alpha1
  kind: AuthorizationPolicy
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {\"apiVersion\":\"palisade.dev/v1alpha1\"}
    creationTimestamp: \"2026-11-01T08:00:00Z\"
    generation: 1
    managedFields:
    - apiVersion: palisade.dev/v1alpha1
      fieldsType: FieldsV1
      fieldsV1:
        f:spec:
          .: {}
      manager: kubectl
      operation: Update
    name: web
    namespace: shop
    resourceVersion: \"1117\"
    uid: 5f2ff7c5-6a5a-4d0c-8d6c-5a1a8f7f7c0e
  spec:
    rules:
    - effect: allow
      from:
      - serviceAccount: shop/web
      name: itself
    target:
      labels:
        app: web
  status:
    proxies: 1
    upToDate: 1
kind: List
metadata:
  resourceVersion: \"\"
";

#[test]
fn rules_are_read_as_kubectl_prints_them() {
    let object = LIST.split("\n- apiVersion: palisade").nth(1).unwrap();
    let object = object.split("kind: List").next().unwrap();
    let object = format!("apiVersion: palisade{}", object.replace("\n  ", "\n"));
    let deployment = DEPLOYMENT.split("---").next().unwrap();
    for files in [
        [("list.yaml", LIST), ("more.yaml", "")],
        [("one.yaml", object.as_str()), ("who.yaml", deployment)],
    ] {
        let folder = folder(&files);
        let (shown, code) = said(folder.path(), &["check", "rules", "-o", "text"]);
        assert!(
            shown.ends_with("1 rule in 2 files: no mistakes, no warnings\n"),
            "{shown}"
        );
        assert_eq!(code, 0);
        let question = ["--from", "shop/web", "--to", "shop/web", "--port", "80"];
        let question = [["explain", "-f", "rules"].as_slice(), &question].concat();
        let (shown, code) = said(folder.path(), &question);
        assert!(shown.contains("shop/web/itself"), "{shown}");
        assert_eq!(code, 0);
    }
    let wrong = LIST.replace("effect: allow", "effect: alow");
    let folder = folder(&[("list.yaml", &wrong)]);
    let (shown, code) = said(folder.path(), &["check", "rules", "-o", "text"]);
    let expected = "\
rules/list.yaml:37:15: error: `effect` cannot be \"alow\" [invalid]
 37 |     - effect: alow
    |               ^^^^
    = help: did you mean `allow`?
";
    assert!(shown.starts_with(expected), "{shown}");
    assert_eq!(code, 1);
}

#[test]
fn names_are_held_against_who_there_is_and_warnings_may_count() {
    let folder = folder(&[("a.yaml", SOUND), ("w.yaml", DEPLOYMENT)]);
    let (shown, code) = said(
        folder.path(),
        &["check", "rules", "-o", "text", "--explain"],
    );
    let expected = "\
shop/orders/web-places-orders  rules/a.yaml:7
  `shop/wbe` may reach workloads of `shop` labelled app=orders on port 8080.

rules/a.yaml:10:23: warning: no service account `wbe` in namespace `shop` [unknown]
 10 |     - serviceAccount: shop/wbe
    |                       ^^^^^^^^
    = help: did you mean `web`?

1 rule in 2 files: no mistakes, 1 warning
";
    assert_eq!((shown.as_str(), code), (expected, 0));
    let denied = ["check", "rules", "-o", "text", "--deny-warnings"];
    assert_eq!(said(folder.path(), &denied).1, 1);
    let silenced = [&denied[..], &["--allow", "unknown"]].concat();
    let all_good = "1 rule in 2 files: no mistakes, no warnings\n".to_owned();
    assert_eq!(said(folder.path(), &silenced), (all_good, 0));
    for wrong in [
        &["check", "nowhere"][..],
        &["check", "rules", "--allow", "invalid"],
    ] {
        let output = policy(folder.path(), wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(text(&output.stderr).starts_with("error: "));
    }
}

#[test]
fn a_mistyped_annotation_of_a_namespace_is_a_warning_that_counts() {
    let namespace = "apiVersion: v1\nkind: Namespace\n\
                     metadata: {name: shop, annotations: {palisade.dev/authorization: shadwo}}\n";
    let sound = SOUND.replace("shop/wbe", "shop/web");
    let folder = folder(&[
        ("a.yaml", &sound),
        ("n.yaml", namespace),
        ("w.yaml", DEPLOYMENT),
    ]);
    let denied = ["check", "rules", "--deny-warnings", "-o"];
    let (shown, code) = said(folder.path(), &[&denied[..], &["text"]].concat());
    assert!(
        shown.starts_with("rules/n.yaml: warning: Namespace shop: "),
        "{shown}"
    );
    assert!(shown.contains("did you mean `shadow`?"), "{shown}");
    assert!(shown.ends_with(": no mistakes, 1 warning\n"), "{shown}");
    assert_eq!(code, 1);
    let (shown, code) = said(folder.path(), &[&denied[..], &["json"]].concat());
    let [found] = json_lines(shown.as_bytes()).try_into().unwrap();
    let found: Value = found;
    assert_eq!((found["code"].as_str(), code), (Some("annotation"), 1));
    let allowed = [&denied[..], &["text", "--allow", "annotation"]].concat();
    assert_eq!(said(folder.path(), &allowed).1, 0);
}

#[test]
fn rules_come_out_of_pipes_that_somebody_writes_to() {
    let folder = folder(&[]);
    mkfifo(&folder.path().join("pipe"), Mode::S_IRWXU).unwrap();
    let output = policy(folder.path(), &["check", "pipe"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    let expected = "error: cannot read pipe: nobody writes to this pipe; ";
    assert!(error.starts_with(expected), "{error}");
    let mut command = palisade(folder.path());
    command.args(["policy", "check", "-", "-o", "text"]);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut check = pipes.spawn().unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(BROKEN.as_bytes())
        .unwrap();
    let output = check.wait_with_output().unwrap();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(
        shown.starts_with("/dev/stdin:8:13: error: `effect`"),
        "{shown}"
    );
}

#[test]
fn expectations_fail_with_what_decided_and_are_written_as_junit() {
    let folder = folder(&[
        ("a.yaml", SOUND),
        ("w.yaml", DEPLOYMENT),
        ("t.yaml", EXPECTATIONS),
    ]);
    let arguments = ["test", "rules", "-o", "text", "--junit", "report.xml"];
    let output = policy(folder.path(), &arguments);
    let (shown, code) = (text(&output.stdout), output.status.code().unwrap());
    let warned = text(&output.stderr);
    let warning = "warning: nothing that was read names shop/wbe: ";
    assert!(
        warned.starts_with(warning) && warned.ends_with("; did you mean shop/web?\n"),
        "{warned}"
    );
    let expected = "\
orders  rules/t.yaml
  ok      spiffe://cluster.local/ns/shop/sa/wbe → shop/orders, port 8080: allow
  FAILED  the <web> & its orders (shop/web → shop/orders, port 8080: allow)  rules/t.yaml:7
          expected allow, got deny
          denied  spiffe://cluster.local/ns/shop/sa/web → shop/orders (app=orders), port 8080
            no rule allows it
            nearest: shop/orders/web-places-orders  rules/a.yaml:7
               `shop/wbe` may reach workloads of `shop` labelled app=orders on port 8080.
            it allows others here, but not this caller (`from`)

coverage: 1 of 1 rules (100 %)
2 expectations: 1 failed
";
    assert_eq!((shown.as_str(), code), (expected, 1));
    let xml = std::fs::read_to_string(folder.path().join("report.xml")).unwrap();
    for part in [
        "<testsuites name=\"palisade policy test\" tests=\"2\" failures=\"1\" errors=\"0\"",
        "<testsuite name=\"orders\" file=\"rules/t.yaml\" tests=\"2\" failures=\"1\"",
        "name=\"the &lt;web&gt; &amp; its orders (shop/web → shop/orders, port 8080: allow)\"",
        "<failure message=\"expected allow, got deny\" type=\"expectation\">rules/t.yaml:7\n",
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
    assert!(!xml.contains('\u{1b}'), "{xml}");
    let lines = json_lines(&policy(folder.path(), &["test", "rules"]).stdout);
    let passed: Vec<&Value> = lines.iter().map(|line| &line["passed"]).collect();
    assert_eq!(passed, [true, false, false]);
    assert_eq!(lines[2]["coverage"]["percent"], 100);
}

#[test]
fn what_cannot_be_asked_is_no_failure() {
    let wrong = EXPECTATIONS.replace("to: shop/orders, port", "to: shop/ordres, prot");
    let unread = folder(&[("a.yaml", SOUND), ("t.yaml", &wrong)]);
    let nobody = EXPECTATIONS.replace(
        "expect: allow\n",
        "expect: allow\n    rule: web-place-orders\n",
    );
    let unknown = folder(&[
        ("a.yaml", SOUND),
        ("w.yaml", DEPLOYMENT),
        ("t.yaml", &nobody),
    ]);
    let alone = folder(&[("t.yaml", EXPECTATIONS)]);
    let none = folder(&[("a.yaml", SOUND)]);
    for (folder, expected) in [
        (unread, "did you mean `port`?"),
        (unknown, "did you mean `web-places-orders`?"),
        (alone, "there are no rules in rules; name them with -f"),
        (none, "there is no `kind: PolicyTest` in rules"),
    ] {
        let output = policy(folder.path(), &["test", "rules"]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn mistakes_of_expectations_are_all_told_with_those_of_the_rules() {
    let test = |expectations: &str| {
        format!(
            "---
apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
metadata: {{name: t}}
spec:
  tests:
{expectations}"
        )
    };
    let unread = test(
        "  - {from: shop/web, too: shop/orders, port: 8080, expect: allow}
  - {from: shop/web, to: shop/orders, port: 0, expect: maybe}
  - {from: web, to: shop/orders, port: 70000, expect: allow, rule: a b}
",
    );
    let nobody = test(
        "  - {from: shop/web, to: shop/ordrs, port: 1, expect: allow, rule: web-places-order}\n",
    );
    let complete = "apiVersion: palisade.dev/v1alpha1
kind: LocalMesh
metadata: {name: m}
spec:
  rules: .
  workloads:
  - {name: orders, namespace: shop, command: [x], ports: [8080]}
  - {name: web, namespace: shop, command: [x]}
";
    let parts = [
        "rules/t.yaml:7:22: error: `tests` has no field \"too\"",
        "did you mean `to`?",
        "rules/t.yaml:8:45: error: ",
        "rules/t.yaml:8:56: error: ",
        "rules/t.yaml:9:12: error: \"web\" names nobody",
        "rules/t.yaml:9:40: error: ",
        "rules/t.yaml:9:68: error: \"a b\" is no rule's name",
        "rules/t.yaml:16:26: error: there is no workload and no service account shop/ordrs",
        "did you mean shop/orders?",
        "did you mean `web-places-orders`?",
    ];
    let all = folder(&[
        ("a.yaml", SOUND),
        ("m.yaml", complete),
        ("t.yaml", &(unread.clone() + &nobody)),
    ]);
    let output = policy(all.path(), &["test", "rules"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in parts {
        assert!(error.contains(part), "{part}: {error}");
    }
    let wrong = SOUND.replace("from:", "form:");
    let both = folder(&[("a.yaml", &wrong), ("t.yaml", &unread)]);
    let output = policy(both.path(), &["test", "rules"]);
    let error = text(&output.stderr);
    for part in parts[..7].iter().chain(&["did you mean `from`?"]) {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn the_rules_of_the_examples_are_clean() {
    let folder = tempfile::tempdir().unwrap();
    for example in [
        "examples/policies",
        "examples/local/shop.yaml",
        "examples/kubernetes",
    ] {
        let example = repository(example);
        let example = example.to_str().unwrap();
        let (shown, code) = said(
            folder.path(),
            &["check", example, "-o", "text", "--deny-warnings"],
        );
        assert_eq!(code, 0, "{shown}");
    }
}
