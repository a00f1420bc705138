//! Who reached which workload, and by which rules: what proxies count, control keeps, and the command asks for.
//!
//! Times are seconds since 1970 UTC.

mod merge;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::{self, AuthorizationPolicy, Effect, Mode};

pub use totals::{Seen, Totals, Use};

/// In the metadata of its answer to a watch, control says by this key that it takes counts on the stream.
pub const METADATA: &str = "palisade-usage";

/// What one replica of control answers, or several put together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What proxies reported since then is in it.
    pub since: i64,
    /// One for each workload and each epoch of its proxy; put together, one for each workload.
    pub workloads: Vec<Counted>,
    /// The rules that are in force now, in the order of their names.
    pub rules_in_force: Vec<RuleInForce>,
    /// The workloads whose proxies have a stream to control now, as `namespace/name`: what the others count is told later.
    #[serde(default)]
    pub connected: BTreeSet<String>,
    /// How many workloads' counts were forgotten for want of room, those first that were heard of least lately.
    #[serde(default)]
    pub forgotten: u64,
}

/// The counts of one workload's proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The workload's namespace.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
    /// Its service account.
    pub service_account: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The process that counted; empty for the sum of several.
    pub epoch: String,
    /// Of which processes it is the sum.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summed: Vec<String>,
    /// When the first of them began to count.
    pub started: i64,
    /// Which workloads control knew at the addresses of callers without an identity, when it heard of them last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub callers: BTreeMap<IpAddr, Resident>,
    /// What was counted.
    #[serde(flatten)]
    pub totals: Totals,
}

/// The workload at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service account.
    pub service_account: String,
}

/// What makes two connections to one workload the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeKey {
    /// Who called.
    #[serde(flatten)]
    pub caller: Caller,
    /// The workload's own port.
    pub port: u16,
    /// What was decided.
    pub decided: Decided,
    /// The rule that decided: `shop/orders/web-places-orders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it was denied, where no rule did: the word of records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule in shadow that would have decided otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// Who called: the proven identity, or else the address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// A SPIFFE ID.
    Identity(String),
    /// A caller without one.
    Address(IpAddr),
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// A rule allows it.
    AllowedByRule,
    /// The caller has no identity, and the namespace is permissive.
    AllowedAsPermissive,
    /// No rule allows it; the namespace's default denial is in shadow.
    AllowedByShadow,
    /// A rule denies it.
    DeniedByRule,
    /// No rule allows it.
    DeniedByNoRule,
    /// It was denied for a reason that is no rule's.
    Denied,
}

impl Decided {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::AllowedByRule,
        Self::AllowedAsPermissive,
        Self::AllowedByShadow,
        Self::DeniedByRule,
        Self::DeniedByNoRule,
        Self::Denied,
    ];

    /// Whether the connection was let through.
    pub fn is_allowed(self) -> bool {
        match self {
            Self::AllowedByRule | Self::AllowedAsPermissive | Self::AllowedByShadow => true,
            Self::DeniedByRule | Self::DeniedByNoRule | Self::Denied => false,
        }
    }
}

/// A rule in shadow that would have decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shadow {
    /// `allow` or `deny`: what it says.
    pub effect: Word,
    /// The rule.
    pub rule: String,
}

/// What a rule says, as rules write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// May.
    Allow,
    /// May not.
    Deny,
}

impl std::convert::From<Effect> for Word {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Allow => Self::Allow,
            Effect::Deny => Self::Deny,
        }
    }
}

/// One rule that is in force, in the words of its file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleInForce {
    /// `shop/orders/web-places-orders`; a cluster policy's begins with `cluster/`.
    pub name: String,
    /// The policy's namespace; none for a cluster policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What it says.
    pub effect: Word,
    /// It only says what it would do.
    pub is_shadow: bool,
    /// About whom.
    pub from: Vec<From>,
    /// Ports, both ends included; empty: all.
    pub ports: Vec<(u16, u16)>,
    /// From then on it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Why it exists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Which workloads it protects.
    pub target: Target,
}

/// One source of a rule, with the key that rules write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum From {
    /// `namespace/name`.
    ServiceAccount(String),
    /// A SPIFFE ID.
    Identity(String),
    /// Every service account of a namespace.
    Namespace(String),
    /// Every identity of a trust domain.
    TrustDomain(String),
    /// Callers without an identity.
    Unauthenticated {
        /// Where they are.
        cidr: IpNet,
    },
}

/// Which workloads a rule protects: everything that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Of a cluster policy: these namespaces; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Of this service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// With these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The rules of policy objects, in the order of their names.
pub fn rules_in_force<'a>(
    policies: impl IntoIterator<Item = &'a AuthorizationPolicy>,
) -> Vec<RuleInForce> {
    let mut rules: Vec<_> = policies.into_iter().flat_map(rules_of).collect();
    rules.sort();
    rules
}

fn rules_of(policy: &AuthorizationPolicy) -> impl Iterator<Item = RuleInForce> {
    let target = Target {
        namespaces: policy.target.namespaces.clone(),
        service_account: policy.target.service_account.clone(),
        labels: policy.target.labels.clone(),
    };
    let rules = policy.rule_names().zip(&policy.rules);
    rules.map(move |(name, rule)| RuleInForce {
        name: name.to_string(),
        namespace: name.namespace,
        effect: rule.effect.into(),
        is_shadow: rule.mode == Mode::Shadow,
        from: rule.from.iter().map(From::of).collect(),
        ports: rule
            .ports
            .iter()
            .map(|range| (range.first, range.last))
            .collect(),
        expires: rule.expires.map(time::OffsetDateTime::unix_timestamp),
        reason: rule.reason.clone(),
        target: target.clone(),
    })
}

impl From {
    fn of(from: &policy::From) -> Self {
        match from {
            policy::From::ServiceAccount { namespace, name } => {
                Self::ServiceAccount(format!("{namespace}/{name}"))
            }
            policy::From::Identity(id) => Self::Identity(id.as_str().to_owned()),
            policy::From::Namespace(namespace) => Self::Namespace(namespace.clone()),
            policy::From::TrustDomain(domain) => Self::TrustDomain(domain.as_str().to_owned()),
            policy::From::Unauthenticated(cidr) => Self::Unauthenticated { cidr: *cidr },
        }
    }
}

#[cfg(test)]
mod tests;
