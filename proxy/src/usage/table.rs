//! The bounded table behind [`Usage`](super::Usage). Pure: time is an argument.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_api::policy::{Effect, RuleName};
use palisade_api::spiffe::SpiffeId;
use palisade_api::usage::{Decided, Seen, Use};

/// What makes two connections the same; the names are a connection's own, or borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Edge<Id, Rule> {
    pub(super) caller: Caller<Id>,
    pub(super) port: u16,
    pub(super) verdict: Verdict<Rule>,
    /// The rule in shadow that would have decided otherwise.
    pub(super) shadow: Option<(Effect, Rule)>,
}

/// Who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller<Id> {
    Identity(Id),
    /// Without an identity.
    Address(IpAddr),
}

/// What was decided, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verdict<Rule> {
    AllowedByRule(Rule),
    AllowedAsPermissive,
    AllowedByShadow,
    DeniedByRule(Rule),
    DeniedByNoRule,
    /// In the word of records.
    Denied(&'static str),
}

pub(super) type Kept = Edge<SpiffeId, RuleName>;
pub(super) type Asked<'a> = Edge<&'a SpiffeId, &'a RuleName>;

/// All that one process of the proxy counted.
#[derive(Debug, Default)]
pub(super) struct Table {
    edges: HashMap<Kept, Count<Line>>,
    /// Exact, even where edges do not fit.
    rules: HashMap<RuleName, Count<Use>>,
    /// Connections whose edges did not fit.
    others: HashMap<Decided, Count<u64>>,
    is_untold: bool,
}

/// An edge's counts, and whoever uses it.
#[derive(Debug)]
struct Line {
    seen: Seen,
    open: Held,
}

/// Held by an edge, and by each of its connections that is open. Counts those for which nobody was there.
pub(super) type Held = Arc<AtomicU64>;

/// A number, and whether control was told of it.
#[derive(Debug, Clone, Copy)]
struct Count<T> {
    value: T,
    is_told: bool,
}

/// What control is told.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) edges: Vec<(Kept, Seen)>,
    pub(super) rules: Vec<(RuleName, Use)>,
    pub(super) others: Vec<(Decided, u64)>,
}

impl Table {
    /// Counts a connection; `in_force` are the rules of which there are counts at least. What is returned holds the edge
    /// open; none is, where there is no room for it.
    pub(super) fn count(
        &mut self,
        edge: Asked<'_>,
        now: i64,
        in_force: &[RuleName],
    ) -> Option<Held> {
        self.is_untold = true;
        if let Some(rule) = edge.verdict.rule() {
            self.rule(rule, in_force, |used| {
                used.count += 1;
                used.last = now;
            });
        }
        if let Some((_, rule)) = edge.shadow {
            self.rule(rule, in_force, |used| {
                used.shadow_count += 1;
                used.shadow_last = now;
            });
        }
        if let Some(count) = self.edges.get_mut(&edge as &dyn Parts) {
            count.value.seen.count += 1;
            count.value.seen.last = now;
            count.is_told = false;
            return Some(Arc::clone(&count.value.open));
        }
        if self.edges.len() < MAX_EDGES {
            let seen = Seen {
                count: 1,
                first: now,
                last: now,
                unanswered: 0,
            };
            let open = Held::default();
            let held = Arc::clone(&open);
            self.edges
                .insert(edge.kept(), Count::untold(Line { seen, open }));
            return Some(held);
        }
        let others = self.others.entry(edge.verdict.decided());
        let others = others.or_insert_with(|| Count::untold(0));
        others.value += 1;
        others.is_told = false;
        None
    }

    /// Nobody was there for a connection that was let through.
    pub(super) fn unanswered(&mut self, held: &Held) {
        held.fetch_add(1, Ordering::Relaxed);
        self.is_untold = true;
    }

    /// Whether this is what holds the edge open.
    pub(super) fn holds(&self, held: &Held, edge: Asked<'_>) -> bool {
        let line = self.edges.get(&edge as &dyn Parts);
        line.is_some_and(|count| Arc::ptr_eq(&count.value.open, held))
    }

    /// Whether a connection of some edge is open.
    pub(super) fn has_open(&self) -> bool {
        self.edges.values().any(|count| count.value.is_open())
    }

    /// Edges with an open connection are in use now, and so are the rules that let it in.
    pub(super) fn refresh(&mut self, now: i64) {
        for (edge, count) in &mut self.edges {
            if !count.value.is_open() {
                continue;
            }
            count.value.seen.last = now;
            count.is_told = false;
            self.is_untold = true;
            if let Some(used) = edge
                .verdict
                .rule()
                .and_then(|rule| self.rules.get_mut(rule))
            {
                used.value.last = now;
                used.is_told = false;
            }
        }
    }

    /// Rules come and go: those that are gone make room, now and then.
    fn rule(&mut self, rule: &RuleName, in_force: &[RuleName], count: impl FnOnce(&mut Use)) {
        if let Some(known) = self.rules.get_mut(rule) {
            count(&mut known.value);
            known.is_told = false;
            return;
        }
        if self.rules.len() >= in_force.len() + MAX_FORMER_RULES {
            self.rules.retain(|known, _| in_force.contains(known));
        }
        let mut used = Use::default();
        count(&mut used);
        self.rules.insert(rule.clone(), Count::untold(used));
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.edges.capacity() + self.rules.capacity() + self.others.capacity()
    }

    /// Whether there is anything that control was not told.
    pub(super) fn is_untold(&self) -> bool {
        self.is_untold
    }

    /// Whoever is told next is told everything.
    pub(super) fn forget_who_was_told(&mut self) {
        self.edges
            .values_mut()
            .for_each(|count| count.is_told = false);
        self.rules
            .values_mut()
            .for_each(|count| count.is_told = false);
        self.others
            .values_mut()
            .for_each(|count| count.is_told = false);
        self.is_untold = !self.edges.is_empty();
    }

    /// What was not told yet, which it is from now on.
    pub(super) fn tell(&mut self) -> News {
        self.is_untold = false;
        for count in self.edges.values_mut() {
            let unanswered = count.value.open.load(Ordering::Relaxed);
            count.is_told &= unanswered == count.value.seen.unanswered;
            count.value.seen.unanswered = unanswered;
        }
        News {
            edges: untold(&mut self.edges, |line| line.seen),
            rules: untold(&mut self.rules, |used| *used),
            others: untold(&mut self.others, |count| *count),
        }
    }
}

fn untold<K: Clone, V, Said>(
    counts: &mut HashMap<K, Count<V>>,
    said: impl Fn(&V) -> Said,
) -> Vec<(K, Said)> {
    let untold = counts.iter_mut().filter(|(_, count)| !count.is_told);
    untold
        .map(|(key, count)| {
            count.is_told = true;
            (key.clone(), said(&count.value))
        })
        .collect()
}

impl Line {
    fn is_open(&self) -> bool {
        Arc::strong_count(&self.open) > 1
    }
}

impl<T> Count<T> {
    fn untold(value: T) -> Self {
        Self {
            value,
            is_told: false,
        }
    }
}

impl<Rule> Verdict<Rule> {
    /// The rule that decided.
    pub(super) fn rule(&self) -> Option<&Rule> {
        match self {
            Self::AllowedByRule(rule) | Self::DeniedByRule(rule) => Some(rule),
            Self::AllowedAsPermissive
            | Self::AllowedByShadow
            | Self::DeniedByNoRule
            | Self::Denied(_) => None,
        }
    }

    pub(super) fn decided(&self) -> Decided {
        match self {
            Self::AllowedByRule(_) => Decided::AllowedByRule,
            Self::AllowedAsPermissive => Decided::AllowedAsPermissive,
            Self::AllowedByShadow => Decided::AllowedByShadow,
            Self::DeniedByRule(_) => Decided::DeniedByRule,
            Self::DeniedByNoRule => Decided::DeniedByNoRule,
            Self::Denied(_) => Decided::Denied,
        }
    }

    fn with<'r, Other>(&'r self, name: impl Fn(&'r Rule) -> Other) -> Verdict<Other> {
        match self {
            Self::AllowedByRule(rule) => Verdict::AllowedByRule(name(rule)),
            Self::AllowedAsPermissive => Verdict::AllowedAsPermissive,
            Self::AllowedByShadow => Verdict::AllowedByShadow,
            Self::DeniedByRule(rule) => Verdict::DeniedByRule(name(rule)),
            Self::DeniedByNoRule => Verdict::DeniedByNoRule,
            Self::Denied(word) => Verdict::Denied(word),
        }
    }
}

impl Asked<'_> {
    fn kept(self) -> Kept {
        Edge {
            caller: match self.caller {
                Caller::Identity(id) => Caller::Identity(id.clone()),
                Caller::Address(ip) => Caller::Address(ip),
            },
            port: self.port,
            verdict: self.verdict.with(|rule| (*rule).clone()),
            shadow: self.shadow.map(|(effect, rule)| (effect, rule.clone())),
        }
    }
}

/// An edge by its parts, whoever owns them: so that a connection is looked up without a copy of its names.
trait Parts {
    fn parts(&self) -> Asked<'_>;
}

impl Parts for Kept {
    fn parts(&self) -> Asked<'_> {
        Edge {
            caller: match &self.caller {
                Caller::Identity(id) => Caller::Identity(id),
                Caller::Address(ip) => Caller::Address(*ip),
            },
            port: self.port,
            verdict: self.verdict.with(|rule| rule),
            shadow: self.shadow.as_ref().map(|(effect, rule)| (*effect, rule)),
        }
    }
}

impl Parts for Asked<'_> {
    fn parts(&self) -> Asked<'_> {
        *self
    }
}

/// A reference has the hash of what it refers to, so either form of an edge has the other's.
impl Hash for dyn Parts + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Parts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Parts + '_ {}

impl<'a> Borrow<dyn Parts + 'a> for Kept {
    fn borrow(&self) -> &(dyn Parts + 'a) {
        self
    }
}

/// Some hundred bytes each. Whoever calls can make as many as there are ports, and in clear as it has addresses.
pub(super) const MAX_EDGES: usize = 1024;
/// Counts of rules that are no longer in force, at most.
const MAX_FORMER_RULES: usize = 64;
