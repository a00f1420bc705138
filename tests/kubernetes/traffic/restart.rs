//! Restarts under load lose nothing.

use std::collections::BTreeSet;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, Running, stdout, text, wait_for};

use super::{allow_own, ready};

/// A server as it is written everywhere: it leaves its Service some seconds before it ends.
const SERVER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      securityContext: {runAsUser: 1000}
      terminationGracePeriodSeconds: 5
      containers:
      - name: server
        image: IMAGE
        imagePullPolicy: Never
        args: [demo, http]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 3}}}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ipFamilyPolicy: RequireDualStack, ports: [{port: 8080, targetPort: http}]}
"#;

/// Calls from its first moment until a second and a half after it was asked to end.
const CLIENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: client
        image: kube.local/curl:1
        imagePullPolicy: Never
        command:
        - sh
        - -c
        - |
          trap 'left=20' TERM
          good=0; bad=0; left=
          while [ "$left" != 0 ]; do
            if curl -sS --max-time 5 -o /dev/null http://server:8080/; then good=$((good + 1)); else bad=$((bad + 1)); fi
            [ $((good % 20)) != 0 ] || echo "calling: $good"
            [ -z "$left" ] || left=$((left - 1))
            sleep 0.05
          done
          echo "the end: $good good, $bad bad"
"#;

/// Calls for ever, each time on a connection of its own.
const CALLER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: caller, image: "IMAGE", imagePullPolicy: Never, args: [demo, traffic, --every, 10ms, "http://server:8080/"]}
  securityContext: {runAsUser: 1000}
"#;

#[test]
fn a_rolling_restart_of_the_server_and_of_the_client_loses_no_request() {
    let mesh = Mesh::shared();
    let shop = mesh.namespace("restart");
    let image = mesh.cluster().palisade_image();
    allow_own(&shop);
    shop.apply(&SERVER.replace("IMAGE", image));
    shop.rolled_out("deployment/server");
    shop.apply(CLIENT);
    shop.apply(&CALLER.replace("IMAGE", image));
    shop.rolled_out("deployment/client");
    ready(&shop, "caller");
    let client = follow(&shop, "deployment/client");
    let caller = follow(&shop, "caller");
    client.prints("calling: 20");
    caller.prints("200 OK");

    let old = servers(&shop);
    restart(&shop, "deployment/server");
    let new = wait_for("the end of the old servers", BOUND, || {
        let now = servers(&shop);
        now.is_disjoint(&old).then_some(now)
    });
    for server in &new {
        caller.prints(server);
    }
    restart(&shop, "deployment/client");

    let client = text(&client.ended());
    println!("restarts: the client: {:?}", client.lines().last());
    assert!(client.contains(" good, 0 bad"), "{client}");
    let said = text(&caller.stopped());
    let failed: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("failed"))
        .collect();
    println!(
        "restarts: {} calls of the caller, {} failed",
        said.lines().count(),
        failed.len()
    );
    assert!(said.lines().count() > 100, "{said}");
    assert!(failed.is_empty(), "{failed:?}");
}

fn servers(shop: &Namespace) -> BTreeSet<String> {
    let pods = shop.words(&["pods", "-l", "app=server"], "{.items[*].metadata.name}");
    pods.into_iter().collect()
}

fn follow(shop: &Namespace, what: &str) -> Running {
    Running::start(
        Cluster::shared(),
        &["kubectl", "-n", shop.name(), "logs", "-f", what],
    )
}

fn restart(shop: &Namespace, what: &str) {
    stdout(&shop.kubectl(&["rollout", "restart", what]));
    shop.rolled_out(what);
}
