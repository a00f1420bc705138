//! What one rule says that another says already, or takes back.

use std::collections::HashMap;

use super::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, RuleName, Target};

/// Whether `wide` speaks, whenever `narrow` does, of every source and port that `narrow` speaks of.
///
/// Of what they say of them, it tells nothing: effects are for the caller to compare. A rule in shadow covers none that
/// acts. A `true` is certain; some coverage that would need several entries of `from`, or the name of the trust domain,
/// is not found.
pub fn covers(wide: &Rule, narrow: &Rule) -> bool {
    let lasts = wide
        .expires
        .is_none_or(|end| narrow.expires.is_some_and(|other| other <= end));
    let acts = wide.mode == Mode::Enforce || narrow.mode == Mode::Shadow;
    let mut sources = narrow.from.iter();
    lasts
        && acts
        && includes_ports(&wide.ports, &narrow.ports)
        && sources.all(|source| wide.from.iter().any(|wide| includes(wide, source)))
}

impl Target {
    /// Whether it selects every workload that `narrow` selects, for policies of one namespace or for cluster policies.
    pub fn covers(&self, narrow: &Self) -> bool {
        is_within(&narrow.namespaces, &self.namespaces) && self.selects_all_of(narrow)
    }

    /// The same, within a namespace that both protect.
    fn selects_all_of(&self, narrow: &Self) -> bool {
        let account = self.service_account.as_ref();
        account.is_none_or(|account| narrow.service_account.as_ref() == Some(account))
            && self
                .labels
                .iter()
                .all(|(key, value)| narrow.labels.get(key) == Some(value))
    }
}

/// Why a rule changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// It allows, and a denial overrules all of it.
    Denied,
    /// Another rule of the same effect says all of it.
    Repeated,
}

/// The rules that change no verdict, as one other rule makes up for each: the rule, that other one, and why. In the order
/// of their names.
///
/// All of them can be removed at once. Of rules that say the same, the first by name is not one of them. The cost grows
/// with the number of rules that share a namespace and a source.
pub fn unreachable(policies: &[AuthorizationPolicy]) -> Vec<(RuleName, RuleName, Why)> {
    let mut rules: Vec<_> = policies.iter().flat_map(Placed::all).collect();
    rules.sort_by(|one, other| one.name.cmp(&other.name));
    let mut by_source: BySource<'_> = HashMap::new();
    for placed in &rules {
        for key in placed.keys() {
            by_source.entry(key).or_default().push(placed);
        }
    }
    let found = rules.iter().filter_map(|narrow| {
        let (wide, why) = narrow.made_up_for(&by_source)?;
        Some((narrow.name.clone(), wide.name.clone(), why))
    });
    found.collect()
}

/// Rules by a namespace, none for all, and a source, in the order of their names.
type BySource<'a> = HashMap<(Option<&'a str>, From), Vec<&'a Placed<'a>>>;

/// A rule and where it holds.
#[derive(Debug)]
struct Placed<'a> {
    name: RuleName,
    /// Empty for all.
    namespaces: &'a [String],
    target: &'a Target,
    rule: &'a Rule,
}

impl<'a> Placed<'a> {
    fn all(policy: &'a AuthorizationPolicy) -> impl Iterator<Item = Self> {
        let namespaces = match &policy.namespace {
            Some(own) => std::slice::from_ref(own),
            None => &policy.target.namespaces,
        };
        let named = policy.rule_names().zip(&policy.rules);
        named.map(move |(name, rule)| Self {
            name,
            namespaces,
            target: &policy.target,
            rule,
        })
    }

    /// What others find it by.
    fn keys(&self) -> Vec<(Option<&'a str>, From)> {
        let mut namespaces: Vec<_> = self
            .namespaces
            .iter()
            .map(|name| Some(name.as_str()))
            .collect();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let sources = self.rule.from.iter();
        let keys = sources.flat_map(|from| namespaces.iter().map(|name| (*name, from.clone())));
        keys.collect()
    }

    /// The rule that makes up for it: a denial rather than a repetition, and then the first by name.
    fn made_up_for<'b>(&self, by_source: &BySource<'b>) -> Option<(&'b Placed<'b>, Why)> {
        // Whatever covers it includes each of its sources: those of one are enough to look at.
        let source = self.rule.from.first()?;
        let own = self.namespaces.first().map(String::as_str);
        let mut found: Option<(&Placed<'_>, Why)> = None;
        for wider in wider(source) {
            for namespace in [None, own].into_iter().take(1 + usize::from(own.is_some())) {
                let Some(others) = by_source.get(&(namespace, wider.clone())) else {
                    continue;
                };
                for other in others {
                    let Some(why) = self.why(other) else { continue };
                    if found
                        .is_none_or(|(first, reason)| (why, &other.name) < (reason, &first.name))
                    {
                        found = Some((*other, why));
                    }
                }
            }
        }
        found
    }

    /// Why this one changes nothing where `other` is.
    fn why(&self, other: &Placed<'_>) -> Option<Why> {
        if self.name == other.name || !other.covers(self) {
            return None;
        }
        match (other.rule.effect, self.rule.effect) {
            (Effect::Deny, Effect::Allow) => {
                (other.rule.mode == Mode::Enforce).then_some(Why::Denied)
            }
            (Effect::Allow, Effect::Deny) => None,
            // Of two that say the same, one stays.
            (Effect::Allow, Effect::Allow) | (Effect::Deny, Effect::Deny) => {
                (other.name < self.name || !self.covers(other)).then_some(Why::Repeated)
            }
        }
    }

    fn covers(&self, narrow: &Placed<'_>) -> bool {
        is_within(narrow.namespaces, self.namespaces)
            && self.target.selects_all_of(narrow.target)
            && covers(self.rule, narrow.rule)
    }
}

/// Every source that includes this one, itself too.
fn wider(from: &From) -> Vec<From> {
    match from {
        From::ServiceAccount { namespace, .. } => {
            vec![from.clone(), From::Namespace(namespace.clone())]
        }
        From::Identity(id) => {
            vec![from.clone(), From::TrustDomain(id.trust_domain().clone())]
        }
        From::Unauthenticated(network) => {
            let networks = std::iter::successors(Some(*network), ipnet::IpNet::supernet);
            networks.map(From::Unauthenticated).collect()
        }
        From::Namespace(_) | From::TrustDomain(_) => vec![from.clone()],
    }
}

/// Whether each of some namespaces is one of others, where none means all.
fn is_within(namespaces: &[String], others: &[String]) -> bool {
    others.is_empty()
        || (!namespaces.is_empty() && namespaces.iter().all(|name| others.contains(name)))
}

fn includes_ports(wide: &[PortRange], narrow: &[PortRange]) -> bool {
    let wide_ranges = merged(wide);
    let is_included = |narrow: &PortRange| {
        let mut ranges = wide_ranges.iter();
        ranges.any(|wide| wide.first <= narrow.first && narrow.last <= wide.last)
    };
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(is_included))
}

/// The same ports in as few ranges as there can be.
fn merged(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn includes(wide: &From, narrow: &From) -> bool {
    match (wide, narrow) {
        (From::Namespace(wide), From::ServiceAccount { namespace, .. }) => wide == namespace,
        (From::TrustDomain(wide), From::Identity(id)) => wide == id.trust_domain(),
        (From::Unauthenticated(wide), From::Unauthenticated(narrow)) => wide.contains(narrow),
        (
            From::ServiceAccount { .. }
            | From::Identity(_)
            | From::Namespace(_)
            | From::TrustDomain(_)
            | From::Unauthenticated(_),
            _,
        ) => wide == narrow,
    }
}
