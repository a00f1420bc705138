//! Control and the injector change under running proxies.

use crate::harness::{BOUND, Mesh, stdout, wait_for};
use crate::load::{Load, ready};

const NEXT: &str = "kube.local/palisade:next";

#[test]
fn an_upgrade_under_load_loses_nothing_and_old_proxies_go_on() {
    let mesh = Mesh::alone();
    let old = mesh.cluster().palisade_image();
    let load = Load::start(&mesh, "upgrade");
    for node in ["/run/containerd/node1.sock", "/run/containerd/node2.sock"] {
        let containerd = ["exec", "ctr", "--address", node, "--namespace", "k8s.io"];
        let tag = ["images", "tag", "--force", old, NEXT];
        stdout(&mesh.cluster().run(&[containerd.as_slice(), &tag].concat()));
    }
    load.unbroken("upgrade", || {
        mesh.apply(NEXT);
        let create = ["kubectl", "--namespace", load.namespace.name(), "create"];
        let try_it = ["--dry-run=server", "-f", "-"];
        wait_for("the end of the old parts", BOUND, || {
            stdout(
                &mesh
                    .cluster()
                    .fed(&[create.as_slice(), &try_it].concat(), LATE),
            );
            // Until the last has ended the API server may ask it what a sidecar is.
            let images = stdout(&mesh.system(&["get", "pods", "-o", PODS]));
            (images == [NEXT; 4].join(" ")).then_some(())
        });
        mesh.ready();
        load.rules_are_enforced("on old proxies, by the new control");
        load.namespace.apply(LATE);
        ready(&load.namespace, "late");
    });
    let sidecar = r#"{.spec.initContainers[?(@.name=="palisade-proxy")].image}"#;
    assert_eq!(load.namespace.words(&["pod", "caller"], sidecar), [old]);
    assert_eq!(load.namespace.words(&["pod", "late"], sidecar), [NEXT]);
}

const PODS: &str = "jsonpath={.items[*].spec.containers[*].image}";

const LATE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: late, image: "kube.local/busybox:1", imagePullPolicy: Never, command: [sleep, "3600"]}
"#;
