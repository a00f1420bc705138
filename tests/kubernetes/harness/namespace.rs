//! A test's own namespace.

use std::process::Output;
use std::time::Duration;

use super::{BOUND, Cluster, stdout};

/// A namespace, deleted with all that is in it when it is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    cluster: &'static Cluster,
    name: String,
}

impl Namespace {
    pub(super) fn create(cluster: &'static Cluster, name: String) -> Self {
        cluster.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"
        ));
        Self { cluster, name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// Runs kubectl in this namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        self.cluster
            .kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Applies objects written in YAML that name no namespace.
    pub(crate) fn apply(&self, yaml: &str) {
        let kubectl = ["kubectl", "--namespace", &self.name, "apply", "-f", "-"];
        stdout(&self.cluster.fed(&kubectl, yaml));
    }

    /// Waits for all replicas of `deployment/web` or `statefulset/db`.
    pub(crate) fn rolled_out(&self, what: &str) {
        self.rolled_out_within(what, BOUND);
    }

    pub(crate) fn rolled_out_within(&self, what: &str, bound: Duration) {
        let bound = format!("--timeout={}s", bound.as_secs());
        let output = self.kubectl(&["rollout", "status", what, &bound]);
        if !output.status.success() {
            let pods = self.kubectl(&["describe", "pods"]);
            panic!("{what}: {output:?}\n{}", stdout(&pods));
        }
    }

    /// Runs a command in a pod: `db-0`, or `deployment/web` for any of its pods.
    pub(crate) fn exec(&self, pod: &str, command: &[&str]) -> Output {
        self.kubectl(&[&["exec", pod, "--"], command].concat())
    }

    /// What kubectl finds at a JSON path, word by word.
    pub(crate) fn words(&self, object: &[&str], path: &str) -> Vec<String> {
        let template = format!("jsonpath={path}");
        let output = self.kubectl(&[&["get"], object, &["-o", &template]].concat());
        stdout(&output)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end takes as long as its slowest pod, and no test waits for that.
        self.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
