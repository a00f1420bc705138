//! A cluster: its rules are objects, and what its sidecars enforce stands in their status.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use palisade_api::cluster::{CLUSTER_POLICIES, GROUP, POLICIES, VERSION};
use palisade_api::manifest;
use palisade_api::policy::AuthorizationPolicy;
use palisade_control::audit::rules::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Change, Done, Progress, Put, Wait};
use crate::args::MeshArgs;
use crate::kubernetes::{client, list};

/// Tries all objects without effect first, then applies them, and waits.
pub(super) async fn put(mesh: &MeshArgs, change: &Change, wait: Wait) -> anyhow::Result<Done> {
    let client = client::client(&mesh.kube).await?;
    for dry in [true, false] {
        let mut put = Vec::new();
        let mut applied = Vec::new();
        for policy in &change.policies {
            let object = apply(&client, policy, change, dry).await?;
            let generation = object.metadata.generation.unwrap_or_default();
            put.push(Put {
                policy: policy.title(),
                place: format!("generation {generation}"),
            });
            applied.push((policy, generation));
        }
        if dry {
            continue;
        }
        let begun = Instant::now();
        let progress = match wait.patience {
            Some(patience) => Some(follow(&client, &applied, (begun, patience)).await?),
            None => None,
        };
        return Ok((put, progress));
    }
    Ok((Vec::new(), None))
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
    change: &Change,
    dry: bool,
) -> anyhow::Result<DynamicObject> {
    let text = manifest::print(policy);
    let mut object: Value =
        serde_saphyr::from_str(&text).context("the policy cannot be written")?;
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
    applied.map_err(|error| {
        let is_anothers = matches!(&error, kube::Error::Api(status) if status.code == 409);
        let hint = if is_anothers {
            "; --force-conflicts takes these fields over"
        } else {
            ""
        };
        let nothing = if dry { "; nothing was applied" } else { "" };
        anyhow!(
            "{} is refused: {}{hint}{nothing}",
            policy.title(),
            list::in_words(&error)
        )
    })
}

/// Looks at the status until every sidecar enforces each policy as it is written, or patience ends. How long one took
/// is when that was seen: control writes the status every 5 s at most.
async fn follow(
    client: &Client,
    applied: &[(&AuthorizationPolicy, i64)],
    (begun, patience): (Instant, Duration),
) -> anyhow::Result<Progress> {
    let mut progress = Progress::default();
    let (mut stragglers, mut unnamed) = (BTreeMap::new(), 0);
    for (policy, generation) in applied {
        let api = api(client, policy);
        let mut seen = 0;
        loop {
            let status = api.get_status(&policy.name).await;
            let object = status
                .map_err(|error| anyhow!("{}: {}", policy.title(), list::in_words(&error)))?;
            let status = Status::of(&object);
            let is_current = status.observed_generation >= Some(*generation);
            if is_current {
                (seen..status.enforcing).for_each(|_| progress.enforces(begun.elapsed()));
                seen = seen.max(status.enforcing);
            }
            if is_current && status.enforcing >= status.proxies {
                break;
            }
            if begun.elapsed() >= patience {
                unnamed += left(policy, &status, is_current, &mut stragglers);
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    progress.left(stragglers, unnamed);
    Ok(progress)
}

fn count(proxies: u64) -> usize {
    usize::try_from(proxies).unwrap_or(usize::MAX)
}

/// Names those who do not enforce it; how many more there are.
fn left(
    policy: &AuthorizationPolicy,
    status: &Status,
    is_current: bool,
    stragglers: &mut BTreeMap<String, String>,
) -> usize {
    if !is_current {
        let why = "control has not taken it up; see that it runs, and what it logs".to_owned();
        stragglers.insert(policy.title(), why);
        return 0;
    }
    if let Some(wrong) = status.invalid() {
        stragglers.insert(policy.title(), wrong.to_owned());
        return 0;
    }
    let refusing = status.refusing.iter().map(|name| (name, "it refuses it"));
    let pending = status
        .pending
        .iter()
        .map(|name| (name, "it has not taken it up yet"));
    let named: Vec<_> = refusing.chain(pending).collect();
    let missing = status.proxies.saturating_sub(status.enforcing);
    let unnamed = count(missing).saturating_sub(named.len());
    stragglers.extend(
        named
            .into_iter()
            .map(|(name, why)| (name.clone(), why.to_owned())),
    );
    unnamed
}

/// Who manages the fields that are applied.
const MANAGER: &str = "palisade";
const LOOK: Duration = Duration::from_millis(250);
