//! Which proxy enforces what: the acknowledgements of every live stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use palisade_api::wire;

use super::held::{self, HeldObjects};
use crate::digest::hex;
use crate::telemetry::metrics::{Metrics, channel_name};

/// The live proxies.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    proxies: Mutex<BTreeMap<u64, Enforced>>,
}

/// The policy objects that one proxy holds, as far as it acknowledged them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its workload, `namespace/name`.
    pub(crate) workload: String,
    /// The digest of each policy that it enforces, by the object's name.
    pub(crate) policies: BTreeMap<String, Vec<u8>>,
    /// The reason of each that it refused in its newest version, by the object's name.
    pub(crate) refused: BTreeMap<String, String>,
}

/// What one proxy acknowledged.
#[derive(Debug, Clone, Default)]
struct Enforced {
    workload: String,
    /// By channel: the newest revision that it applied.
    revisions: BTreeMap<&'static str, u64>,
    /// By channel: the objects that it refused in that revision.
    refused: BTreeMap<&'static str, Vec<String>>,
    /// By channel, of those that are followed.
    held: BTreeMap<&'static str, HeldObjects>,
}

impl Enforced {
    fn refused_policies(&self) -> BTreeMap<String, String> {
        let refused = self.held.values().flat_map(HeldObjects::refused);
        let refused = refused.filter(|(name, _)| held::is_policy(name));
        refused
            .map(|(name, why)| (name.clone(), why.clone()))
            .collect()
    }
}

/// The same, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    workload: String,
    revisions: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, Vec<String>>,
    /// The digest of each policy that it enforces, in hexadecimal, by the object's name.
    policies: BTreeMap<String, String>,
    /// Why it refused the newest version of a policy, by the object's name.
    refused_policies: BTreeMap<String, String>,
    /// By channel and name: the digest of everything else that it applied.
    objects: BTreeMap<&'static str, BTreeMap<String, String>>,
}

impl Roster {
    /// Adds a proxy that has what its hello says, until what is returned is dropped.
    pub(super) fn enter(self: &Arc<Self>, hello: &wire::Hello, metrics: Arc<Metrics>) -> Entry {
        let held = FOLLOWED.iter().filter_map(|channel| {
            let held = HeldObjects::new(&hello.inventory, *channel);
            Some((channel_name(*channel)?, held))
        });
        let mut proxies = self.lock();
        let number = proxies.last_key_value().map_or(0, |(last, _)| last + 1);
        proxies.insert(
            number,
            Enforced {
                workload: hello.workload.clone(),
                held: held.collect(),
                ..Enforced::default()
            },
        );
        metrics.proxies(proxies.len());
        drop(proxies);
        Entry {
            number,
            roster: Arc::clone(self),
            metrics,
        }
    }

    /// All of them, for people.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let digests = |(name, digest): (&String, &Vec<u8>)| (name.clone(), hex(digest));
        let listed = |enforced: &Enforced| Listed {
            workload: enforced.workload.clone(),
            revisions: enforced.revisions.clone(),
            refused: enforced.refused.clone(),
            policies: enforced
                .held
                .values()
                .flat_map(HeldObjects::policies)
                .map(digests)
                .collect(),
            refused_policies: enforced.refused_policies(),
            objects: enforced
                .held
                .iter()
                .map(|(channel, held)| (*channel, held.others().map(digests).collect()))
                .collect(),
        };
        self.lock().values().map(listed).collect()
    }

    /// The workloads of all of them.
    pub(crate) fn workloads(&self) -> BTreeSet<String> {
        let proxies = self.lock();
        proxies.values().map(|one| one.workload.clone()).collect()
    }

    /// What every live proxy holds. Where one workload has two streams, its newer one comes later.
    pub(crate) fn snapshot(&self) -> Vec<Held> {
        let held = |enforced: &Enforced| Held {
            workload: enforced.workload.clone(),
            policies: enforced
                .held
                .values()
                .flat_map(HeldObjects::policies)
                .map(|(name, digest)| (name.clone(), digest.clone()))
                .collect(),
            refused: enforced.refused_policies(),
        };
        self.lock().values().map(held).collect()
    }

    /// Whoever panicked with the lock left no half-made entry: each change is one insertion.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Enforced>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy's place in the roster.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    roster: Arc<Roster>,
    metrics: Arc<Metrics>,
}

impl Entry {
    /// Notes what the proxy is sent.
    pub(super) fn sent(&self, message: &wire::WatchResponse) {
        let Some(channel) = channel_name(message.channel()) else {
            return;
        };
        if let Some(enforced) = self.roster.lock().get_mut(&self.number)
            && let Some(held) = enforced.held.get_mut(channel)
        {
            held.sent(message);
        }
    }

    /// Notes what the proxy applied, of what it was sent.
    pub(super) fn acknowledge(&self, ack: &wire::Ack, sent: u64) {
        let Some(channel) = channel_name(ack.channel()) else {
            return;
        };
        if ack.revision > sent {
            return;
        }
        if let Some(enforced) = self.roster.lock().get_mut(&self.number) {
            enforced.revisions.insert(channel, ack.revision);
            let refused = ack
                .refusals
                .iter()
                .take(MAX_REFUSALS)
                .map(|refusal| super::printable(&refusal.name));
            enforced.refused.insert(channel, refused.collect());
            if let Some(held) = enforced.held.get_mut(channel) {
                held.acknowledge(ack);
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut proxies = self.roster.lock();
        proxies.remove(&self.number);
        self.metrics.proxies(proxies.len());
    }
}

/// Addresses come as they are looked up, and nobody waits for them.
const FOLLOWED: [wire::Channel; 3] = [
    wire::Channel::Rules,
    wire::Channel::Revocations,
    wire::Channel::Bundles,
];
const MAX_REFUSALS: usize = 256;
