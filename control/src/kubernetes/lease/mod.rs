//! Which replica writes to the cluster: the one that holds a Lease.
//!
//! Every write carries the version that was read, so of two that try at once one fails. Clocks of others are not
//! believed: a lease has ended once it was *seen* unchanged for its whole duration, by our own monotonic clock. A
//! holder stops earlier than that, [`DEADLINE`] after it began the last renewal that succeeded.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use palisade_api::cluster::CONTROL;

use super::managed_by_us;
use crate::digest::hex;

/// Takes part in the election until `stopping`: whether this replica leads, and the task that finds out.
///
/// `replica` is for people; what is compared has a random part, so that a restarted replica is not its predecessor.
/// The task gives the lease back before it ends: await it before the program ends.
pub(crate) fn elect(
    client: Client,
    namespace: &str,
    replica: &str,
    mut stopping: watch::Receiver<bool>,
) -> (
    watch::Receiver<bool>,
    impl Future<Output = ()> + Send + use<>,
) {
    let (leads, leading) = watch::channel(false);
    let mut candidate = Candidate {
        leases: Api::namespaced(client, namespace),
        me: identity(replica),
        seen: None,
    };
    let election = async move {
        tokio::select! {
            () = candidate.run(&leads) => {}
            // Whoever could say so is gone otherwise, which is a stop too.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        if leads.send_replace(false) {
            candidate.release().await;
        }
    };
    (leading, election)
}

/// One that would lead.
struct Candidate {
    leases: Api<Lease>,
    me: String,
    seen: Option<Seen>,
}

/// A lease as it was read, and since when it has been like that.
#[derive(Debug, Clone)]
struct Seen {
    lease: Lease,
    since: Instant,
}

/// What to do about what was seen.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    /// There is none.
    Create(Lease),
    /// It is ours, or nobody's any more.
    Write(Lease),
    /// It is another's.
    Wait,
}

impl Candidate {
    async fn run(&mut self, leads: &watch::Sender<bool>) {
        // Until when this replica leads without another renewal.
        let mut until: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let limit = began + REQUEST_TIME;
            let limit = until.map_or(limit, |until| until.min(limit));
            until = match self.renewed(began, limit).await {
                Some(true) => Some(began + DEADLINE),
                Some(false) => None,
                None => until.filter(|until| *until > Instant::now()),
            };
            let leading = until.is_some();
            if leads.send_replace(leading) != leading {
                tracing::info!(leading, holder = %self.me, "the election changed");
            }
            let next = Instant::now() + RETRY;
            sleep_until(until.map_or(next, |until| until.min(next))).await;
        }
    }

    /// Whether the lease is ours now; nothing where that could not be found out before `limit`.
    async fn renewed(&mut self, began: Instant, limit: Instant) -> Option<bool> {
        match timeout_at(limit, self.attempt(began)).await {
            Ok(Ok(ours)) => Some(ours),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease could not be renewed");
                None
            }
            Err(_elapsed) => {
                tracing::warn!("the API server did not answer about the lease");
                None
            }
        }
    }

    /// One look, and one write at most; whether the lease is ours now.
    async fn attempt(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(CONTROL).await?;
        self.seen = lease.map(|lease| observe(self.seen.take(), lease, now));
        let params = PostParams::default();
        let written = match step(self.seen.as_ref(), now, &self.me, Timestamp::now()) {
            Action::Wait => return Ok(false),
            Action::Create(lease) => self.leases.create(&params, &lease).await,
            Action::Write(lease) => self.leases.replace(CONTROL, &params, &lease).await,
        };
        match written {
            Ok(lease) => {
                self.seen = Some(Seen { lease, since: now });
                Ok(true)
            }
            // Another was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// So that the next one need not wait for the lease's end.
    async fn release(&self) {
        match timeout_at(Instant::now() + REQUEST_TIME, self.give_back()).await {
            Ok(Ok(())) => tracing::info!("the lease was given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not given back"),
            Err(_elapsed) => tracing::warn!("the lease was not given back in time"),
        }
    }

    /// Reads it anew: a renewal that was cut off may have been written.
    async fn give_back(&self) -> Result<(), kube::Error> {
        let Some(lease) = self.leases.get_opt(CONTROL).await? else {
            return Ok(());
        };
        if let Some(lease) = released(lease, &self.me) {
            let params = PostParams::default();
            self.leases.replace(CONTROL, &params, &lease).await?;
        }
        Ok(())
    }
}

/// Any write makes another version, so the same version is the same state.
fn observe(before: Option<Seen>, lease: Lease, now: Instant) -> Seen {
    match before {
        Some(seen) if seen.lease.metadata.resource_version == lease.metadata.resource_version => {
            seen
        }
        _ => Seen { lease, since: now },
    }
}

/// What a candidate does next. `wall` is only written down, for people.
fn step(seen: Option<&Seen>, now: Instant, me: &str, wall: Timestamp) -> Action {
    let Some(Seen { lease, since }) = seen else {
        return Action::Create(written(&Lease::default(), me, wall));
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    let duration = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(DURATION, Duration::from_secs);
    let ended = now.saturating_duration_since(*since) >= duration;
    if holder == me || holder.is_empty() || ended {
        Action::Write(written(lease, me, wall))
    } else {
        Action::Wait
    }
}

/// The lease as it is when it is ours from `wall` on.
fn written(before: &Lease, me: &str, wall: Timestamp) -> Lease {
    let spec = before.spec.clone().unwrap_or_default();
    let renewed = spec.holder_identity.as_deref() == Some(me);
    let transitions = spec.lease_transitions.unwrap_or(0);
    Lease {
        metadata: ObjectMeta {
            name: Some(CONTROL.to_owned()),
            labels: Some(managed_by_us()),
            resource_version: before.metadata.resource_version.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: spec
                .acquire_time
                .filter(|_| renewed)
                .or(Some(MicroTime(wall))),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(transitions.saturating_add(i32::from(!renewed))),
            ..LeaseSpec::default()
        }),
    }
}

/// The lease without us, if we have it.
fn released(mut lease: Lease, me: &str) -> Option<Lease> {
    let spec = lease.spec.as_mut()?;
    spec.holder_identity.take_if(|holder| holder == me)?;
    Some(lease)
}

fn identity(replica: &str) -> String {
    let mut random = [0; 4];
    // Without randomness nothing else of control works either; the name alone is then its name.
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => format!("{replica}_{}", hex(&random)),
        Err(_unspecified) => replica.to_owned(),
    }
}

const DURATION: Duration = Duration::from_secs(15);
/// Less than the duration, by more than one request that comes late.
const DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
const REQUEST_TIME: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests;
