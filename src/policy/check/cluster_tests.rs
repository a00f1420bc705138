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
