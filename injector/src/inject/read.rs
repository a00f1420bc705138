//! A pod, read once into Kubernetes' own types. What is written is written into the original, of which these types
//! may not know every field.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use palisade_api::cluster;
use serde_json::Value;

use super::RefuseReason;

/// A pod or a pod's template.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) spec: PodSpec,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Init,
    Main,
    Ephemeral,
}

/// A container of the user's, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) list: List,
    pub(super) index: usize,
    pub(super) container: &'a Container,
}

impl Pod {
    pub(super) fn read(pod: &Value) -> Result<Self, RefuseReason> {
        // Only these two: a template has no status, and a pod's is not ours to judge.
        let field = |key| pod.get(key).cloned().unwrap_or_default();
        let template = serde_json::json!({"metadata": field("metadata"), "spec": field("spec")});
        let problem = |problem: String| RefuseReason::NotAPod { problem };
        let template: PodTemplateSpec =
            serde_json::from_value(template).map_err(|error| problem(error.to_string()))?;
        let spec = template.spec.unwrap_or_default();
        if spec.containers.is_empty() {
            return Err(problem("spec.containers is empty".to_owned()));
        }
        let metadata = template.metadata.unwrap_or_default();
        Ok(Self {
            annotations: metadata.annotations.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            spec,
        })
    }

    /// The user's containers: all but ours, which stand among the init containers only.
    pub(super) fn containers(&self) -> impl Iterator<Item = Place<'_>> {
        let init = self.spec.init_containers.iter().flatten().enumerate();
        let init = init.filter(|(_, container)| !is_ours(&container.name));
        let init = init.map(|(index, container)| Place {
            list: List::Init,
            index,
            container,
        });
        let main = self.spec.containers.iter().enumerate();
        init.chain(main.map(|(index, container)| Place {
            list: List::Main,
            index,
            container,
        }))
    }

    /// The sidecar that is already there.
    pub(super) fn sidecar(&self) -> Option<&Container> {
        let mut containers = self.spec.init_containers.iter().flatten();
        containers.find(|container| container.name == cluster::PROXY_CONTAINER)
    }
}

impl Place<'_> {
    /// The field's path, for people: `spec.containers[0]`.
    pub(super) fn path(&self) -> String {
        format!("spec.{}[{}]", self.list.key(), self.index)
    }

    /// The field's JSON pointer: `/spec/containers/0`.
    pub(super) fn pointer(&self) -> String {
        format!("/spec/{}/{}", self.list.key(), self.index)
    }
}

impl List {
    fn key(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Main => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

/// Whether a container's name is one of those that the mesh adds.
pub(super) fn is_ours(name: &str) -> bool {
    [cluster::PROXY_CONTAINER, cluster::REDIRECT_CONTAINER].contains(&name)
}
