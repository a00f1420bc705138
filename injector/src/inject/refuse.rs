//! Which pods stay outside, and which must not run.

use k8s_openapi::api::core::v1::Container;
use palisade_api::{cluster, sidecar};

use super::read::{List, Place, Pod, is_ours};
use super::{RefuseReason, SkipReason};

/// Why the pod stays outside, whatever it asks for.
pub(super) fn skip(pod: &Pod) -> Option<SkipReason> {
    let spec = &pod.spec;
    let selects_windows = || {
        let selector = spec.node_selector.as_ref();
        selector
            .and_then(|selector| selector.get(OS_LABEL))
            .map(String::as_str)
            == Some(WINDOWS)
    };
    if spec.host_network == Some(true) {
        Some(SkipReason::HostNetwork)
    } else if pod.annotations.contains_key(MIRROR_ANNOTATION) {
        Some(SkipReason::Mirror)
    } else if spec.os.as_ref().is_some_and(|os| os.name == WINDOWS) || selects_windows() {
        Some(SkipReason::Windows)
    } else {
        None
    }
}

/// What of the pod's containers must not run beside the sidecar. Its probes are looked at where they are rewritten.
pub(super) fn refuse(pod: &Pod, reasons: &mut Vec<RefuseReason>) {
    let uid = pod
        .spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    refuse_uid(uid, "spec", reasons);
    for place in pod.containers() {
        container(&place, reasons);
    }
}

/// What holds for every container of the user's, of whatever kind.
pub(super) fn container(place: &Place<'_>, reasons: &mut Vec<RefuseReason>) {
    let Container {
        name,
        ports,
        security_context,
        volume_mounts,
        ..
    } = place.container;
    let path = place.path();
    if is_ours(name) && place.list != List::Init {
        reasons.push(RefuseReason::Name {
            path: format!("{path}.name"),
            name: name.clone(),
        });
    }
    let uid = security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    refuse_uid(uid, &path, reasons);
    for (index, port) in ports.iter().flatten().enumerate() {
        refuse_port(
            port.container_port,
            &format!("{path}.ports[{index}].containerPort"),
            reasons,
        );
        if let Some(host_port) = port.host_port {
            refuse_port(
                host_port,
                &format!("{path}.ports[{index}].hostPort"),
                reasons,
            );
        }
    }
    for (index, mount) in volume_mounts.iter().flatten().enumerate() {
        if mount.name == cluster::IDENTITY_VOLUME {
            let path = format!("{path}.volumeMounts[{index}].name");
            reasons.push(RefuseReason::IdentityMount { path });
        }
    }
}

/// Whether the sidecar listens on this port.
pub(super) fn is_proxy_port(port: u16) -> bool {
    sidecar::PROXY_PORTS.contains(&port)
}

fn refuse_uid(uid: Option<i64>, owner: &str, reasons: &mut Vec<RefuseReason>) {
    if uid == Some(i64::from(sidecar::PROXY_UID)) {
        let path = format!("{owner}.securityContext.runAsUser");
        reasons.push(RefuseReason::Uid { path });
    }
}

fn refuse_port(port: i32, path: &str, reasons: &mut Vec<RefuseReason>) {
    if let Ok(port) = u16::try_from(port)
        && is_proxy_port(port)
    {
        let path = path.to_owned();
        reasons.push(RefuseReason::Port { path, port });
    }
}

/// The kubelet's mark on the API's image of a static pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// The node's label that says its operating system.
const OS_LABEL: &str = "kubernetes.io/os";
const WINDOWS: &str = "windows";
