//! Counts by what they are of, and how two of them add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Decided, EdgeKey};

/// What one or more processes counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Connections of one caller to one port that were decided alike.
    #[serde(with = "as_list")]
    pub edges: BTreeMap<EdgeKey, Seen>,
    /// How often each rule decided, whatever became of its edges. By the rule's name.
    #[serde(with = "as_named_list")]
    pub rules: BTreeMap<String, Use>,
    /// Connections whose edges did not fit.
    #[serde(default)]
    pub others: BTreeMap<Decided, u64>,
}

/// How often, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: i64,
    /// The last time, and while one is open, now or some half a minute ago.
    pub last: i64,
    /// For how many of them nobody listened, though they were let through: the kernel refused.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unanswered: u64,
}

/// How often a rule decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// How often.
    pub count: u64,
    /// The last time, and while a connection is open that it let in, now or some half a minute ago; 0: never.
    pub last: i64,
    /// How often it would have decided otherwise, were it not in shadow.
    pub shadow_count: u64,
    /// The last time of that.
    pub shadow_last: i64,
}

impl Totals {
    /// Of one process: what was heard of it sooner and later. The greater number is the later one.
    pub fn raise(&mut self, later: Self) {
        for (edge, seen) in later.edges {
            let held = self.edges.entry(edge).or_insert(seen);
            *held = held.spanning(seen, u64::max);
        }
        for (rule, later) in later.rules {
            let held = self.rules.entry(rule).or_default();
            *held = held.upto(later, u64::max);
        }
        for (decided, count) in later.others {
            let held = self.others.entry(decided).or_default();
            *held = (*held).max(count);
        }
    }

    /// Of two processes: both.
    pub fn add(&mut self, other: Self) {
        for (edge, seen) in other.edges {
            match self.edges.get_mut(&edge) {
                Some(held) => *held = held.and(seen),
                None => {
                    self.edges.insert(edge, seen);
                }
            }
        }
        for (rule, other) in other.rules {
            let held = self.rules.entry(rule).or_default();
            *held = held.upto(other, u64::saturating_add);
        }
        for (decided, count) in other.others {
            let held = self.others.entry(decided).or_default();
            *held = held.saturating_add(count);
        }
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.edges.len() + self.rules.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.others.is_empty()
    }

    /// Keeps so many entries of either kind, the last seen; counts the connections of edges that go as others.
    pub fn keep(&mut self, edges: usize, rules: usize) {
        let over = self.edges.len().saturating_sub(edges);
        if over > 0 {
            let mut by_age: Vec<_> = self
                .edges
                .iter()
                .map(|(edge, seen)| (seen.last, edge.clone()))
                .collect();
            by_age.sort();
            for (_, edge) in by_age.into_iter().take(over) {
                if let Some(seen) = self.edges.remove(&edge) {
                    let others = self.others.entry(edge.decided).or_default();
                    *others = others.saturating_add(seen.count);
                }
            }
        }
        let over = self.rules.len().saturating_sub(rules);
        if over > 0 {
            let last = |seen: &Use| seen.last.max(seen.shadow_last);
            let mut by_age: Vec<_> = self
                .rules
                .iter()
                .map(|(rule, seen)| (last(seen), rule.clone()))
                .collect();
            by_age.sort();
            for (_, rule) in by_age.into_iter().take(over) {
                self.rules.remove(&rule);
            }
        }
    }
}

impl Seen {
    /// Of two that are counted apart: both.
    pub fn and(self, other: Self) -> Self {
        self.spanning(other, u64::saturating_add)
    }

    fn spanning(self, other: Self, counts: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            count: counts(self.count, other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            unanswered: counts(self.unanswered, other.unanswered),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Use {
    fn upto(self, other: Self, counts: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            count: counts(self.count, other.count),
            last: self.last.max(other.last),
            shadow_count: counts(self.shadow_count, other.shadow_count),
            shadow_last: self.shadow_last.max(other.shadow_last),
        }
    }
}

/// Edges as a list of objects: JSON has no other keys than text.
mod as_list {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Edge<K> {
        #[serde(flatten)]
        key: K,
        #[serde(flatten)]
        seen: Seen,
    }

    pub(super) fn serialize<S: Serializer>(
        edges: &BTreeMap<EdgeKey, Seen>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(edges.iter().map(|(key, seen)| Edge { key, seen: *seen }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<EdgeKey, Seen>, D::Error> {
        let edges = Vec::<Edge<EdgeKey>>::deserialize(deserializer)?;
        Ok(edges
            .into_iter()
            .map(|edge| (edge.key, edge.seen))
            .collect())
    }
}

/// Rules as a list of objects, like edges.
mod as_named_list {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Named<N> {
        rule: N,
        #[serde(flatten)]
        used: Use,
    }

    pub(super) fn serialize<S: Serializer>(
        rules: &BTreeMap<String, Use>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rules.iter().map(|(rule, used)| Named { rule, used: *used }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Use>, D::Error> {
        let rules = Vec::<Named<String>>::deserialize(deserializer)?;
        Ok(rules
            .into_iter()
            .map(|rule| (rule.rule, rule.used))
            .collect())
    }
}
