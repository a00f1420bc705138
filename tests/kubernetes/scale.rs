//! What many pods cost control, and what they do not cost a proxy that never asked for them.
//!
//! The pods are objects only, on a node that is one: no kubelet runs them. `PALISADE_SCALE=2000` makes as many.
#![expect(clippy::print_stdout, reason = "figures are for whoever reads the log")]

use std::env;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, Process, stdout, wait_for};
use crate::load::Load;

#[test]
fn control_carries_many_pods_and_a_proxy_is_sent_only_what_it_asked_for() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "scale");
    let control = processes(
        &stdout(&mesh.system(&["get", "pods", "-l", CONTROL, "-o", UIDS])),
        mesh.cluster(),
        "/palisade control run",
    );
    let pods = load.namespace.kubectl(&["get", "pods", "-o", UIDS]);
    let sidecars = processes(&stdout(&pods), mesh.cluster(), "/palisade-proxy run");
    report("control, idle", &control);
    report(
        "sidecars: of caller, of outsider (idle), of web twice",
        &sidecars,
    );

    let before = received(&sidecars);
    println!("control sent each proxy, since it started: {before:?} bytes");
    assert!(before.iter().all(|bytes| *bytes > 0), "each is connected");
    let idle = ticks(&control);
    let crowd = Crowd::gather(mesh.cluster(), size());
    println!(
        "to learn of them took control {} ms of a CPU in each replica",
        (ticks(&control) - idle) * 10 / 2
    );
    let more: Vec<u64> = received(&sidecars)
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    println!("{} pods more sent them {more:?} bytes", crowd.size);
    // What keeps a connection alive, and no address of more than 200 bytes of any pod.
    assert!(more.iter().all(|bytes| *bytes < 4096), "{more:?}");

    report(&format!("control, with {} pods", crowd.size), &control);
    let before = received(&sidecars);
    load.rules_are_enforced(&format!("with {} pods", crowd.size));
    let after = received(&sidecars);
    assert!(
        before
            .iter()
            .zip(&after)
            .any(|(before, after)| after > before),
        "what is sent is counted: {before:?}, {after:?}"
    );
}

/// Pods that are objects, ten to a Service, and control knows them all.
struct Crowd {
    size: usize,
    namespace: Namespace,
}

impl Crowd {
    fn gather(cluster: &'static Cluster, size: usize) -> Self {
        let crowd = Self {
            size,
            namespace: cluster.namespace("crowd"),
        };
        let start = Instant::now();
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE},
            "spec": {"unschedulable": true},
        });
        cluster.apply(&node.to_string());
        crowd.namespace.apply(RULE);
        let pods = list((0..size).map(pod));
        crowd.fed("create", &[], &pods);
        crowd.fed("create", &[], &list((0..size.div_ceil(10)).map(service)));
        crowd.fed("replace", &["--subresource=status"], &pods);
        let made = start.elapsed();
        // No node runs them, so nothing is waited for of their sidecars.
        wait_for("control to know them", BOUND, || {
            let known = crowd
                .namespace
                .words(&["authorizationpolicy", "crowd"], "{.status.notRunning}");
            (known == [size.to_string()]).then_some(())
        });
        println!(
            "{size} pods made in {made:.1?}, known to control after {:.1?}",
            start.elapsed()
        );
        crowd
    }

    fn fed(&self, verb: &str, more: &[&str], objects: &str) {
        let kubectl = [
            "kubectl",
            "--namespace",
            self.namespace.name(),
            verb,
            "--validate=false",
            "-f",
            "-",
        ];
        stdout(
            &self
                .namespace
                .cluster()
                .fed(&[&kubectl, more].concat(), objects),
        );
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.namespace
            .cluster()
            .kubectl(&["delete", "node", NODE, "--wait=false"]);
    }
}

fn pod(n: usize) -> Value {
    let ip = format!("10.88.{}.{}", 100 + n / 250, n % 250 + 1);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("crowd-{n}"),
            "labels": {"app": "crowd", "group": format!("g{}", n / 10), "pod-template-hash": "5d9c7f8b6"},
        },
        "spec": {
            "nodeName": NODE,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "initContainers": [{"name": "palisade-proxy", "image": "none", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"}],
            "containers": [{"name": "app", "image": "none"}],
        },
        "status": {
            "phase": "Running",
            "podIP": &ip,
            "podIPs": [{"ip": &ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn service(n: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("crowd-{n}")},
        "spec": {"selector": {"group": format!("g{n}")}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn list(objects: impl Iterator<Item = Value>) -> String {
    let items: Vec<Value> = objects.collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn processes(uids: &str, cluster: &'static Cluster, begins: &str) -> Vec<Process> {
    let of_pod = |uid| Process::of_pod(cluster, uid, begins);
    uids.split_whitespace().map(of_pod).collect()
}

fn ticks(processes: &[Process]) -> u64 {
    let of = |process: &Process| process.usage().ticks;
    processes.iter().map(of).sum()
}

fn received(sidecars: &[Process]) -> Vec<u64> {
    let of = |sidecar: &Process| sidecar.received_from(15012);
    sidecars.iter().map(of).collect()
}

/// Prints what each uses now, and of a CPU from now on.
fn report(what: &str, processes: &[Process]) {
    let usages = || processes.iter().map(Process::usage).collect::<Vec<_>>();
    let (before, start) = (usages(), Instant::now());
    // Here time itself is measured.
    thread::sleep(window());
    let took = start.elapsed().as_secs_f64();
    let mut each = Vec::new();
    for (before, after) in before.into_iter().zip(usages()) {
        let percent = float(after.ticks - before.ticks) / took;
        let mebibytes = float(after.resident) / 1024.0;
        each.push(format!("{mebibytes:.1} MiB and {percent:.1} %"));
        assert!(after.resident < MOST_KIB, "{what}: {after:?}");
    }
    println!("{what}: {}", each.join(", "));
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn size() -> usize {
    let size = env::var("PALISADE_SCALE").ok();
    size.map_or(SIZE, |text| text.parse().expect("a number of pods"))
}

fn window() -> Duration {
    Duration::from_secs(if size() > SIZE { 30 } else { 5 })
}

const SIZE: usize = 300;
const NODE: &str = "nowhere";
/// What a leak would pass.
const MOST_KIB: u64 = 512 * 1024;
const CONTROL: &str = "app.kubernetes.io/name=palisade-control";
const UIDS: &str = "jsonpath={.items[*].metadata.uid}";

const RULE: &str = "
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: crowd}
spec:
  target: {labels: {app: crowd}}
  rules:
  - {name: nobody, effect: deny, from: [{namespace: nowhere}]}
";
