//! Rules as design and types describe them, read one after the other: what the index is held against.
//!
//! Only what the crate shows is used here, as `tests/fuzz` has this module, too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use time::OffsetDateTime;

use crate::policy::{
    AllowReason, AuthorizationPolicy, Decision, DenyReason, Destination, Difference, Effect, Mode,
    NearMiss, Policy, Rule, RuleName, Source, Target, Verdict,
};
use crate::spiffe::SpiffeId;
use crate::workload::{Closing, Mtls, NamespaceSettings};

pub(super) const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// Who asks for what, owned.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) id: Option<SpiffeId>,
    pub(super) addr: IpAddr,
    pub(super) namespace: &'static str,
    pub(super) account: &'static str,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) settings: NamespaceSettings,
    pub(super) port: u16,
}

impl Asked {
    pub(super) fn of(&self, policies: Vec<AuthorizationPolicy>) -> Decision {
        let policy = Policy::new(policies);
        self.with(|source, destination| policy.decide(source, destination, self.port, NOW))
    }

    /// As it comes to one without an identity, at whose address the one is known that it has.
    pub(super) fn in_clear(&self, policies: Vec<AuthorizationPolicy>) -> Decision {
        let policy = Policy::new(policies);
        let beside = self.id.as_slice();
        self.with(|_, destination| {
            policy.decide_in_clear((self.addr, beside), destination, self.port, NOW)
        })
    }

    pub(super) fn with<T>(&self, ask: impl FnOnce(Source<'_>, &Destination<'_>) -> T) -> T {
        let source = self
            .id
            .as_ref()
            .map_or(Source::Unauthenticated(self.addr), Source::Authenticated);
        let destination = Destination {
            namespace: self.namespace,
            service_account: self.account,
            labels: &self.labels,
            trust_domain: &"one.test".parse().unwrap(),
            settings: self.settings,
        };
        ask(source, &destination)
    }
}

/// `decide` as design and types describe it, one rule after the other.
pub(super) fn plain(policies: &[AuthorizationPolicy], asked: &Asked) -> Decision {
    asked.with(|source, destination| {
        let mut rules: Vec<_> = policies
            .iter()
            .filter(|policy| is_of_namespace(policy, destination.namespace))
            .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
            .map(|(policy, rule)| Read::new(policy, rule, source, destination, asked.port))
            .collect();
        rules.sort_by(|one, other| one.name.cmp(&other.name));
        let first = |effect, mode| {
            let mut fitting = rules.iter().filter(|read| {
                (read.rule.effect, read.rule.mode) == (effect, mode)
                    && (read.expired, read.port, read.from, read.target)
                        == (false, false, false, false)
            });
            fitting.next().map(|read| read.name.clone())
        };
        let misses = rules.iter().filter_map(Read::miss).min();
        let miss = misses.map(|(differs, _, rule)| NearMiss { rule, differs });
        let permissive = asked.id.is_none() && asked.settings.mtls == Mtls::Permissive;
        let allow = first(Effect::Allow, Mode::Enforce);
        let verdict = match (
            first(Effect::Deny, Mode::Enforce),
            allow,
            asked.settings.closing,
        ) {
            (Some(deny), ..) => Verdict::Deny(DenyReason::Rule(deny)),
            (None, Some(allow), _) => Verdict::Allow(AllowReason::Rule(allow)),
            (None, None, _) if permissive => Verdict::Allow(AllowReason::Permissive),
            (None, None, Closing::Enforce) => Verdict::Deny(DenyReason::NoRule(miss)),
            (None, None, Closing::Shadow) => Verdict::Allow(AllowReason::ClosingInShadow(miss)),
        };
        let shadow_deny = first(Effect::Deny, Mode::Shadow);
        let shadow = match &verdict {
            Verdict::Allow(_) => shadow_deny.map(|name| (Effect::Deny, name)),
            Verdict::Deny(DenyReason::NoRule(_)) if shadow_deny.is_none() => {
                first(Effect::Allow, Mode::Shadow).map(|name| (Effect::Allow, name))
            }
            Verdict::Deny(_) => None,
        };
        Decision { verdict, shadow }
    })
}

/// Nearest first.
type Miss = (Difference, usize, RuleName);

/// A rule, and in which fields it differs from what was asked.
struct Read<'a> {
    name: RuleName,
    rule: &'a Rule,
    expired: bool,
    port: bool,
    from: bool,
    target: bool,
}

impl<'a> Read<'a> {
    fn new(
        policy: &AuthorizationPolicy,
        rule: &'a Rule,
        source: Source<'_>,
        destination: &Destination<'_>,
        port: u16,
    ) -> Self {
        let mut from = rule.from.iter();
        let mut ports = rule.ports.iter();
        Self {
            name: rule_name(policy, rule),
            rule,
            expired: rule.expires.is_some_and(|at| NOW >= at),
            port: !rule.ports.is_empty() && !ports.any(|range| range.contains(port)),
            from: !from.any(|from| from.fits(source, destination.trust_domain)),
            target: !protects(policy, destination),
        }
    }

    fn miss(&self) -> Option<Miss> {
        let shadow = self.rule.mode == Mode::Shadow;
        let differs = match (self.target, self.from, self.port, self.expired, shadow) {
            _ if self.rule.effect == Effect::Deny => return None,
            (true, true, ..) | (_, true, true, ..) => return None,
            (true, false, ..) => Difference::Target,
            (_, true, ..) => Difference::From,
            (_, _, true, ..) => Difference::Port,
            (.., true, _) => Difference::Expired,
            (.., true) => Difference::Mode,
            (false, false, false, false, false) => return None,
        };
        let fields = [shadow, self.expired, self.port, self.from, self.target];
        let count = fields.iter().filter(|differs| **differs).count();
        Some((differs, count, self.name.clone()))
    }
}

fn is_of_namespace(policy: &AuthorizationPolicy, namespace: &str) -> bool {
    let named = &policy.target.namespaces;
    match &policy.namespace {
        Some(own) => own == namespace,
        None => named.is_empty() || named.iter().any(|name| name == namespace),
    }
}

fn protects(policy: &AuthorizationPolicy, destination: &Destination<'_>) -> bool {
    let Target {
        service_account,
        labels,
        ..
    } = &policy.target;
    service_account
        .as_ref()
        .is_none_or(|name| name == destination.service_account)
        && labels
            .iter()
            .all(|(key, value)| destination.labels.get(key) == Some(value))
}

fn rule_name(policy: &AuthorizationPolicy, rule: &Rule) -> RuleName {
    RuleName {
        namespace: policy.namespace.clone(),
        policy: policy.name.clone(),
        rule: rule.name.clone(),
    }
}

pub(super) fn allows(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_))
}
