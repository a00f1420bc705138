//! Where rules are found: by the namespace that they protect, by the source, and of those by the target.
//!
//! Each step is a look-up, so that rules for other workloads or about other sources cost nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use time::OffsetDateTime;

use super::anchor::{Anchor, Anchors, Frequencies};
use super::lists::{Anchored, ByAnchor, ByName, Merged};
use super::sources::Sources;
use super::{
    AuthorizationPolicy, Destination, Effect, From, Mode, PortRange, Rule, RuleName, Source, Target,
};

/// One rule with the target of its policy.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: RuleName,
    pub(super) effect: Effect,
    pub(super) mode: Mode,
    pub(super) expires: Option<OffsetDateTime>,
    target: Arc<Target>,
    ports: Vec<PortRange>,
}

impl Compiled {
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|range| range.contains(port))
    }

    pub(super) fn has_expired(&self, now: OffsetDateTime) -> bool {
        self.expires.is_some_and(|expiry| expiry <= now)
    }

    /// Whether it protects this workload, given that it protects the namespace.
    pub(super) fn protects(&self, destination: &Destination<'_>) -> bool {
        let account = self.target.service_account.as_deref();
        account.is_none_or(|account| account == destination.service_account)
            && self
                .target
                .labels
                .iter()
                .all(|(key, value)| destination.labels.get(key) == Some(value))
    }
}

/// All rules, and the ways to them.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// In the order of their names.
    rules: Vec<Compiled>,
    namespaces: ByName<Scope>,
    /// Cluster policies that protect every namespace.
    everywhere: Scope,
}

impl Index {
    pub(super) fn new(objects: Vec<AuthorizationPolicy>) -> Self {
        let mut rules: Vec<Placed> = objects.into_iter().flat_map(compile).collect();
        rules.sort_by(|one, other| one.compiled.name.cmp(&other.compiled.name));
        let frequencies = Frequencies::of(rules.iter().map(|rule| &*rule.compiled.target));
        let mut index = Self::default();
        for (number, rule) in rules.into_iter().enumerate() {
            let anchor = frequencies.rarest(&rule.compiled.target);
            match &*rule.scopes {
                [] => index.everywhere.insert(number, &anchor, &rule),
                named => named.iter().for_each(|namespace| {
                    let scope = index.namespaces.entry(namespace.clone()).or_default();
                    scope.insert(number, &anchor, &rule);
                }),
            }
            index.rules.push(rule.compiled);
        }
        index.everywhere.sort();
        index.namespaces.values_mut().for_each(Scope::sort);
        index
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Compiled> {
        self.rules.iter()
    }

    /// The rules that protect the destination and are about the source, whatever their ports.
    pub(super) fn about(
        &self,
        source: Source<'_>,
        destination: &Destination<'_>,
    ) -> impl Iterator<Item = &Compiled> {
        self.candidates(source, destination)
            .filter(|rule| rule.protects(destination))
    }

    /// All rules that are looked at; those of which only the rest of the target does not fit are among them.
    pub(super) fn candidates(
        &self,
        source: Source<'_>,
        destination: &Destination<'_>,
    ) -> impl Iterator<Item = &Compiled> {
        let mut found = Merged::default();
        for scope in self.scopes(destination) {
            let about = scope.sources.find(source, destination.trust_domain);
            if about.is_empty() {
                continue;
            }
            for anchor in scope.anchors.of(destination) {
                about.iter().for_each(|rules| found.add(rules.at(anchor)));
            }
        }
        self.at(found)
    }

    /// The allowances for the destination, whoever they are about; the rest of their target may not fit.
    pub(super) fn allowances(
        &self,
        destination: &Destination<'_>,
    ) -> impl Iterator<Item = &Compiled> {
        let mut found = Merged::default();
        for scope in self.scopes(destination) {
            for anchor in scope.anchors.of(destination) {
                found.add(scope.allowances.get(&anchor).map_or(&[], Vec::as_slice));
            }
        }
        self.at(found)
    }

    /// Rules that are about the source and protect a workload of the destination's namespace, maybe another one; not
    /// more than `most` for each way in which they name the source.
    pub(super) fn elsewhere(
        &self,
        source: Source<'_>,
        destination: &Destination<'_>,
        most: usize,
    ) -> impl Iterator<Item = &Compiled> {
        let mut found: Vec<usize> = self
            .scopes(destination)
            .flat_map(|scope| scope.sources.find(source, destination.trust_domain))
            .flat_map(|rules| rules.all().take(most))
            .collect();
        found.sort_unstable();
        found.dedup();
        self.at(found.into_iter())
    }

    fn at(&self, numbers: impl Iterator<Item = usize>) -> impl Iterator<Item = &Compiled> {
        numbers.filter_map(|number| self.rules.get(number))
    }

    fn scopes(&self, destination: &Destination<'_>) -> impl Iterator<Item = &Scope> {
        let own = self.namespaces.get(destination.namespace);
        let scopes = own.into_iter().chain([&self.everywhere]);
        scopes.filter(|scope| !scope.anchors.is_empty())
    }
}

/// A rule, and where in the index it belongs.
struct Placed {
    compiled: Compiled,
    from: Vec<From>,
    /// The namespaces that its policy protects; empty: all.
    scopes: Arc<[String]>,
}

/// What policies protect in one namespace.
#[derive(Debug, Default)]
struct Scope {
    anchors: Anchors,
    sources: Sources,
    /// Every rule that allows, by its anchor.
    allowances: HashMap<usize, Vec<Anchored>>,
}

impl Scope {
    fn insert(&mut self, number: usize, anchor: &Anchor, rule: &Placed) {
        let anchored = Anchored {
            anchor: self.anchors.number(anchor),
            rule: number,
        };
        if rule.compiled.effect == Effect::Allow {
            let allowances = self.allowances.entry(anchored.anchor).or_default();
            allowances.push(anchored);
        }
        for from in &rule.from {
            self.sources.rules_about(from).push(anchored);
        }
    }

    fn sort(&mut self) {
        self.sources.all().for_each(ByAnchor::sort);
    }
}

fn compile(policy: AuthorizationPolicy) -> impl Iterator<Item = Placed> {
    let AuthorizationPolicy {
        namespace,
        name: policy,
        target,
        rules,
    } = policy;
    let scopes: Arc<[String]> = match &namespace {
        Some(own) => [own.clone()].into(),
        None => {
            let named: BTreeSet<_> = target.namespaces.iter().cloned().collect();
            named.into_iter().collect()
        }
    };
    let target = Arc::new(target);
    rules.into_iter().map(move |rule| {
        let Rule {
            name,
            effect,
            from,
            ports,
            mode,
            expires,
            reason: _,
        } = rule;
        let name = RuleName {
            namespace: namespace.clone(),
            policy: policy.clone(),
            rule: name,
        };
        Placed {
            compiled: Compiled {
                name,
                effect,
                mode,
                expires,
                target: Arc::clone(&target),
                ports,
            },
            from,
            scopes: Arc::clone(&scopes),
        }
    })
}
