//! What pods may keep out of the mesh, and where.

use std::net::IpAddr;

use crate::harness::{Mesh, Namespace, stdout, text};

use super::{Shop, allow_own, curl, ready};

/// A server on two ports, with something special about it.
const SERVER: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: NAME
  labels: {app: NAME}
  annotations: {ANNOTATION}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: server
    image: kube.local/curl:1
    imagePullPolicy: Never
    command: [sh, -c, "mkdir /tmp/web && hostname > /tmp/web/index.html && httpd -p '[::]:9090' -h /tmp/web && exec httpd -f -p '[::]:8080' -h /tmp/web"]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ipFamilyPolicy: RequireDualStack, ports: [{name: a, port: 8080}, {name: b, port: 9090}]}
"#;

const ASKED: [(&str, &str); 4] = [
    ("partly", r#"palisade.dev/exclude-inbound-ports: "9090""#),
    ("outside", "palisade.dev/inject: disabled"),
    ("outbound", r#"palisade.dev/exclude-outbound-ports: "8080""#),
    // The addresses of Services.
    (
        "addresses",
        r#"palisade.dev/exclude-outbound-cidrs: "10.96.0.0/16,fd96::/112""#,
    ),
];

#[test]
fn what_pods_keep_out_of_the_mesh_is_out_of_it_where_the_namespace_allows_that() {
    let mesh = Mesh::shared();
    let plain = Shop::plain("opt-plain");
    let shop = mesh.namespace("opt-out");
    stdout(&mesh.cluster().kubectl(&[
        "annotate",
        "namespace",
        shop.name(),
        "palisade.dev/allow-opt-out=true",
    ]));
    allow_own(&shop);
    for (name, annotation) in ASKED.into_iter().chain([("meshed", "")]) {
        shop.apply(&server(name, annotation));
    }
    for (name, _) in ASKED.into_iter().chain([("meshed", "")]) {
        ready(&shop, name);
        let inits = shop.words(&["pod", name], "{.spec.initContainers[*].name}");
        assert_eq!(inits.is_empty(), name == "outside", "{name}: {inits:?}");
    }
    let cases = [
        // Of a pod, those ports alone.
        (&plain.namespace, "client", "partly", 9090, true),
        (&plain.namespace, "client", "partly", 8080, false),
        (&shop, "meshed", "partly", 8080, true),
        (&shop, "meshed", "partly", 9090, true),
        // A pod without a sidecar is as any other that has none.
        (&plain.namespace, "client", "outside", 8080, true),
        (&shop, "meshed", "outside", 8080, true),
        (&shop, "outside", "meshed", 8080, false),
        // Without its sidecar a call has no identity.
        (&shop, "outbound", "meshed", 8080, false),
        (&shop, "outbound", "meshed", 9090, true),
        (&shop, "addresses", "meshed", 8080, false),
        (&shop, "addresses", "meshed", 9090, false),
        (&shop, "addresses", "outside", 8080, true),
    ];
    let wrong: Vec<String> = cases
        .into_iter()
        .flat_map(|(namespace, client, server, port, passes)| {
            ["-4", "-6"].map(|family| {
                let url = format!("http://{server}.{}:{port}/", shop.name());
                let output = curl(namespace, client, &[family, &url]);
                let answered = text(&output.stdout).trim() == server;
                (answered != passes)
                    .then(|| format!("{client} {url} {family}: {}", text(&output.stderr)))
            })
        })
        .flatten()
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // By a pod's own address it is in the mesh.
    for addr in shop.words(&["pod", "meshed"], "{.status.podIPs[*].ip}") {
        let url = match addr.parse().unwrap() {
            IpAddr::V4(addr) => format!("http://{addr}:8080/"),
            IpAddr::V6(addr) => format!("http://[{addr}]:8080/"),
        };
        let output = curl(&shop, "addresses", &[&url]);
        assert_eq!(text(&output.stdout).trim(), "meshed", "{url}: {output:?}");
    }
}

#[test]
fn a_pod_that_keeps_something_out_of_the_mesh_is_refused_where_that_is_not_allowed() {
    let mesh = Mesh::shared();
    let shop = mesh.namespace("no-opt-out");
    for (name, annotation) in ASKED {
        refused(&shop, name, annotation);
    }
    // It is not for the pod's other lines.
    shop.apply(&server("meshed", ""));
}

fn refused(shop: &Namespace, name: &str, annotation: &str) {
    let objects = server(name, annotation);
    let apply = ["kubectl", "-n", shop.name(), "apply", "-f", "-"];
    let output = shop.cluster().fed(&apply, &objects);
    let errors = text(&output.stderr);
    assert!(!output.status.success(), "{name} is let in");
    assert!(errors.contains("palisade.dev/allow-opt-out"), "{errors}");
    let pods = shop.words(&["pods"], "{.items[*].metadata.name}");
    assert!(pods.is_empty(), "{pods:?}");
}

fn server(name: &str, annotation: &str) -> String {
    SERVER
        .replace("NAME", name)
        .replace("ANNOTATION", annotation)
}
