//! What people type, against a cluster.

mod audit;
mod check;
mod logs;
mod objects;
mod pods;
mod rights;

use std::process::Output;

use crate::harness::{Mesh, Namespace};

/// The command, run by another program of the cluster's host.
fn palisade_under(mesh: &Mesh, program: &[&str], arguments: &[&str]) -> Output {
    let palisade = [env!("CARGO_BIN_EXE_palisade")];
    mesh.cluster()
        .run(&[&["exec"], program, &palisade, arguments].concat())
}

/// Starts a Deployment with one pod that has a shell and does nothing.
fn idle(namespace: &Namespace, name: &str, annotations: &str) {
    namespace.apply(&format!(
        r"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {annotations}}}
    spec:
      terminationGracePeriodSeconds: 0
      automountServiceAccountToken: false
      containers:
      - {{name: app, image: 'kube.local/busybox:1', imagePullPolicy: Never, command: [sleep, infinity]}}
"
    ));
    namespace.rolled_out(&format!("deployment/{name}"));
}
