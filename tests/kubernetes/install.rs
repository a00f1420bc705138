//! From an empty cluster to a mesh, and back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{BOUND, Cluster, MESH_CIDRS, Mesh, stdout, text, wait_or_say};
use crate::load::Load;

#[test]
fn what_install_prints_makes_a_working_mesh() {
    let mesh = Mesh::alone();
    println!("install to ready: {:?}", mesh.installed_in());
    let findings = stdout(&mesh.palisade(&["check", "-o", "json"]));
    for finding in findings.lines() {
        assert!(
            !finding.contains(r#""severity":"error""#)
                && !finding.contains(r#""severity":"unknown""#),
            "{finding}"
        );
    }
}

#[test]
fn a_second_install_changes_nothing() {
    let mesh = Mesh::alone();
    // kubectl always writes the selector of a budget anew, and says so; the API server finds it the same.
    let budgets = || {
        let path = "jsonpath={.items[*].metadata.generation}";
        stdout(&mesh.system(&["get", "poddisruptionbudgets", "-o", path]))
    };
    let before = budgets();
    let said = mesh.apply(mesh.cluster().palisade_image());
    assert!(said.lines().count() > 20, "{said}");
    let changed: Vec<&str> = said
        .lines()
        .filter(|line| !line.ends_with(" unchanged") && !line.starts_with("poddisruptionbudget"))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(budgets(), before);
}

#[test]
fn helm_makes_the_same_objects() {
    let cluster = Cluster::shared();
    let helm = stdout(&cluster.run(&["exec", "sh", "-c", "command -v helm"]));
    crate::chart::same_as_helm(helm.trim().as_ref());
}

#[test]
fn helm_installs_a_working_mesh_and_takes_away_what_it_installed() {
    let mesh = Mesh::alone();
    stdout(&mesh.palisade(&["uninstall", "--yes", "--force"]));
    nothing_is_left(mesh.cluster());
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("injector/chart/palisade");
    let image = format!("image={}", mesh.cluster().palisade_image());
    let mesh_cidr = format!("meshCidr={}", MESH_CIDRS.replace(',', r"\,"));
    let sets = ["--create-namespace", "--set", &image, "--set", &mesh_cidr];
    let chart = chart.to_string_lossy();
    helm(
        &mesh,
        &[&["install", "palisade", &*chart], &sets[..]].concat(),
    );
    mesh.ready();
    // Its callers are answered before it is open.
    let load = Load::start(&mesh, "helm");
    load.rules_are_enforced("where Helm installed");
    load.unbroken("helm uninstall", || {
        helm(&mesh, &["uninstall", "palisade"]);
    });
    let left = left(mesh.cluster());
    println!("helm uninstall leaves {left:?}");
    let made_by_control = ["ConfigMap", "Lease", "Namespace", "Secret"];
    for object in &left {
        let kind = object.split(' ').next().unwrap();
        let is_rules = object.ends_with(".palisade.dev") || object.starts_with("Authorization");
        assert!(is_rules || made_by_control.contains(&kind), "{object}");
    }
    stdout(&mesh.palisade(&["uninstall", "--yes", "--force"]));
    nothing_is_left(mesh.cluster());
}

fn helm(mesh: &Mesh, arguments: &[&str]) {
    let bound = format!("{}s", BOUND.as_secs());
    let system = [
        "--namespace",
        "palisade-system",
        "--wait",
        "--timeout",
        &bound,
    ];
    let helm = ["exec", "helm"];
    stdout(&mesh.cluster().run(&[&helm, arguments, &system].concat()));
}

#[test]
fn uninstall_waits_until_the_pods_have_left_and_leaves_nothing_behind() {
    let mesh = Mesh::alone();
    let shop = mesh.namespace("leaving");
    shop.apply(WEB);
    shop.rolled_out("deployment/web");
    let before = left(mesh.cluster());
    assert!(before.len() > 20, "what is there is found: {before:?}");

    let refused = mesh.palisade(&["uninstall", "--yes", "--output", "json"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(text(&refused.stderr).contains("--force"), "{refused:?}");
    let commands = remedies(&refused, shop.name());
    assert_eq!(commands.len(), 2, "leave, and start again: {refused:?}");
    assert_eq!(left(mesh.cluster()), before, "nothing was touched");

    for command in commands {
        println!("{command}");
        stdout(&mesh.cluster().run(&["exec", "sh", "-c", &command]));
    }
    shop.rolled_out("deployment/web");
    // Pods of tests that are over may take a while to end.
    wait_or_say("an uninstall that is not refused", BOUND, || {
        let uninstalled = mesh.palisade(&["uninstall", "--yes"]);
        let said = text(&uninstalled.stdout) + &text(&uninstalled.stderr);
        uninstalled.status.success().then_some(()).ok_or(said)
    });
    nothing_is_left(mesh.cluster());
    assert_eq!(again(&mesh, &[]), 0);
}

#[test]
fn a_forced_uninstall_leaves_nothing_behind_but_what_runs() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "forced");
    load.unbroken("forced uninstall", || {
        let said = stdout(&mesh.palisade(&["uninstall", "--yes", "--force", "-o", "json"]));
        assert!(said.contains(r#""event":"meshed""#), "{said}");
        nothing_is_left(mesh.cluster());
    });
    assert!(!load.outsider_gets_in(), "the last rules stay in force");
    assert_eq!(again(&mesh, &["--force"]), 0);
}

/// What another uninstall removes.
fn again(mesh: &Mesh, more: &[&str]) -> u64 {
    let uninstall = ["uninstall", "--yes", "--output", "json"];
    let said = stdout(&mesh.palisade(&[&uninstall, more].concat()));
    let last = said.lines().last().expect("it says that it is done");
    let event: Value = serde_json::from_str(last).expect("a line of JSON");
    event
        .get("removed")
        .and_then(Value::as_u64)
        .expect("a number")
}

/// The commands that take a namespace out of the mesh.
fn remedies(refused: &Output, namespace: &str) -> Vec<String> {
    text(&refused.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
        .filter(|event| {
            event
                .pointer("/event")
                .is_some_and(|event| event == "remedy")
        })
        .map(|event| {
            event
                .pointer("/command")
                .and_then(Value::as_str)
                .expect("a command")
                .to_owned()
        })
        .filter(|command| command.contains(namespace))
        .collect()
}

fn nothing_is_left(cluster: &Cluster) {
    // The API server itself takes a moment to forget a group, and to add up roles.
    wait_or_say("the end of what is left", BOUND / 3, || {
        let left = left(cluster);
        left.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
}

/// Every object that is the mesh's by its name or labels, and if the cluster's, by anything but an annotation.
fn left(cluster: &Cluster) -> BTreeSet<String> {
    let kinds = stdout(&cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]));
    let kinds: Vec<&str> = kinds
        .lines()
        // Events are history, and pods keep the labels that they started with.
        .filter(|kind| !kind.starts_with("events") && *kind != "pods")
        .collect();
    let found = stdout(&cluster.kubectl(&["get", &kinds.join(","), "-A", "-o", "json"]));
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let objects = found
        .get("items")
        .and_then(Value::as_array)
        .expect("a list");
    objects.iter().filter_map(ours).collect()
}

fn ours(object: &Value) -> Option<String> {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str()?;
    let mut judged = vec![metadata["name"].clone(), metadata["labels"].clone()];
    if metadata["namespace"].is_null() {
        let fields = object.as_object()?.iter();
        let own = fields.filter(|(key, _)| !["metadata", "status"].contains(&key.as_str()));
        judged.extend(own.map(|(_, value)| value.clone()));
    }
    let named = Value::from(judged).to_string().contains("palisade");
    named.then(|| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        format!("{kind} {namespace}/{name}")
    })
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: web, image: "kube.local/busybox:1", imagePullPolicy: Never, command: [sleep, "3600"]}
"#;
