//! Where rules are found: by the namespace that they protect, by the target within it, by the source.
//!
//! Each step is a look-up, so that rules for other workloads or about other sources cost nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::{
    AuthorizationPolicy, Destination, Effect, From, Mode, PortRange, Rule, RuleName, Source, Target,
};
use crate::spiffe::{SpiffeId, TrustDomain};

/// One rule with the target of its policy.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: RuleName,
    pub(super) effect: Effect,
    pub(super) mode: Mode,
    pub(super) expires: Option<OffsetDateTime>,
    target: Arc<Target>,
    from: Vec<From>,
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

    pub(super) fn is_about(&self, source: Source<'_>, destination: &Destination<'_>) -> bool {
        self.from
            .iter()
            .any(|from| from.fits(source, destination.trust_domain))
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
        let mut rules: Vec<(Compiled, Scopes)> = objects.into_iter().flat_map(compile).collect();
        rules.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        let frequencies = Frequencies::of(rules.iter().map(|(rule, _)| rule));
        let mut index = Self::default();
        for (at, (rule, scopes)) in rules.into_iter().enumerate() {
            let anchor = frequencies.rarest(&rule.target);
            match &*scopes {
                [] => index.everywhere.insert(at, &anchor, &rule),
                named => named.iter().for_each(|namespace| {
                    let scope = index.namespaces.entry(namespace.clone()).or_default();
                    scope.insert(at, &anchor, &rule);
                }),
            }
            index.rules.push(rule);
        }
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
    ) -> Vec<&Compiled> {
        self.at(self.candidates(source, destination))
            .filter(|rule| rule.protects(destination))
            .collect()
    }

    /// All rules that are looked at; those of which only the rest of the target does not fit are among them.
    pub(super) fn candidates(
        &self,
        source: Source<'_>,
        destination: &Destination<'_>,
    ) -> Vec<usize> {
        let mut found = Vec::new();
        for sources in self.sources(destination) {
            sources.find(source, destination.trust_domain, &mut found);
        }
        found
    }

    /// The allowances that protect the destination, whoever they are about.
    pub(super) fn protecting(
        &self,
        destination: &Destination<'_>,
    ) -> impl Iterator<Item = &Compiled> {
        let found = self.sources(destination).flat_map(|sources| {
            let allowances = sources.allowances.iter().copied();
            allowances.take(MOST_OF_ONE_TARGET)
        });
        self.at(found.collect())
            .filter(|rule| rule.protects(destination))
    }

    /// The rules that are about the source and protect a workload of the destination's namespace, maybe another one.
    pub(super) fn elsewhere(
        &self,
        source: Source<'_>,
        destination: &Destination<'_>,
    ) -> impl Iterator<Item = &Compiled> {
        let mut found = Vec::new();
        for scope in self.scopes(destination) {
            scope.all.find(source, destination.trust_domain, &mut found);
        }
        self.at(found)
    }

    /// Rules in the order of their names, each once.
    fn at(&self, mut found: Vec<usize>) -> impl Iterator<Item = &Compiled> {
        found.sort_unstable();
        found.dedup();
        found.into_iter().filter_map(|at| self.rules.get(at))
    }

    fn scopes(&self, destination: &Destination<'_>) -> impl Iterator<Item = &Scope> {
        let own = self.namespaces.get(destination.namespace);
        own.into_iter().chain([&self.everywhere])
    }

    fn sources(&self, destination: &Destination<'_>) -> impl Iterator<Item = &Sources> {
        self.scopes(destination).flat_map(move |scope| {
            let account = scope.accounts.get(destination.service_account);
            let labels = destination
                .labels
                .iter()
                .filter_map(|(key, value)| scope.labels.get(key)?.get(value));
            [&scope.whole].into_iter().chain(account).chain(labels)
        })
    }
}

type ByName<T> = HashMap<String, T>;

/// The namespaces that a policy protects; empty: all.
type Scopes = Arc<[String]>;

/// What policies protect in one namespace.
#[derive(Debug, Default)]
struct Scope {
    /// Rules for every workload of the namespace.
    whole: Sources,
    accounts: ByName<Sources>,
    labels: ByName<ByName<Sources>>,
    /// All of the above.
    all: Sources,
}

impl Scope {
    fn insert(&mut self, at: usize, anchor: &Anchor, rule: &Compiled) {
        self.all.insert(at, rule);
        let sources = match anchor {
            Anchor::Whole => &mut self.whole,
            Anchor::Account(account) => self.accounts.entry(account.clone()).or_default(),
            Anchor::Label(key, value) => {
                let values = self.labels.entry(key.clone()).or_default();
                values.entry(value.clone()).or_default()
            }
        };
        sources.insert(at, rule);
    }
}

/// Rules by whom they are about.
#[derive(Debug, Default)]
struct Sources {
    accounts: ByName<ByName<Vec<usize>>>,
    identities: HashMap<SpiffeId, Vec<usize>>,
    namespaces: ByName<Vec<usize>>,
    trust_domains: HashMap<TrustDomain, Vec<usize>>,
    networks: HashMap<IpNet, Vec<usize>>,
    /// The lengths of the prefixes in `networks`.
    prefixes: BTreeSet<u8>,
    /// Every rule that allows.
    allowances: Vec<usize>,
}

impl Sources {
    fn insert(&mut self, at: usize, rule: &Compiled) {
        if rule.effect == Effect::Allow {
            self.allowances.push(at);
        }
        for from in &rule.from {
            let rules = match from {
                From::ServiceAccount { namespace, name } => {
                    let accounts = self.accounts.entry(namespace.clone()).or_default();
                    accounts.entry(name.clone()).or_default()
                }
                From::Identity(id) => self.identities.entry(id.clone()).or_default(),
                From::Namespace(namespace) => self.namespaces.entry(namespace.clone()).or_default(),
                From::TrustDomain(domain) => self.trust_domains.entry(domain.clone()).or_default(),
                From::Unauthenticated(network) => {
                    self.prefixes.insert(network.prefix_len());
                    self.networks.entry(network.trunc()).or_default()
                }
            };
            rules.push(at);
        }
    }

    fn find(&self, source: Source<'_>, trust_domain: &TrustDomain, found: &mut Vec<usize>) {
        match source {
            Source::Authenticated(id) => self.find_identity(id, trust_domain, found),
            Source::Unauthenticated(addr) => self.find_address(addr, found),
        }
    }

    fn find_identity(&self, id: &SpiffeId, trust_domain: &TrustDomain, found: &mut Vec<usize>) {
        found.extend(self.identities.get(id).into_iter().flatten());
        found.extend(
            self.trust_domains
                .get(id.trust_domain())
                .into_iter()
                .flatten(),
        );
        let account = id
            .service_account()
            .filter(|_| id.trust_domain() == trust_domain);
        if let Some((namespace, name)) = account {
            let accounts = self.accounts.get(namespace);
            found.extend(
                accounts
                    .and_then(|names| names.get(name))
                    .into_iter()
                    .flatten(),
            );
            found.extend(self.namespaces.get(namespace).into_iter().flatten());
        }
    }

    fn find_address(&self, addr: IpAddr, found: &mut Vec<usize>) {
        let networks = self
            .prefixes
            .iter()
            .filter_map(|prefix| IpNet::new(addr, *prefix).ok())
            .filter_map(|network| self.networks.get(&network.trunc()));
        found.extend(networks.flatten());
    }
}

/// The one part of a target by which its rules are found; the rest of it is compared then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Anchor {
    Account(String),
    Label(String, String),
    Whole,
}

/// How many rules share each part of a target.
#[derive(Debug, Default)]
struct Frequencies(BTreeMap<Anchor, usize>);

impl Frequencies {
    fn of<'a>(rules: impl Iterator<Item = &'a Compiled>) -> Self {
        let mut frequencies = Self::default();
        for anchor in rules.flat_map(|rule| anchors(&rule.target)) {
            *frequencies.0.entry(anchor).or_default() += 1;
        }
        frequencies
    }

    /// The part that the fewest rules share, so that few are compared in vain.
    fn rarest(&self, target: &Target) -> Anchor {
        let rarest = anchors(target).min_by_key(|anchor| self.0.get(anchor));
        rarest.unwrap_or(Anchor::Whole)
    }
}

fn anchors(target: &Target) -> impl Iterator<Item = Anchor> {
    let account = target.service_account.clone().map(Anchor::Account);
    let labels = target.labels.iter();
    account
        .into_iter()
        .chain(labels.map(|(key, value)| Anchor::Label(key.clone(), value.clone())))
}

fn compile(policy: AuthorizationPolicy) -> impl Iterator<Item = (Compiled, Scopes)> {
    let AuthorizationPolicy {
        namespace,
        name: policy,
        target,
        rules,
    } = policy;
    let scopes: Scopes = match &namespace {
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
        let target = Arc::clone(&target);
        let compiled = Compiled {
            name,
            effect,
            mode,
            expires,
            target,
            from,
            ports,
        };
        (compiled, Arc::clone(&scopes))
    })
}

/// How many allowances of one target are read where a near miss is looked for.
const MOST_OF_ONE_TARGET: usize = 256;
