//! Keeps on record which rules are in force, for a control that starts.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use palisade_api::cluster::RULES_CONFIG_MAP;

use super::Cluster;
use crate::kubernetes::record::config_map;

/// Until it is dropped. What somebody else wrote or deleted is written again in time.
pub(super) async fn keep(cluster: &Cluster) {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    // Only ours may write it, so that forcing takes nothing from anybody.
    let params = PatchParams::apply("palisade-control").force();
    let mut records = cluster.records.clone();
    loop {
        let now = records.borrow_and_update().clone();
        let mut wait = AGAIN;
        if let Some(written) = config_map(&now, Instant::now(), OffsetDateTime::now_utc())
            && let Err(error) = config_maps
                .patch(RULES_CONFIG_MAP, &params, &Patch::Apply(written))
                .await
        {
            tracing::warn!(%error, "which rules are in force was not recorded");
            wait = RETRY;
        }
        sleep(GATHER).await;
        if let Ok(Err(_closed)) = timeout(wait, records.changed()).await {
            // Control stops.
            return std::future::pending().await;
        }
    }
}

/// Rules come in groups.
const GATHER: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(60);
