//! What else Kubernetes promises of Services: whom they prefer, where they are reached, and who is left when all end.

use std::collections::BTreeSet;

use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_for, wait_or_say};

use super::{allow_own, curl, ready};

/// A server that does not end when it is told to: nothing is TERM to a first process that asks for no signals.
const SERVER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: web, pod: NAME}}
spec:
  nodeSelector: {kubernetes.io/hostname: NODE}
  terminationGracePeriodSeconds: 20
  containers:
  - name: web
    image: kube.local/curl:1
    imagePullPolicy: Never
    command: [sh, -c, "mkdir /tmp/web && hostname > /tmp/web/index.html && exec httpd -f -p '[::]:PORT' -h /tmp/web"]
    ports: [{name: http, containerPort: PORT}]
    readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}
"#;

const CLIENT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeSelector: {kubernetes.io/hostname: node1}
  terminationGracePeriodSeconds: 0
  containers:
  - {name: client, image: "kube.local/curl:1", imagePullPolicy: Never, command: [sleep, "86400"]}
"#;

/// All of the same two pods, but for the last, which is of one of them.
const SERVICES: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: named}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: zonal}
spec: {selector: {app: web}, trafficDistribution: PreferSameZone, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: nodal}
spec: {selector: {app: web}, trafficDistribution: PreferSameNode, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: external}
spec: {selector: {app: web}, externalIPs: [203.0.113.80], ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec:
  type: LoadBalancer
  allocateLoadBalancerNodePorts: false
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: ending}
spec: {selector: {pod: far}, ports: [{port: 80, targetPort: http}]}
"#;

/// What a load balancer would write.
const BALANCED: &str = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.81"}]}}}"#;

#[test]
fn a_service_keeps_its_preferences_its_other_addresses_and_its_last_endpoints() {
    let mesh = Mesh::shared();
    let (shop, plain) = (
        mesh.namespace("promises"),
        mesh.cluster().namespace("outside"),
    );
    allow_own(&shop);
    // The same name of a port is another number in each.
    for (name, node, port) in [("near", "node1", "8080"), ("far", "node2", "9090")] {
        shop.apply(&server(name, node, port));
    }
    plain.apply(&server("far", "node2", "8080"));
    shop.apply(CLIENT);
    shop.apply(SERVICES);
    plain.apply(SERVICES.rsplit("---").next().unwrap());
    let patch = ["patch", "service", "balanced", "--subresource=status"];
    stdout(&shop.kubectl(&[&patch[..], &["--type=merge", "-p", BALANCED]].concat()));
    for (namespace, pod) in [
        (&shop, "near"),
        (&shop, "far"),
        (&shop, "client"),
        (&plain, "far"),
    ] {
        ready(namespace, pod);
    }
    // Nobody answers a caller without an identity, so whoever is answered called through the mesh.
    for (place, expected) in [
        ("named", &["near", "far"][..]),
        ("zonal", &["near"]),
        ("nodal", &["near"]),
        ("203.0.113.80", &["near", "far"]),
        ("203.0.113.81", &["near", "far"]),
        ("ending", &["far"]),
    ] {
        answer(&shop, place, expected);
    }
    // Nothing behind it is in the mesh: it is called as without one.
    answer(&shop, &format!("ending.{}", plain.name()), &["far"]);
    an_endpoint_that_ends_is_better_than_none(&shop);
}

fn an_endpoint_that_ends_is_better_than_none(shop: &Namespace) {
    stdout(&shop.kubectl(&["delete", "pod", "far", "--wait=false"]));
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=ending"];
    let path = "{.items[*].endpoints[*].conditions}";
    wait_for("its end to be known", BOUND, || {
        let said = shop.words(&slices, path).concat();
        said.contains(r#""terminating":true"#).then_some(())
    });
    // Others of its Service are left, who do not end.
    answer(shop, "named", &["near"]);
    answer(shop, "ending", &["far"]);
    let ends = shop.words(&["pod", "far"], "{.metadata.deletionTimestamp}");
    assert!(!ends.is_empty(), "it answered while it ended");
}

/// Waits until those answer, and nobody else, of so many connections that each of two would be among them.
fn answer(shop: &Namespace, place: &str, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    // The server ends each connection after its answer.
    let url = format!("http://{place}/?[1-24]");
    wait_or_say(&format!("answers of {place}"), BOUND, || {
        let output = curl(shop, "client", &["--fail", &url]);
        let said = text(&output.stdout);
        let who: BTreeSet<String> = said.split_whitespace().map(str::to_owned).collect();
        let all = output.status.success() && who == expected;
        all.then_some(()).ok_or_else(|| format!("{output:?}"))
    });
}

fn server(name: &str, node: &str, port: &str) -> String {
    let pod = SERVER.replace("NAME", name).replace("NODE", node);
    pod.replace("PORT", port)
}
