//! A pod in, a decision out.
//!
//! Nothing here asks anybody anything: what the namespace allows and demands is an argument, so that the webhook, the
//! command and a test decide alike.

mod compare;
mod ephemeral;
mod probes;
mod read;
mod reason;
mod refuse;
mod remove;
mod resources;
mod warn;
mod wishes;
mod workload;

use palisade_api::probe::Probes;
use palisade_api::{cluster, sidecar};
use serde_json::{Map, Value};

use crate::patch::{self, PatchOp};
use crate::sidecar::{Datagrams, Sidecar, volume};

pub use crate::settings::{NamespaceFacts, Resources, Settings};
pub use ephemeral::ephemeral;
pub use reason::{RefuseReason, SkipReason};
pub use remove::uninject;
pub use workload::pod_pointer;

use read::Pod;
use wishes::Wishes;

/// What is to be done with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injection {
    /// It is changed.
    Patch {
        /// How.
        operations: Vec<PatchOp>,
        /// What whoever creates it should know, a sentence each.
        warnings: Vec<String>,
    },
    /// It is already what it would become.
    AlreadyInjected,
    /// It stays outside of the mesh.
    Skip(SkipReason),
    /// It must not run: every reason.
    Refuse(Vec<RefuseReason>),
}

/// Decides about a pod, or a pod's template: `metadata` and `spec` of `pod` are read.
///
/// What is already injected is compared in full, and written anew where it is not what would be written now.
pub fn inject(pod: &Value, settings: &Settings, namespace: &NamespaceFacts) -> Injection {
    match rewrite(pod, settings, namespace) {
        Ok(rewritten) => {
            let operations = patch::between(pod, &rewritten.pod);
            if operations.is_empty() {
                Injection::AlreadyInjected
            } else {
                Injection::Patch {
                    operations,
                    warnings: rewritten.warnings,
                }
            }
        }
        Err(Declined::Skip(reason)) => Injection::Skip(reason),
        Err(Declined::Refuse(reasons)) => Injection::Refuse(reasons),
    }
}

/// A pod with its sidecar.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// The whole pod.
    pub pod: Value,
    /// What whoever creates it should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Why a pod gets no sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declined {
    /// It stays outside of the mesh.
    Skip(SkipReason),
    /// It must not run: every reason.
    Refuse(Vec<RefuseReason>),
}

/// What [`inject`] decides, as the whole pod.
///
/// # Errors
///
/// The pod stays outside of the mesh, or must not run.
pub fn rewrite(
    pod: &Value,
    settings: &Settings,
    namespace: &NamespaceFacts,
) -> Result<Rewritten, Declined> {
    let read = Pod::read(pod).map_err(|reason| Declined::Refuse(vec![reason]))?;
    if let Some(reason) = refuse::skip(&read) {
        return Err(Declined::Skip(reason));
    }
    let mut reasons = Vec::new();
    let wishes = wishes::read(&read, namespace, &mut reasons);
    if wishes.opts_out && reasons.is_empty() {
        return Err(Declined::Skip(SkipReason::OptedOut));
    }
    refuse::refuse(&read, &mut reasons);
    let plan = probes::plan(&read, &mut reasons);
    if !reasons.is_empty() {
        return Err(Declined::Refuse(reasons));
    }
    let warnings = warn::warnings(&read, &wishes, namespace);
    let mut after = pod.clone();
    for rewrite in &plan.rewrites {
        rewrite.apply(&mut after);
    }
    place(
        &mut after,
        &read,
        &wishes,
        &plan.probes,
        (settings, namespace),
    );
    Ok(Rewritten {
        pod: after,
        warnings,
    })
}

/// Puts the containers, the volume and the annotation where they belong.
fn place(
    pod: &mut Value,
    read: &Pod,
    wishes: &Wishes,
    probes: &Probes,
    (settings, namespace): (&Settings, &NamespaceFacts),
) {
    let resources = resources::resources(&read.spec, wishes, settings, &namespace.limits);
    let added = Sidecar {
        settings,
        excluded: &wishes.excluded,
        datagrams: datagrams(namespace),
        probes,
        resources: &resources,
    };
    let Some(pod) = pod.as_object_mut() else {
        return;
    };
    if let Some(spec) = object(pod, "spec") {
        if let Some(containers) = array(spec, "initContainers") {
            let ours = [added.redirect(), added.proxy()];
            first(containers, ours);
        }
        if let Some(volumes) = array(spec, "volumes") {
            among(volumes, volume());
        }
    }
    let annotations = object(pod, "metadata").and_then(|metadata| object(metadata, "annotations"));
    if let Some(annotations) = annotations {
        annotations.insert(cluster::INJECTED.into(), env!("CARGO_PKG_VERSION").into());
    }
}

/// Datagrams are the mesh's to keep out unless the namespace says that it takes plaintext.
fn datagrams(namespace: &NamespaceFacts) -> Datagrams {
    let mode = namespace.annotations.get(sidecar::MTLS_ANNOTATION);
    if mode.is_some_and(|mode| mode == "permissive") {
        Datagrams::Pass
    } else {
        Datagrams::Drop
    }
}

/// The redirect, the sidecar, then the user's in their order.
fn first(containers: &mut Vec<Value>, ours: [Value; 2]) {
    let mut old = std::mem::take(containers);
    for wanted in ours {
        let same = old
            .iter()
            .position(|item| item.get("name") == wanted.get("name"));
        let existing = same.map(|index| old.remove(index));
        containers.push(compare::keep_or_replace(existing, wanted));
    }
    containers.append(&mut old);
}

/// In the place of the one of that name, or last.
fn among(volumes: &mut Vec<Value>, wanted: Value) {
    let same = |item: &&mut Value| item.get("name") == wanted.get("name");
    if let Some(existing) = volumes.iter_mut().find(same) {
        *existing = compare::keep_or_replace(Some(existing.take()), wanted);
    } else {
        volumes.push(wanted);
    }
}

/// The object at a key, made where there is none.
fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

/// The list at a key, made where there is none.
fn array<'a>(parent: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}
