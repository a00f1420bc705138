//! What is kept of objects that have far more than is judged: a cluster has thousands.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;

/// All but the account of who wrote what.
pub(super) fn nothing<K: Resource>(one: &mut K) {
    one.meta_mut().managed_fields = None;
}

/// Without the environment, volumes and states of its containers.
pub(super) fn pod(one: &mut Pod) {
    nothing(one);
    if let Some(spec) = &mut one.spec {
        spec.volumes = None;
        spec.affinity = None;
        spec.tolerations = None;
        for container in &mut spec.containers {
            let ports = container.ports.take();
            *container = Default::default();
            container.ports = ports;
        }
        for container in spec.init_containers.iter_mut().flatten() {
            container.env = None;
            container.env_from = None;
            container.volume_mounts = None;
        }
    }
    if let Some(status) = &mut one.status {
        status.conditions = None;
        status.container_statuses = None;
    }
}

/// Without the schemas, which may be megabytes.
pub(super) fn definition(one: &mut CustomResourceDefinition) {
    nothing(one);
    for version in &mut one.spec.versions {
        version.schema = None;
    }
}

/// Without its images.
pub(super) fn node(one: &mut Node) {
    nothing(one);
    if let Some(status) = &mut one.status {
        status.images = None;
    }
}
