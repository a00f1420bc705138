//! What the decision depends on beside the pod.

use std::collections::BTreeMap;

use crate::limits::{LimitsDemanded, Quantity};

/// How the mesh is set: the same for every pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image of the sidecar and the redirect.
    pub image: String,
    /// Their `imagePullPolicy`; without one, Kubernetes chooses by the image's tag.
    pub image_pull_policy: Option<String>,
    /// The trust domain that control issues for.
    pub trust_domain: String,
    /// Where control serves, `HOST:PORT` each, in the order in which they are tried.
    pub control: Vec<String>,
    /// What either container asks for where the pod says nothing.
    pub resources: Resources,
}

/// Requests of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Of CPU.
    pub cpu_request: Quantity,
    /// Of memory.
    pub memory_request: Quantity,
}

/// What counts of the namespace that the pod is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What its LimitRanges and ResourceQuotas ask of every container.
    pub limits: LimitsDemanded,
}
