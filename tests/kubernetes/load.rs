//! A small shop under steady load, in which every failed call counts.
#![expect(clippy::print_stdout, reason = "figures are for whoever reads the log")]

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, wait_for};

/// `web` is called by `caller`: on new connections by one of its containers, on one kept connection by the other.
/// `outsider` may not call it, until it is admitted.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) namespace: Namespace,
}

/// What one container of the caller has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    calls: usize,
    failed: usize,
    /// Milliseconds of the slowest call.
    slowest: u64,
}

impl Load {
    /// The shop, called from now on.
    pub(crate) fn start(mesh: &Mesh, purpose: &str) -> Self {
        let namespace = mesh.namespace(purpose);
        let image = mesh.cluster().palisade_image();
        namespace.apply(
            &SHOP
                .replace("IMAGE", image)
                .replace("SPACE", namespace.name()),
        );
        namespace.rolled_out("deployment/web");
        for pod in ["caller", "outsider"] {
            ready(&namespace, pod);
        }
        let load = Self { namespace };
        // The first calls may come before the proxies know the rule.
        for caller in CALLERS {
            wait_for("calls that succeed", BOUND, || {
                load.said(caller, &["--tail=20"])
                    .iter()
                    .all(|call| !call.is_empty() && !is_failure(call))
                    .then_some(())
            });
        }
        load
    }

    /// Does something, and sees that not a single call fails meanwhile, nor after it for a while.
    pub(crate) fn unbroken<T>(&self, while_what: &str, during: impl FnOnce() -> T) -> T {
        let before = CALLERS.map(|caller| self.tally(caller));
        let start = Instant::now();
        let result = during();
        for (caller, before) in CALLERS.into_iter().zip(before) {
            let enough = self.tally(caller).calls + 20;
            let after = wait_for("more calls", BOUND, || {
                Some(self.tally(caller)).filter(|tally| tally.calls >= enough)
            });
            let took = start.elapsed();
            let calls = after.calls - before.calls;
            let failed = after.failed - before.failed;
            println!(
                "{while_what}: {calls} calls in {took:.1?} on {caller} connections, {failed} failed, slowest of all {} ms",
                after.slowest
            );
            assert_eq!(failed, 0, "{:?}", self.failures(caller));
            // They neither stood still: at 50 ms there are 20 a second, on a machine with nothing else to do.
            let expected = usize::try_from(took.as_millis() / 500).unwrap_or_default();
            assert!(calls >= expected, "{calls} calls in {took:?}");
        }
        result
    }

    /// Admits the outsider by a rule, sees that it is enforced, takes the rule back, and sees that too.
    pub(crate) fn rules_are_enforced(&self, when: &str) {
        assert!(!self.outsider_gets_in(), "before the rule");
        self.admit();
        let admitted = self.until_outsider(true);
        self.refuse();
        let refused = self.until_outsider(false);
        println!("{when}: a rule is enforced after {admitted:?}, its end after {refused:?}");
    }

    pub(crate) fn admit(&self) {
        self.namespace.apply(&self.admission());
    }

    /// Whether the API server takes the rule that admits the outsider.
    pub(crate) fn try_admit(&self, cluster: &Cluster) -> bool {
        let apply = [
            "kubectl",
            "--namespace",
            self.namespace.name(),
            "apply",
            "-f",
            "-",
        ];
        cluster.fed(&apply, &self.admission()).status.success()
    }

    fn admission(&self) -> String {
        ADMISSION.replace("SPACE", self.namespace.name())
    }

    pub(crate) fn refuse(&self) {
        let rule = ["delete", "authorizationpolicy", "outsider"];
        stdout(&self.namespace.kubectl(&rule));
    }

    /// How long it takes until the outsider is let in, or no longer; a call from within included.
    pub(crate) fn until_outsider(&self, gets_in: bool) -> Duration {
        let start = Instant::now();
        let what = format!("the outsider gets in: {gets_in}");
        wait_for(&what, BOUND, || {
            (self.outsider_gets_in() == gets_in).then_some(())
        });
        start.elapsed()
    }

    pub(crate) fn outsider_gets_in(&self) -> bool {
        let call = ["curl", "--silent", "--max-time", "2", "http://web:8080/"];
        self.namespace.exec("outsider", &call).status.success()
    }

    fn tally(&self, caller: &str) -> Tally {
        let calls = self.said(caller, &[]);
        let took = |call: &String| {
            let (_, took) = call.rsplit_once('(')?;
            took.strip_suffix(" ms)")?.parse().ok()
        };
        Tally {
            calls: calls.len(),
            failed: calls.iter().filter(|call| is_failure(call)).count(),
            slowest: calls.iter().filter_map(took).max().unwrap_or_default(),
        }
    }

    fn failures(&self, caller: &str) -> Vec<String> {
        let mut calls = self.said(caller, &["--timestamps"]);
        calls.retain(|call| is_failure(call));
        calls
    }

    fn said(&self, caller: &str, which: &[&str]) -> Vec<String> {
        let logs = ["logs", "caller", "--container", caller];
        let said = stdout(&self.namespace.kubectl(&[&logs, which].concat()));
        said.lines().map(str::to_owned).collect()
    }
}

/// Waits for one pod.
pub(crate) fn ready(namespace: &Namespace, pod: &str) {
    let bound = format!("--timeout={}s", BOUND.as_secs());
    let pod = format!("pod/{pod}");
    stdout(&namespace.kubectl(&["wait", "--for=condition=Ready", &pod, &bound]));
}

fn is_failure(call: &str) -> bool {
    !call.contains("200 OK")
}

const CALLERS: [&str; 2] = ["new", "kept"];

const SHOP: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: caller}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: outsider}
---
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: caller}
spec:
  target: {labels: {app: web}}
  rules:
  - {name: caller, effect: allow, from: [{serviceAccount: SPACE/caller}], ports: [8080]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      securityContext: {runAsUser: 1000, runAsGroup: 1000}
      containers:
      - {name: web, image: "IMAGE", imagePullPolicy: Never, args: [demo, http], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: caller, labels: {app: caller}}
spec:
  serviceAccountName: caller
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  containers:
  - {name: new, image: "IMAGE", imagePullPolicy: Never, args: [demo, traffic, "http://web:8080/", --every, 50ms]}
  - {name: kept, image: "IMAGE", imagePullPolicy: Never, args: [demo, traffic, "http://web:8080/", --every, 50ms, --keep]}
---
apiVersion: v1
kind: Pod
metadata: {name: outsider, labels: {app: outsider}}
spec:
  serviceAccountName: outsider
  terminationGracePeriodSeconds: 0
  containers:
  - {name: outsider, image: "kube.local/curl:1", imagePullPolicy: Never, command: [sleep, "3600"]}
"#;

const ADMISSION: &str = "
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: outsider}
spec:
  target: {labels: {app: web}}
  rules:
  - {name: outsider, effect: allow, from: [{serviceAccount: SPACE/outsider}], ports: [8080]}
";
