//! What control does in a cluster.
//!
//! [`watch`] tells of objects, [`facts`] and [`policies`] say what they mean, and [`assembly`] makes an index of it.

pub(crate) mod acks;
mod assembly;
mod attest;
mod authority;
mod facts;
mod leader;
mod lease;
mod policies;
mod record;
mod refusals;
mod report;
mod tell;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use tokio::sync::mpsc;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinSet;

pub(crate) use acks::report;
pub(crate) use assembly::Standing;
pub(crate) use attest::{Refusal, ReviewError, Reviewed, ServiceAccounts};
pub(crate) use authority::load_or_create as authority;
pub(crate) use facts::is_sidecar;
pub(crate) use leader::{Cluster, Selecting, lead};
pub(crate) use lease::elect;
pub(crate) use policies::{read as policy, target};
pub(crate) use record::{Records, recorded};
pub(crate) use report::held;

use crate::index::{Facts, Ground, Index};
use crate::telemetry::metrics::Metrics;
use assembly::Assembly;

/// What is known of the cluster, as it changes.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Empty until [`Picture::ready`].
    pub(crate) index: Receiver<Arc<Index>>,
    /// How each object of the rules stands.
    pub(crate) standing: Receiver<Arc<Standing>>,
    /// Every policy, with whom it concerns.
    pub(crate) policies: Receiver<Arc<Vec<Selecting>>>,
    /// Which rules are in force, for a control that starts.
    pub(crate) records: Receiver<Records>,
    /// True once everything was listed: before, it would be half a picture.
    pub(crate) ready: Receiver<bool>,
}

/// Where people see how that goes.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) metrics: Arc<Metrics>,
    /// What is awaited, in words.
    pub(crate) awaited: Sender<String>,
}

/// Connects to the API server of the pod's own cluster or, outside of one, of the kubeconfig.
///
/// # Errors
///
/// Where there is neither, or what they say cannot be used. Whether the API server answers, later calls tell.
pub(crate) async fn connect() -> Result<Client, ConnectError> {
    let mut config = kube::Config::infer().await.map_err(ConnectError::Where)?;
    config.connect_timeout = Some(CONNECT_TIME);
    Client::try_from(config).map_err(ConnectError::How)
}

/// Watches the cluster until the tasks end. Rules that are missing, by what was recorded, are waited for.
pub(crate) fn observe(
    client: &Client,
    ground: Ground,
    recorded: Records,
    shown: Shown,
    tasks: &mut JoinSet<()>,
) -> Picture {
    let empty = Index::build(ground.clone(), Facts::default(), None);
    let (index, indexed) = channel(Arc::new(empty));
    let (standing, stood) = channel(Arc::default());
    let (selecting, policies) = channel(Arc::default());
    let (records, noted) = channel(recorded.clone());
    let (ready, is_ready) = channel(false);
    let (namespaced, namespaced_served) = channel(None);
    let (cluster, cluster_served) = channel(None);
    let (heard, hearing) = mpsc::channel(QUEUED);
    let served = [namespaced_served, cluster_served];
    watch::start(client, served, &heard, tasks);
    let publish = watch::Publish {
        index,
        standing,
        selecting,
        records,
        ready,
        served: [namespaced, cluster],
        shown,
    };
    let assembly = Assembly::new(ground, recorded);
    tasks.spawn(watch::assemble(client.clone(), assembly, hearing, publish));
    Picture {
        index: indexed,
        standing: stood,
        policies,
        records: noted,
        ready: is_ready,
    }
}

/// Why there is no way to an API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a service account nor a kubeconfig.
    #[error("no cluster is known; run control in a pod with a service account, or set KUBECONFIG")]
    Where(#[source] kube::config::InferConfigError),
    /// What they say cannot be used.
    #[error("the way to the API server that is configured cannot be used")]
    How(#[source] kube::Error),
}

/// The label of every object that control writes, by which it knows what it may delete.
pub(crate) fn managed_by_us() -> BTreeMap<String, String> {
    [(MANAGED_BY.to_owned(), MANAGED_BY_US.to_owned())].into()
}

/// Whether an object carries it.
pub(crate) fn is_managed_by_us(object: &ObjectMeta) -> bool {
    let labels = object.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY))
        .map(String::as_str)
        == Some(MANAGED_BY_US)
}

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const MANAGED_BY_US: &str = "palisade";
const CONNECT_TIME: Duration = Duration::from_secs(5);
const QUEUED: usize = 1024;

// Two attributes: in the one of both, clippy sees no test.
#[cfg(test)]
#[cfg(feature = "cluster-tests")]
mod tests;
