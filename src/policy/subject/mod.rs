//! Who is meant by `shop/web`, a SPIFFE ID or an address.

mod doubt;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use palisade_api::policy::{Destination, Source};
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use palisade_api::workload::NamespaceSettings;

use self::doubt::everybody;
pub(crate) use self::doubt::{doubt, unheard_of};
use super::rules::{Known, Rules, Sought, UnreadError, Workload};
use crate::near::near;

/// A caller or a called workload, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// `shop/web`: a workload, one of its replicas, or a service account.
    Named { namespace: String, name: String },
    /// `spiffe://cluster.local/ns/shop/sa/web`.
    Identity(SpiffeId),
    /// A caller without an identity, at this address.
    Address(IpAddr),
}

/// What is no subject.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} names nobody; write namespace/name, a SPIFFE ID or an address: shop/web, spiffe://cluster.local/ns/shop/sa/web, 10.2.0.7"
)]
pub(crate) struct SubjectError(String);

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let wrong = || SubjectError(text.to_owned());
        if let Ok(addr) = text.parse::<IpAddr>() {
            return Ok(Self::Address(addr.to_canonical()));
        }
        if text.contains("://") {
            return text.parse().map(Self::Identity).map_err(|_what| wrong());
        }
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => Ok(Self::Named {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(wrong()),
        }
    }
}

pub(crate) fn is_name(text: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(fits)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Identity(id) => write!(f, "{id}"),
            Self::Address(addr) => write!(f, "{addr}"),
        }
    }
}

/// How a caller comes to the called side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    Identity(SpiffeId),
    Address(IpAddr),
}

impl Caller {
    /// Whether it proves who it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Identity(_) => "authenticated",
            Self::Address(_) => "unauthenticated",
        }
    }

    /// `shop/web` for an account of this trust domain; the whole SPIFFE ID of any other; an address.
    pub(crate) fn short(&self, trust_domain: &TrustDomain) -> String {
        let account = match self {
            Self::Identity(id) if id.trust_domain() == trust_domain => id.service_account(),
            Self::Identity(_) | Self::Address(_) => None,
        };
        match account {
            Some((namespace, name)) => format!("{namespace}/{name}"),
            None => self.to_string(),
        }
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Identity(id) => Source::Authenticated(id),
            Self::Address(addr) => Source::Unauthenticated(*addr),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(id) => write!(f, "{id}"),
            Self::Address(addr) => write!(f, "{addr}, without an identity"),
        }
    }
}

/// What rules see of a called workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Called {
    pub(crate) namespace: String,
    /// The workload's name; that of the account where nothing is known of workloads.
    pub(crate) name: String,
    pub(crate) service_account: String,
    /// Those that some rule selects by.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Called {
    /// As it is asked for.
    pub(crate) fn destination<'a>(
        &'a self,
        trust_domain: &'a TrustDomain,
        settings: NamespaceSettings,
    ) -> Destination<'a> {
        Destination {
            namespace: &self.namespace,
            service_account: &self.service_account,
            labels: &self.labels,
            trust_domain,
            settings,
        }
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why it is not known who is meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhoError {
    #[error("there is no workload and no service account {asked}{}", or_did_you_mean(.near))]
    Nobody { asked: String, near: Option<String> },
    #[error(
        "{asked} has workloads of several service accounts: {accounts}; name one of these accounts by its SPIFFE ID"
    )]
    Several { asked: String, accounts: String },
    #[error(
        "{0} has no sidecar, so it comes without an identity, and its address is not known; name the address"
    )]
    NoAddress(String),
    #[error(
        "nothing is known of {0}, and rules of its namespace select by labels; say which it has with --to-labels, or name a file that does: a mesh file or Kubernetes manifests"
    )]
    NoLabels(String),
    #[error(transparent)]
    Unread(#[from] UnreadError),
    #[error("{0} cannot be called: name a workload of the mesh, as namespace/name")]
    NotCalled(String),
    #[error(
        "{asked} is not of this mesh, whose trust domain is {own}: its own rules say who may call it; name a workload of \
         this mesh"
    )]
    Elsewhere { asked: String, own: String },
}

fn or_did_you_mean(near: &Option<String>) -> String {
    match near {
        Some(near) => format!("; did you mean {near}?"),
        None => "; `palisade ps` lists who there is".to_owned(),
    }
}

/// Where those are looked up who are called by their names or addresses.
pub(crate) fn sought<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> BTreeSet<Sought> {
    let sought = subjects.into_iter().filter_map(|subject| match subject {
        Subject::Named { namespace, .. } => Some(Sought::Namespace(namespace.clone())),
        Subject::Address(addr) => Some(Sought::Address(*addr)),
        Subject::Identity(_) => None,
    });
    sought.collect()
}

/// How somebody comes to those that they call: several ways where a workload without a sidecar has several addresses.
///
/// # Errors
///
/// Where nobody of that name can be there, or it is not clear who.
pub(crate) fn callers(rules: &Rules, subject: &Subject) -> Result<Vec<Caller>, WhoError> {
    let (namespace, name) = match subject {
        Subject::Identity(id) => return Ok(vec![Caller::Identity(id.clone())]),
        Subject::Address(addr) => return Ok(vec![Caller::Address(*addr)]),
        Subject::Named { namespace, name } => (namespace, name),
    };
    let named = named(&rules.known, namespace, name);
    if let [first, ..] = named.as_slice()
        && named.iter().all(|workload| !workload.meshed)
    {
        let addresses: BTreeSet<_> = named.iter().flat_map(|one| &one.addresses).collect();
        if addresses.is_empty() {
            return Err(WhoError::NoAddress(format!("{namespace}/{}", first.name)));
        }
        return Ok(addresses
            .into_iter()
            .map(|addr| Caller::Address(*addr))
            .collect());
    }
    let meshed = named.iter().filter(|workload| workload.meshed);
    let accounts: BTreeSet<&str> = meshed.map(|one| one.service_account.as_str()).collect();
    let account = match accounts.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => account(rules, namespace, name)?,
        [one] => one,
        several => {
            return Err(WhoError::Several {
                asked: subject.to_string(),
                accounts: several.join(", "),
            });
        }
    };
    identity(rules, namespace, account).map(|id| vec![Caller::Identity(id)])
}

/// A service account that no workload is named after.
fn account<'a>(rules: &Rules, namespace: &str, name: &'a str) -> Result<&'a str, WhoError> {
    let known = &rules.known;
    let is_known = known
        .accounts
        .contains(&(namespace.to_owned(), name.to_owned()));
    if is_known || !known.is_complete_in(namespace) {
        return Ok(name);
    }
    Err(nobody(known, namespace, name))
}

fn identity(rules: &Rules, namespace: &str, account: &str) -> Result<SpiffeId, WhoError> {
    let id = SpiffeId::of_service_account(&rules.trust_domain, namespace, account);
    id.map_err(|_what| nobody(&rules.known, namespace, account))
}

/// The called workloads, each kind of replica once: rules that tell them apart may decide differently.
///
/// `labels` are what the caller of this says of one that is not known.
///
/// # Errors
///
/// Where nobody of that name can be there, too little is known, or the rules that decide there were not read.
pub(crate) fn called(
    rules: &Rules,
    subject: &Subject,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Called>, WhoError> {
    let account_of = |id: &SpiffeId| {
        let (namespace, name) = id.service_account()?;
        Some((namespace.to_owned(), name.to_owned()))
    };
    let (namespace, name) = match subject {
        Subject::Named { namespace, name } => (namespace.clone(), name.clone()),
        Subject::Identity(id) if id.trust_domain() != &rules.trust_domain => {
            return Err(WhoError::Elsewhere {
                asked: subject.to_string(),
                own: rules.trust_domain.to_string(),
            });
        }
        Subject::Identity(id) => {
            account_of(id).ok_or_else(|| WhoError::NotCalled(subject.to_string()))?
        }
        Subject::Address(addr) => {
            let mut workloads = rules.known.workloads.iter();
            let at = workloads.find(|workload| workload.addresses.contains(addr));
            let at = at.ok_or_else(|| WhoError::NotCalled(subject.to_string()))?;
            (at.namespace.clone(), at.name.clone())
        }
    };
    rules.were_read(&namespace)?;
    let kinds = kinds(rules, (namespace, name), labels)?;
    kinds.iter().try_for_each(|one| rules.sure_of(one))?;
    Ok(kinds)
}

fn kinds(
    rules: &Rules,
    (namespace, name): (String, String),
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Called>, WhoError> {
    let selected = selected_labels(rules);
    if labels.is_empty() {
        let found = named(&rules.known, &namespace, &name);
        let found: BTreeSet<Called> = found.into_iter().map(|one| of(one, &selected)).collect();
        if !found.is_empty() {
            return Ok(found.into_iter().collect());
        }
        let account = account(rules, &namespace, &name)?;
        if selects_by_labels(rules, &namespace) {
            return Err(WhoError::NoLabels(format!("{namespace}/{account}")));
        }
    }
    Ok(vec![Called {
        namespace,
        service_account: name.clone(),
        name,
        labels: labels.clone(),
    }])
}

/// A workload as rules see it, without the labels that no rule asks for: replicas differ in some of them.
pub(crate) fn of(workload: &Workload, selected: &BTreeSet<&str>) -> Called {
    let labels = workload.labels.iter();
    let labels = labels.filter(|(key, _)| selected.contains(key.as_str()));
    Called {
        namespace: workload.namespace.clone(),
        name: workload.name.clone(),
        service_account: workload.service_account.clone(),
        labels: labels
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}

/// The workloads that a called one stands for.
pub(crate) fn workloads<'a>(rules: &'a Rules, called: &Called) -> Vec<&'a Workload> {
    let selected = selected_labels(rules);
    let known = rules.known.workloads.iter();
    known.filter(|one| of(one, &selected) == *called).collect()
}

/// Those of them of whom it is known whether they have a sidecar. Of replicas it is; manifests say who will have none.
pub(crate) fn replicated<'a>(rules: &'a Rules, called: &Called) -> Vec<&'a Workload> {
    let mut known = workloads(rules, called);
    known.retain(|one| !(one.replicas.is_empty() && one.meshed));
    known
}

/// The names of replicas without a sidecar, of some workloads: `shop/legacy-0`; its own of one of which none is known.
pub(crate) fn without_sidecar(workloads: &[&Workload]) -> Vec<String> {
    let without = workloads.iter().filter(|one| !one.meshed);
    let names = without.flat_map(|one| {
        let names = match one.replicas.as_slice() {
            [] => std::slice::from_ref(&one.name),
            replicas => replicas,
        };
        let name = |replica| format!("{}/{replica}", one.namespace);
        names.iter().map(name)
    });
    names.collect()
}

/// The keys of labels that some rule selects by.
pub(crate) fn selected_labels(rules: &Rules) -> BTreeSet<&str> {
    let policies = rules.policies.iter().chain(rules.about_unknown());
    let labels = policies.flat_map(|policy| policy.target.labels.keys());
    labels.map(String::as_str).collect()
}

pub(crate) fn selects_by_labels(rules: &Rules, namespace: &str) -> bool {
    let mut policies = rules.policies.iter().chain(rules.about_unknown());
    policies.any(|policy| {
        let concerns = policy
            .namespace
            .as_deref()
            .is_none_or(|own| own == namespace);
        concerns && !policy.target.labels.is_empty()
    })
}

/// Workloads by their own name, or that of a replica; else those of the service account.
fn named<'a>(known: &'a Known, namespace: &str, name: &str) -> Vec<&'a Workload> {
    let all = || {
        known
            .workloads
            .iter()
            .filter(|one| one.namespace == namespace)
    };
    let by_name: Vec<_> = all()
        .filter(|one| one.name == name || one.replicas.iter().any(|replica| replica == name))
        .collect();
    if by_name.is_empty() {
        return all().filter(|one| one.service_account == name).collect();
    }
    by_name
}

fn nobody(known: &Known, namespace: &str, name: &str) -> WhoError {
    let asked = format!("{namespace}/{name}");
    let near = near(&asked, everybody(known));
    WhoError::Nobody { asked, near }
}
