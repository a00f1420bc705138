//! What people type, against a cluster.

mod audit;
mod check;
mod logs;
mod objects;
mod pods;
mod policy;
mod rights;

use std::process::Output;

use crate::harness::{Mesh, Namespace, stdout};

/// The command, run by another program of the cluster's host.
fn palisade_under(mesh: &Mesh, program: &[&str], arguments: &[&str]) -> Output {
    let palisade = [env!("CARGO_BIN_EXE_palisade")];
    mesh.cluster()
        .run(&[&["exec"], program, &palisade, arguments].concat())
}

/// Starts a pod `lost` outside of the mesh, whose sidecar was put in by hand and whose control is not there.
fn lost(namespace: &Namespace) {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: lost}, spec: {automountServiceAccountToken: false, \
        terminationGracePeriodSeconds: 0, containers: [{name: app, image: 'kube.local/pause:1', imagePullPolicy: Never}]}}";
    let cluster = namespace.cluster();
    let image = cluster.palisade_image();
    let palisade = env!("CARGO_BIN_EXE_palisade");
    let inject = ["exec", palisade, "inject", "-f", "-", "--image", image];
    let inject = [&inject[..], &["--control", "10.96.255.254:15012"]].concat();
    namespace.apply(&stdout(&cluster.fed(&inject, pod)));
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
