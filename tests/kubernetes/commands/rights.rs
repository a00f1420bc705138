//! What those see who may not see everything.

use std::fs;

use serde_json::{Value, json};

use crate::example::{SHOP, Shop, json_lines};
use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_for};
use crate::traffic::{curl, ready};

#[test]
fn missing_rights_cost_a_namespace_and_not_the_command() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh);
    shop.both_sides("close", "web", "shop/orders:8080");
    let namespace = mesh.cluster().namespace("reader");
    let reader = Reader::new(&mesh, &namespace);

    let logs = reader.palisade(&["logs", "-A", "-o", "json", "--since", "1m"]);
    let records = json_lines(&stdout(&logs));
    assert!(!records.is_empty());
    for record in &records {
        let workload = record["workload"].as_str().unwrap();
        assert!(workload.starts_with("shop/"), "{record}");
    }
    let left_out = "you may not list the pods of palisade-system; it is left out";
    let warned = text(&logs.stderr);
    assert!(warned.contains(left_out), "{warned}");

    let ps = reader.palisade(&["ps", "-A", "-o", "json"]);
    for pod in json_lines(&stdout(&ps)) {
        assert_eq!(pod["namespace"], SHOP, "{pod}");
    }
    let alone = reader.palisade(&["logs", "-n", "palisade-system"]);
    let said = text(&alone.stderr);
    assert!(!alone.status.success() && said.contains("pods"), "{said}");

    let uninstall = reader.palisade(&["uninstall", "--yes"]);
    let said = text(&uninstall.stderr);
    assert!(!uninstall.status.success(), "{said}");
    let clear = "the cluster cannot be looked at, and nothing was removed: pods is forbidden";
    assert!(said.contains(clear) && !said.contains("Status {"), "{said}");

    // A check that could not look at something says so, and is neither good nor bad.
    let check = reader.palisade(&["check", "-n", SHOP, "-o", "json"]);
    let findings = json_lines(&text(&check.stdout));
    assert_eq!(check.status.code(), Some(2), "{findings:?}");
    assert!(
        findings
            .iter()
            .any(|finding| finding["severity"] == "unknown")
    );
    // The shop's own rules are judged, though the cluster's may not be read.
    for check in ["rules", "plaintext"] {
        let of_rules = findings.iter().filter(|finding| finding["check"] == check);
        let known: Vec<bool> = of_rules
            .map(|finding| finding["severity"] != "unknown")
            .collect();
        assert!(
            known.contains(&true) && known.contains(&false),
            "{findings:?}"
        );
    }
}

#[test]
fn what_control_shows_to_everybody_says_nothing_of_its_proxies() {
    let mesh = Mesh::shared();
    let namespace = mesh.cluster().namespace("curious");
    namespace.apply(CURIOUS);
    ready(&namespace, "curious");
    let control = [
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=palisade-control",
    ];
    let path = "jsonpath={.items[0].status.podIP}";
    let address = stdout(&mesh.system(&[&control[..], &["-o", path]].concat()));
    for (page, expected) in [("metrics", "200"), ("proxies", "404"), ("anything", "404")] {
        let url = format!("http://{address}:15020/{page}");
        let asked = ["--output", "/dev/null", "--write-out", "%{http_code}", &url];
        assert_eq!(
            stdout(&curl(&namespace, "curious", &asked)),
            expected,
            "{page}"
        );
    }
}

/// Without a token.
const CURIOUS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: curious}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - {name: curious, image: "kube.local/curl:1", imagePullPolicy: Never, command: [sleep, "86400"]}
"#;

/// A service account that may list namespaces, and read pods and their logs in the shop.
struct Reader<'a> {
    mesh: &'a Mesh,
    name: String,
    folder: tempfile::TempDir,
}

impl<'a> Reader<'a> {
    fn new(mesh: &'a Mesh, namespace: &Namespace) -> Self {
        let name = namespace.name().to_owned();
        mesh.cluster().apply(&rights(&name));
        let token = stdout(&namespace.kubectl(&["create", "token", "reader"]));
        let admin = ["config", "view", "--raw", "--minify", "-o", "json"];
        let mut config: Value =
            serde_json::from_str(&stdout(&mesh.cluster().kubectl(&admin))).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config"), config.to_string()).unwrap();
        let reader = Self { mesh, name, folder };
        wait_for("the rights to be known", BOUND, || {
            let ps = reader.palisade(&["ps", "-n", SHOP]);
            ps.status.success().then_some(())
        });
        reader
    }

    fn palisade(&self, arguments: &[&str]) -> std::process::Output {
        let config = self.folder.path().join("config");
        let with = ["--kubeconfig", config.to_str().unwrap()];
        self.mesh.palisade(&[arguments, &with].concat())
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // These are in no namespace, or in another.
        let cluster = self.mesh.cluster();
        let both = ["clusterrole", "clusterrolebinding"];
        for kind in both {
            cluster.kubectl(&["delete", kind, &self.name, "--ignore-not-found"]);
        }
        for kind in ["role", "rolebinding"] {
            cluster.kubectl(&["-n", SHOP, "delete", kind, &self.name, "--ignore-not-found"]);
        }
    }
}

fn rights(name: &str) -> String {
    let subject = format!("[{{kind: ServiceAccount, name: reader, namespace: {name}}}]");
    format!(
        r"
apiVersion: v1
kind: ServiceAccount
metadata: {{name: reader, namespace: {name}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
rules: [{{apiGroups: [''], resources: [namespaces], verbs: [get, list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}
subjects: {subject}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}, namespace: {SHOP}}}
rules:
- {{apiGroups: [''], resources: [pods, pods/log], verbs: [get, list]}}
- {{apiGroups: [palisade.dev], resources: [authorizationpolicies], verbs: [get, list]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}, namespace: {SHOP}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects: {subject}
"
    )
}
