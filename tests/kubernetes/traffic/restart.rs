//! Restarts under load lose nothing.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, Running, stdout, text, wait_for};

use super::{Record, allow_own, ready};

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

/// They call for ever: each time on a connection of its own, and on one that is kept until the server ends it.
const CALLERS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: caller, image: "IMAGE", imagePullPolicy: Never, args: [demo, traffic, --every, 10ms, "http://server:8080/"]}
  securityContext: {runAsUser: 1000}
---
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: keeper, image: "IMAGE", imagePullPolicy: Never, args: [demo, traffic, --keep, --every, 10ms, "http://server:8080/"]}
  securityContext: {runAsUser: 1000}
"#;

const CALLING: [&str; 2] = ["caller", "keeper"];

#[test]
fn a_rolling_restart_of_the_server_and_of_the_client_loses_no_request() {
    let mesh = Mesh::shared();
    let shop = mesh.namespace("restart");
    let image = mesh.cluster().palisade_image();
    allow_own(&shop);
    shop.apply(&SERVER.replace("IMAGE", image));
    shop.rolled_out("deployment/server");
    shop.apply(CLIENT);
    shop.apply(&CALLERS.replace("IMAGE", image));
    shop.rolled_out("deployment/client");
    let client = follow(&shop, "deployment/client");
    client.prints("calling: 20");
    for pod in CALLING {
        ready(&shop, pod);
        says(&shop, pod, "200 OK");
    }

    let old = servers(&shop);
    restart(&shop, "deployment/server");
    let new = wait_for("the end of the old servers", BOUND, || {
        let now = servers(&shop);
        now.is_disjoint(&old).then_some(now)
    });
    for server in &new {
        says(&shop, "caller", server);
    }
    restart(&shop, "deployment/client");

    let client = text(&client.ended());
    println!("restarts: the client: {:?}", client.lines().last());
    assert!(client.contains(" good, 0 bad"), "{client}");
    goes_on_to_the_end_of_its_application(&shop);
    no_proxy_ended_one(&mesh, &shop);
    for who in CALLING {
        let said = said(&shop, who, &[]);
        let failed: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("failed"))
            .collect();
        println!(
            "restarts: {} calls of the {who}, {} failed",
            said.lines().count(),
            failed.len()
        );
        assert!(said.lines().count() > 100, "{said}");
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// A sidecar is asked to end after the application: until then it serves what is open, and what is new.
fn goes_on_to_the_end_of_its_application(shop: &Namespace) {
    let pod = serving(shop);
    let addr = shop.words(&["pod", &pod], "{.status.podIP}").concat();
    stdout(&shop.kubectl(&["delete", "pod", &pod, "--wait=false"]));
    let deleted = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let target = format!("http://{addr}:8080/");
    let call = ["/palisade", "demo", "traffic", "--count", "1", &target];
    let answer = stdout(&shop.exec("caller", &call));
    assert!(answer.contains(&pod), "{answer}");
    wait_for("the keeper to go on elsewhere", BOUND, || {
        (serving(shop) != pod).then_some(())
    });
    let since = format!("--since-time={deleted}");
    let kept = said(shop, "keeper", &[&since]).matches(&pod).count();
    assert!(kept > 0, "{pod} served the kept connection no more");
}

/// The pod that gave the keeper its last answer.
fn serving(shop: &Namespace) -> String {
    let said = said(shop, "keeper", &["--tail=5"]);
    let mut names = said.lines().filter_map(|line| {
        let (_, answer) = line.split_once("200 OK: ")?;
        answer.split_once(" got ")
    });
    let (last, _) = names.next_back().expect("it was answered");
    last.to_owned()
}

/// The keeper's connections were ended by the applications, of which the server had said that it would end, and either may
/// have been first; and by no proxy.
fn no_proxy_ended_one(mesh: &Mesh, shop: &Namespace) {
    let logs = ["logs", "-n", shop.name(), "keeper", "-o", "json"];
    let ends = wait_for("the ends of two kept connections", BOUND / 3, || {
        let said = stdout(&mesh.palisade(&logs));
        let records: Vec<Record> = said.lines().filter_map(Record::read).collect();
        let closed = [("event", "close"), ("direction", "outbound")];
        let closed = records.iter().filter(|record| record.has(&closed));
        let by: Vec<_> = closed
            .map(|record| record.text("close.by").to_owned())
            .collect();
        (by.len() >= 2).then_some(by)
    });
    let by_application = |by: &String| by == "client" || by == "server";
    assert!(ends.iter().all(by_application), "{ends:?}");
}

/// Waits until one of those that call for ever says this.
fn says(shop: &Namespace, who: &str, what: &str) {
    wait_for(&format!("{what:?} of the {who}"), BOUND, || {
        let said = said(shop, who, &["--tail=50"]);
        said.contains(what).then_some(())
    });
}

fn said(shop: &Namespace, who: &str, which: &[&str]) -> String {
    stdout(&shop.kubectl(&[&["logs", who], which].concat()))
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
