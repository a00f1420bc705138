//! Parts of the mesh fail, one after the other, under load: nothing that works stops working.

use std::env;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{BOUND, Cluster, Mesh, Process, stdout, text, wait_for, wait_or_say};
use crate::load::{Load, ready};

#[test]
fn pods_of_control_die_and_move_and_nobody_notices() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "dying");
    load.unbroken("both of control killed", || {
        both_come_again_in_their_pods(&mesh);
        load.rules_are_enforced("after the restart");
    });
    load.unbroken("control moved", || {
        one_moves(&mesh);
        load.rules_are_enforced("after the move");
    });
    load.unbroken("leader killed", || {
        let (old, killed) = leader_dies(&mesh);
        load.rules_are_enforced("without the leader");
        let next = wait_for("another leader", LEASE, || leader(&mesh));
        println!("{next} leads {:.1?} after {old} died", killed.elapsed());
    });
    mesh.ready();
}

fn both_come_again_in_their_pods(mesh: &Mesh) {
    let restarts = || -> u32 {
        let counts = "{.items[*].status.containerStatuses[0].restartCount}";
        let counts = words(mesh, "control", counts);
        counts
            .iter()
            .map(|count| count.parse::<u32>().unwrap())
            .sum()
    };
    let before = restarts();
    for pod in words(mesh, "control", NAMES) {
        process(mesh, "control", &pod).kill();
    }
    wait_for("two restarts", BOUND, || {
        (restarts() >= before + 2).then_some(())
    });
    mesh.ready();
}

fn one_moves(mesh: &Mesh) {
    let pod = words(mesh, "control", NAMES).remove(0);
    let path = "jsonpath={.spec.nodeName}";
    let node = stdout(&mesh.system(&["get", "pod", &pod, "-o", path]));
    let _cordoned = Cordoned::new(mesh.cluster(), &node);
    force_away(mesh, &[&pod]);
    wait_for("another pod", BOUND, || {
        let pods = words(mesh, "control", NAMES);
        (pods.len() == 2 && !pods.contains(&pod)).then_some(())
    });
    mesh.ready();
    let nodes = words(mesh, "control", "{.items[*].spec.nodeName}");
    assert!(nodes.iter().any(|now| *now != node), "{nodes:?}");
}

/// The pod that led, and when it was killed.
fn leader_dies(mesh: &Mesh) -> (String, Instant) {
    let old = wait_for("a leader", LEASE, || leader(mesh));
    let process = process(mesh, "control", &old);
    let killed = Instant::now();
    // Its pod goes first, or it would come again in it; and it dies before it can give the lease back.
    force_away(mesh, &[&old]);
    process.kill();
    (old, killed)
}

#[test]
fn without_control_all_goes_on_but_new_pods_wait() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "control");
    load.unbroken("no control", || {
        end(&mesh, "control");
        load.namespace.apply(LATE);
        // The rule is checked by the injector, and waits for control like the pod.
        load.admit();
        wait_out(outage(), || assert!(!is_ready(&load, "late")));
        assert!(!load.outsider_gets_in(), "nobody has told the proxies");
        scale(&mesh, "control", 2);
        let back = Instant::now();
        load.until_outsider(true);
        println!(
            "the rule of the outage is enforced {:.1?} after control was started",
            back.elapsed()
        );
        ready(&load.namespace, "late");
        println!(
            "the pod of the outage is ready {:.1?} after control was started",
            back.elapsed()
        );
        load.refuse();
        println!(
            "a changed rule is enforced after {:.1?}",
            load.until_outsider(false)
        );
    });
    mesh.ready();
}

#[test]
fn without_the_injector_meshed_namespaces_refuse_new_pods_and_others_do_not() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "injector");
    let other = mesh.cluster().namespace("unmeshed");
    load.unbroken("no injector", || {
        end(&mesh, "injector");
        let create = [
            "kubectl",
            "--namespace",
            load.namespace.name(),
            "create",
            "-f",
            "-",
        ];
        let refused = mesh.cluster().fed(&create, LATE);
        let said = text(&refused.stderr);
        println!("refused: {}", said.trim());
        assert!(!refused.status.success(), "{refused:?}");
        assert!(
            said.contains("pods.palisade.dev") && said.contains("palisade-injector"),
            "{said}"
        );
        let refused_since = Instant::now();
        load.namespace.apply(WAITS);
        let why = why_refused(&load);
        println!("a ReplicaSet says: {why}");
        assert!(
            why.contains("pods.palisade.dev") && why.contains("palisade-injector"),
            "{why}"
        );
        check_says_how_not_to_wait(&mesh, &load);
        other.apply(LATE);
        ready(&other, "late");
        scale(&mesh, "injector", 2);
        let back = Instant::now();
        wait_for("a pod that is admitted", BOUND, || {
            mesh.cluster()
                .fed(&create, LATE)
                .status
                .success()
                .then_some(())
        });
        ready(&load.namespace, "late");
        println!(
            "a new pod is ready {:.1?} after the injector was started",
            back.elapsed()
        );
        // Nobody does anything for it: it is tried again when as long a time has gone by as at the last try.
        let bound = BOUND + refused_since.elapsed();
        load.namespace.rolled_out_within("deployment/waits", bound);
        println!(
            "a refused Deployment is rolled out {:.1?} after the injector was started",
            back.elapsed()
        );
        let inits = load
            .namespace
            .words(&["pod", "late"], "{.spec.initContainers[*].name}");
        assert_eq!(inits, ["palisade-redirect", "palisade-proxy"]);
    });
    mesh.ready();
}

/// Tries become rarer the longer an outage is; whoever reads `check` need not wait for the next.
fn check_says_how_not_to_wait(mesh: &Mesh, load: &Load) {
    let namespace = load.namespace.name();
    let nudge = format!("kubectl -n {namespace} rollout restart deployment/waits");
    wait_for("a finding with a remedy", BOUND, || {
        let said = mesh.palisade(&["check", "-n", namespace, "-o", "json"]);
        let is_it = |line: &str| line.contains(r#""backoff""#) && line.contains(&nudge);
        text(&said.stdout).lines().any(is_it).then_some(())
    });
}

/// What the ReplicaSet of the Deployment that waits says of its pods.
fn why_refused(load: &Load) -> String {
    let path = "{.items[*].status.conditions[?(@.type=='ReplicaFailure')].message}";
    wait_for("a ReplicaSet that is refused its pods", BOUND, || {
        let sets = ["replicasets", "--selector", "app=waits"];
        Some(load.namespace.words(&sets, path).join(" ")).filter(|why| !why.is_empty())
    })
}

#[test]
fn without_the_api_server_traffic_flows_and_control_recovers_by_itself() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "server");
    let pods = "{range .items[*]}{.metadata.uid}/{.status.containerStatuses[0].restartCount} {end}";
    let before = words(&mesh, "control", pods);
    load.unbroken("no API server", || {
        let server = Stopped::stop(mesh.cluster(), "kube-apiserver");
        wait_out(API_OUTAGE, || ());
        drop(server);
        let back = Instant::now();
        wait_for("the API server", BOUND, || {
            let ready = mesh.cluster().kubectl(&["get", "--raw", "/readyz"]);
            ready.status.success().then_some(())
        });
        println!(
            "the API server is ready {:.1?} after it was started",
            back.elapsed()
        );
        // The webhooks are asked again as soon as the API server knows of their pods.
        wait_for("a rule that is taken", BOUND, || {
            load.try_admit(mesh.cluster()).then_some(())
        });
        load.until_outsider(true);
        println!(
            "a new rule is enforced {:.1?} after it was started",
            back.elapsed()
        );
        load.refuse();
        println!(
            "its end is enforced after {:.1?}",
            load.until_outsider(false)
        );
        wait_for("a leader", LEASE, || leader(&mesh));
    });
    mesh.ready();
    assert_eq!(
        words(&mesh, "control", pods),
        before,
        "the same, and not restarted"
    );
}

/// A program of the cluster that is stopped until this is dropped.
pub(crate) struct Stopped(&'static Cluster, &'static str);

impl Stopped {
    pub(crate) fn stop(cluster: &'static Cluster, program: &'static str) -> Self {
        stdout(&cluster.run(&["stop", program]));
        Self(cluster, program)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.run(&["start", self.1]);
    }
}

/// A node that takes no new pods until this is dropped.
struct Cordoned(&'static Cluster, String);

impl Cordoned {
    fn new(cluster: &'static Cluster, node: &str) -> Self {
        stdout(&cluster.kubectl(&["cordon", node]));
        Self(cluster, node.to_owned())
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        self.0.kubectl(&["uncordon", &self.1]);
    }
}

/// The pod that leads, if one does: a lease outlives its holder.
fn leader(mesh: &Mesh) -> Option<String> {
    let lease = [
        "get",
        "lease",
        "palisade-control",
        "-o",
        "jsonpath={.spec.holderIdentity}",
    ];
    let holder = stdout(&mesh.system(&lease));
    let pod = holder
        .rsplit_once('_')
        .map_or(holder.as_str(), |(pod, _)| pod);
    let runs = words(mesh, "control", NAMES).iter().any(|name| name == pod);
    runs.then(|| pod.to_owned())
}

fn process(mesh: &Mesh, part: &str, pod: &str) -> Process {
    let uid = stdout(&mesh.system(&["get", "pod", pod, "-o", "jsonpath={.metadata.uid}"]));
    Process::of_pod(mesh.cluster(), &uid, &format!("/palisade {part} run"))
}

/// What the pods of a part say at a JSON path, word by word.
pub(crate) fn words(mesh: &Mesh, part: &str, path: &str) -> Vec<String> {
    let selector = format!("app.kubernetes.io/name=palisade-{part}");
    let path = format!("jsonpath={path}");
    let said = stdout(&mesh.system(&["get", "pods", "--selector", &selector, "-o", &path]));
    said.split_whitespace().map(str::to_owned).collect()
}

fn scale(mesh: &Mesh, part: &str, replicas: u8) {
    let deployment = format!("deployment/palisade-{part}");
    let replicas = format!("--replicas={replicas}");
    stdout(&mesh.system(&["scale", &deployment, &replicas]));
}

/// Ends all of a part at once: a pod that is deleted by force is gone from the API server long before its program ends.
fn end(mesh: &Mesh, part: &str) {
    let pods = words(mesh, part, NAMES);
    let programs: Vec<Process> = pods.iter().map(|pod| process(mesh, part, pod)).collect();
    scale(mesh, part, 0);
    // Until its ReplicaSets are told so too, others would come for those that go.
    wait_or_say("nobody who makes others", BOUND, || {
        let wanted = replicas(mesh, part);
        let is_over = wanted.iter().all(|replicas| replicas == "0");
        is_over.then_some(()).ok_or_else(|| wanted.join(" "))
    });
    force_away(mesh, &pods.iter().map(String::as_str).collect::<Vec<_>>());
    programs.iter().for_each(Process::kill);
    wait_for("the end of its pods", BOUND, || {
        words(mesh, part, NAMES).is_empty().then_some(())
    });
}

/// How many pods each ReplicaSet of a part is to have.
fn replicas(mesh: &Mesh, part: &str) -> Vec<String> {
    let selector = format!("app.kubernetes.io/name=palisade-{part}");
    let path = "jsonpath={.items[*].spec.replicas}";
    let said = stdout(&mesh.system(&["get", "replicasets", "--selector", &selector, "-o", path]));
    said.split_whitespace().map(str::to_owned).collect()
}

fn force_away(mesh: &Mesh, pods: &[&str]) {
    let delete = [
        "delete",
        "pod",
        "--force",
        "--grace-period=0",
        "--wait=false",
        "--ignore-not-found",
    ];
    stdout(&mesh.system(&[&delete, pods].concat()));
}

fn is_ready(load: &Load, pod: &str) -> bool {
    let ready = r#"{.status.conditions[?(@.type=="Ready")].status}"#;
    load.namespace.words(&["pod", pod], ready) == ["True"]
}

/// The one wait for nothing: an outage lasts as long as it is said to.
fn wait_out(outage: Duration, mut meanwhile: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < outage {
        meanwhile();
        thread::sleep(Duration::from_millis(500));
    }
}

/// `PALISADE_OUTAGE=600` for ten minutes.
fn outage() -> Duration {
    let seconds = env::var("PALISADE_OUTAGE").ok();
    Duration::from_secs(seconds.map_or(CONTROL_OUTAGE, |text| text.parse().expect("seconds")))
}

const CONTROL_OUTAGE: u64 = 60;
const API_OUTAGE: Duration = Duration::from_secs(12);
/// A lease is 15 s, and is looked at every 2 s.
const LEASE: Duration = Duration::from_secs(40);

pub(crate) const NAMES: &str = "{.items[*].metadata.name}";

const LATE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: late, image: "kube.local/busybox:1", imagePullPolicy: Never, command: [sleep, "3600"]}
"#;

/// A Deployment that is made while nobody injects.
const WAITS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: waits}
spec:
  selector: {matchLabels: {app: waits}}
  template:
    metadata: {labels: {app: waits}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: waits, image: "kube.local/busybox:1", imagePullPolicy: Never, command: [sleep, "3600"]}
"#;
