//! Keeps the injector's webhooks served by a certificate that the API server believes.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;

use palisade_api::cluster::{INJECTOR, WEBHOOK_SECRET};

use super::Cluster;
use super::pace::{Pace, Settled, is_complete, is_overtaken, watched};
use super::{bundles, serving};
use crate::identity::chain;

/// What is watched.
struct Found {
    secrets: Store<Secret>,
    mutating: Store<MutatingWebhookConfiguration>,
    validating: Store<ValidatingWebhookConfiguration>,
}

/// Until it is dropped.
pub(super) async fn keep(cluster: &Cluster) {
    let client = &cluster.client;
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &cluster.namespace);
    let (secrets, of_secret) = watched(watcher(secrets, named(WEBHOOK_SECRET)));
    let (mutating, of_mutating) = watched(watcher(Api::all(client.clone()), named(INJECTOR)));
    let (validating, of_validating) = watched(watcher(Api::all(client.clone()), named(INJECTOR)));
    let mut changes = stream::select_all([of_secret, of_mutating, of_validating]);
    let found = Found {
        secrets,
        mutating,
        validating,
    };
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            change = changes.next() => pace.note(change, Instant::now()),
            () = pace.due() => {
                let settled = settle(cluster, &found).await;
                pace.settled(settled, Instant::now());
            }
        }
    }
}

async fn settle(cluster: &Cluster, found: &Found) -> Settled {
    if !is_complete(&found.secrets)
        || !is_complete(&found.mutating)
        || !is_complete(&found.validating)
    {
        return Settled::Done;
    }
    let secret = found.secrets.state().into_iter().next();
    // The certificate before the bundle: whoever believes us finds something to believe.
    if !serve(cluster, secret.as_deref()).await || !believe(cluster, found).await {
        return Settled::Failed;
    }
    // Timers sleep when machines do, so that the wall clock is asked again long before it is time.
    Settled::For(CLOCK_CHECK)
}

/// Whether the Secret is good, or has been made good.
async fn serve(cluster: &Cluster, secret: Option<&Secret>) -> bool {
    let names = [format!("{INJECTOR}.{}.svc", cluster.namespace)];
    let now = OffsetDateTime::now_utc();
    let good = |secret| serving::good_until(secret, &names, cluster.ca.root(), now);
    if secret.and_then(good).is_some() {
        return true;
    }
    let made = match serving::made(secret, &names, &cluster.ca, now) {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(error = %chain(&error), "the webhook gets no certificate");
            return false;
        }
    };
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = PostParams::default();
    let written = match secret {
        None => secrets.create(&params, &made).await,
        Some(_) => secrets.replace(WEBHOOK_SECRET, &params, &made).await,
    };
    succeeded(written.map(drop), "the webhook's Secret")
}

/// Whether the configurations that there are have our bundle. What is not installed is not missed.
async fn believe(cluster: &Cluster, found: &Found) -> bool {
    let pem = cluster.ca.root().pem();
    let mutating = found.mutating.state().into_iter().next();
    if let Some(patch) = mutating.and_then(|found| bundles::mutating(&found, pem)) {
        let written = patched::<MutatingWebhookConfiguration>(cluster, &patch).await;
        if !succeeded(written, "the mutating webhooks' caBundle") {
            return false;
        }
    }
    let validating = found.validating.state().into_iter().next();
    if let Some(patch) = validating.and_then(|found| bundles::validating(&found, pem)) {
        let written = patched::<ValidatingWebhookConfiguration>(cluster, &patch).await;
        return succeeded(written, "the validating webhooks' caBundle");
    }
    true
}

async fn patched<K>(cluster: &Cluster, patch: &Value) -> Result<(), kube::Error>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    Api::<K>::all(cluster.client.clone())
        .patch(INJECTOR, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .map(drop)
}

fn succeeded(written: Result<(), kube::Error>, what: &str) -> bool {
    match written {
        Ok(()) => {
            tracing::info!("{what} was written");
            true
        }
        // The watch brings what it is now.
        Err(error) if is_overtaken(&error) => true,
        Err(error) => {
            tracing::warn!(%error, "{what} was not written");
            false
        }
    }
}

const CLOCK_CHECK: Duration = Duration::from_secs(600);
