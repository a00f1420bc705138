//! The cluster itself is real: what the mesh's tests stand on.

use crate::harness::{BOUND, Cluster, Namespace, stdout, text, wait_for};

/// Two pods, one a node, that answer with their names on port 8080, and can call.
const WEB: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: each
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: kube.local/curl:1
        imagePullPolicy: Never
        command: [sh, -c, "mkdir /tmp/web && hostname > /tmp/web/index.html && exec httpd -f -p '[::]:8080' -h /tmp/web"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ipFamilyPolicy: RequireDualStack, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {selector: {app: web}, ipFamilyPolicy: RequireDualStack, clusterIP: None, ports: [{port: 8080}]}
"#;
const PODS: [&str; 2] = ["web-0", "web-1"];

#[test]
fn pods_reach_each_other_on_both_nodes_and_in_both_families() {
    let shop = web("reach");
    let nodes = shop.words(&["pods"], "{.items[*].spec.nodeName}");
    assert_ne!(nodes.first(), nodes.last(), "a node each");
    for server in PODS {
        let addrs = shop.words(&["pod", server], "{.status.podIPs[*].ip}");
        assert_eq!(addrs.len(), 2, "one of each family: {addrs:?}");
        for (client, addr) in PODS
            .iter()
            .flat_map(|pod| addrs.iter().map(move |addr| (pod, addr)))
        {
            let host = if addr.contains(':') {
                format!("[{addr}]")
            } else {
                addr.clone()
            };
            assert_eq!(
                answer(&shop, client, &format!("http://{host}:8080/")),
                server
            );
        }
    }
}

#[test]
fn a_service_answers_by_its_name_from_both_of_its_pods() {
    let shop = web("service");
    let long = format!("http://web.{}.svc.cluster.local/", shop.name());
    for client in PODS {
        for family in ["-4", "-6"] {
            // Each a connection of its own, of which half go to either pod.
            wait_for(
                &format!("both pods' answers to {client} {family}"),
                BOUND,
                || {
                    let said = calls(&shop, client, &[family, "http://web/?[1-32]"])?;
                    PODS.iter().all(|pod| said.contains(pod)).then_some(())
                },
            );
            assert!(calls(&shop, client, &[family, &long]).is_some());
        }
    }
}

#[test]
fn a_pod_of_a_stateful_set_has_a_name_of_its_own() {
    let shop = web("stateful");
    for server in PODS {
        assert_eq!(
            answer(&shop, "web-0", &format!("http://{server}.each:8080/")),
            server
        );
    }
}

#[test]
fn the_program_runs_in_its_image_and_resolves_names_there() {
    let shop = web("image");
    // The caller asks for each but once.
    for url in ["http://web:80/", "http://web-1.each:8080/"] {
        answer(&shop, "web-0", url);
    }
    let image = Cluster::shared().palisade_image();
    shop.apply(&format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: caller}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      securityContext: {{runAsNonRoot: true}}
      containers:
      - {{name: caller, image: "{image}", imagePullPolicy: Never, args: [demo, traffic, --count, "1", "http://web:80/", "http://web-1.each:8080/"]}}
"#
    ));
    let said = wait_for("the end of the caller", BOUND, || {
        let conditions = shop.words(&["job", "caller"], "{.status.conditions[*].type}");
        (!conditions.is_empty()).then(|| stdout(&shop.kubectl(&["logs", "job/caller"])))
    });
    let answers: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("200 OK"))
        .collect();
    assert_eq!(answers.len(), 2, "{said}");
}

fn web(purpose: &str) -> Namespace {
    let namespace = Cluster::shared().namespace(purpose);
    namespace.apply(WEB);
    namespace.rolled_out("statefulset/web");
    namespace
}

/// What was answered, asked for until there is an answer: a pod that is ready is not yet known everywhere.
fn answer(shop: &Namespace, pod: &str, url: &str) -> String {
    let said = wait_for(&format!("{url}'s answer to {pod}"), BOUND, || {
        calls(shop, pod, &["--globoff", url])
    });
    said.trim().to_owned()
}

/// What was answered, where all was.
fn calls(shop: &Namespace, pod: &str, arguments: &[&str]) -> Option<String> {
    let curl = ["curl", "--silent", "--show-error", "--max-time", "10"];
    let output = shop.exec(pod, &[&curl, arguments].concat());
    output.status.success().then(|| text(&output.stdout))
}
