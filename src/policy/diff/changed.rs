//! The rules of both sides, by the namespaces that they protect: only where one side has one that the other has not,
//! answers can differ.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};
use palisade_api::workload::NamespaceSettings;
use time::OffsetDateTime;

use super::{Rules, Sides};

/// One rule of either side, with what it protects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sentence<'a> {
    pub(super) target: &'a Target,
    pub(super) rule: &'a Rule,
    /// Whether only one side has it.
    pub(super) is_changed: bool,
}

/// All rules of both sides.
#[derive(Debug, Default)]
pub(super) struct Sentences<'a> {
    by_namespace: HashMap<&'a str, Vec<Sentence<'a>>>,
    everywhere: Vec<Sentence<'a>>,
}

/// A rule without its name, and the namespaces that it protects.
type Meaning<'a> = (
    (Option<&'a str>, &'a [String]),
    (Option<&'a str>, &'a BTreeMap<String, String>),
    (Effect, Mode, Option<OffsetDateTime>),
    &'a [From],
    &'a [PortRange],
);

impl<'a> Sentences<'a> {
    pub(super) fn of(sides: Sides<'a>) -> Self {
        let [old, new] = [sides.before, sides.after].map(|side| -> HashSet<Meaning<'_>> {
            let policies = side.policies.iter();
            let rules =
                policies.flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)));
            rules.map(|(policy, rule)| meaning(policy, rule)).collect()
        });
        let mut all = Self::default();
        for (side, other) in [(sides.before, &new), (sides.after, &old)] {
            for policy in &side.policies {
                let sentences = policy.rules.iter().map(|rule| Sentence {
                    target: &policy.target,
                    rule,
                    is_changed: !other.contains(&meaning(policy, rule)),
                });
                all.take(policy, sentences);
            }
        }
        all
    }

    fn take(
        &mut self,
        policy: &'a AuthorizationPolicy,
        sentences: impl Iterator<Item = Sentence<'a>> + Clone,
    ) {
        let named: BTreeSet<&str> = match &policy.namespace {
            Some(own) => BTreeSet::from([own.as_str()]),
            None => policy
                .target
                .namespaces
                .iter()
                .map(String::as_str)
                .collect(),
        };
        if named.is_empty() {
            self.everywhere.extend(sentences.clone());
        }
        for namespace in named {
            let held = self.by_namespace.entry(namespace).or_default();
            held.extend(sentences.clone());
        }
    }

    /// Those that protect workloads of a namespace.
    pub(super) fn about(&self, namespace: &str) -> impl Iterator<Item = Sentence<'a>> + '_ {
        let own = self.by_namespace.get(namespace);
        own.into_iter().flatten().chain(&self.everywhere).copied()
    }
}

fn meaning<'a>(policy: &'a AuthorizationPolicy, rule: &'a Rule) -> Meaning<'a> {
    let target = &policy.target;
    (
        (policy.namespace.as_deref(), &target.namespaces),
        (target.service_account.as_deref(), &target.labels),
        (rule.effect, rule.mode, rule.expires),
        &rule.from,
        &rule.ports,
    )
}

/// How a namespace is set, on both sides: as the side says it; as the other does, where files say nothing of it.
pub(super) fn settings(sides: Sides<'_>, namespace: &str) -> [NamespaceSettings; 2] {
    let of = |side: &Rules, other: &Rules| {
        let is_told = side.known.is_complete || side.known.told.contains(namespace);
        let known = if is_told { side } else { other };
        known.known.settings(namespace)
    };
    [of(sides.before, sides.after), of(sides.after, sides.before)]
}

/// The namespaces that either side tells of.
pub(super) fn namespaces(sides: Sides<'_>) -> BTreeSet<&str> {
    let mut all = BTreeSet::new();
    for side in [sides.before, sides.after] {
        for policy in &side.policies {
            all.extend(policy.namespace.as_deref());
            all.extend(policy.target.namespaces.iter().map(String::as_str));
        }
        all.extend(side.known.namespaces.keys().map(String::as_str));
        let workloads = side.known.workloads.iter();
        all.extend(workloads.map(|one| one.namespace.as_str()));
    }
    all
}
