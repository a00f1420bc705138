//! What rules permit and nobody ever did, whichever rule would let it in.

use std::collections::{BTreeSet, HashMap};

use palisade_api::policy::{From, Policy, PortRange, RuleName, Source, Verdict};
use palisade_api::spiffe::SpiffeId;
use serde::Serialize;
use time::OffsetDateTime;

use super::allowances::{Allowance, Allowances, Permitted};
use super::callers::{Callers, by_called};
use crate::policy::counted::{Edge, Workloads};
use crate::policy::rules::Rules;
use crate::policy::subject::Called;
use crate::policy::{excluded, ports};

/// An edge that rules permit, and that was never used.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Unused {
    pub(crate) from: String,
    pub(crate) to: String,
    /// As rules write them; empty: all.
    pub(crate) ports: Vec<String>,
    /// The rules that permit it.
    pub(crate) rules: Vec<String>,
    #[serde(skip)]
    pub(crate) ranges: Vec<PortRange>,
}

/// Such edges, and what was seen on the way.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The widest first.
    pub(super) edges: Vec<Unused>,
    /// How many there are beyond these.
    pub(super) more: usize,
    /// Of rules that never decided, those that did in their place.
    pub(super) instead: HashMap<RuleName, BTreeSet<String>>,
}

/// An edge that was never used, before it is put in words.
#[derive(Debug)]
struct Line<'a> {
    width: Width,
    from: String,
    to: &'a Called,
    ports: Vec<PortRange>,
    by: Vec<Allowance<'a>>,
}

/// Whether a rule ever did.
type HasDecided<'a> = dyn Fn(&RuleName) -> bool + 'a;

/// How much a line permits: whom, and at how many ports.
type Width = (u8, u32);

/// Looks at each workload with a sidecar once, and at the allowances that protect it; keeps the `most` widest edges.
pub(super) fn find(
    workloads: &Workloads<'_>,
    rules: &Rules,
    (edges, has_decided): (&[Edge], &HasDecided<'_>),
    (most, now): (usize, OffsetDateTime),
) -> Found {
    let allowances = Allowances::of(rules, has_decided, now);
    let callers = by_called(edges, &rules.trust_domain);
    let nobody = Callers::default();
    let meshed = rules.known.workloads.iter().filter(|one| one.meshed);
    // What is permitted by rules that are not known is left out, which was said.
    let meshed = meshed.filter(|one| rules.sure_in(Some(&one.namespace)).is_ok());
    // What no sidecar sees is in no count: where all replicas keep a port from theirs, nobody knows whether it is used.
    let protected = excluded::unseen(meshed, &workloads.selected);
    let judge = Judge {
        rules,
        policy: rules.compiled(),
        now,
    };
    let (mut lines, mut found) = (Widest::new(most), Found::default());
    for (called, unseen) in &protected {
        let callers = callers.get(called).unwrap_or(&nobody);
        for permitted in allowances.of_called(called) {
            permitted.served(callers, &mut found.instead);
            lines.extend(permitted.unused((called, unseen), callers, &judge));
        }
    }
    let (kept, more) = lines.finish();
    found.edges = kept.into_iter().map(told).collect();
    found.more = more;
    found
}

impl<'a> Permitted<'a> {
    /// What nobody did of it; of who did something, only ports that rules name.
    fn unused<'c>(
        &self,
        (called, unseen): (&'c Called, &BTreeSet<u16>),
        callers: &Callers<'_>,
        judge: &Judge<'_>,
    ) -> Option<Line<'c>>
    where
        'a: 'c,
    {
        let used = callers.at(self.from);
        let named = self
            .by
            .iter()
            .flat_map(|one| one.rule.ports.iter().copied());
        let is_for_all = self.by.iter().any(|one| one.rule.ports.is_empty());
        let is_everywhere = used.is_empty() && is_for_all;
        let wanted = if is_everywhere {
            vec![ALL]
        } else {
            ports::without(&ports::together(named.collect()), used.keys().chain(unseen))
        };
        let left = judge.not_denied(self.from, called, wanted);
        if left.is_empty() {
            return None;
        }
        let touches = |one: &&Allowance<'_>| {
            let all_of_it = one.rule.ports.is_empty();
            let some_of_it = || {
                one.rule
                    .ports
                    .iter()
                    .any(|own| left.iter().any(|it| meet(*own, *it)))
            };
            (all_of_it && is_everywhere) || some_of_it()
        };
        let count = left.iter().map(|one| u32::from(one.last - one.first) + 1);
        Some(Line {
            width: (width(self.from), count.sum()),
            from: source(self.from),
            to: called,
            by: self.by.iter().filter(touches).copied().collect(),
            ports: left,
        })
    }

    /// Which rules let in, in place of those that never did.
    fn served(&self, callers: &Callers<'_>, instead: &mut HashMap<RuleName, BTreeSet<String>>) {
        for one in self.by.iter().filter(|one| !one.has_decided) {
            let used = callers.at(self.from);
            let at = used.iter().filter(|(port, _)| {
                let ports = &one.rule.ports;
                ports.is_empty() || ports.iter().any(|range| range.contains(**port))
            });
            let others: BTreeSet<&str> = at.flat_map(|(_, rules)| rules).copied().collect();
            if !others.is_empty() {
                let held = instead.entry(one.name()).or_default();
                held.extend(others.into_iter().map(str::to_owned));
            }
        }
    }
}

/// The rules as they are: a denial may take back what an allowance permits.
struct Judge<'a> {
    rules: &'a Rules,
    policy: Policy,
    now: OffsetDateTime,
}

impl Judge<'_> {
    /// Without what is denied to one that is named, at both ends of a range. Of others nobody can tell who they are.
    fn not_denied(&self, from: &From, called: &Called, ports: Vec<PortRange>) -> Vec<PortRange> {
        let trust_domain = &self.rules.trust_domain;
        let id = match from {
            From::Identity(id) => Some(id.clone()),
            From::ServiceAccount { namespace, name } => {
                SpiffeId::of_service_account(trust_domain, namespace, name).ok()
            }
            From::Namespace(_) | From::TrustDomain(_) | From::Unauthenticated(_) => None,
        };
        let Some(id) = id else { return ports };
        let settings = self.rules.known.settings(&called.namespace);
        let destination = called.destination(trust_domain, settings);
        let source = Source::Authenticated(&id);
        let is_denied = |port| {
            let decision = self.policy.decide(source, &destination, port, self.now);
            matches!(decision.verdict, Verdict::Deny(_))
        };
        let mut ports = ports;
        ports.retain(|range| !is_denied(range.first) || !is_denied(range.last));
        ports
    }
}

/// The widest of many lines, without holding all of them.
struct Widest<'a> {
    most: usize,
    lines: Vec<Line<'a>>,
    dropped: usize,
}

impl<'a> Widest<'a> {
    fn new(most: usize) -> Self {
        Self {
            most,
            lines: Vec::new(),
            dropped: 0,
        }
    }

    fn extend(&mut self, line: Option<Line<'a>>) {
        self.lines.extend(line);
        if self.lines.len() > self.most.saturating_mul(2).saturating_add(AT_LEAST) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.lines.sort_by(|one, other| {
            let key = (other.width, one.to, &one.from);
            key.cmp(&(one.width, other.to, &other.from))
        });
        self.dropped += self.lines.len().saturating_sub(self.most);
        self.lines.truncate(self.most);
    }

    /// Those that are kept, and how many there are beside them.
    fn finish(mut self) -> (Vec<Line<'a>>, usize) {
        self.settle();
        (self.lines, self.dropped)
    }
}

fn told(line: Line<'_>) -> Unused {
    let is_all = line.ports.as_slice() == [ALL];
    let ranges = if is_all { Vec::new() } else { line.ports };
    Unused {
        from: line.from,
        to: line.to.to_string(),
        ports: ranges.iter().map(ToString::to_string).collect(),
        rules: line.by.iter().map(|one| one.name().to_string()).collect(),
        ranges,
    }
}

fn meet(one: PortRange, other: PortRange) -> bool {
    one.first <= other.last && other.first <= one.last
}

/// Everybody before a network, before a namespace, before one caller.
fn width(from: &From) -> u8 {
    match from {
        From::TrustDomain(_) => 3,
        From::Unauthenticated(network) if network.prefix_len() < network.max_prefix_len() => 2,
        From::Namespace(_) => 1,
        From::Unauthenticated(_) | From::ServiceAccount { .. } | From::Identity(_) => 0,
    }
}

/// As a rule names it, in one line.
fn source(from: &From) -> String {
    match from {
        From::ServiceAccount { namespace, name } => format!("{namespace}/{name}"),
        From::Identity(id) => id.to_string(),
        From::Namespace(namespace) => format!("{namespace}/*"),
        From::TrustDomain(domain) => format!("any identity of {domain}"),
        From::Unauthenticated(network) => format!("{network} in clear"),
    }
}

const ALL: PortRange = PortRange {
    first: 1,
    last: u16::MAX,
};
/// So that few lines are not sorted again and again.
const AT_LEAST: usize = 4096;
