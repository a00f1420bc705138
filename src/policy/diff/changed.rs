//! The rules of both sides, by the namespaces that they protect: only where one side has one that the other has not,
//! answers can differ.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use palisade_api::workload::{Closing, NamespaceSettings};
use time::OffsetDateTime;

use super::{Rules, Sides};

/// One rule of either side, with what it protects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sentence<'a> {
    pub(super) target: &'a Target,
    pub(super) rule: &'a Rule,
    /// Whether only one side has it, or it allows somebody whom only one side revokes.
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
        let revoked = Otherwise::of(sides);
        let mut all = Self::default();
        for (side, other) in [(sides.before, &new), (sides.after, &old)] {
            for policy in &side.policies {
                let sentences = policy.rules.iter().map(|rule| Sentence {
                    target: &policy.target,
                    rule,
                    is_changed: revoked.may_be_allowed(rule)
                        || !other.contains(&meaning(policy, rule)),
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

/// Names that only one side revokes, as rules name them.
#[derive(Debug)]
struct Otherwise<'a> {
    ids: HashSet<&'a SpiffeId>,
    namespaces: HashSet<&'a str>,
    trust_domains: HashSet<&'a TrustDomain>,
    own: &'a TrustDomain,
}

impl<'a> Otherwise<'a> {
    fn of(sides: Sides<'a>) -> Self {
        let is_otherwise = |id: &&SpiffeId| is_revoked_otherwise(sides, id);
        let ids: HashSet<_> = revoked(sides).filter(is_otherwise).collect();
        let own = ids
            .iter()
            .filter(|id| id.trust_domain() == sides.trust_domain);
        let accounts = own.filter_map(|id| id.service_account());
        Self {
            namespaces: accounts.map(|(namespace, _)| namespace).collect(),
            trust_domains: ids.iter().map(|id| id.trust_domain()).collect(),
            ids,
            own: sides.trust_domain,
        }
    }

    fn may_be_allowed(&self, rule: &Rule) -> bool {
        let names = |from: &From| match from {
            From::ServiceAccount { namespace, name } => {
                let id = SpiffeId::of_service_account(self.own, namespace, name);
                id.is_ok_and(|id| self.ids.contains(&id))
            }
            From::Identity(id) => self.ids.contains(id),
            From::Namespace(namespace) => self.namespaces.contains(namespace.as_str()),
            From::TrustDomain(domain) => self.trust_domains.contains(domain),
            From::Unauthenticated(_) => false,
        };
        !self.ids.is_empty() && rule.effect == Effect::Allow && rule.from.iter().any(names)
    }
}

/// The names that either side revokes.
fn revoked(sides: Sides<'_>) -> impl Iterator<Item = &SpiffeId> {
    let before = sides.before.revoked.identities();
    before.chain(sides.after.revoked.identities())
}

/// Those of them that workloads here may have.
fn own_revoked(sides: Sides<'_>) -> impl Iterator<Item = &SpiffeId> {
    revoked(sides).filter(move |id| id.trust_domain() == sides.trust_domain)
}

fn is_revoked_otherwise(sides: Sides<'_>, id: &SpiffeId) -> bool {
    sides.before.revoked.has(id) != sides.after.revoked.has(id)
}

/// The accounts of a namespace that one side revokes, or both: whether each side does.
pub(super) fn revoked_accounts<'a>(
    sides: Sides<'a>,
    namespace: &str,
) -> BTreeMap<&'a str, [bool; 2]> {
    let accounts = own_revoked(sides).filter_map(|id| {
        let (of, account) = id.service_account()?;
        let of_sides = [sides.before, sides.after].map(|side| side.revoked.has(id));
        (of == namespace).then_some((account, of_sides))
    });
    accounts.collect()
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

/// Whether answers may differ in a namespace for other reasons than its rules: it is set otherwise, or it lets in, without
/// a rule, whom one side may revoke.
pub(super) fn is_set_otherwise(sides: Sides<'_>, settings: [NamespaceSettings; 2]) -> bool {
    let [before, after] = settings;
    let is_open = [before, after]
        .iter()
        .any(|one| one.closing == Closing::Shadow);
    before != after || (is_open && revoked(sides).next().is_some())
}

/// The namespaces that either side tells of. What is said of all others is true of none with somebody who is revoked.
pub(super) fn namespaces(sides: Sides<'_>) -> BTreeSet<&str> {
    let own = own_revoked(sides).filter_map(SpiffeId::service_account);
    let mut all: BTreeSet<_> = own.map(|(namespace, _)| namespace).collect();
    for side in [sides.before, sides.after] {
        for policy in &side.policies {
            all.extend(policy.namespace.as_deref());
            all.extend(policy.target.namespaces.iter().map(String::as_str));
        }
        all.extend(side.known.namespaces.keys().map(String::as_str));
        let workloads = side.known.workloads.iter();
        all.extend(workloads.map(|one| one.namespace.as_str()));
    }
    // What rules decide that are not known is left out, which was said.
    all.retain(|namespace| sides.before.sure_in(Some(namespace)).is_ok());
    all
}
