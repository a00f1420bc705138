//! What one replica does for the whole cluster: the one that leads writes, the others wait.
//!
//! Each task compares what should be with what is, whenever either changed, and writes the difference. None remembers
//! what it wrote: whoever leads next, and whatever was edited meanwhile, it comes to the same.

mod aggregate;
mod audit;
mod bundles;
mod expired;
mod member;
mod namespaces;
mod pace;
mod records;
mod serving;
mod status;
mod trust;
mod webhook;

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;

use crate::ca::Ca;
use crate::kubernetes::Records;
use crate::telemetry::metrics::Metrics;
pub(crate) use aggregate::Selecting;

/// What the tasks work with.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Where control and the injector run.
    pub(crate) namespace: String,
    pub(crate) ca: Arc<Ca>,
    pub(crate) metrics: Arc<Metrics>,
    /// This replica's pod, which signs Events.
    pub(crate) replica: String,
    /// Every policy, with whom it concerns.
    pub(crate) policies: watch::Receiver<Arc<Vec<Selecting>>>,
    /// Which rules are in force, for a control that starts.
    pub(crate) records: watch::Receiver<Records>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Does the leader's work whenever this replica leads, until it is dropped.
///
/// The work is dropped in the middle when the leadership ends: every write is whole, and says over what it writes.
pub(crate) async fn lead(cluster: Cluster, mut leading: watch::Receiver<bool>) {
    while leading.wait_for(|leads| *leads).await.is_ok() {
        cluster.metrics.leading(true);
        tokio::select! {
            // Where nobody holds elections any more, nobody leads.
            _ = leading.wait_for(|leads| !*leads) => {}
            () = work(&cluster) => {}
        }
        cluster.metrics.leading(false);
        cluster.metrics.forget_findings();
    }
}

async fn work(cluster: &Cluster) {
    tokio::join!(
        namespaces::keep(cluster),
        webhook::keep(cluster),
        status::keep(cluster),
        audit::keep(cluster),
        records::keep(cluster),
        expired::keep(cluster),
    );
}
