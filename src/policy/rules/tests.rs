use std::path::PathBuf;

use palisade_api::workload::Mtls;

use super::split::split;
use super::*;

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn read(directory: &tempfile::TempDir) -> Result<Rules, LoadRulesError> {
    of_files(&[directory.path().to_owned()], None)
}

const RULE: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: web, effect: allow, from: [{serviceAccount: shop/web}]}
";

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec:
  template:
    metadata: {labels: {app: orders}}
    spec: {serviceAccountName: keeper, containers: []}
";

#[test]
fn others_documents_leave_ours_in_their_lines() {
    let text = format!("{DEPLOYMENT}---\n{RULE}--- # more\n{DEPLOYMENT}");
    let split = split(&text);
    let line = |text: &str| text.lines().position(|line| line.starts_with("kind: Auth"));
    assert_eq!(line(&split.ours), line(&text));
    assert_eq!(split.ours.lines().count(), text.lines().count());
    assert!(!split.ours.contains("Deployment"), "{}", split.ours);
    assert_eq!(split.others.len(), 2);
}

#[test]
fn what_cannot_be_read_is_left_to_the_validator() {
    for text in [
        "a: [",
        "kind: AuthorizationPolicy",
        "just text",
        "palisade.dev/v1: x",
    ] {
        assert_eq!(split(text).ours, text);
    }
    let list =
        r#"{"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod"}, {"kind": "Pod"}]}"#;
    assert_eq!(split(list).others.len(), 2);
}

#[test]
fn rules_and_kubernetes_manifests_say_together_who_there_is() {
    let namespace = "apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {palisade.dev/mtls: permissive, other: x}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: idle, namespace: shop}
";
    let cron = "apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec: {jobTemplate: {spec: {template: {spec: {}}}}}
";
    let files = [
        ("a.yaml", RULE),
        ("b.yml", DEPLOYMENT),
        ("c.yaml", namespace),
        ("d.yaml", cron),
    ];
    let directory = directory(&files);
    let rules = read(&directory).unwrap();
    let accounts: Vec<_> = rules
        .known
        .accounts
        .iter()
        .map(|(_, name)| name.as_str())
        .collect();
    assert_eq!(accounts, ["default", "idle", "keeper"]);
    assert_eq!(rules.known.settings("shop").mtls, Mtls::Permissive);
    assert_eq!(rules.known.settings("elsewhere").mtls, Mtls::Strict);
    let (name, place) = rules.places.first_key_value().unwrap();
    assert_eq!(name.to_string(), "shop/orders/web");
    assert!(place.ends_with("a.yaml:7"), "{place}");
    assert!(!rules.known.is_complete);
}

#[test]
fn a_mesh_file_brings_its_rules_and_says_who_there_is() {
    let mesh = "apiVersion: palisade.dev/v1alpha1
kind: LocalMesh
metadata: {name: m}
spec:
  trustDomain: a.test
  rules: rules
  workloads:
  - {name: orders, namespace: shop, command: [x], replicas: 2}
";
    let directory = directory(&[("mesh.yaml", mesh)]);
    let rules = directory.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("r.yaml"), RULE).unwrap();
    let file = directory.path().join("mesh.yaml");
    let each: [Vec<PathBuf>; 2] = [vec![file.clone()], vec![rules, file]];
    for paths in each {
        let rules = of_files(&paths, None).unwrap();
        assert_eq!(rules.policies.len(), 1, "{paths:?}");
        assert_eq!(rules.trust_domain.to_string(), "a.test");
        assert!(rules.known.is_complete);
        let [workload] = rules.known.workloads.as_slice() else {
            panic!("{:?}", rules.known);
        };
        assert_eq!((&*workload.name, workload.replicas.len()), ("orders", 2));
    }
}

#[test]
fn every_mistake_of_every_file_is_told_and_an_empty_directory_too() {
    let wrong = RULE.replace("allow", "permit");
    let found = directory(&[("a.yaml", &wrong), ("b.yaml", &wrong)]);
    let error = read(&found).unwrap_err().to_string();
    assert!(
        error.contains("a.yaml:7:") && error.contains("b.yaml:7:"),
        "{error}"
    );
    let error = read(&directory(&[])).unwrap_err().to_string();
    assert!(error.contains("no *.yaml"), "{error}");
    let twice = directory(&[("a.yaml", RULE), ("b.yaml", RULE)]);
    let error = read(&twice).unwrap_err().to_string();
    assert!(
        error.contains("two of AuthorizationPolicy shop/orders"),
        "{error}"
    );
}
