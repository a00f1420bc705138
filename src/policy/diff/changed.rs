//! What differs between the rules of both sides: only where something does, answers can differ.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use palisade_api::policy::{Effect, From, Mode, PortRange, Rule, Source, Target};
use palisade_api::spiffe::TrustDomain;
use palisade_api::workload::NamespaceSettings;
use time::OffsetDateTime;

use super::called::{Place, protects};
use super::{Rules, Sides};
use crate::policy::subject::Called;

/// The rules of one namespace that only one side has.
#[derive(Debug)]
pub(super) struct Changed<'a> {
    rules: Vec<(&'a Target, &'a Rule)>,
    /// How the namespace is set, on both sides.
    pub(super) settings: (NamespaceSettings, NamespaceSettings),
}

/// A rule without its name.
type Meaning<'a> = (
    Option<&'a str>,
    &'a BTreeMap<String, String>,
    (Effect, Mode, Option<OffsetDateTime>),
    &'a [From],
    &'a [PortRange],
);

impl<'a> Changed<'a> {
    pub(super) fn of(sides: Sides<'a>, namespace: &str) -> Self {
        let [before, after] = [sides.before, sides.after].map(|side| rules(side, namespace));
        let [old, new] =
            [&before, &after].map(|side| side.iter().map(meaning).collect::<HashSet<_>>());
        let gone = before.iter().filter(|rule| !new.contains(&meaning(rule)));
        let come = after.iter().filter(|rule| !old.contains(&meaning(rule)));
        Self {
            rules: gone.chain(come).copied().collect(),
            settings: (
                settings(sides.before, sides.after, namespace),
                settings(sides.after, sides.before, namespace),
            ),
        }
    }

    /// Whether nothing differs.
    pub(super) fn is_nothing(&self) -> bool {
        self.rules.is_empty() && self.settings.0 == self.settings.1
    }

    fn is_everything(&self) -> bool {
        self.settings.0 != self.settings.1
    }

    /// Whether a change is about this workload.
    pub(super) fn is_about(&self, place: &Place) -> bool {
        let fits = |called: &Called| self.rules.iter().any(|(target, _)| selects(target, called));
        self.is_everything() || place.before != place.after || fits(&place.before)
    }

    /// Whether a change is about this caller.
    pub(super) fn names(&self, source: Source<'_>, trust_domain: &TrustDomain) -> bool {
        let mut from = self.rules.iter().flat_map(|(_, rule)| &rule.from);
        self.is_everything() || from.any(|from| from.fits(source, trust_domain))
    }

    /// Whether a change is about this port.
    pub(super) fn has_port(&self, port: u16) -> bool {
        let has = |rule: &Rule| {
            rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(port))
        };
        self.is_everything() || self.rules.iter().any(|(_, rule)| has(rule))
    }
}

/// Whether a target asks for what a workload has, beside its namespace.
fn selects(target: &Target, called: &Called) -> bool {
    let account = target.service_account.as_ref();
    let mut labels = target.labels.iter();
    account.is_none_or(|own| *own == called.service_account)
        && labels.all(|(key, value)| called.labels.get(key) == Some(value))
}

/// The rules of a side that protect workloads of a namespace.
pub(super) fn rules<'a>(side: &'a Rules, namespace: &str) -> Vec<(&'a Target, &'a Rule)> {
    let policies = side.policies.iter();
    let own = policies.filter(|policy| protects(policy, namespace));
    own.flat_map(|policy| policy.rules.iter().map(|rule| (&policy.target, rule)))
        .collect()
}

fn meaning<'a>((target, rule): &(&'a Target, &'a Rule)) -> Meaning<'a> {
    (
        target.service_account.as_deref(),
        &target.labels,
        (rule.effect, rule.mode, rule.expires),
        &rule.from,
        &rule.ports,
    )
}

/// As the side says it; as the other does, where files say nothing of it.
fn settings(side: &Rules, other: &Rules, namespace: &str) -> NamespaceSettings {
    let is_told = side.known.is_complete || side.known.told.contains(namespace);
    let known = if is_told { side } else { other };
    known.known.settings(namespace)
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
        all.extend(
            side.known
                .workloads
                .iter()
                .map(|one| one.namespace.as_str()),
        );
    }
    all
}
