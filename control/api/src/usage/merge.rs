//! Several answers to one, and several epochs to one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counted, Usage};

type Key = (String, String);

impl Usage {
    /// The answers of several replicas as one, with one entry for each workload.
    ///
    /// An epoch that several replicas were told of counts once. Sums of epochs that share one, and so cannot be told
    /// apart any more, count as the greater of each number.
    pub fn merge(answers: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = Self::default();
        let mut workloads: BTreeMap<Key, Vec<Counted>> = BTreeMap::new();
        for answer in answers {
            // What was reported before the younger one began may be known to nobody.
            merged.since = merged.since.max(answer.since);
            merged.forgotten = merged.forgotten.saturating_add(answer.forgotten);
            merged.rules_in_force.extend(answer.rules_in_force);
            merged.connected.extend(answer.connected);
            for counted in answer.workloads {
                let key = (counted.namespace.clone(), counted.name.clone());
                workloads.entry(key).or_default().push(counted);
            }
        }
        merged.rules_in_force.sort();
        merged.rules_in_force.dedup();
        merged.workloads = workloads.into_values().filter_map(one).collect();
        merged
    }
}

/// One workload's counts, from all that is known of it.
fn one(counted: Vec<Counted>) -> Option<Counted> {
    let (sums, single): (Vec<_>, Vec<_>) =
        counted.into_iter().partition(|each| each.epoch.is_empty());
    let sums = disjoint(sums);
    let summed: BTreeSet<String> = sums
        .iter()
        .flat_map(|sum| sum.summed.iter().cloned())
        .collect();
    let mut epochs: BTreeMap<String, Counted> = BTreeMap::new();
    for each in single
        .into_iter()
        .filter(|each| !summed.contains(&each.epoch))
    {
        match epochs.get_mut(&each.epoch) {
            Some(held) => held.raise(each),
            None => {
                epochs.insert(each.epoch.clone(), each);
            }
        }
    }
    let mut all: Vec<Counted> = sums.into_iter().chain(epochs.into_values()).collect();
    all.sort_by_key(|each| each.started);
    // The newest knows best what the workload is.
    let newest = all.pop()?;
    Some(all.into_iter().fold(newest, Counted::with))
}

/// Sums that have no epoch in common.
fn disjoint(sums: Vec<Counted>) -> Vec<Counted> {
    let mut disjoint: Vec<Counted> = Vec::new();
    for sum in sums {
        let shares =
            |other: &&mut Counted| other.summed.iter().any(|epoch| sum.summed.contains(epoch));
        match disjoint.iter_mut().find(shares) {
            Some(other) => other.raise(sum),
            None => disjoint.push(sum),
        }
    }
    disjoint
}

impl Counted {
    /// What was heard of the same sooner or later.
    fn raise(&mut self, other: Self) {
        self.started = self.started.min(other.started);
        self.callers.extend(other.callers);
        self.summed = union(std::mem::take(&mut self.summed), other.summed);
        self.totals.raise(other.totals);
    }

    /// The sum with an older one, as the newer one's.
    #[must_use]
    pub fn with(self, older: Self) -> Self {
        let (mut sum, mut older) = (self.into_sum(), older.into_sum());
        older.callers.append(&mut sum.callers);
        sum.callers = older.callers;
        sum.summed = union(older.summed, sum.summed);
        sum.started = sum.started.min(older.started);
        sum.totals.add(older.totals);
        sum
    }

    /// The same as a sum, if only of one.
    #[must_use]
    pub fn into_sum(mut self) -> Self {
        if !self.epoch.is_empty() {
            self.summed.push(std::mem::take(&mut self.epoch));
        }
        self
    }
}

/// Without what is there twice; of very many the last ones.
fn union(mut one: Vec<String>, other: Vec<String>) -> Vec<String> {
    for epoch in other {
        if !one.contains(&epoch) {
            one.push(epoch);
        }
    }
    let over = one.len().saturating_sub(MAX_SUMMED);
    one.drain(..over);
    one
}

/// By so many epochs a sum is known again.
const MAX_SUMMED: usize = 64;
