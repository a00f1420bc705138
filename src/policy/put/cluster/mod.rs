//! A cluster: its rules are objects, and what its sidecars enforce stands in their status.

mod follow;
mod object;
#[cfg(test)]
mod tests;

use anyhow::bail;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use palisade_api::cluster::{CLUSTER_POLICIES, GROUP, POLICIES, SYSTEM_NAMESPACE, VERSION};
use palisade_api::policy::AuthorizationPolicy;
use palisade_control::audit;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::heard::{Heard, hearing};
use super::{Change, Done, Put, Unapplied, Wait, Warning};
use crate::args::MeshArgs;
use crate::kubernetes::{client, definitions, list};
use follow::{follow, spec};
use object::Objects;

/// Tries all objects without effect first, then applies them, and waits.
pub(super) async fn put(mesh: &MeshArgs, change: &Change, wait: Wait) -> anyhow::Result<Done> {
    let (client, mut heard) = hearing(client::client(&mesh.kube).await?);
    let objects = Objects::of(change);
    let trial = apply_all(&client, &mut heard, (change, &objects), true).await;
    if let Some(refused) = trial.refused {
        bail!("{refused}; nothing was applied");
    }
    let mut warnings = trial.warnings;
    let Tried {
        applied,
        refused,
        warnings: again,
    } = apply_all(&client, &mut heard, (change, &objects), false).await;
    // Most were told of the trial, too.
    let new = again.into_iter().filter(|one| !warnings.contains(one));
    let new: Vec<_> = new.collect();
    warnings.extend(new);
    let begun = Instant::now();
    let (unapplied, progress) = match (refused, wait.patience) {
        (Some(ApplyError::Refused(why)), _) if applied.is_empty() => {
            bail!("{why}; nothing was applied")
        }
        (Some(why), _) if applied.is_empty() => return Err(why.into()),
        (Some(why), _) => (left_out(change, applied.len(), &why), None),
        (None, Some(patience)) => {
            let mut progress = follow(&client, &applied, (begun, patience)).await;
            // What was so before may be so no more. Who may not see it is told what the status says.
            if progress.is_done() && audit::is_down(&client, SYSTEM_NAMESPACE).await == Ok(true) {
                progress.unsettled("control".to_owned(), NOT_READY.to_owned());
            }
            (Vec::new(), Some(progress))
        }
        (None, None) => (Vec::new(), None),
    };
    let put = applied.iter().map(|one| Put {
        policy: one.policy.title(),
        place: format!("generation {}", one.generation),
    });
    Ok(Done {
        put: put.collect(),
        unapplied,
        progress,
        warnings,
    })
}

/// The policies behind those that were applied, the first of them with why.
fn left_out(change: &Change, applied: usize, why: &ApplyError) -> Vec<Unapplied> {
    let left = change.policies.iter().skip(applied).enumerate();
    let left = left.map(|(index, policy)| Unapplied {
        policy: policy.title(),
        why: (index == 0).then(|| why.to_string()),
    });
    left.collect()
}

/// A policy, and its object.
#[derive(Debug)]
struct Applied<'a> {
    policy: &'a AuthorizationPolicy,
    /// Which generation of the object says it.
    generation: i64,
    /// As the API server keeps it.
    spec: Value,
}

/// What came of several, one after the other: up to the first that is refused.
#[derive(Debug, Default)]
struct Tried<'a> {
    applied: Vec<Applied<'a>>,
    refused: Option<ApplyError>,
    warnings: Vec<Warning>,
}

/// Why an object is not applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("{0}")]
    Refused(String),
    /// The answer is missing.
    #[error("{policy} may or may not be applied: {why}")]
    Unknown { policy: String, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

async fn apply_all<'a>(
    client: &Client,
    heard: &mut Heard,
    (change, objects): (&'a Change, &Objects),
    dry: bool,
) -> Tried<'a> {
    let mut tried = Tried::default();
    for policy in &change.policies {
        let object = match apply(client, policy, (change, objects), dry).await {
            Ok(object) => object,
            Err(why) => {
                tried.refused = Some(why);
                break;
            }
        };
        tried.applied.push(Applied {
            policy,
            generation: object.metadata.generation.unwrap_or_default(),
            spec: spec(&object),
        });
        let of_it = heard.take().into_iter().map(|message| Warning::OfObject {
            object: policy.title(),
            message,
        });
        tried.warnings.extend(of_it);
    }
    tried
}

/// The API's way to a policy.
fn api(client: &Client, policy: &AuthorizationPolicy) -> Api<DynamicObject> {
    let resource = |kind, plural| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural)
    };
    match &policy.namespace {
        Some(namespace) => {
            let resource = resource("AuthorizationPolicy", POLICIES);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        None => {
            let resource = resource("ClusterAuthorizationPolicy", CLUSTER_POLICIES);
            Api::all_with(client.clone(), &resource)
        }
    }
}

async fn apply(
    client: &Client,
    policy: &AuthorizationPolicy,
    (change, objects): (&Change, &Objects),
    dry: bool,
) -> Result<DynamicObject, ApplyError> {
    let mut object = objects.object(policy)?;
    if let (Some(label), Some(metadata)) = (change.label, object.pointer_mut("/metadata")) {
        metadata["labels"] = json!({label: "true"});
    }
    let params = PatchParams {
        dry_run: dry,
        force: change.force,
        ..PatchParams::apply(MANAGER)
    };
    let applied = api(client, policy)
        .patch(&policy.name, &params, &Patch::Apply(object))
        .await;
    let undefined = match &applied {
        Err(error) if list::is_undefined(error) => Some(undefined(client, policy).await),
        Ok(_) | Err(_) => None,
    };
    applied.map_err(|error| {
        let code = if let kube::Error::Api(status) = &error {
            Some(status.code)
        } else {
            None
        };
        let policy = policy.title();
        let why = undefined.unwrap_or_else(|| list::in_words(&error));
        if !dry && code.is_none_or(|code| code >= 500) {
            return ApplyError::Unknown { policy, why };
        }
        let hint = match (code, change.label) {
            (Some(409), None) => "; --force-conflicts takes these fields over",
            // What an emergency needs names no flag.
            (Some(409), Some(_)) => {
                "; somebody has edited it since: `kubectl delete` it, or edit it yourself"
            }
            _ => "",
        };
        ApplyError::Refused(format!("{policy} is refused: {why}{hint}"))
    })
}

/// Why the API server knows no such kind.
async fn undefined(client: &Client, policy: &AuthorizationPolicy) -> String {
    let plural = match policy.namespace {
        Some(_) => POLICIES,
        None => CLUSTER_POLICIES,
    };
    let missing = definitions::missing(client, &format!("{plural}.{GROUP}")).await;
    missing.unwrap_or_else(|| NO_MESH.to_owned())
}

const NOT_READY: &str = "no replica of it is ready, and what the objects' status says is of before: ask again when one is, \
                         or ask sidecars by `palisade policy explain --proxy`";
/// Who manages the fields that are applied.
const MANAGER: &str = "palisade";
const NO_MESH: &str = "the cluster has no definition of such rules, as no mesh is installed there; first \
                       `palisade install --mesh-cidr PODS,SERVICES | kubectl apply -f -`";
