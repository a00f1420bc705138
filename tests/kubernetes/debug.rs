//! `kubectl debug` of a pod in the mesh.

use std::process::Output;

use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_for};
use crate::traffic::{Shop, identity, ready, recorded};

#[test]
fn a_debug_container_calls_as_its_pod_does_and_cannot_be_the_sidecar() {
    let mesh = Mesh::shared();
    let shop = Shop::meshed(&mesh, "debug");
    let shop = &shop.namespace;
    let call = ["curl", "-sS", "--fail", "--max-time", "10", "http://web/"];
    stdout(&debug(shop, "guest", "{}", &call));
    assert_eq!(ended(shop, "guest"), "0");
    let said = stdout(&shop.kubectl(&["logs", "client", "-c", "guest"]));
    assert!(said.starts_with("web-"), "{said}");
    let (client, web) = (identity(shop, "client"), identity(shop, "web"));
    recorded(&mesh, shop, "inbound record of the guest", |records| {
        let wanted = [
            ("event", "close"),
            ("direction", "inbound"),
            ("src.identity", &*client),
            ("src.workload", "client"),
            ("dst.identity", &*web),
            ("policy.decision", "allow"),
        ];
        let called = records.iter().any(|record| record.has(&wanted));
        called.then_some(())
    });

    // By the uid whose connections are not redirected it would be out of the mesh.
    let ours = r#"{"securityContext": {"runAsUser": 1337}}"#;
    let refused = debug(shop, "sidecar", ours, &call);
    let why = text(&refused.stderr);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(why.contains("uid 1337 is the sidecar's"), "{why}");
    let guests = shop.words(&["pod", "client"], "{.spec.ephemeralContainers[*].name}");
    assert_eq!(guests, ["guest"]);
}

#[test]
fn a_copy_for_debugging_is_in_the_mesh_once() {
    let mesh = Mesh::shared();
    let shop = Shop::meshed(&mesh, "copy");
    let image = "--set-image=client=kube.local/curl:1";
    stdout(
        &shop
            .namespace
            .kubectl(&["debug", "client", "--copy-to=copy", image]),
    );
    ready(&shop.namespace, "copy");
    let inits = shop
        .namespace
        .words(&["pod", "copy"], "{.spec.initContainers[*].name}");
    assert_eq!(inits, ["palisade-redirect", "palisade-proxy"]);
    let called = shop.namespace.exec(
        "copy",
        &["curl", "-sS", "--fail", "--max-time", "10", "http://web/"],
    );
    assert!(stdout(&called).starts_with("web-"), "{called:?}");
}

/// A container more in the client's pod, with this in its specification, that runs this.
fn debug(shop: &Namespace, name: &str, more: &str, command: &[&str]) -> Output {
    let debug = ["kubectl", "--namespace", shop.name(), "debug", "client"];
    let name = format!("--container={name}");
    let image = ["--image=kube.local/curl:1", "--image-pull-policy=Never"];
    let how = ["--attach=false", "--custom=/dev/stdin", &name, "--"];
    shop.cluster()
        .fed(&[&debug[..], &image, &how, command].concat(), more)
}

/// With which code a debug container ended.
fn ended(shop: &Namespace, name: &str) -> String {
    let path = format!(
        "{{.status.ephemeralContainerStatuses[?(@.name=='{name}')].state.terminated.exitCode}}"
    );
    wait_for(&format!("the end of {name}"), BOUND, || {
        shop.words(&["pod", "client"], &path).pop()
    })
}
