//! Who reached whom, as the mesh counted it: the counts of sidecars, put together by workload.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::spiffe::SpiffeId;
use palisade_api::usage::{self, Counted, Decided, EdgeKey, Resident, Seen, Usage};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::rules::{Rules, Workload};
use super::subject::{self, Called, Caller};
use super::traffic;
use super::{beside, gone};

/// One caller at one port of one workload, and what was decided each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) caller: Caller,
    pub(crate) called: Called,
    pub(crate) port: u16,
    pub(crate) decided: Decided,
    pub(crate) rule: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) seen: Seen,
    /// Who was at the caller's address then, where control knew.
    resident: Option<Resident>,
}

/// The known workloads, and what rules see of them.
#[derive(Debug)]
pub(crate) struct Workloads<'a> {
    rules: &'a Rules,
    /// The keys of labels that some rule selects by.
    pub(crate) selected: BTreeSet<&'a str>,
    known: traffic::Workloads<'a>,
}

/// The edges of all workloads; those of replicas that rules cannot tell apart are one, and so are those that differ in what
/// rules in shadow said: they may say otherwise by now.
pub(crate) fn edges(workloads: &Workloads<'_>, usage: &Usage) -> Vec<Edge> {
    let mut together: BTreeMap<_, (Seen, Option<Resident>)> = BTreeMap::new();
    for counted in &usage.workloads {
        let called = workloads.called(counted);
        for (key, seen) in &counted.totals.edges {
            let resident = match &key.caller {
                usage::Caller::Address(addr) => counted.callers.get(addr),
                usage::Caller::Identity(_) => None,
            };
            let key = EdgeKey {
                shadow: None,
                ..key.clone()
            };
            let held = together.entry((called.clone(), key));
            held.and_modify(|(held, known)| {
                *held = held.and(*seen);
                *known = known.take().or_else(|| resident.cloned());
            })
            .or_insert_with(|| (*seen, resident.cloned()));
        }
    }
    let edges = together.into_iter();
    edges
        .filter_map(|((called, key), counted)| edge(called, key, counted))
        .collect()
}

/// Each caller at each port of each workload once: what was decided is that of the latest.
pub(crate) fn whatever_decided(edges: Vec<Edge>) -> Vec<Edge> {
    let mut together: BTreeMap<_, Edge> = BTreeMap::new();
    for edge in edges {
        let key = (edge.called.clone(), edge.caller.clone(), edge.port);
        let whole = match together.remove(&key) {
            Some(held) => held.and(edge),
            None => edge,
        };
        together.insert(key, whole);
    }
    together.into_values().collect()
}

impl Edge {
    /// Whether somebody was there to take one of its connections, as far as sidecars say.
    pub(crate) fn was_answered(&self) -> bool {
        self.seen.unanswered < self.seen.count
    }

    fn and(self, other: Self) -> Self {
        let seen = self.seen.and(other.seen);
        let (latest, earlier) = if other.seen.last >= self.seen.last {
            (other, self)
        } else {
            (self, other)
        };
        Self {
            seen,
            resident: latest.resident.or(earlier.resident),
            ..latest
        }
    }
}

/// None where the counts name nobody, which those of another version might.
fn edge(called: Called, key: EdgeKey, (seen, resident): (Seen, Option<Resident>)) -> Option<Edge> {
    let caller = match key.caller {
        usage::Caller::Identity(id) => Caller::Identity(id.parse().ok()?),
        usage::Caller::Address(addr) => Caller::Address(addr),
    };
    Some(Edge {
        caller,
        called,
        port: key.port,
        decided: key.decided,
        rule: key.rule,
        reason: key.reason,
        seen,
        resident,
    })
}

impl<'a> Workloads<'a> {
    pub(crate) fn of(rules: &'a Rules) -> Self {
        Self {
            rules,
            selected: subject::selected_labels(rules),
            known: traffic::Workloads::of(&rules.known),
        }
    }

    fn replica(&self, namespace: &str, name: &str) -> Option<&'a Workload> {
        self.known.replica(namespace, name).first().copied()
    }

    /// The workload of a replica, as the rules see it.
    fn called(&self, counted: &Counted) -> Called {
        let workload = self.replica(&counted.namespace, &counted.name);
        let there = || self.known.in_namespace(&counted.namespace);
        let labels = counted.labels.iter();
        let labels = labels.filter(|(key, _)| self.selected.contains(key.as_str()));
        Called {
            namespace: counted.namespace.clone(),
            name: workload.map_or_else(|| gone::of(there(), counted), |one| one.name.clone()),
            service_account: counted.service_account.clone(),
            labels: labels
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }

    /// How people know a caller: `shop/web`, a foreign identity whole, an address with who was there, or is.
    pub(crate) fn named(&self, edge: &Edge) -> String {
        let Caller::Address(addr) = &edge.caller else {
            return edge.caller.short(&self.rules.trust_domain);
        };
        let workload = match &edge.resident {
            Some(one) => self.replica(&one.namespace, &one.name),
            None => self.known.at(*addr).first().copied(),
        };
        match (workload, &edge.resident) {
            (Some(one), _) => format!("{addr} ({}/{}, in clear)", one.namespace, one.name),
            // One that is gone is known by its own name only.
            (None, Some(one)) => format!("{addr} ({}/{}, in clear)", one.namespace, one.name),
            (None, None) => format!("{addr} (in clear)"),
        }
    }

    /// Whose denials a caller without an identity is held to: whoever was at its address then, or is.
    pub(crate) fn beside(&self, edge: &Edge) -> Vec<SpiffeId> {
        let trust_domain = &self.rules.trust_domain;
        match (&edge.caller, &edge.resident) {
            (_, Some(one)) => {
                let (namespace, account) = (&one.namespace, &one.service_account);
                let id = SpiffeId::of_service_account(trust_domain, namespace, account);
                id.into_iter().collect()
            }
            (Caller::Address(addr), None) => {
                let at = self.known.at(*addr).iter().copied();
                beside::identities(at, *addr, trust_domain)
            }
            (Caller::Identity(_), None) => Vec::new(),
        }
    }
}

/// The sidecars that run and are served by control, each with its name. Of one whose own identity is revoked nobody hears,
/// and nobody calls it.
pub(crate) fn sidecars(rules: &Rules) -> impl Iterator<Item = (&Workload, String)> {
    let known = &rules.known;
    let is_served = |one: &&Workload| {
        let (namespace, account) = (&one.namespace, &one.service_account);
        let id = SpiffeId::of_service_account(&rules.trust_domain, namespace, account);
        one.meshed && !id.is_ok_and(|id| rules.revoked.has(&id))
    };
    let meshed = known.workloads.iter().filter(is_served);
    meshed.flat_map(|one| {
        let runs = |name: &&String| {
            let replica = (one.namespace.clone(), (*name).clone());
            !known.idle.contains(&replica)
        };
        let names = one.replicas.iter().filter(runs);
        names.map(move |name| (one, format!("{}/{name}", one.namespace)))
    })
}

/// Those of some sidecars that have no connection to control: it will hear later what they count, or never. What that
/// means, for people; where not `all` replicas of control could be asked, they may have one to another.
pub(crate) fn cut_off(sidecars: &[String], usage: &Usage, all: bool) -> Option<String> {
    let cut = sidecars
        .iter()
        .filter(|name| !usage.connected.contains(*name));
    let cut: Vec<String> = cut.cloned().collect();
    let have = match cut.len() {
        0 => return None,
        1 => "has",
        _ => "have",
    };
    let to = match all {
        true => "control",
        false => "a replica of control that could be asked",
    };
    Some(format!(
        "{} {have} no connection to {to}, and what is counted there is not known; see `palisade ps`",
        few(&cut)
    ))
}

/// The first of some names.
pub(crate) fn few(names: &[String]) -> String {
    let named = names.iter().take(MOST_NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// In a sentence.
const MOST_NAMED: usize = 5;

/// `12 times, last 3m ago`.
pub(crate) fn times(count: u64, last: i64, now: OffsetDateTime) -> String {
    let count = match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    format!("{count}, last {}", ago(last, now))
}

/// `3m 2s ago`; nothing is finer than a second.
pub(crate) fn ago(seconds: i64, now: OffsetDateTime) -> String {
    let age = now.unix_timestamp().saturating_sub(seconds);
    match u64::try_from(age) {
        Ok(age) if age > 0 => {
            let coarse = match age {
                0..=3599 => age,
                3600..=86_399 => age - age % 60,
                _ => age - age % 3600,
            };
            let age = humantime::format_duration(std::time::Duration::from_secs(coarse));
            format!("{age} ago")
        }
        _ => "just now".to_owned(),
    }
}

/// As records write a moment.
pub(crate) fn moment(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok();
    at.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// What was counted and cannot be told apart any more.
pub(crate) fn others(usage: &Usage) -> u64 {
    let others = usage
        .workloads
        .iter()
        .flat_map(|one| one.totals.others.values());
    others.copied().fold(usage.forgotten, u64::saturating_add)
}
