//! The authority is lost, and comes back: meanwhile there is no other.

use crate::harness::{BOUND, Mesh, stdout, wait_for};
use crate::load::{Load, ready};
use crate::outage::{NAMES, words};

#[test]
fn an_authority_that_is_lost_is_not_replaced_and_its_mesh_goes_on() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "lost");
    let kept = backup(&mesh);
    load.unbroken("no Secret of the authority", || {
        stdout(&mesh.system(&["delete", "secret", SECRET]));
        let old = words(&mesh, "control", NAMES).remove(0);
        stdout(&mesh.system(&["delete", "pod", &old, "--wait"]));
        until_refused(&mesh, 1);
        // The other replica has what it read.
        load.rules_are_enforced("without the Secret");
        load.namespace.apply(LATE);
        ready(&load.namespace, "late");
        mesh.cluster().apply(&kept);
        mesh.ready();
    });
}

#[test]
fn an_authority_that_is_restored_is_trusted_by_old_pods_and_new_ones() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "restored");
    let kept = backup(&mesh);
    load.unbroken("its namespace deleted and installed again", || {
        let delete = ["delete", "namespace", "palisade-system", "--wait"];
        stdout(&mesh.cluster().kubectl(&delete));
        mesh.apply(mesh.cluster().palisade_image());
        until_refused(&mesh, 2);
        mesh.cluster().apply(&kept);
        mesh.ready();
        load.rules_are_enforced("by the restored control, on old proxies");
    });
    load.namespace.apply(LATE);
    ready(&load.namespace, "late");
    let curl = ["curl", "-sS", "--fail", "--max-time", "5", WEB];
    stdout(&load.namespace.exec("late", &curl));
    let web = "deployment/web";
    stdout(&load.namespace.kubectl(&["rollout", "restart", web]));
    load.namespace.rolled_out(web);
    wait_for("an old pod's call of a new one", BOUND, || {
        let call = ["/palisade", "demo", "traffic", "--count", "1", WEB];
        let called = load.namespace.exec("caller", &call);
        called.status.success().then_some(())
    });
}

/// The Secret as somebody keeps it who does as the README says.
fn backup(mesh: &Mesh) -> String {
    stdout(&mesh.system(&["get", "secret", SECRET, "-o", "yaml"]))
}

/// Waits until so many replicas say that there should be an authority, and sees that none was made.
fn until_refused(mesh: &Mesh, replicas: usize) {
    wait_for("control to say what is missing", BOUND, || {
        let pods = words(mesh, "control", NAMES);
        let says = |pod: &&String| {
            // A container that has not started has no log.
            let log = mesh.system(&["logs", pod]);
            String::from_utf8_lossy(&log.stdout).contains("restore the Secret from a backup")
        };
        (pods.iter().filter(says).count() == replicas).then_some(())
    });
    let found = mesh.system(&["get", "secret", SECRET, "--ignore-not-found"]);
    assert_eq!(stdout(&found), "", "another authority was made");
}

const SECRET: &str = "palisade-ca";
const WEB: &str = "http://web:8080/";

/// It has the identity that may call.
const LATE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  serviceAccountName: caller
  terminationGracePeriodSeconds: 0
  containers:
  - {name: late, image: "kube.local/curl:1", imagePullPolicy: Never, command: [sleep, "3600"]}
"#;
