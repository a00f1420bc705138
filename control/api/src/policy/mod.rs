//! Who may reach what: rules as they are meant, and [`Policy::decide`], which every program asks.

mod anchor;
mod cover;
mod decide;
mod expiring;
mod index;
mod lists;
mod sentence;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use time::OffsetDateTime;

use crate::spiffe::{SpiffeId, TrustDomain};

pub use cover::{Why, covers, unreachable};
pub use decide::Policy;
pub use expiring::Expiring;
pub use sentence::sentence;

/// One policy object: sentences about who may reach its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// The namespace that it belongs to; none for a cluster policy.
    pub namespace: Option<String>,
    /// Its name, unique in the namespace and kind.
    pub name: String,
    /// What it protects.
    pub target: Target,
    /// Its sentences.
    pub rules: Vec<Rule>,
}

impl AuthorizationPolicy {
    /// Its kind and name, as people call it: `AuthorizationPolicy shop/orders`.
    pub fn title(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("AuthorizationPolicy {namespace}/{}", self.name),
            None => format!("ClusterAuthorizationPolicy {}", self.name),
        }
    }

    /// How the names of its rules begin: `shop/orders`, or `cluster/baseline` of a cluster policy. A namespace may have the
    /// name that stands for the cluster, so this may be that of two policies.
    pub fn called(&self) -> String {
        called(self.namespace.as_deref(), &self.name)
    }

    /// Whether all that it says is over.
    pub fn has_expired(&self, now: OffsetDateTime) -> bool {
        self.rules.iter().all(|rule| rule.has_expired(now))
    }

    /// Whether it protects a workload of this namespace and service account with these labels.
    pub fn selects(
        &self,
        namespace: &str,
        service_account: &str,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        let Target {
            namespaces,
            service_account: account,
            labels: wanted,
        } = &self.target;
        let in_namespace = match &self.namespace {
            Some(own) => own == namespace,
            None => namespaces.is_empty() || namespaces.iter().any(|named| named == namespace),
        };
        in_namespace
            && account
                .as_ref()
                .is_none_or(|account| account == service_account)
            && wanted
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Where each of its rules stands.
    pub fn rule_names(&self) -> impl Iterator<Item = RuleName> {
        self.rules.iter().map(|rule| RuleName {
            namespace: self.namespace.clone(),
            policy: self.name.clone(),
            rule: rule.name.clone(),
        })
    }
}

/// Which workloads a policy protects. Everything that is given must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Cluster policies only: these namespaces; empty: all. Empty in a namespace's policy, which protects its own.
    pub namespaces: Vec<String>,
    /// Workloads of this service account.
    pub service_account: Option<String>,
    /// Workloads that have all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// One sentence: these sources may, or may not, reach these ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Unique in its policy.
    pub name: String,
    /// What it says.
    pub effect: Effect,
    /// About whom: any one of these.
    pub from: Vec<From>,
    /// The workload's own ports; empty: all.
    pub ports: Vec<PortRange>,
    /// Whether it acts, or only says what it would do.
    pub mode: Mode,
    /// From this moment on it says nothing.
    pub expires: Option<OffsetDateTime>,
    /// Why it exists, for people; empty: not said.
    pub reason: String,
}

impl Rule {
    /// Whether it says nothing any more.
    pub fn has_expired(&self, now: OffsetDateTime) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Whether this is what it does now, and does not only say.
    pub fn acts(&self, effect: Effect, now: OffsetDateTime) -> bool {
        (self.effect, self.mode) == (effect, Mode::Enforce) && !self.has_expired(now)
    }
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// May.
    Allow,
    /// May not, whatever else is allowed.
    Deny,
}

impl Effect {
    /// As rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Whether a rule acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It acts.
    Enforce,
    /// It is counted and recorded, and does nothing.
    Shadow,
}

impl Mode {
    /// As rules write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum From {
    /// A service account in the trust domain of the destination.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// One identity, of any trust domain that the bundles hold.
    Identity(SpiffeId),
    /// Every service account of a namespace, in the trust domain of the destination.
    Namespace(String),
    /// Every identity of a trust domain.
    TrustDomain(TrustDomain),
    /// Peers without an identity, by their address.
    Unauthenticated(IpNet),
}

impl From {
    /// Whether it means this source, where `trust_domain` is that of the destination.
    ///
    /// A source without an identity fits no identity, whatever its address.
    pub fn fits(&self, source: Source<'_>, trust_domain: &TrustDomain) -> bool {
        let (id, addr) = match source {
            Source::Authenticated(id) => (Some(id), None),
            Source::Unauthenticated(addr) => (None, Some(addr)),
        };
        let account = id
            .filter(|id| id.trust_domain() == trust_domain)
            .and_then(SpiffeId::service_account);
        match self {
            Self::ServiceAccount { namespace, name } => account == Some((namespace, name)),
            Self::Identity(meant) => id == Some(meant),
            Self::Namespace(meant) => account.is_some_and(|(namespace, _)| namespace == meant),
            Self::TrustDomain(meant) => id.is_some_and(|id| id.trust_domain() == meant),
            Self::Unauthenticated(network) => addr.is_some_and(|addr| network.contains(&addr)),
        }
    }

    /// The namespace of a mesh that it names, and the service account where it names one. Identities are of the mesh whose
    /// trust domain is `own`; where that is not known, of none.
    pub fn in_mesh(&self, own: Option<&TrustDomain>) -> Option<(&str, Option<&str>)> {
        match self {
            Self::ServiceAccount { namespace, name } => Some((namespace, Some(name))),
            Self::Identity(id) if own == Some(id.trust_domain()) => {
                let (namespace, name) = id.service_account()?;
                Some((namespace, Some(name)))
            }
            Self::Namespace(namespace) => Some((namespace, None)),
            Self::Identity(_) | Self::TrustDomain(_) | Self::Unauthenticated(_) => None,
        }
    }
}

/// Ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The lowest, at least 1.
    pub first: u16,
    /// The highest, at least `first`.
    pub last: u16,
}

impl PortRange {
    /// Whether the port is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// A peer that proved its name.
    Authenticated(&'a SpiffeId),
    /// A peer that proved nothing, at this address. It matches no identity rule.
    Unauthenticated(IpAddr),
}

/// Whom is asked for: what targets select by.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its service account.
    pub service_account: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The trust domain of its own identity, which `serviceAccount` and `namespace` sources mean.
    pub trust_domain: &'a TrustDomain,
    /// How its namespace is set.
    pub settings: crate::workload::NamespaceSettings,
}

/// Where a rule stands: `shop/orders/web-places-orders`, or `cluster/baseline/no-batch` for a cluster policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName {
    /// The policy's namespace; none for a cluster policy.
    pub namespace: Option<String>,
    /// The policy's name.
    pub policy: String,
    /// The rule's name.
    pub rule: String,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = called(self.namespace.as_deref(), &self.policy);
        write!(f, "{policy}/{}", self.rule)
    }
}

fn called(namespace: Option<&str>, policy: &str) -> String {
    let namespace = namespace.unwrap_or("cluster");
    format!("{namespace}/{policy}")
}

/// What was decided, and what rules in shadow would have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that nobody reads protects nothing"]
pub struct Decision {
    /// What holds.
    pub verdict: Verdict,
    /// The rule in shadow that would have decided otherwise, if there is one: a denial of what is allowed,
    /// or an allowance of what is denied.
    pub shadow: Option<(Effect, RuleName)>,
}

impl Decision {
    /// Whether it is denied, and would be allowed were the rules in shadow enforced.
    pub fn is_allowed_in_shadow(&self) -> bool {
        matches!(self.shadow, Some((Effect::Allow, _)))
    }
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow(AllowReason),
    /// It may not.
    Deny(DenyReason),
}

impl Verdict {
    /// What it comes to.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Allow(_) => Effect::Allow,
            Self::Deny(_) => Effect::Deny,
        }
    }

    /// The reason's word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Allow(reason) => reason.as_str(),
            Self::Deny(reason) => reason.as_str(),
        }
    }

    /// The rule that says so, where one does.
    pub fn rule(&self) -> Option<&RuleName> {
        match self {
            Self::Allow(AllowReason::Rule(rule)) | Self::Deny(DenyReason::Rule(rule)) => Some(rule),
            Self::Allow(AllowReason::Permissive | AllowReason::ClosingInShadow(_))
            | Self::Deny(DenyReason::NoRule(_)) => None,
        }
    }

    /// The rule that came nearest to allowing, where none does.
    pub fn near_miss(&self) -> Option<&NearMiss> {
        match self {
            Self::Allow(AllowReason::ClosingInShadow(near))
            | Self::Deny(DenyReason::NoRule(near)) => near.as_ref(),
            Self::Allow(AllowReason::Rule(_) | AllowReason::Permissive)
            | Self::Deny(DenyReason::Rule(_)) => None,
        }
    }
}

/// Why something is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowReason {
    /// A rule says so.
    Rule(RuleName),
    /// The namespace is permissive, and the peer has no identity.
    Permissive,
    /// No rule says so; the namespace's default denial is in shadow.
    ClosingInShadow(Option<NearMiss>),
}

impl AllowReason {
    /// As records write it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::Permissive => "permissive",
            Self::ClosingInShadow(_) => "closing_in_shadow",
        }
    }
}

/// Why something is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyReason {
    /// A rule says so.
    Rule(RuleName),
    /// No rule allows it. The nearest one that would have, and where it differed.
    NoRule(Option<NearMiss>),
}

impl DenyReason {
    /// As records write it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::NoRule(_) => "no_rule",
        }
    }
}

/// The rule that came nearest to allowing, and the first field that differed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule.
    pub rule: RuleName,
    /// The first field that differed.
    pub differs: Difference,
}

/// The first field in which a rule differs from what was asked, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Difference {
    /// All fits, but it only acts in shadow.
    Mode,
    /// All fits, but it has expired.
    Expired,
    /// The source fits, the port does not.
    Port,
    /// The port fits, the source does not.
    From,
    /// The source fits, but the policy protects other workloads of the namespace.
    Target,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.rule, self.differs.as_str())
    }
}

impl Difference {
    /// The field's name, as rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Expired => "expires",
            Self::Port => "ports",
            Self::From => "from",
            Self::Target => "target",
        }
    }
}
