//! What `palisade policy apply` puts where, and what it warns of.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::tools::{answer, policy, shown};
use super::{CALLERS, ORDERS, RULES};
use crate::harness::{Mesh, allow, json_lines, palisade, stdout, text};

/// As an object of a cluster is replaced by its name, so is a policy, in whichever file it stands.
#[test]
fn a_policy_of_another_file_is_replaced_there_as_diff_says() {
    let header = "# Ask ann before you change this.\n\n";
    let rest = format!("{}# The end.\n", allow("orders", "elsewhere"));
    let mesh = Mesh::up(CALLERS, &format!("{header}{}{rest}", RULES.trim_start()));
    let changed = RULES.replace("serviceAccount: shop/web", "serviceAccount: shop/stranger");
    let file = mesh.folder().join("edited.yaml");
    let new = allow("orders", "outsider");
    std::fs::write(&file, format!("{changed}{new}")).unwrap();
    let path = file.to_str().unwrap();

    let diff = policy(&mesh, &["diff", path]);
    assert_eq!(diff.status.code(), Some(1), "{diff:?}");
    assert!(text(&diff.stdout).contains("shop/stranger"), "{diff:?}");
    let (applied, code) = answer(&mesh, &["apply", path, "--wait"]);
    assert_eq!(code, 0, "{applied}");
    let rules = mesh.folder().join("rules");
    let places = applied["applied"].as_array().unwrap().iter();
    let places: Vec<_> = places.map(|one| one["place"].as_str().unwrap()).collect();
    let own = |name: &str| format!("{}/{name}", rules.display());
    assert_eq!(places, [own("rules.yaml:9"), own("edited.yaml:7")]);
    let held = |name: &str| std::fs::read_to_string(rules.join(name)).unwrap();
    assert_eq!(
        held("rules.yaml"),
        format!("{header}{}{rest}", changed.trim_start())
    );
    assert_eq!(held("edited.yaml"), new.trim_start_matches("---\n"));
    stdout(&mesh.call_once("stranger", ORDERS));
    assert!(!mesh.call_once("web", ORDERS).status.success());
    let diff = policy(&mesh, &["diff", path]);
    assert_eq!(diff.status.code(), Some(0), "{diff:?}");

    // Where that cannot be, nothing is done, and the place to mend is named.
    let broken = format!("{}a: [\n", held("rules.yaml"));
    std::fs::write(rules.join("rules.yaml"), &broken).unwrap();
    let refused = policy(&mesh, &["apply", path]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = text(&refused.stderr);
    let place = own("rules.yaml:3");
    let expected = format!("shop/orders stands in {place} and cannot be replaced there");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(held("rules.yaml"), broken);
}

#[test]
fn names_of_nobody_and_what_has_expired_are_warned_of_in_the_words_of_check() {
    let mesh = Mesh::up(CALLERS, &allow("orders", "web"));
    let rules = RULES
        .replace("shop/banned", "shop/baned")
        .replace("app: orders", "app: ordres");
    let folder = mesh.folder().join("new");
    std::fs::create_dir(&folder).unwrap();
    // Kubernetes's objects may stand in the same file, too.
    let namespace = "---\napiVersion: v1\nkind: Namespace\n\
                     metadata: {name: shop, annotations: {palisade.dev/mtls: permissive}}\n";
    std::fs::write(folder.join("more.yaml"), format!("{rules}{namespace}")).unwrap();
    let path = folder.to_str().unwrap();

    let check = policy(&mesh, &["check", path, "mesh.yaml"]);
    let words = |one: &Value| {
        (
            one["message"].clone(),
            one["remedy"].clone(),
            one["line"].clone(),
        )
    };
    let words = |found: &[Value]| -> BTreeSet<String> {
        found
            .iter()
            .map(|one| format!("{:?}", words(one)))
            .collect()
    };
    let mut checked = json_lines(&check.stdout);
    let is_of_names = |one: &Value| {
        ["unknown", "selects-nothing", "expired"]
            .iter()
            .any(|code| one["code"] == *code)
    };
    checked.retain(is_of_names);
    assert_eq!(checked.len(), 4, "{checked:#?}");

    let (applied, code) = answer(&mesh, &["apply", path]);
    assert_eq!(code, 0, "{applied}");
    let mut warnings = applied["warnings"].as_array().unwrap().clone();
    let left_out = warnings.pop().unwrap();
    assert_eq!(
        left_out["message"],
        "left out, as it is no rule: Namespace shop"
    );
    assert_eq!(words(&warnings), words(&checked));
    for (warning, checked) in warnings.iter().zip(&checked) {
        assert_eq!(warning["file"], checked["file"]);
    }

    let told = shown(&mesh, &["apply", path, "-o", "text"]);
    let said = text(&told.stderr);
    for warning in &warnings {
        let message = warning["message"].as_str().unwrap();
        assert!(said.contains(&format!("warning: {message}\n")), "{said}");
    }
    assert!(!stdout(&told).contains("warning"), "{told:?}");
}

#[test]
fn a_cluster_is_heard_and_what_it_is_not_told_is_named() {
    let server = ApiServer::start(&[
        r#"299 - "spec.rules[0].from[0]: no service account `wbe`; did you mean `web`?""#,
        "299 - \"and \u{202e}this\"",
        r#"110 - "an old answer""#,
    ]);
    let folder = tempfile::tempdir().unwrap();
    let config = server.kubeconfig(folder.path());
    let beside = "---\napiVersion: palisade.dev/v1alpha1\nkind: Namespace\n\
                  metadata: {name: shop, annotations: {palisade.dev/mtls: permissive}}\n\
                  ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n";
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, format!("{}{beside}", allow("orders", "wbe"))).unwrap();
    let apply = |output: &str| {
        let mut command = palisade(folder.path());
        command.args([
            "policy",
            "apply",
            "rules.yaml",
            "-o",
            output,
            "--kubeconfig",
        ]);
        command.arg(&config).output().unwrap()
    };

    let object = "AuthorizationPolicy shop/orders-from-wbe";
    let unknown = "spec.rules[0].from[0]: no service account `wbe`; did you mean `web`?";
    let applied = json_lines(stdout(&apply("json")).as_bytes());
    let warnings = applied[0]["warnings"].as_array().unwrap();
    assert_eq!(
        warnings[..2],
        [
            json!({"object": object, "message": unknown}),
            json!({"object": object, "message": "and \u{fffd}this"}),
        ]
    );
    let left_out = &warnings[2];
    assert_eq!(left_out["file"], "rules.yaml");
    assert_eq!(
        left_out["message"],
        "left out, as it is no rule: Namespace shop, Deployment shop/web"
    );
    assert_eq!(warnings.len(), 3, "{warnings:#?}");

    let told = apply("text");
    assert_eq!(stdout(&told), format!("{object} applied (generation 1)\n"));
    let said = text(&told.stderr);
    assert!(
        said.contains(&format!("warning: {object}: {unknown}\n")),
        "{said}"
    );
    assert!(said.contains("rules.yaml: warning: left out"), "{said}");
}
