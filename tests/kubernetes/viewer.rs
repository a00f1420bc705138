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
    ana.gets_each_right_that_she_is_told_of(&shop, &own);

    let rule = format!("{name}/servers/callers");
    let used = wait_for("the rights to count", BOUND, || {
        let told = ana.policy(&["usage", &own, "-o", "json"]);
        let used: Value = serde_json::from_slice(&told.stdout).ok()?;
        let mut rules = used["rules"].as_array()?.iter();
        rules
            .any(|one| one["rule"] == rule.as_str())
            .then_some(used)
    });
    let mut denied = used["denied"].as_array().unwrap().iter();
    assert!(
        denied.all(|one| one["to"].as_str().unwrap().starts_with(name)),
        "{used}"
    );
    // A sidecar may be heard of before it has told what it counted.
    wait_for("every sidecar to be heard of", BOUND, || {
        let told = ana.policy(&["readiness", &own, "-o", "json"]);
        let is_sure = told.status.code() != Some(2);
        let ready: Value = serde_json::from_slice(&told.stdout).ok()?;
        (is_sure && ready["edges"].as_u64() > Some(0)).then_some(())
    });

    let other = mesh.namespace("unviewed");
    let elsewhere = format!("--namespace={}", other.name());
    let remedy = format!("`view` in {}", other.name());
    ana.is_told(&["counters", &elsewhere], &remedy);
    for command in ["usage", "readiness"] {
        ana.is_told(&[command, &elsewhere], "is forbidden");
    }
    ana.is_told(&["counters", "-A"], "--role=palisade-ask");
}

fn bound_by<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["create", "rolebinding"], arguments].concat()
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

    /// `view`, the cluster's rules, an account to ask by, the way to control, and that account's own right to know.
    fn gets_each_right_that_she_is_told_of(&self, shop: &Shop, own: &str) {
        let (namespace, usage) = (&shop.namespace, ["usage", own]);
        let user = format!("--user={}", self.name);

        stdout(&namespace.kubectl(&bound_by(&["ana", "--clusterrole=view", &user])));
        let rules = "--clusterrole=palisade-cluster-policies-view";
        self.is_told(&usage, rules);
        let everywhere = ["create", "clusterrolebinding", &self.name, rules, &user];
        stdout(&self.mesh.cluster().kubectl(&everywhere));

        let make = ["create", "serviceaccount", "palisade-viewer"];
        let told = format!("kubectl -n {} {}", namespace.name(), make.join(" "));
        self.is_told(&usage, &told);
        stdout(&namespace.kubectl(&make));

        let reach = "--role=palisade-reach";
        self.is_told(&usage, reach);
        stdout(&self.mesh.system(&bound_by(&[&self.name, reach, &user])));

        // To reach control is not to know anything.
        let account = format!("--serviceaccount={}:palisade-viewer", namespace.name());
        self.is_told(&usage, &account);
        let viewer = ["palisade-viewer", "--clusterrole=palisade-viewer", &account];
        stdout(&namespace.kubectl(&bound_by(&viewer)));
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
