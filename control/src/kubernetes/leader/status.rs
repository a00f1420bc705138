//! Writes the status of the policies.

use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep};

use palisade_api::cluster::{CLUSTER_POLICIES, GROUP, POLICIES, VERSION};

use super::Cluster;
use super::aggregate::{self, Selecting};
use super::pace::{Pace, Settled, failures, is_complete, is_overtaken, watched};
use crate::kubernetes::acks;

/// Until it is dropped.
pub(super) async fn keep(cluster: &Cluster) {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let acks = format!("{}=true", acks::ACKS_LABEL);
    let (reports, mut changes) = watched(watcher(
        config_maps,
        watcher::Config::default().labels(&acks),
    ));
    let mut policies = cluster.policies.clone();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            change = changes.next() => pace.note(change, Instant::now()),
            changed = policies.changed() => match changed {
                Ok(()) => pace.note(Some(Ok(())), Instant::now()),
                // Control stops.
                Err(_closed) => return std::future::pending().await,
            },
            () = pace.due() => {
                let policies = policies.borrow_and_update().clone();
                let settled = settle(cluster, &reports, &policies).await;
                pace.settled(settled, Instant::now());
                sleep(INTERVAL).await;
            }
        }
    }
}

async fn settle(cluster: &Cluster, reports: &Store<ConfigMap>, policies: &[Selecting]) -> Settled {
    if !is_complete(reports) {
        return Settled::Done;
    }
    let reports = reports.state();
    let held = acks::read(reports.iter().map(AsRef::as_ref));
    // Seconds, as Kubernetes writes them.
    let now = OffsetDateTime::now_utc().replace_nanosecond(0);
    let now = now.ok().and_then(|now| now.format(&Rfc3339).ok());
    let now = now.unwrap_or_default();
    let writes = policies
        .iter()
        .map(|policy| write(cluster, policy, &held, &now));
    Settled::after(failures(writes.collect()).await)
}

async fn write(cluster: &Cluster, policy: &Selecting, held: &[acks::Held], now: &str) -> usize {
    let Some(mut status) = aggregate::correction(policy, held, now) else {
        return 0;
    };
    // What a merge is to take away is named.
    if let (None, Some(fields)) = (&policy.in_force, status.as_object_mut()) {
        fields.insert(aggregate::ENFORCED.to_owned(), Value::Null);
    }
    let resource = |kind, plural| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural)
    };
    let client = cluster.client.clone();
    let objects: Api<DynamicObject> = match &policy.namespace {
        Some(namespace) => {
            let resource = resource("AuthorizationPolicy", POLICIES);
            Api::namespaced_with(client, namespace, &resource)
        }
        None => Api::all_with(
            client,
            &resource("ClusterAuthorizationPolicy", CLUSTER_POLICIES),
        ),
    };
    let patch = Patch::Merge(json!({"status": status}));
    match objects
        .patch_status(&policy.name, &PatchParams::default(), &patch)
        .await
    {
        Ok(_written) => 0,
        Err(error) if is_overtaken(&error) => 0,
        Err(error) => {
            let namespace = policy.namespace.as_deref().unwrap_or_default();
            tracing::warn!(namespace, policy = policy.name, %error, "a status was not written");
            1
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(5);
