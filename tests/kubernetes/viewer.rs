//! A person who may view one namespace, and what they may know of what is counted.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::harness::{BOUND, Mesh, stdout, text, wait_for};
use crate::shop::Shop;

#[test]
fn whoever_may_view_a_namespace_may_know_of_its_counts_and_of_no_others() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh, "viewed", 1);
    let name = shop.namespace.name();
    shop.namespace.apply(&shop.rule(5432));
    shop.answered("client", OffsetDateTime::now_utc());
    let ana = Person::new(&mesh, name);
    let own = format!("--namespace={name}");
    let as_ana = format!("--user={}", ana.name);

    let view = [
        "create",
        "rolebinding",
        "ana",
        "--clusterrole=view",
        &as_ana,
    ];
    stdout(&shop.namespace.kubectl(&view));
    ana.is_told(
        &["usage", &own],
        "--clusterrole=palisade-cluster-policies-view",
    );
    let rules = "--clusterrole=palisade-cluster-policies-view";
    let cluster = mesh.cluster();
    stdout(&cluster.kubectl(&["create", "clusterrolebinding", &ana.name, rules, &as_ana]));
    let make = format!("kubectl -n {name} create serviceaccount palisade-viewer");
    ana.is_told(&["usage", &own], &make);
    stdout(
        &shop
            .namespace
            .kubectl(&["create", "serviceaccount", "palisade-viewer"]),
    );
    ana.is_told(&["usage", &own], "--role=palisade-reach");
    let reach = [
        "create",
        "rolebinding",
        &ana.name,
        "--role=palisade-reach",
        &as_ana,
    ];
    stdout(&mesh.system(&reach));
    // To reach control is not to know anything.
    let account = format!("--serviceaccount={name}:palisade-viewer");
    ana.is_told(&["usage", &own], &account);
    let bind = [
        "create",
        "rolebinding",
        "palisade-viewer",
        "--clusterrole=palisade-viewer",
        &account,
    ];
    stdout(&shop.namespace.kubectl(&bind));

    let rule = format!("{name}/servers/callers");
    let used = wait_for("the rights to count", BOUND, || {
        let told = ana.policy(&["usage", &own, "-o", "json"]);
        let used: Value = serde_json::from_slice(&told.stdout).ok()?;
        let mut rules = used["rules"].as_array()?.iter();
        rules
            .any(|one| one["rule"] == rule.as_str())
            .then_some(used)
    });
    let denied = used["denied"].as_array().unwrap();
    assert!(
        denied
            .iter()
            .all(|one| one["to"].as_str().unwrap().starts_with(name)),
        "{used}"
    );
    let ready = wait_for("every sidecar to be heard of", BOUND, || {
        let told = ana.policy(&["readiness", &own, "-o", "json"]);
        (told.status.code() != Some(2)).then_some(told)
    });
    let ready: Value = serde_json::from_slice(&ready.stdout).unwrap();
    assert!(ready["edges"].as_u64() > Some(0), "{ready}");

    let other = mesh.namespace("unviewed");
    let elsewhere = format!("--namespace={}", other.name());
    let remedy = format!("`view` in {}", other.name());
    ana.is_told(&["counters", &elsewhere], &remedy);
    for command in ["usage", "readiness"] {
        ana.is_told(&[command, &elsewhere], "is forbidden");
    }
    ana.is_told(&["counters", "-A"], "--role=palisade-ask");
}

/// A user of the cluster, who has no rights at first.
struct Person<'a> {
    mesh: &'a Mesh,
    name: String,
    folder: tempfile::TempDir,
}

impl<'a> Person<'a> {
    fn new(mesh: &'a Mesh, namespace: &str) -> Self {
        let name = format!("ana-{namespace}");
        let admin = ["config", "view", "--raw", "--minify", "-o", "json"];
        let mut config: Value =
            serde_json::from_str(&stdout(&mesh.cluster().kubectl(&admin))).unwrap();
        config["users"][0]["user"]["as"] = json!(name);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config"), config.to_string()).unwrap();
        Self { mesh, name, folder }
    }

    fn policy(&self, arguments: &[&str]) -> Output {
        let config = self.folder.path().join("config");
        let with = ["--kubeconfig", config.to_str().unwrap()];
        self.mesh
            .palisade(&[&["policy"][..], arguments, &with].concat())
    }

    /// That it is refused, and with what to do.
    fn is_told(&self, arguments: &[&str], remedy: &str) {
        // Rights count a while after they were given.
        wait_for(remedy, BOUND, || {
            let refused = self.policy(arguments);
            assert!(!refused.status.success(), "{arguments:?}: {refused:?}");
            text(&refused.stderr).contains(remedy).then_some(())
        });
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        // These are in no namespace, or in the mesh's.
        let clusters = [
            "delete",
            "clusterrolebinding",
            &self.name,
            "--ignore-not-found",
        ];
        self.mesh.cluster().kubectl(&clusters);
        self.mesh
            .system(&["delete", "rolebinding", &self.name, "--ignore-not-found"]);
    }
}
