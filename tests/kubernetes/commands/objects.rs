//! What is printed for `kubectl apply` is what the API server takes.

use serde_json::{Value, json};

use crate::example::{SHOP, Shop, read};
use crate::harness::{Mesh, stdout};

#[test]
fn the_network_policies_of_the_rules_are_accepted() {
    let mesh = Mesh::shared();
    Shop::open(&mesh);
    let printed = stdout(&mesh.palisade(&["policy", "networkpolicies", "-n", SHOP]));
    let accepted = stdout(&mesh.cluster().fed(&DRY_APPLY, &printed));
    println!("{accepted}");
    for name in ["orders", "db"] {
        let line = |line: &&str| line.starts_with("networkpolicy") && line.contains(name);
        assert!(accepted.lines().any(|one| line(&one)), "{accepted}");
    }
}

#[test]
fn a_file_that_was_injected_is_accepted_and_comes_back() {
    let mesh = Mesh::shared();
    let cluster = mesh.cluster();
    // Where its namespace is in the mesh, and where it is not.
    Shop::open(&mesh);
    let other = cluster.namespace("injected");
    let shop = read("shop.yaml").replace("palisade:0.1.0", cluster.palisade_image());
    let elsewhere = format!("namespace: {}", other.name());
    let mut deployments = shop
        .split("---\n")
        .filter(|one| one.contains("kind: Deployment"));
    for written in [&shop, &shop.replace("namespace: shop", &elsewhere)] {
        let injected = filtered(
            &mesh,
            &["inject", "--image", cluster.palisade_image()],
            written,
        );
        stdout(&cluster.fed(&DRY_APPLY, &injected));
        assert_eq!(&filtered(&mesh, &["uninject"], &injected), written);
    }
    assert!(deployments.all(|one| filtered(&mesh, &["inject"], one).contains("palisade-proxy")));
}

#[test]
fn inject_makes_of_a_pod_what_the_webhook_makes_of_it() {
    let mesh = Mesh::shared();
    let cluster = mesh.cluster();
    let (member, outside) = (mesh.namespace("webhook"), cluster.namespace("by-hand"));
    let created = |namespace: &str, pod: &str| -> Value {
        let create = ["kubectl", "-n", namespace, "create", "--dry-run=server"];
        let create = [&create[..], &["-o", "json", "-f", "-"]].concat();
        serde_json::from_str(&stdout(&cluster.fed(&create, pod))).unwrap()
    };
    let by_webhook = created(member.name(), POD);
    let control = sidecar(&by_webhook)["env"].as_array().unwrap().iter();
    let mut control = control.filter(|variable| variable["name"] == "PALISADE_CONTROL");
    let control = control.next().unwrap()["value"].as_str().unwrap();

    let image = cluster.palisade_image();
    let inject = ["inject", "--image", image, "--control", control];
    let injected = filtered(&mesh, &inject, POD);
    let by_hand = created(outside.name(), &injected);
    assert_eq!(by_webhook["spec"], by_hand["spec"]);
    assert_eq!(
        by_webhook["metadata"]["annotations"],
        by_hand["metadata"]["annotations"]
    );
    // The webhook finds nothing to do in what is injected already.
    let twice = created(member.name(), &injected);
    assert_eq!(by_webhook["spec"], twice["spec"]);
    // What is not its own work, it writes anew.
    let forged = filtered(&mesh, &["inject", "--image", "kube.local/pause:1"], POD);
    let mended = created(member.name(), &forged);
    assert_eq!(by_webhook["spec"], mended["spec"]);
    assert_eq!(sidecar(&by_webhook)["image"], json!(image));
}

fn sidecar(pod: &Value) -> &Value {
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    let mut named = containers
        .iter()
        .filter(|container| container["name"] == "palisade-proxy");
    named.next().unwrap()
}

/// What `palisade` makes of a text.
fn filtered(mesh: &Mesh, arguments: &[&str], text: &str) -> String {
    let palisade = ["exec", env!("CARGO_BIN_EXE_palisade")];
    let command = [&palisade, arguments, &["-f", "-"]].concat();
    stdout(&mesh.cluster().fed(&command, text))
}

const DRY_APPLY: [&str; 5] = ["kubectl", "apply", "--dry-run=server", "-f", "-"];

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: written
  annotations: {example.org/note: kept}
spec:
  automountServiceAccountToken: false
  initContainers:
  - {name: migrate, image: "example.org/migrate:1"}
  containers:
  - name: app
    image: example.org/app:1
    ports: [{name: http, containerPort: 8080}]
    livenessProbe:
      httpGet: {path: /healthz, port: http, httpHeaders: [{name: X-Note, value: "$(HOME) $$"}]}
    readinessProbe:
      tcpSocket:
        port: 5432
  - name: other
    image: example.org/other:1
    startupProbe:
      grpc: {port: 9000}
  volumes:
  - {name: scratch, emptyDir: {}}
"#;
