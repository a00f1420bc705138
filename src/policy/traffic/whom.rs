//! Which of the known workloads an edge leads to, and what rules see of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_api::spiffe::{SpiffeId, TrustDomain};

use super::stranger::{Beside, Stranger};
use super::{Edge, Was};
use crate::policy::beside;
use crate::policy::rules::{Known, Rules, Workload};
use crate::policy::subject::{self, Called, Caller};
use crate::records::filter::is_replica;

/// Known workloads, by what records say of them.
#[derive(Debug, Default)]
pub(crate) struct Workloads<'a> {
    by_namespace: HashMap<&'a str, Vec<&'a Workload>>,
    by_replica: HashMap<&'a str, HashMap<&'a str, Vec<&'a Workload>>>,
    by_address: HashMap<IpAddr, Vec<&'a Workload>>,
    is_complete: bool,
}

/// Who was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom<'a> {
    /// One of these; of several, the record does not say which.
    Workloads(Vec<&'a Workload>),
    /// Only its service account is known.
    Account(&'a str),
    /// Not even that.
    Unknown,
}

impl<'a> Workloads<'a> {
    pub(crate) fn of(known: &'a Known) -> Self {
        let mut all = Self {
            is_complete: known.is_complete,
            ..Self::default()
        };
        for workload in &known.workloads {
            let namespace = workload.namespace.as_str();
            all.by_namespace
                .entry(namespace)
                .or_default()
                .push(workload);
            for replica in &workload.replicas {
                let of_namespace = all.by_replica.entry(namespace).or_default();
                let of_name = of_namespace.entry(replica.as_str()).or_default();
                of_name.push(workload);
            }
            for addr in &workload.addresses {
                all.by_address.entry(*addr).or_default().push(workload);
            }
        }
        all
    }

    /// Those that are in a namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> &[&'a Workload] {
        self.by_namespace.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Those of which this is a replica: one, unless a file says otherwise.
    pub(crate) fn replica(&self, namespace: &str, name: &str) -> &[&'a Workload] {
        let found = self.by_replica.get(namespace);
        let found = found.and_then(|replicas| replicas.get(name));
        found.map_or(&[], Vec::as_slice)
    }

    /// Those that have an address.
    pub(crate) fn at(&self, addr: IpAddr) -> &[&'a Workload] {
        self.by_address.get(&addr).map_or(&[], Vec::as_slice)
    }

    /// The service account of a replica: of the workload that has it, else of those whose name it has, where they agree.
    fn account_of(&self, namespace: &str, replica: &str) -> Option<&'a str> {
        let exact = self.replica(namespace, replica);
        let is_named = |one: &&Workload| one.name == replica || is_replica(replica, &one.name);
        let found: Vec<&'a Workload> = match exact {
            [] => self
                .in_namespace(namespace)
                .iter()
                .copied()
                .filter(is_named)
                .collect(),
            exact => exact.to_vec(),
        };
        let accounts = found.iter().map(|one| &*one.service_account);
        let mut accounts: BTreeSet<&'a str> = accounts.collect();
        accounts.pop_first().filter(|_| accounts.is_empty())
    }

    /// An edge of a refused certificate, with its caller's name. Of such a one the called side writes none: then the account
    /// of the replica at the caller's address is taken for it, where that is known.
    pub(crate) fn with_caller<'e>(
        &self,
        edge: &'e Edge,
        usual: &TrustDomain,
    ) -> Option<Cow<'e, Edge>> {
        if let Caller::Identity(_) = edge.from {
            return Some(Cow::Borrowed(edge));
        }
        let (namespace, replica) = edge.at.as_ref()?;
        let account = self.account_of(namespace, replica)?;
        let trust_domain = edge.trust_domain(usual);
        let id = SpiffeId::of_service_account(trust_domain, namespace, account).ok()?;
        Some(Cow::Owned(Edge {
            from: Caller::Identity(id),
            at: None,
            ..edge.clone()
        }))
    }

    /// Who is at a caller's address: as the record says it, and as it is known now. Who proves who it is has nobody beside.
    ///
    /// What a sidecar let in had nobody beside, where its record names nobody: it does not let in whom it cannot look up.
    pub(crate) fn beside(&self, edge: &Edge, trust_domain: &TrustDomain) -> Beside {
        let Caller::Address(addr) = edge.from else {
            return Beside::default();
        };
        let known = self.at(addr).iter().copied();
        let mut identities = beside::identities(known, addr, trust_domain);
        if let Some((namespace, replica)) = &edge.at {
            let found = self.replica(namespace, replica).iter();
            let found = found.filter_map(|one| {
                let account = &one.service_account;
                SpiffeId::of_service_account(trust_domain, namespace, account).ok()
            });
            identities.extend(found);
        }
        let stranger = match &edge.at {
            Some((namespace, _)) => Stranger::Of(Arc::clone(namespace)),
            None if edge.was == Was::Denied && !self.is_complete => Stranger::Anybody,
            None => Stranger::Nobody,
        };
        Beside::of(identities, stranger, trust_domain)
    }

    /// Who is meant: the workload of this replica; else one of which it has the name; else those of its service account.
    pub(crate) fn whom(&self, edge: &'a Edge) -> Whom<'a> {
        let account = edge.account();
        let of_account = |found: &[&'a Workload]| -> Vec<&'a Workload> {
            let found = found.iter().copied();
            found
                .filter(|one| account.is_none_or(|own| own == one.service_account))
                .collect()
        };
        if let Some(replica) = edge.workload.as_deref() {
            let found = of_account(self.replica(&edge.namespace, replica));
            if !found.is_empty() {
                return Whom::Workloads(found);
            }
        }
        let all = of_account(self.in_namespace(&edge.namespace));
        if let Some(replica) = edge.workload.as_deref() {
            let is_named = |one: &&&Workload| one.name == replica || is_replica(replica, &one.name);
            let found: Vec<_> = all.iter().filter(is_named).copied().collect();
            if !found.is_empty() {
                return Whom::Workloads(found);
            }
        }
        match account {
            Some(_) if !all.is_empty() => Whom::Workloads(all),
            Some(account) => Whom::Account(account),
            None => Whom::Unknown,
        }
    }
}

impl Whom<'_> {
    /// What rules see of it, each that they can tell apart once; none where too little is known for that.
    pub(crate) fn called(
        &self,
        rules: &Rules,
        selected: &BTreeSet<&str>,
        edge: &Edge,
    ) -> Option<Vec<Called>> {
        let namespace = &*edge.namespace;
        match self {
            Self::Workloads(found) => {
                let called = found.iter().map(|one| subject::of(one, selected));
                Some(called.collect::<BTreeSet<_>>().into_iter().collect())
            }
            Self::Account(account) => {
                let is_told = !subject::selects_by_labels(rules, namespace);
                is_told.then(|| {
                    vec![Called {
                        namespace: namespace.to_owned(),
                        name: (*account).to_owned(),
                        service_account: (*account).to_owned(),
                        labels: BTreeMap::new(),
                    }]
                })
            }
            Self::Unknown => None,
        }
    }

    /// As people call it: `shop/orders`.
    pub(crate) fn shown(&self, edge: &Edge) -> String {
        let name = match self {
            Self::Workloads(found) => {
                let names: BTreeSet<&str> = found.iter().map(|one| one.name.as_str()).collect();
                match names.into_iter().collect::<Vec<_>>().as_slice() {
                    [one] => one,
                    _ => edge.name(),
                }
            }
            Self::Account(account) => account,
            Self::Unknown => edge.name(),
        };
        format!("{}/{name}", edge.namespace)
    }
}
