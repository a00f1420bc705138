//! What is found in a cluster, and in files that are held against one.

use super::*;
use crate::kubernetes::served::Server;
use crate::policy::rules::sample;

fn args(server: &Server, namespace: &str, paths: Vec<PathBuf>) -> CheckArgs {
    CheckArgs {
        paths,
        is_mesh: true,
        trust_domain: None,
        records: Vec::new(),
        soon: Duration::ZERO,
        allow: Vec::new(),
        deny_warnings: false,
        explain: false,
        mesh: server.mesh(Some(namespace)),
    }
}

/// What is found in the rules, as JSON has it, and what is said beside.
fn found(args: &CheckArgs) -> (Vec<serde_json::Value>, String) {
    let (rules, warnings) = load(args).unwrap();
    let sheets = Sheets::of(&rules);
    let mut found = findings(&Asked {
        rules: &rules,
        documents: &sheets.documents,
        now: OffsetDateTime::now_utc(),
        soon: time::Duration::ZERO,
        seen: None,
    });
    found.iter_mut().for_each(|one| sheets.place(one));
    let mut json = Vec::new();
    print::json(&mut json, &rules, &found, &[]).unwrap();
    let json = String::from_utf8(json).unwrap();
    let lines = json.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), warnings.join("\n"))
}

const FILE: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: leak, namespace: shop}
spec:
  rules:
  - name: a
    effect: allow
    from: [{serviceAccount: shop/odrers}, {serviceAccount: mig/frnot}, {namespace: plian}]
";

#[test]
fn names_of_namespaces_that_were_not_read_are_not_found_wrong_and_not_passed_over_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leak.yaml");
    std::fs::write(&file, FILE).unwrap();
    let server = sample::in_shop(Server::start());
    let (found, said) = found(&args(&server, "shop", vec![file]));
    let [unknown] = found.as_slice() else {
        panic!("{found:#?}");
    };
    let message = unknown["message"].as_str().unwrap();
    assert!(message.contains("`odrers`"), "{message}");
    assert!(
        said.contains("names of mig, plian were not looked up"),
        "{said}"
    );
}

#[test]
fn a_mistyped_annotation_of_a_namespace_is_found_as_any_other_fault() {
    let folder = tempfile::tempdir().unwrap();
    let annotations = serde_json::json!({"palisade.dev/authorization": "shadwo"});
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": annotations},
    });
    let file = folder.path().join("shop.json");
    std::fs::write(&file, namespace.to_string()).unwrap();
    let server = sample::in_shop(Server::start());
    let of_file = found(&args(&server, "shop", vec![file.clone()]));
    let server = server.has("/api/v1/namespaces/shop", namespace);
    let of_cluster = found(&args(&server, "shop", Vec::new()));
    std::fs::write(&file, FILE).unwrap();
    let beside_file = found(&args(&server, "shop", vec![file.clone()]));
    let own = file.to_str().unwrap();
    let object = "Namespace shop";
    for ((found, said), key, place) in [
        (of_file, "file", own),
        (of_cluster, "object", object),
        (beside_file, "object", object),
    ] {
        let found = found.iter().find(|one| one["code"] == "annotation");
        let found = found.unwrap();
        assert_eq!(
            (&found[key], &found["severity"]),
            (&place.into(), &"warning".into())
        );
        let remedy = found["remedy"].as_str().unwrap();
        assert!(remedy.starts_with("did you mean `shadow`?"), "{remedy}");
        assert!(!said.contains("shadwo"), "it is told once: {said}");
    }
}
