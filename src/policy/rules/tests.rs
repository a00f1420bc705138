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
}

/// A text with as many spaces before each line.
fn indented(text: &str, spaces: usize) -> String {
    let lines = text.lines().map(|line| " ".repeat(spaces) + line + "\n");
    lines.collect()
}

/// An item of a list in block style, its dash behind as many spaces.
fn item(text: &str, spaces: usize) -> String {
    let dash = " ".repeat(spaces) + "- ";
    indented(text, spaces + 2).replacen(&" ".repeat(spaces + 2), &dash, 1)
}

/// In flow style.
fn json(text: &str) -> String {
    let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    value.to_string()
}

#[test]
fn rules_in_a_list_are_rules_where_they_stand() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"é\"\n  annotations:\n    note: |\n      - no item\n\n      # no comment\n";
    let (policy, deployment, pod) = (RULE, DEPLOYMENT, pod);
    let (in_flow, others_in_flow) = (json(policy), [json(deployment), json(pod)]);
    let [deployment_in_flow, pod_in_flow] = &others_in_flow;
    let own = |spaces| item(policy, spaces);
    for (list, others) in [
        (format!("items:\n{}", own(0)), 0),
        (
            format!(
                "items:\n{}# a comment\n{}{}",
                item(pod, 0),
                own(0),
                item(deployment, 0)
            ),
            2,
        ),
        (
            format!(
                "items:\n\n  # one\n{}{}\n # two\n{}metadata: {{}}\n",
                own(2),
                item(deployment, 2).replacen("- ", "-\n    ", 1),
                item(pod, 2)
            ),
            2,
        ),
        (format!("items: [{in_flow}]\n"), 0),
        (
            format!("items: [{deployment_in_flow} , {in_flow},\n {pod_in_flow}]\n"),
            2,
        ),
        (
            format!("\"items\": [\n{pod_in_flow},\n{deployment_in_flow},{in_flow}\n]\n"),
            2,
        ),
    ] {
        let text = format!("apiVersion: v1\n{list}kind: List\n");
        let split = split(&text);
        assert_eq!(split.others.len(), others, "{text}");
        let read = manifest::read("f", &split.ours).unwrap();
        let [document] = read.as_slice() else {
            panic!("{}", split.ours);
        };
        let at = document.rules[0].name;
        let line = text.lines().nth(usize::try_from(at.line).unwrap() - 1);
        let before = usize::try_from(at.column).unwrap() - 1;
        let named: String = line.unwrap().chars().skip(before).collect();
        assert!(named.trim_start_matches('"').starts_with("web"), "{named}");
    }
}

#[test]
fn a_list_of_others_is_no_mistake_and_one_that_hides_rules_is() {
    let of = |items: &str| format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    let others = of(&[item(DEPLOYMENT, 0), item(DEPLOYMENT, 0)].concat());
    let taken = split(&others);
    assert_eq!((taken.ours.trim(), taken.others.len()), ("", 2));
    let pods = "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}}]\n";
    assert_eq!(split(pods).ours.trim(), "");

    let aliased = of(&[
        item(DEPLOYMENT, 0),
        "- &a ".to_owned() + &item(RULE, 0)[2..],
    ]
    .concat())
    .replace("name: orders", "name: &n orders")
    .replace("web}", "web, reason: *n}");
    for text in [
        of("").replace("items:\n", ""),
        of("").replace("items:", "items: {}"),
        of(&item(&of(&item(RULE, 0)), 0)),
        of(&item(RULE, 0)).replacen("v1", "v2", 1),
        of(&item(RULE, 0)).replace("kind: List", "kind: Lists"),
        of(&item(RULE, 0)).replace("kind: List", "kind: AuthorizationPolicyList"),
        of(&item(RULE, 0)).replacen("apiVersion: v1\n", "", 1),
        aliased,
    ] {
        let taken = split(&text);
        assert_eq!((taken.ours.as_str(), taken.others.len()), (&*text, 0));
        assert!(manifest::read("f", &text).is_err(), "{text}");
    }
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
fn jobs_without_a_name_and_workloads_of_other_kinds_are_somebody() {
    let workloads = "apiVersion: batch/v1
kind: Job
metadata: {generateName: nightly-, namespace: shop}
spec: {template: {spec: {serviceAccountName: night, containers: [{name: c}]}}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec: {template: {spec: {serviceAccountName: front, containers: [{name: c}]}}}
---
apiVersion: v1
kind: PodTemplate
metadata: {name: none, namespace: shop}
";
    let known = read(&directory(&[("a.yaml", workloads)])).unwrap().known;
    let workloads = known.workloads.iter();
    let workloads: Vec<_> = workloads
        .map(|one| (&*one.name, &*one.service_account))
        .collect();
    assert_eq!(workloads, [("nightly", "night"), ("web", "front")]);
}

#[test]
fn what_kustomize_reads_is_passed_over_in_a_directory() {
    let kustomization = "resources: [orders.yaml]\n";
    let files = [("orders.yaml", RULE), ("kustomization.yaml", kustomization)];
    let directory = directory(&files);
    assert_eq!(read(&directory).unwrap().texts.len(), 1);
    // Whoever names it, or means something else by it, is told.
    let named = files::read(&[directory.path().join("kustomization.yaml")], None).unwrap();
    assert_eq!(named.mistakes.len(), 1, "{:?}", named.mistakes);
    let rule = RULE.replace("kind: AuthorizationPolicy", "kind: AuthorizationPolice");
    std::fs::write(directory.path().join("kustomization.yaml"), rule).unwrap();
    let meant = files::read(&[directory.path().to_owned()], None).unwrap();
    assert!(!meant.mistakes.is_empty());
}

#[test]
fn a_mesh_file_with_mistakes_makes_nobody_of_those_whom_it_names() {
    let mesh = "apiVersion: palisade.dev/v1alpha1
kind: LocalMesh
metadata: {name: m}
spec: {workloads: [{name: orders, namespace: Shop_, command: [x]}]}
";
    let files = [
        ("mesh.yaml", mesh),
        ("orders.yaml", RULE),
        ("other.yaml", DEPLOYMENT),
    ];
    let directory = directory(&files);
    let rules = files::read(&[directory.path().to_owned()], None).unwrap();
    assert!(!rules.mistakes.is_empty());
    assert!(!rules.known.accounts.is_empty());
    assert_eq!(rules.known_to_the_validator(), manifest::Known::default());
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
fn directories_in_a_directory_are_named_as_they_are_not_read() {
    let found = directory(&[("a.yaml", RULE)]);
    let below = |name: &str| found.path().join(name);
    for (name, file) in [("team", "b.yml"), ("notes", "b.txt"), (".hidden", "b.yaml")] {
        std::fs::create_dir(below(name)).unwrap();
        std::fs::write(below(name).join(file), "").unwrap();
    }
    let said = |paths: &[PathBuf]| of_files(paths, None).unwrap().warnings;
    let own = found.path().to_owned();
    let [one] = said(std::slice::from_ref(&own)).try_into().unwrap();
    let expected = format!("{} is not read", below("team").display());
    assert!(one.starts_with(&expected), "{one}");
    assert!(said(&[own, below("team")]).is_empty());
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

#[test]
fn a_mesh_files_own_rules_count_where_no_others_are_given() {
    let mesh = "apiVersion: palisade.dev/v1alpha1
kind: LocalMesh
metadata: {name: m}
spec:
  rules: own
  workloads:
  - {name: web, namespace: shop, command: [x]}
  - {name: orders, namespace: shop, command: [x], ports: [8080]}
";
    let folder = directory(&[("mesh.yaml", mesh), ("edited.yaml", RULE)]);
    std::fs::create_dir(folder.path().join("own")).unwrap();
    std::fs::write(folder.path().join("own/r.yaml"), RULE).unwrap();
    let path = |name: &str| folder.path().join(name);
    let places = |paths: &[PathBuf]| {
        let rules = of_files(paths, None).unwrap();
        assert_eq!(rules.known.workloads.len(), 2);
        let places = rules.places.into_values().collect::<Vec<_>>();
        places
            .join(" ")
            .replace(&*folder.path().to_string_lossy(), "")
    };
    assert_eq!(places(&[path("mesh.yaml")]), "/own/r.yaml:7");
    let edited = [path("edited.yaml"), path("mesh.yaml")];
    assert_eq!(places(&edited), "/edited.yaml:7");
    let own = [path("own"), path("mesh.yaml")];
    assert_eq!(places(&own), "/own/r.yaml:7");
}

#[test]
fn what_cannot_be_read_in_a_directory_is_a_mistake_beside_others() {
    let folder = directory(&[("a.yaml", "a: ["), ("b.yaml", RULE)]);
    std::fs::write(folder.path().join("c.yaml"), b"a: b\n# \xff\n").unwrap();
    std::fs::create_dir(folder.path().join("d.yaml")).unwrap();
    let fifo = folder.path().join("e.yaml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    std::os::unix::fs::symlink("/nowhere", folder.path().join("f.yaml")).unwrap();
    let rules = all_of_files(&[folder.path().to_owned()], None).unwrap();
    assert_eq!(rules.policies.len(), 1);
    let mut said: Vec<_> = rules
        .mistakes
        .iter()
        .map(|one| {
            let file = one.file.rsplit('/').next().unwrap_or_default();
            format!("{file} {}", one.message)
        })
        .collect();
    said.sort();
    assert_eq!(said.len(), 5, "{said:#?}");
    for (said, expected) in said.iter().zip([
        "a.yaml ",
        "c.yaml line 2 ",
        "d.yaml not a file",
        "e.yaml not a file",
        "f.yaml ",
    ]) {
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn a_mesh_knows_how_namespaces_are_set_where_files_only_name_them() {
    let namespace = |annotations: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, annotations: {{{annotations}}}}}\n"
        )
    };
    let service = "apiVersion: palisade.dev/v1alpha1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {addresses: [10.0.0.1], selector: {app: orders}, ports: [{port: 80}]}
";
    for (file, mtls) in [
        (service.to_owned(), Mtls::Permissive),
        (namespace("palisade.dev/mtls: strict"), Mtls::Strict),
    ] {
        let mut rules = sample::rules(&file);
        rules.know(sample::rules(&namespace("palisade.dev/mtls: permissive")));
        assert_eq!(rules.known.settings("shop").mtls, mtls, "{file}");
    }
}

#[test]
fn a_mistyped_annotation_of_a_namespace_is_told_and_counts_as_closed() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    \
                     palisade.dev/authorization: shadwo\n    palisade.dev/mtls: permissive\n    other.dev/a: b\n";
    let directory = directory(&[("a.yaml", RULE), ("c.yaml", namespace)]);
    let rules = read(&directory).unwrap();
    let [told] = rules.warnings.as_slice() else {
        panic!("{:?}", rules.warnings);
    };
    assert!(told.starts_with("Namespace shop: "), "{told}");
    assert!(told.contains("did you mean `shadow`?"), "{told}");
    let settings = rules.known.settings("shop");
    assert_eq!(settings.closing, palisade_api::workload::Closing::Enforce);
    assert_eq!(settings.mtls, Mtls::Permissive);
}
