use std::path::Path;

use palisade_injector::inject::{NamespaceFacts, Resources, Settings};
use serde_json::{Value, json};

use super::edit::{self, Replaced};
use super::keep;
use super::stream::{self, Task};
use super::tree;

fn rewritten(text: &str, after: &Value) -> String {
    let documents = tree::parse(text).unwrap();
    let root = documents[0].root.as_ref().unwrap();
    let replaced = Replaced::Commented {
        fields: &["httpGet", "tcpSocket"],
        by: "httpGet",
    };
    let edits = edit::edits(text, root, after, replaced).unwrap();
    edit::apply(text, edits)
}

fn value(text: &str) -> Value {
    tree::parse(text).unwrap()[0].root.as_ref().unwrap().value()
}

#[test]
fn a_text_changes_only_where_its_meaning_does() {
    for (before, after, expected) in [
        // Fields and items in block style: behind what is there, or before the comments of what follows.
        (
            "a: 1 # one\nl:\n# first\n- x\n\n- y # y\n# end\n",
            json!({"a": 1, "l": ["new", "x", "y", "last"], "m": {"k": ["10m", true]}}),
            "a: 1 # one\nl:\n- new\n# first\n- x\n\n- y # y\n- last\nm:\n  k:\n    - \"10m\"\n    - true\n# end\n",
        ),
        // The same back.
        (
            "l:\n  - new\n  # first\n  - x\n  - name: last\n    deep:\n      - 1\na: 1 # one\nm: {}\n",
            json!({"l": ["x"], "a": 1}),
            "l:\n  # first\n  - x\na: 1 # one\n",
        ),
        // Flow style, JSON too, stays so.
        (
            "{\"a\": {}, \"l\": [1, 2 , 3], k: v}",
            json!({"a": {"b": 1}, "l": [0, 1, 3, 4]}),
            "{\"a\": {\"b\": 1}, \"l\": [0, 1, 3, 4]}",
        ),
        // A scalar keeps its quotes; a file that does not end its last line goes on not to.
        (
            "a: \"x\" # c\nb: 'y'\nc: |\n  text\n\nd: 1",
            json!({"a": "z", "b": "w", "c": "text\n", "d": 2, "e": "new"}),
            "a: \"z\" # c\nb: w\nc: |\n  text\n\nd: 2\ne: new",
        ),
        // Nothing becomes something.
        (
            "a:\nb: {}\nc: [ ]\n",
            json!({"a": {"x": 1}, "b": {"x": 1}, "c": [1, 2]}),
            "a:\n  x: 1\nb: {\"x\": 1}\nc: [1, 2 ]\n",
        ),
        // Items that are mappings, whose dash stands where it likes.
        (
            "l:\n-   name: x\n    v: 1\n-\n  name: y\n",
            json!({"l": [{"name": "new", "v": [{"name": "deep", "a": "b"}]}, {"name": "x", "v": 2}, {"name": "y", "v": 3}]}),
            "l:\n- name: new\n  v:\n    - name: deep\n      a: b\n-   name: x\n    v: 2\n-\n  name: y\n  v: 3\n",
        ),
    ] {
        let text = rewritten(before, &after);
        assert_eq!(text, expected);
        assert_eq!(value(&text), after);
    }
}

#[test]
fn what_is_replaced_can_be_brought_back_to_the_byte() {
    for before in [
        "probe:\n  # why\n  tcpSocket:\n    port: web # named\n\n# at the margin\n    host: h\n  period: 1\n",
        "probe:\n    period: 1\n    httpGet: {port: 1,\n      path: /}",
        "probe:\n  httpGet:\n    port: web",
    ] {
        let mut after = value(before);
        let probe = after["probe"].as_object_mut().unwrap();
        probe.remove("tcpSocket");
        probe.insert(
            "httpGet".to_owned(),
            json!({"path": "/probe", "port": 15020}),
        );
        let text = rewritten(before, &after);
        assert_eq!(value(&text), after, "{text}");
        let documents = tree::parse(&text).unwrap();
        let root = documents[0].root.as_ref().unwrap();
        let edits = keep::restore(&text, root, &|entry| entry.name == "httpGet");
        assert_eq!(edit::apply(&text, edits), before);
    }
}

#[test]
fn scalars_mean_what_they_mean_to_kubernetes() {
    let text = "[1, -2, 0.5, true, null, ~, yes, '1', \"true\", 1.2.3, 0x1F, !!str 5, .inf, \"\"]";
    let expected = json!([
        1, -2, 0.5, true, null, null, "yes", "1", "true", "1.2.3", "0x1F", "5", ".inf", ""
    ]);
    assert_eq!(value(text), expected);
}

fn settings() -> Settings {
    Settings {
        image: "palisade:test".to_owned(),
        image_pull_policy: None,
        trust_domain: "cluster.local".to_owned(),
        control: vec!["palisade-control.palisade-system.svc:15012".to_owned()],
        resources: Resources {
            cpu_request: "10m".parse().unwrap(),
            memory_request: "32Mi".parse().unwrap(),
        },
    }
}

/// A namespace that allows what a pod may ask for.
fn generous() -> NamespaceFacts {
    let annotation = ("palisade.dev/allow-opt-out".to_owned(), "true".to_owned());
    NamespaceFacts {
        annotations: [annotation].into(),
        ..NamespaceFacts::default()
    }
}

#[test]
fn what_was_injected_comes_back_to_the_byte() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("injector/tests/golden");
    let (settings, namespace) = (settings(), generous());
    let mut injected = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let before = std::fs::read_to_string(&path).unwrap();
        let inject = |text: &str| stream::change(text, Task::Inject(&settings, &namespace));
        let Ok(after) = inject(&before) else {
            continue;
        };
        assert_eq!(
            inject(&after.text).unwrap().text,
            after.text,
            "{}",
            path.display()
        );
        let back = stream::change(&after.text, Task::Uninject).unwrap().text;
        let again = stream::change(&back, Task::Uninject).unwrap().text;
        assert_eq!(again, back);
        assert_eq!(back, before, "{}", path.display());
        injected += usize::from(after.text != before);
    }
    assert!(injected > 10, "{injected} files were injected");
}

#[test]
fn a_stream_keeps_what_is_no_pod_and_its_order() {
    let before = "# kept\nkind: Service\napiVersion: v1\n---\n\
        apiVersion: example.test/v1\nkind: Job\nspec: {template: {spec: {}}}\n---\n# nothing\n---\n\
        apiVersion: v1\nkind: List\nitems:\n# the only one\n- apiVersion: v1\n  kind: Pod\n  \
        metadata: {name: web}\n  spec:\n    containers: [{name: web, image: web}]\n- {apiVersion: v1, kind: Pod, spec: {hostNetwork: true, containers: [{name: x}]}}\n";
    let (settings, namespace) = (settings(), NamespaceFacts::default());
    let after = stream::change(before, Task::Inject(&settings, &namespace)).unwrap();
    let (head, tail) = before.split_once("  metadata: {name: web").unwrap();
    assert!(after.text.starts_with(head), "{}", after.text);
    assert!(
        after.text.ends_with(
            tail.split_once('\n')
                .unwrap()
                .1
                .split_once('\n')
                .unwrap()
                .1
                .split_once('\n')
                .unwrap()
                .1
        )
    );
    assert!(
        after.text.contains("\n      - name: palisade-redirect\n"),
        "{}",
        after.text
    );
    let [note] = &after.notes[..] else {
        panic!("{:?}", after.notes);
    };
    assert_eq!(note.line, 20);
    assert!(
        note.text
            .starts_with("Pod without a name: spec.hostNetwork"),
        "{}",
        note.text
    );
    let back = stream::change(&after.text, Task::Uninject).unwrap();
    assert_eq!(back.text, before);
}

#[test]
fn json_stays_json() {
    let before = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "web", "image": "web", "livenessProbe": {"tcpSocket": {"port": 80}}}]}}"#;
    let (settings, namespace) = (settings(), NamespaceFacts::default());
    let after = stream::change(before, Task::Inject(&settings, &namespace)).unwrap();
    let pod: Value = serde_json::from_str(&after.text).unwrap();
    assert_eq!(pod["spec"]["initContainers"][1]["name"], "palisade-proxy");
    let back = stream::change(&after.text, Task::Uninject).unwrap().text;
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!(back, serde_json::from_str::<Value>(before).unwrap());
}

#[test]
fn refusals_name_every_line_and_nothing_is_printed() {
    let (settings, namespace) = (settings(), NamespaceFacts::default());
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    palisade.dev/inject: disabled\n\
        spec:\n  containers:\n  - name: web\n    ports:\n    - containerPort: 15006\n---\n\
        apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: &s\n  containers: [{name: web, image: &i web}]\n  x: *i\n";
    let notes = stream::change(text, Task::Inject(&settings, &namespace)).unwrap_err();
    let lines: Vec<_> = notes.iter().map(|note| note.line).collect();
    assert_eq!(lines, [6, 11, 13], "{notes:?}");
    let notes = stream::change("a: [1\nb: 2", Task::Uninject).unwrap_err();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].line > 0, "{notes:?}");
}

#[test]
fn a_namespace_of_the_stream_says_what_its_pods_may_exclude() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {palisade.dev/allow-opt-out: \"true\"}}\n";
    let pod = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: {namespace}\n  annotations:\n    \
             palisade.dev/exclude-inbound-ports: \"9090\"\nspec:\n  containers:\n  - name: web\n    image: web\n"
        )
    };
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}",
        namespace.trim_end().replace('\n', "\n  ")
    );
    let (settings, facts) = (settings(), NamespaceFacts::default());
    for (stream, expected) in [
        (format!("{namespace}---\n{}", pod("shop")), true),
        (format!("{}---\n{namespace}", pod("shop")), true),
        (format!("{list}\n---\n{}", pod("shop")), true),
        (format!("{namespace}---\n{}", pod("web")), false),
        (pod("shop"), false),
    ] {
        let injected = stream::change(&stream, Task::Inject(&settings, &facts));
        assert_eq!(injected.is_ok(), expected, "{stream}: {injected:?}");
    }
}
