//! Callers without an identity at whose address somebody may be whose denials nobody can tell.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Rule, RuleName, Source};
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use time::OffsetDateTime;

use crate::policy::rules::Rules;
use crate::policy::subject::Called;

/// Who is at the address of a caller, whose denials sidecars hold it to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Also somebody for all of a namespace, where only that is known: what is denied to all of it, it is certainly denied.
    pub(crate) known: Vec<SpiffeId>,
    stranger: Stranger,
}

impl Beside {
    /// Those who are known there or, where nobody is, who may be.
    pub(super) fn of(known: Vec<SpiffeId>, stranger: Stranger, own: &TrustDomain) -> Self {
        if !known.is_empty() {
            return Self {
                known,
                stranger: Stranger::Nobody,
            };
        }
        let anyone = match &stranger {
            Stranger::Of(namespace) => SpiffeId::of_service_account(own, namespace, ANYONE).ok(),
            Stranger::Nobody | Stranger::Anybody => None,
        };
        Self {
            known: anyone.into_iter().collect(),
            stranger,
        }
    }
}

/// Who may be there of whom no account is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Stranger {
    #[default]
    Nobody,
    /// Somebody of this namespace.
    Of(Arc<str>),
    Anybody,
}

/// The denials of identities, by the namespaces that they protect.
#[derive(Debug, Default)]
pub(crate) struct Denials<'a> {
    by_namespace: HashMap<&'a str, Vec<Denial<'a>>>,
    of_cluster: Vec<Denial<'a>>,
}

type Denial<'a> = (&'a AuthorizationPolicy, &'a Rule);

impl<'a> Denials<'a> {
    /// Those that act at `now`.
    pub(crate) fn of(rules: &'a Rules, now: OffsetDateTime) -> Self {
        let mut denials = Self::default();
        for policy in &rules.policies {
            let acts = |rule: &&Rule| rule.acts(Effect::Deny, now);
            let acting = policy.rules.iter().filter(acts).map(|rule| (policy, rule));
            match policy.namespace.as_deref() {
                Some(own) => denials.by_namespace.entry(own).or_default().extend(acting),
                None => denials.of_cluster.extend(acting),
            }
        }
        denials
    }

    /// Those that may hold for a caller, as somebody may be at its address whose account is not known: one for each that
    /// it may have called, but for those whose rules certainly deny it.
    pub(crate) fn maybe(
        &self,
        beside: &Beside,
        called: &[Called],
        (trust_domain, port): (&TrustDomain, u16),
    ) -> BTreeSet<RuleName> {
        let called = called.iter();
        let maybe = called.filter_map(|one| self.one(beside, (one, trust_domain), port));
        maybe.collect()
    }

    fn one(
        &self,
        beside: &Beside,
        (called, trust_domain): (&Called, &TrustDomain),
        port: u16,
    ) -> Option<RuleName> {
        if beside.stranger == Stranger::Nobody {
            return None;
        }
        let own = self.by_namespace.get(called.namespace.as_str());
        let all = own.into_iter().flatten().chain(&self.of_cluster);
        let mut meant = all.filter(|(policy, rule)| {
            let is_at_port =
                rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(port));
            is_at_port && policy.selects(&called.namespace, &called.service_account, &called.labels)
        });
        let is_known = |from: &From| {
            let mut known = beside.known.iter();
            known.any(|id| from.fits(Source::Authenticated(id), trust_domain))
        };
        let may_be = |from: &From| beside.stranger.may_be(from, trust_domain);
        if meant
            .clone()
            .any(|(_, rule)| rule.from.iter().any(is_known))
        {
            return None;
        }
        let found = meant.find(|(_, rule)| rule.from.iter().any(may_be));
        found.map(|(policy, rule)| RuleName {
            namespace: policy.namespace.clone(),
            policy: policy.name.clone(),
            rule: rule.name.clone(),
        })
    }
}

impl Stranger {
    fn may_be(&self, from: &From, own: &TrustDomain) -> bool {
        let is_of = |namespace: &str| match self {
            Self::Nobody => false,
            Self::Of(known) => &**known == namespace,
            Self::Anybody => true,
        };
        match from {
            From::TrustDomain(domain) => domain == own,
            From::ServiceAccount { .. }
            | From::Namespace(_)
            | From::Identity(_)
            | From::Unauthenticated(_) => from
                .in_mesh(Some(own))
                .is_some_and(|(namespace, _)| is_of(namespace)),
        }
    }
}

/// An account that nobody has and no rule names: such a name is that of no service account.
const ANYONE: &str = "_";
