//! Keeps the namespaces of the mesh marked, and gives each its trust bundle.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::time::Instant;

use palisade_api::cluster::TRUST_CONFIG_MAP;

use super::Cluster;
use super::pace::{Pace, Settled, failures, is_complete, is_overtaken, watched};
use super::{member, trust};

/// Until it is dropped.
pub(super) async fn keep(cluster: &Cluster) {
    let client = &cluster.client;
    let (namespaces, changes) = watched::<PartialObjectMeta<Namespace>>(watcher(
        Api::all(client.clone()),
        watcher::Config::default(),
    ));
    // A selector by name, so that a right by name is enough.
    let (config_maps, edits) = watched(watcher(
        Api::<ConfigMap>::all(client.clone()),
        watcher::Config::default().fields(&format!("metadata.name={TRUST_CONFIG_MAP}")),
    ));
    let mut changes = stream::select(changes, edits);
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            change = changes.next() => pace.note(change, Instant::now()),
            () = pace.due() => {
                let settled = settle(cluster, &namespaces, &config_maps).await;
                pace.settled(settled, Instant::now());
            }
        }
    }
}

async fn settle(
    cluster: &Cluster,
    namespaces: &Store<PartialObjectMeta<Namespace>>,
    config_maps: &Store<ConfigMap>,
) -> Settled {
    if !is_complete(namespaces) || !is_complete(config_maps) {
        return Settled::Done;
    }
    let namespaces = namespaces.state();
    // What ends takes nothing new.
    let living: Vec<_> = namespaces
        .iter()
        .map(|namespace| &namespace.metadata)
        .filter(|namespace| namespace.deletion_timestamp.is_none())
        .collect();
    let system = &cluster.namespace;
    let named = |belongs: bool| -> BTreeSet<String> {
        let of_kind = living
            .iter()
            .filter(|namespace| member::belongs(namespace, system) == belongs);
        of_kind
            .filter_map(|namespace| namespace.name.clone())
            .collect()
    };
    let found = config_maps.state();
    let found = found.iter().map(AsRef::as_ref);
    let pem = cluster.ca.root().pem();
    // The bundle before the mark: no pod is injected that would wait for it.
    let bundles = trust::corrections(&named(true), &named(false), found, pem);
    let writes = bundles.iter().map(|correction| bundle(cluster, correction));
    let failed = failures(writes.collect()).await;
    let marks: Vec<_> = living
        .iter()
        .filter_map(|namespace| {
            let patch = member::correction(namespace, system)?;
            Some((namespace.name.as_deref()?, patch))
        })
        .collect();
    let writes = marks
        .iter()
        .map(|(namespace, patch)| mark(cluster, namespace, patch));
    Settled::after(failed + failures(writes.collect()).await)
}

async fn bundle(cluster: &Cluster, correction: &trust::Correction) -> usize {
    let namespace = correction.namespace();
    let written = correction.apply(&cluster.client).await;
    count(written, namespace, "the trust bundle")
}

async fn mark(cluster: &Cluster, namespace: &str, patch: &Value) -> usize {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let written = namespaces
        .patch_metadata(namespace, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop);
    count(written, namespace, "the member label")
}

/// One line for a write, and one for a failure.
fn count(written: Result<(), kube::Error>, namespace: &str, what: &str) -> usize {
    match written {
        Ok(()) => {
            tracing::info!(namespace, "{what} was corrected");
            0
        }
        Err(error) if is_overtaken(&error) => 0,
        Err(error) => {
            tracing::warn!(namespace, %error, "{what} was not corrected");
            1
        }
    }
}
