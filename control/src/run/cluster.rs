//! What control knows from a cluster, and what its leader writes there.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Known, RunError, Running, ground, pages};
use crate::ask::{Ask, Rights};
use crate::config::{Config, Replica};
use crate::identity::{Attestor, chain};
use crate::kubernetes::{self, Cluster, ServiceAccounts, Shown};
use crate::mesh::Roster;
use crate::usage::Usage;

/// What serving and watching have in common.
pub(super) struct Shared<'a> {
    pub(super) shown: Shown,
    pub(super) roster: &'a Arc<Roster>,
    pub(super) usage: &'a Arc<Usage>,
    pub(super) stop: &'a watch::Receiver<bool>,
}

impl Shared<'_> {
    /// What is answered of it to those who have the rights.
    fn ask(&self, rights: Rights) -> Ask {
        Ask {
            usage: Arc::clone(self.usage),
            roster: Arc::clone(self.roster),
            rights,
            metrics: Arc::clone(&self.shown.metrics),
        }
    }
}

/// Waits until the API server has listed everything.
pub(super) async fn known(
    config: &Config,
    replica: &Replica,
    shared: Shared<'_>,
    running: &mut Running,
) -> Result<Known, RunError> {
    let client = kubernetes::connect().await?;
    let namespace = &replica.system_namespace;
    let ask = shared.ask(Rights::new(client.clone()));
    pages::answer(replica.ask, ask, &mut running.tasks).await?;
    let ca = tried("there is no authority to issue from yet", || {
        kubernetes::authority(&client, namespace, &config.trust_domain)
    });
    let ca = Arc::new(ca.await);
    let recorded = tried("whether rules are missing is not known yet", || {
        kubernetes::recorded(&client, namespace)
    });
    let recorded = recorded.await;
    let ground = ground(config, &ca);
    let metrics = Arc::clone(&shared.shown.metrics);
    let (shown, tasks) = (shared.shown, &mut running.tasks);
    let mut picture = kubernetes::observe(&client, ground, recorded, shown, tasks);
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
        records: picture.records.clone(),
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

/// What the API server has to give before anything is served; while it does not, that is said.
async fn tried<T, E, F>(otherwise: &'static str, attempt: impl Fn() -> F) -> T
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut said = None;
    loop {
        match attempt().await {
            Ok(found) => return found,
            Err(error) => {
                let message = chain(&error);
                if said.as_ref() != Some(&message) {
                    tracing::error!(error = %message, "{otherwise}");
                    said = Some(message);
                }
            }
        }
        sleep(PAUSE).await;
    }
}

const PAUSE: Duration = Duration::from_secs(2);
