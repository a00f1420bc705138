//! Pods live in the mesh as they live without: probes, hooks, init containers, jobs.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, wait_for, wait_or_say};
use crate::traffic::{Shop, allow_own, identity, ready, recorded};

/// Every kind of probe and hook that comes over the network. `tool` asks what `web` answers, once that runs. What `web` is
/// asked for before it ends it tells the witness, whose log stays.
const PROBED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 5
  volumes: [{name: programs, hostPath: {path: "PROGRAMS", type: Directory}}]
  containers:
  - name: web
    image: kube.local/curl:1
    imagePullPolicy: Never
    command:
    - sh
    - -c
    - |
      trap 'exit' TERM
      mkdir -p /tmp/web/cgi-bin && touch /tmp/web/healthy /tmp/web/begin
      printf '#!/bin/sh\nexec curl -si --max-time 4 http://WITNESS:8080/told\n' > /tmp/web/cgi-bin/end
      chmod +x /tmp/web/cgi-bin/end
      httpd -f -vv -p '[::]:8080' -h /tmp/web & wait
    ports: [{name: status, containerPort: 8080}]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "until curl -s http://127.0.0.1:8080/; do sleep 0.1; done"]}}
      preStop: {httpGet: {path: /cgi-bin/end, port: status}}
    startupProbe: {httpGet: {path: /healthy, port: status, httpHeaders: [{name: X-Asked, value: "yes"}]}, periodSeconds: 1}
    readinessProbe: {httpGet: {path: "healthy?a=b", port: 8080}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: status}, periodSeconds: 1}
  - name: tool
    image: kube.local/curl:1
    imagePullPolicy: Never
    command: [sh, -c, "trap 'exit' TERM; sleep 86400 & wait"]
    lifecycle: {postStart: {httpGet: {path: /begin, port: 8080}}}
    readinessProbe: {exec: {command: [test, -d, /]}, periodSeconds: 1}
  - name: grpc
    image: kube.local/curl:1
    imagePullPolicy: Never
    command: [/programs/etcd, --data-dir, /tmp/etcd, --auto-tls, --listen-client-urls, "http://0.0.0.0:2379,https://0.0.0.0:2443", --advertise-client-urls, "http://127.0.0.1:2379"]
    volumeMounts: [{name: programs, mountPath: /programs, readOnly: true}]
    startupProbe: {httpGet: {scheme: HTTPS, path: /health, port: 2443}, periodSeconds: 1, failureThreshold: 60}
    readinessProbe: {grpc: {port: 2379}, periodSeconds: 1}
    livenessProbe: {grpc: {port: 2379}, periodSeconds: 1}
"#;

const WITNESS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: witness}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: web, image: "kube.local/curl:1", imagePullPolicy: Never, command: [sh, -c, "touch /tmp/told && exec httpd -f -vv -p '[::]:8080' -h /tmp"]}
"#;

/// What a probe of each kind finds wrong.
const FAILING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: kube.local/curl:1
    imagePullPolicy: Never
    command: [httpd, -f, -p, "[::]:8080", -h, /tmp]
    readinessProbe: {PROBE, periodSeconds: 1}
"#;

#[test]
fn probes_and_hooks_of_every_kind_reach_the_application_under_strict_mutual_tls() {
    let mesh = Mesh::shared();
    let shop = mesh.namespace("probes");
    // etcd is a gRPC server that knows the health protocol, with a certificate of its own making, and it is there:
    // nothing has to be pulled.
    let etcd = ["exec", "sh", "-c", "command -v etcd"];
    let programs = stdout(&mesh.cluster().run(&etcd));
    let programs = programs.trim().trim_end_matches("/etcd");
    allow_own(&shop);
    shop.apply(WITNESS);
    ready(&shop, "witness");
    let witness = shop.words(&["pod", "witness"], "{.status.podIP}").concat();
    let probed = PROBED.replace("PROGRAMS", programs);
    shop.apply(&probed.replace("WITNESS", &witness));
    ready(&shop, "probed");
    for path in ["/healthy", "/begin"] {
        asked(&shop, "probed", path);
    }
    let restarts = shop.words(
        &["pod", "probed"],
        "{.status.containerStatuses[*].restartCount}",
    );
    assert_eq!(restarts, ["0", "0", "0"]);
    // An application that is no longer healthy is no longer ready.
    stdout(&shop.exec("probed", &["rm", "/tmp/web/healthy"]));
    unready(&shop, "probed");
    stdout(&shop.exec("probed", &["touch", "/tmp/web/healthy"]));
    ready(&shop, "probed");
    assert!(!requests(&shop, "witness").contains("url:/told"));
    stdout(&shop.kubectl(&["delete", "pod", "probed", "--wait=false"]));
    asked(&shop, "witness", "/told");
}

#[test]
fn an_application_whose_probe_fails_is_not_ready() {
    let mesh = Mesh::shared();
    let shop = mesh.namespace("failing");
    let cases = [
        (
            "http",
            "httpGet: {path: /missing, port: 8080}",
            "statuscode",
        ),
        (
            "https",
            "httpGet: {scheme: HTTPS, path: /, port: 8080}",
            "Readiness probe failed",
        ),
        ("tcp", "tcpSocket: {port: 8081}", "Readiness probe failed"),
        ("grpc", "grpc: {port: 8080}", "Readiness probe failed"),
    ];
    for (name, probe, _) in cases {
        shop.apply(&FAILING.replace("NAME", name).replace("PROBE", probe));
    }
    for (name, _, why) in cases {
        let field = format!("involvedObject.name={name},reason=Unhealthy");
        let events = ["events", "--field-selector", &field];
        let path = r#"{range .items[*]}{.involvedObject.fieldPath}{" "}{.message}{"\n"}{end}"#;
        let said = wait_for(&format!("an event of {name}"), BOUND, || {
            let said = shop.words(&events, path).join(" ");
            said.contains("spec.containers{web}").then_some(said)
        });
        println!("{name}: {said}");
        assert!(said.contains(why), "{said}");
        unready(&shop, name);
        // It is the application's probe, not the sidecar's.
        let path = "{.status.initContainerStatuses[?(@.name=='palisade-proxy')].ready}";
        assert_eq!(shop.words(&["pod", name], path), ["true"]);
    }
}

/// Jobs that call; the first one's init container does so too.
const JOB: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {app: once}}
    spec:
      serviceAccountName: client
      restartPolicy: Never
      initContainers:
      - name: before
        image: kube.local/curl:1
        imagePullPolicy: Never
        command: [curl, -sS, --fail, --max-time, "10", "http://web/?before"]
      containers:
      - name: caller
        image: kube.local/curl:1
        imagePullPolicy: Never
        command: [curl, -sS, --fail, --max-time, "10", "http://web/"]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: often}
spec:
  schedule: "* * * * *"
  jobTemplate:
    metadata: {labels: {app: often}}
    spec: {backoffLimit: 0, template: {metadata: {labels: {app: often}}, spec: {serviceAccountName: client, restartPolicy: Never, containers: [{name: caller, image: "kube.local/curl:1", imagePullPolicy: Never, command: [curl, -sS, --fail, --max-time, "10", "http://web/"]}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: fails}
spec:
  backoffLimit: 0
  template: {spec: {serviceAccountName: client, restartPolicy: Never, containers: [{name: caller, image: "kube.local/curl:1", imagePullPolicy: Never, command: [curl, -sS, --fail, --max-time, "10", "http://web/missing"]}]}}
"#;

#[test]
fn jobs_of_all_kinds_end_with_their_sidecars_and_init_containers_call_through_the_mesh() {
    let mesh = Mesh::shared();
    let shop = Shop::meshed(&mesh, "jobs");
    let shop = &shop.namespace;
    shop.apply(JOB);
    for (job, how) in [("once", "Complete"), ("fails", "Failed")] {
        println!("job {job}: {how} after {:?}", ends(shop, job, how));
    }
    let names = "{.items[*].metadata.name}";
    // At the next full minute.
    let often = wait_for("a run of the CronJob", BOUND, || {
        let runs = shop.words(&["jobs", "-l", "app=often"], names);
        runs.into_iter().next()
    });
    ends(shop, &often, "Complete");
    // Nothing of them runs on, the sidecar neither.
    let jobs = format!("batch.kubernetes.io/job-name in (once, {often})");
    let phases = shop.words(&["pods", "-l", &jobs], "{.items[*].status.phase}");
    assert_eq!(phases, ["Succeeded", "Succeeded"]);
    called(&mesh, shop, &often, 1);
    // The init container and the container.
    called(&mesh, shop, "once", 2);
}

/// Waits until a job has ended in this way: how long.
fn ends(shop: &Namespace, job: &str, how: &str) -> Duration {
    let start = Instant::now();
    wait_for(&format!("the end of {job}"), BOUND, || {
        let path = "{.status.conditions[?(@.status=='True')].type}";
        let ended = shop.words(&["job", job], path);
        let fits = |condition: &String| condition == how;
        ended.iter().any(fits).then_some(())
    });
    start.elapsed()
}

/// Waits until both sides have recorded so many calls of a job to the server.
fn called(mesh: &Mesh, shop: &Namespace, job: &str, calls: usize) {
    let (client, web) = (identity(shop, "client"), identity(shop, "web"));
    let of_job = format!("batch.kubernetes.io/job-name={job}");
    let pods = shop.words(&["pods", "-l", &of_job], "{.items[*].metadata.name}");
    let pod = pods.first().expect("there is one");
    // The server's side is the one that decides.
    for (side, decision) in [("outbound", ""), ("inbound", "allow")] {
        let what = format!("{side} records of {pod}");
        recorded(mesh, shop, &what, |records| {
            let wanted = [
                ("event", "close"),
                ("direction", side),
                ("src.identity", &client),
                ("src.namespace", shop.name()),
                ("src.workload", pod),
                ("dst.identity", &web),
                ("policy.decision", decision),
            ];
            let found = records.iter().filter(|record| record.has(&wanted));
            (found.count() >= calls).then_some(())
        });
    }
}

/// A pod that is ready at once.
const QUICK: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: node1}
  containers:
  - {name: quick, image: "kube.local/busybox:1", imagePullPolicy: Never, command: [sleep, "86400"]}
"#;

#[test]
fn what_the_sidecar_adds_to_a_pods_start_is_small() {
    let mesh = Mesh::shared();
    let meshed = mesh.namespace("start");
    allow_own(&meshed);
    let plain = Cluster::shared().namespace("start-plain");
    let mut took = [Vec::new(), Vec::new()];
    for number in 0..5 {
        for (namespace, took) in [&plain, &meshed].into_iter().zip(&mut took) {
            let name = format!("quick-{number}");
            let start = Instant::now();
            namespace.apply(&QUICK.replace("NAME", &name));
            ready(namespace, &name);
            took.push(start.elapsed());
            namespace.kubectl(&["delete", "pod", &name, "--wait=false"]);
        }
    }
    let [plain, meshed] = took.map(median);
    println!("a pod's start, median of 5: {plain:?} without the mesh, {meshed:?} with it");
    assert!(meshed < plain + Duration::from_secs(15));
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    *took.get(took.len() / 2).expect("there are some")
}

fn unready(shop: &Namespace, pod: &str) {
    wait_for(&format!("{pod} not to be ready"), BOUND, || {
        let path = "{.status.conditions[?(@.type=='Ready')].status}";
        (shop.words(&["pod", pod], path) == ["False"]).then_some(())
    });
}

/// Waits until the server of a pod was asked for this.
fn asked(shop: &Namespace, pod: &str, path: &str) {
    let line = format!("url:{path}");
    wait_or_say(&line, BOUND, || {
        let requests = requests(shop, pod);
        if requests.contains(&line) {
            Ok(())
        } else {
            Err(requests)
        }
    });
}

/// What the server of a pod has logged.
fn requests(shop: &Namespace, pod: &str) -> String {
    stdout(&shop.kubectl(&["logs", pod, "-c", "web"]))
}
