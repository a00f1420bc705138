//! What `palisade policy apply` puts where, and what it warns of.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::tools::{answer, policy, shown};
use super::{CALLERS, ORDERS, RULES};
use crate::harness::{Mesh, allow, json_lines, palisade, signal, stdout, text, wait_until};

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

/// Nothing goes because a file has the name of another: `diff` says what is added, and that is what comes.
#[test]
fn a_file_whose_name_the_mesh_has_for_others_comes_beside_it() {
    let mesh = Mesh::up(CALLERS, RULES);
    let rules = mesh.folder().join("rules");
    let new = mesh.folder().join("new");
    std::fs::create_dir_all(new.join("sub")).unwrap();
    let write = |name: &str, caller: &str| {
        let text = allow("orders", caller);
        std::fs::write(new.join(name), text.trim_start_matches("---\n")).unwrap();
        new.join(name).to_str().unwrap().to_owned()
    };
    let files = [
        write("rules.yaml", "stranger"),
        write("sub/rules.yaml", "outsider"),
        write("of the shop", "elsewhere"),
    ];
    let files = files.each_ref().map(String::as_str);
    let before = std::fs::read_to_string(rules.join("rules.yaml")).unwrap();
    let diff = policy(&mesh, &["diff", files[0]]);
    assert_eq!(diff.status.code(), Some(1), "{diff:?}");

    let apply = [&["apply"], &files[..]].concat();
    let (applied, code) = answer(&mesh, &apply);
    assert_eq!(code, 0, "{applied}");
    let places = applied["applied"].as_array().unwrap().iter();
    let places: BTreeSet<_> = places.map(|one| one["place"].as_str().unwrap()).collect();
    let own = |name: &str| format!("{}/{name}:7", rules.display());
    let expected = ["rules-2.yaml", "rules-3.yaml", "of-the-shop.yaml"].map(own);
    assert_eq!(places, expected.iter().map(String::as_str).collect());
    let warned = applied["warnings"].as_array().unwrap().iter();
    let warned: Vec<_> = warned.map(|one| one["message"].as_str().unwrap()).collect();
    assert_eq!(
        warned,
        ["rules-2.yaml", "rules-3.yaml"].map(|given| format!(
            "the mesh has another rules.yaml, so what is new in this one is in {given} there"
        ))
    );
    let held = |name: &str| std::fs::read_to_string(rules.join(name)).unwrap();
    assert_eq!(held("rules.yaml"), before);
    for caller in ["web", "stranger", "elsewhere"] {
        stdout(&mesh.call_once(caller, ORDERS));
    }
    let diff = policy(&mesh, &["diff", files[0]]);
    assert_eq!(diff.status.code(), Some(0), "{diff:?}");

    // Again is once.
    let (applied, code) = answer(&mesh, &apply);
    assert_eq!(code, 0, "{applied}");
    assert_eq!(std::fs::read_dir(&rules).unwrap().count(), 4);
    assert_eq!(held("rules.yaml"), before);
}

/// Where it would have taken all a moment before, it is said which are in force and which are not.
#[test]
fn what_a_cluster_refuses_after_the_trial_hides_nothing_of_what_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let callers = ["a", "b", "c"];
    let rules: String = callers.iter().map(|who| allow("orders", who)).collect();
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let apply = |refused: &'static str, output: &str| {
        let config = ApiServer::refusing(refused).kubeconfig(folder.path());
        let mut command = palisade(folder.path());
        let apply = ["policy", "apply", "rules.yaml", "--wait", "-o", output];
        command.args(apply).arg("--kubeconfig").arg(&config);
        command.output().unwrap()
    };
    let object = |who: &str| format!("AuthorizationPolicy shop/orders-from-{who}");
    let [a, b, c] = callers.map(object);
    let why = format!("{b} is refused: exceeded quota");

    let told = apply("orders-from-b", "text");
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert_eq!(text(&told.stdout), format!("{a} applied (generation 1)\n"));
    let said = text(&told.stderr);
    let expected = format!("error: {why}; not applied either: {c}; in force already: {a}. ");
    assert!(said.contains(&expected), "{said}");
    let told = apply("orders-from-b", "json");
    let line = &json_lines(&told.stdout)[0];
    assert_eq!(line["applied"][0]["policy"], a);
    assert_eq!(
        line["unapplied"],
        json!([{"policy": b, "why": why}, {"policy": c}])
    );
    assert_eq!(told.status.code(), Some(1), "{told:?}");

    let none = apply("orders-from-a", "text");
    assert_eq!((none.status.code(), &*text(&none.stdout)), (Some(2), ""));
    let said = text(&none.stderr);
    let expected = format!("{a} is refused: exceeded quota; nothing was applied");
    assert!(said.contains(&expected), "{said}");
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
                  ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n\
                  ---\napiVersion: palisade.dev/v1alpha1\nkind: Revocations\n\
                  spec: {identities: [spiffe://cluster.local/ns/shop/sa/web]}\n";
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
    // No command knows that kind of object.
    let revocations = &warnings[3];
    let message = revocations["message"].as_str().unwrap();
    assert!(message.contains("takes no Revocations"), "{message}");
    let remedy = revocations["remedy"].as_str().unwrap();
    assert!(remedy.contains("ClusterAuthorizationPolicy") && !remedy.contains("kubectl"));
    assert_eq!(warnings.len(), 4, "{warnings:#?}");

    let told = apply("text");
    assert_eq!(stdout(&told), format!("{object} applied (generation 1)\n"));
    let said = text(&told.stderr);
    assert!(
        said.contains(&format!("warning: {object}: {unknown}\n")),
        "{said}"
    );
    assert!(said.contains("rules.yaml: warning: left out"), "{said}");
}

/// A local mesh takes more than rules from files: nothing of it takes effect unsaid, or is not waited for.
#[test]
fn what_takes_effect_beside_rules_is_named_and_waited_for_and_may_come_alone() {
    let mesh = Mesh::up(CALLERS, &allow("orders", "web"));
    let write = |name: &str, text: &str| {
        let file = mesh.folder().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    // Every sidecar of the eight has it when the command returns.
    let open = format!("{}{}", allow("orders", "late"), namespace("shadow"));
    let (applied, code) = answer(&mesh, &["apply", &write("open.yaml", &open), "--wait"]);
    assert_eq!(code, 0, "{applied}");
    assert_eq!(
        named(&applied),
        [
            "AuthorizationPolicy shop/orders-from-late open.yaml:8",
            "Namespace shop open.yaml:12"
        ]
    );
    let enforced = &applied["enforced"];
    assert_eq!(
        (&enforced["proxies"], &enforced["enforcing"]),
        (&json!(8), &json!(8)),
        "{applied}"
    );
    stdout(&mesh.call_once("stranger", ORDERS));

    let closed = write("closed.yaml", &namespace("enforce"));
    let (applied, code) = answer(&mesh, &["apply", &closed, "--wait"]);
    assert_eq!(code, 0, "{applied}");
    assert_eq!(named(&applied), ["Namespace shop open.yaml:12"]);
    assert!(!mesh.call_once("stranger", ORDERS).status.success());

    let revoked = "apiVersion: palisade.dev/v1alpha1\nkind: Revocations\n\
                   spec: {identities: [spiffe://cluster.local/ns/shop/sa/web]}\n";
    stdout(&mesh.call_once("web", ORDERS));
    let path = write("revoked.yaml", revoked);
    let told = shown(&mesh, &["apply", &path, "--wait", "-o", "text"]);
    let said = stdout(&told);
    assert!(
        said.starts_with("Revocations (1 identity) applied ("),
        "{said}"
    );
    assert!(said.contains("enforced by 7 of 7 sidecars"), "{said}");
    assert!(!mesh.call_once("web", ORDERS).status.success());

    let nothing = write(
        "nothing.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
    );
    let refused = policy(&mesh, &["apply", &nothing]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("nothing was applied"),
        "{refused:?}"
    );
}

/// What was applied, with the file's name and line.
fn named(applied: &Value) -> Vec<String> {
    let put = applied["applied"].as_array().unwrap().iter();
    let put = put.map(|one| {
        let place = one["place"].as_str().unwrap();
        let (_, place) = place.rsplit_once('/').unwrap();
        format!("{} {place}", one["policy"].as_str().unwrap())
    });
    put.collect()
}

/// That of the callers, with its default denial in this mode.
fn namespace(mode: &str) -> String {
    format!(
        "---\napiVersion: palisade.dev/v1alpha1\nkind: Namespace\n\
         metadata: {{name: shop, annotations: {{palisade.dev/authorization: {mode}}}}}\n"
    )
}

/// Whoever applied it waits for nothing that cannot come any more.
#[test]
fn a_file_that_somebody_changes_while_sidecars_are_waited_for_is_told() {
    let two = CALLERS.replace("ports: [8080]}", "ports: [8080], replicas: 2}");
    let mesh = Mesh::up(&two, RULES);
    let file = mesh.folder().join("edited.yaml");
    let changed = RULES.replace("serviceAccount: shop/web", "serviceAccount: shop/stranger");
    std::fs::write(&file, &changed).unwrap();
    let held = mesh.folder().join("rules/rules.yaml");
    let before = std::fs::read_to_string(&held).unwrap();
    let frozen = mesh.pid_of("orders-0", "proxy");
    signal(frozen, "STOP");
    let mut apply = mesh.palisade();
    apply.args([
        "policy",
        "apply",
        "edited.yaml",
        "--wait",
        "--timeout",
        "10m",
    ]);
    let apply = apply.args(["-o", "json"]).stdout(Stdio::piped()).spawn();
    let applied = wait_until("the file", || {
        std::fs::read_to_string(&held)
            .ok()
            .filter(|text| *text != before)
    });
    assert!(applied.contains("shop/stranger"), "{applied}");
    std::fs::write(&held, &before).unwrap();
    let output = apply.unwrap().wait_with_output().unwrap();
    signal(frozen, "CONT");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(mesh.pod("orders-1").is_object());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let why = said["enforced"]["unsettled"]["AuthorizationPolicy shop/orders"].as_str();
    let expected = format!(
        "it was changed meanwhile, in {}: what is in force is not what was applied",
        held.display()
    );
    assert_eq!(why, Some(&*expected), "{said}");
    // Nor is it said that the other one enforces what it did.
    let counts = ["proxies", "enforcing"].map(|key| said["enforced"][key].as_u64());
    assert_eq!(counts, [Some(0); 2], "{said}");
}
