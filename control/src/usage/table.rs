//! The counts of every workload, as far as there is room. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use palisade_api::convert::Report;
use palisade_api::usage::{Caller, Counted, Resident, Totals, Usage};
use palisade_api::workload::Workload;

/// What proxies reported.
#[derive(Debug)]
pub(super) struct Table {
    since: i64,
    forgotten: u64,
    workloads: BTreeMap<String, Known>,
    /// Of all workloads.
    entries: usize,
    /// How many reports were heard.
    heard: u64,
    room: Room,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) workloads: usize,
    pub(super) entries: usize,
}

/// One workload's counts.
#[derive(Debug, Default)]
struct Known {
    /// The number of the last report.
    heard: u64,
    /// By the processes that counted, the oldest first.
    epochs: VecDeque<Counted>,
    /// The sum of those before.
    earlier: Option<Counted>,
}

impl Table {
    pub(super) fn new(since: i64, room: Room) -> Self {
        Self {
            since,
            forgotten: 0,
            workloads: BTreeMap::new(),
            entries: 0,
            heard: 0,
            room,
        }
    }

    /// What [`Table::all`] gave.
    pub(super) fn of(usage: Usage, room: Room) -> Self {
        let mut table = Self::new(usage.since, room);
        table.forgotten = usage.forgotten;
        for counted in usage.workloads {
            let key = format!("{}/{}", counted.namespace, counted.name);
            let known = table.workloads.entry(key).or_default();
            table.entries += counted.totals.len();
            if counted.epoch.is_empty() {
                known.earlier = Some(counted);
            } else {
                known.epochs.push_back(counted);
            }
        }
        table.make_room("");
        table
    }

    /// Takes a report of a workload's proxy. Who it is, and who lives at an address, control's own table says.
    pub(super) fn hear<'w>(
        &mut self,
        workload: &Workload,
        report: Report,
        at: impl Fn(IpAddr) -> Option<&'w Workload>,
    ) {
        let key = workload.key();
        self.heard += 1;
        let known = self.workloads.entry(key.clone()).or_default();
        known.heard = self.heard;
        let before = known.len();
        known.hear(workload, report, at);
        self.entries = self.entries - before + known.len();
        self.make_room(&key);
    }

    /// The whole of it, or of one namespace.
    pub(super) fn all(&self, namespace: Option<&str>) -> Usage {
        let counted = self.workloads.values().flat_map(Known::all);
        let within = |counted: &&Counted| namespace.is_none_or(|it| it == counted.namespace);
        Usage {
            since: self.since,
            workloads: counted.filter(within).cloned().collect(),
            rules_in_force: Vec::new(),
            connected: BTreeSet::new(),
            forgotten: self.forgotten,
        }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets workloads that were not heard of for longest, and first those of which nothing was counted, with whom nothing
    /// is lost; never the one that was just heard of.
    fn make_room(&mut self, but: &str) {
        while self.workloads.len() > self.room.workloads || self.entries > self.room.entries {
            let others = self.workloads.iter().filter(|(key, _)| *key != but);
            let oldest = others.min_by_key(|(_, known)| (!known.is_empty(), known.heard));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            if let Some(known) = self.workloads.remove(&key) {
                self.entries -= known.len();
                self.forgotten += u64::from(!known.is_empty());
            }
        }
    }
}

impl Known {
    fn hear<'w>(
        &mut self,
        workload: &Workload,
        report: Report,
        at: impl Fn(IpAddr) -> Option<&'w Workload>,
    ) {
        let is_summed = |sum: &Counted| sum.summed.contains(&report.epoch);
        if self.earlier.as_ref().is_some_and(is_summed) {
            // The last words of a process that has had successors; they cannot be told from what was heard of it.
            return;
        }
        let position = self.epochs.iter().position(|it| it.epoch == report.epoch);
        let mut counted = position
            .and_then(|at| self.epochs.remove(at))
            .unwrap_or_default();
        describe(&mut counted, workload);
        name_callers(&mut counted, &report.totals, at);
        counted.epoch = report.epoch;
        counted.started = report.started;
        counted.totals.raise(report.totals);
        bound(&mut counted);
        let after = self
            .epochs
            .partition_point(|it| it.started <= counted.started);
        self.epochs.insert(after, counted);
        while self.epochs.len() > MAX_EPOCHS
            && let Some(oldest) = self.epochs.pop_front()
        {
            let mut sum = match self.earlier.take() {
                Some(earlier) => oldest.with(earlier),
                None => oldest.into_sum(),
            };
            bound(&mut sum);
            self.earlier = Some(sum);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Counted> {
        self.earlier.iter().chain(&self.epochs)
    }

    fn len(&self) -> usize {
        self.all().map(|counted| counted.totals.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.all().all(|counted| counted.totals.is_empty())
    }
}

fn describe(counted: &mut Counted, workload: &Workload) {
    counted.namespace.clone_from(&workload.namespace);
    counted.name.clone_from(&workload.name);
    counted
        .service_account
        .clone_from(&workload.service_account);
    counted.labels.clone_from(&workload.labels);
}

/// A proxy keeps within these; another program with an SVID may not.
fn bound(counted: &mut Counted) {
    counted.totals.keep(MAX_EDGES, MAX_RULES);
    while counted.callers.len() > MAX_EDGES {
        counted.callers.pop_last();
    }
}

fn name_callers<'w>(
    counted: &mut Counted,
    heard: &Totals,
    at: impl Fn(IpAddr) -> Option<&'w Workload>,
) {
    for edge in heard.edges.keys() {
        let Caller::Address(ip) = edge.caller else {
            continue;
        };
        if let Some(workload) = at(ip) {
            let resident = Resident {
                namespace: workload.namespace.clone(),
                name: workload.name.clone(),
                service_account: workload.service_account.clone(),
            };
            counted.callers.insert(ip, resident);
        }
    }
}

/// Processes of one workload's proxy that are told apart.
const MAX_EPOCHS: usize = 4;
const MAX_EDGES: usize = 1024;
const MAX_RULES: usize = 4096;
