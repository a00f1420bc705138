//! What was tried and denied: each edge once, with all the reasons that there were.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bound;
use crate::policy::counted::{self, Edge, Workloads};
use crate::policy::subject::{Called, Caller};

/// An edge that was denied.
#[derive(Debug, Serialize)]
pub(crate) struct Tried {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) port: u16,
    /// For all reasons.
    pub(crate) count: u64,
    pub(crate) first: String,
    pub(crate) last: String,
    /// Most first.
    pub(crate) reasons: Vec<Reason>,
    #[serde(skip)]
    pub(crate) last_at: i64,
}

/// Why, and how often.
#[derive(Debug, Serialize)]
pub(crate) struct Reason {
    /// In the word of records: `rule`, `no_rule`, `revoked`.
    pub(crate) reason: String,
    /// Where a rule denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    pub(crate) count: u64,
    pub(crate) last: String,
}

/// What makes one line.
type Key<'a> = (&'a Called, &'a Caller, u16);

/// Most first, and of as many the latest; at most so many, and how many there are besides.
pub(super) fn denied(
    workloads: &Workloads<'_>,
    edges: &[Edge],
    most: usize,
) -> (Vec<Tried>, usize) {
    let mut together: BTreeMap<Key<'_>, Vec<&Edge>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| !edge.decided.is_allowed()) {
        let key = (&edge.called, &edge.caller, edge.port);
        together.entry(key).or_default().push(edge);
    }
    let mut denied: Vec<_> = together
        .into_values()
        .filter_map(|mut reasons| {
            reasons.sort_by_key(|edge| std::cmp::Reverse((edge.seen.count, edge.seen.last)));
            let seen = reasons.iter().map(|edge| edge.seen);
            let seen = seen.reduce(|one, other| one.and(other))?;
            Some((seen, reasons))
        })
        .collect();
    // Those that are alike stay in the order of their names.
    denied.sort_by_key(|(seen, _)| std::cmp::Reverse((seen.count, seen.last)));
    let more = bound(&mut denied, most);
    let told = denied.into_iter().filter_map(|(seen, edges)| {
        let latest = edges.iter().max_by_key(|edge| edge.seen.last)?;
        Some(Tried {
            from: workloads.named(latest),
            to: latest.called.to_string(),
            port: latest.port,
            count: seen.count,
            first: counted::moment(seen.first),
            last: counted::moment(seen.last),
            reasons: edges.iter().map(|edge| reason(edge)).collect(),
            last_at: seen.last,
        })
    });
    (told.collect(), more)
}

fn reason(edge: &Edge) -> Reason {
    let word = match (&edge.rule, &edge.reason) {
        (Some(_), _) => "rule",
        (None, Some(reason)) => reason,
        (None, None) => "no_rule",
    };
    Reason {
        reason: word.to_owned(),
        rule: edge.rule.clone(),
        count: edge.seen.count,
        last: counted::moment(edge.seen.last),
    }
}
