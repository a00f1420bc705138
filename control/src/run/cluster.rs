//! What control knows from a cluster, and what its leader writes there.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use palisade_api::spiffe::TrustDomain;

use super::{Known, RunError, Running, ground};
use crate::ca::Ca;
use crate::config::{Config, Replica};
use crate::identity::{Attestor, chain};
use crate::kubernetes::{self, Cluster, ServiceAccounts};
use crate::mesh::Roster;
use crate::telemetry::metrics::Metrics;

/// What serving and watching have in common.
pub(super) struct Shared<'a> {
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) roster: &'a Arc<Roster>,
    pub(super) stop: &'a watch::Receiver<bool>,
}

/// Waits until the API server has listed everything.
pub(super) async fn known(
    config: &Config,
    replica: &Replica,
    shared: &Shared<'_>,
    running: &mut Running,
) -> Result<Known, RunError> {
    let client = kubernetes::connect().await?;
    let namespace = &replica.system_namespace;
    let ca = Arc::new(authority(&client, namespace, &config.trust_domain).await);
    let ground = ground(config, &ca);
    let metrics = Arc::clone(shared.metrics);
    let mut picture =
        kubernetes::observe(&client, ground, Arc::clone(&metrics), &mut running.tasks);
    // Who leads writes what starting pods need, so it does not wait for them.
    let (leading, election) = kubernetes::elect(
        client.clone(),
        namespace,
        &replica.name,
        shared.stop.clone(),
    );
    running.ending.spawn(election);
    let cluster = Cluster {
        client: client.clone(),
        namespace: namespace.clone(),
        ca: Arc::clone(&ca),
        metrics,
        replica: replica.name.clone(),
        policies: picture.policies.clone(),
    };
    running.tasks.spawn(kubernetes::lead(cluster, leading));
    if picture.ready.wait_for(|ready| *ready).await.is_err() {
        return Err(RunError::Unwatched);
    }
    let domain = config.trust_domain.clone();
    let accounts = ServiceAccounts::new(client.clone(), domain, replica.attest_address);
    let (proxies, seen) = (Arc::clone(shared.roster), picture.clone());
    let refusals = Arc::clone(accounts.refusals());
    let said = move || {
        let (index, standing) = (seen.index.borrow(), seen.standing.borrow());
        let held = kubernetes::held(&proxies.snapshot(), &index, &standing);
        (held, refusals.lately(Instant::now()))
    };
    let (namespace, name) = (namespace.clone(), replica.name.clone());
    running
        .tasks
        .spawn(kubernetes::report(client, namespace, name, said));
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
