//! What control knows from a cluster, and what its leader writes there.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::sleep;

use palisade_api::spiffe::TrustDomain;

use super::{Known, RunError, Running, ground};
use crate::ca::Ca;
use crate::config::{Config, Replica};
use crate::identity::{Attestor, chain};
use crate::kubernetes::{self, Cluster, ServiceAccounts};
use crate::telemetry::metrics::Metrics;

/// Waits until the API server has listed everything.
pub(super) async fn known(
    config: &Config,
    replica: &Replica,
    metrics: &Arc<Metrics>,
    (running, stop): (&mut Running, &watch::Receiver<bool>),
) -> Result<Known, RunError> {
    let client = kubernetes::connect().await?;
    let namespace = &replica.system_namespace;
    let ca = Arc::new(authority(&client, namespace, &config.trust_domain).await);
    let ground = ground(config, &ca);
    let mut picture =
        kubernetes::observe(&client, ground, Arc::clone(metrics), &mut running.tasks);
    // Who leads writes what starting pods need, so it does not wait for them.
    let (leading, election) =
        kubernetes::elect(client.clone(), namespace, &replica.name, stop.clone());
    running.ending.spawn(election);
    let cluster = Cluster {
        client: client.clone(),
        namespace: namespace.clone(),
        ca: Arc::clone(&ca),
        metrics: Arc::clone(metrics),
    };
    running.tasks.spawn(kubernetes::lead(cluster, leading));
    if picture.ready.wait_for(|ready| *ready).await.is_err() {
        return Err(RunError::Unwatched);
    }
    let accounts =
        ServiceAccounts::new(client, config.trust_domain.clone(), replica.attest_address);
    Ok(Known {
        ca,
        attestor: Attestor::ServiceAccounts(accounts),
        index: picture.index,
    })
}

/// The authority of the cluster; while it cannot be read, that is said, and nothing is served.
async fn authority(client: &Client, namespace: &str, trust_domain: &TrustDomain) -> Ca {
    let mut said = None;
    loop {
        match kubernetes::authority(client, namespace, trust_domain).await {
            Ok(ca) => return ca,
            Err(error) => {
                let message = chain(&error);
                if said.as_ref() != Some(&message) {
                    tracing::error!(error = %message, "there is no authority to issue from yet");
                    said = Some(message);
                }
            }
        }
        sleep(PAUSE).await;
    }
}

const PAUSE: Duration = Duration::from_secs(2);
