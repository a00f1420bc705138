//! What exists, for checks that ask whether what a policy names does.

use std::collections::{BTreeMap, BTreeSet};

use super::place::Document;
use super::{Manifest, WorkloadSpec};
use crate::spiffe::TrustDomain;

/// What exists, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Service accounts, by their namespaces. A namespace without any may be there too.
    pub service_accounts: BTreeMap<String, BTreeSet<String>>,
    /// Workloads. Their namespaces and service accounts need not be among `service_accounts`.
    pub workloads: Vec<KnownWorkload>,
    /// The mesh's own trust domain, if it is known.
    pub trust_domain: Option<TrustDomain>,
    /// Whether this is all that exists: what is not here is a mistake then, and else only suspicious.
    pub complete: bool,
}

/// A workload that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The service account that it runs as.
    pub service_account: String,
    /// What targets select it by.
    pub labels: BTreeMap<String, String>,
}

impl Known {
    /// Adds the namespaces and workloads that documents describe.
    pub fn learn(&mut self, documents: &[Document]) {
        for document in documents {
            match &document.manifest {
                Manifest::Namespace { name, .. } => {
                    self.service_accounts.entry(name.clone()).or_default();
                }
                Manifest::Workload(workload) => self.workloads.push(workload.into()),
                Manifest::Policy(_)
                | Manifest::Service(_)
                | Manifest::Revocations(_)
                | Manifest::TrustBundle { .. } => {}
            }
        }
    }
}

impl From<&WorkloadSpec> for KnownWorkload {
    fn from(workload: &WorkloadSpec) -> Self {
        Self {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            service_account: workload.service_account.clone(),
            labels: workload.labels.clone(),
        }
    }
}

/// What is known, by namespace.
#[derive(Debug, Default)]
pub(super) struct Inventory<'k>(BTreeMap<&'k str, Inhabitants<'k>>);

/// What is known of one namespace.
#[derive(Debug, Default)]
pub(super) struct Inhabitants<'k> {
    pub(super) accounts: BTreeSet<&'k str>,
    pub(super) workloads: Vec<&'k KnownWorkload>,
}

impl<'k> Inventory<'k> {
    pub(super) fn new(known: &'k Known) -> Self {
        let mut all: BTreeMap<_, Inhabitants<'_>> = BTreeMap::new();
        for (namespace, accounts) in &known.service_accounts {
            let own = all.entry(namespace.as_str()).or_default();
            own.accounts.extend(accounts.iter().map(String::as_str));
        }
        for workload in &known.workloads {
            let own = all.entry(&workload.namespace).or_default();
            own.accounts.insert(&workload.service_account);
            own.workloads.push(workload);
        }
        Self(all)
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = &'k str> {
        self.0.keys().copied()
    }

    pub(super) fn namespace(&self, name: &str) -> Option<&Inhabitants<'k>> {
        self.0.get(name)
    }

    /// What is known of some namespaces; of all where none are named.
    pub(super) fn within(&self, namespaces: &[String]) -> Vec<&Inhabitants<'k>> {
        if namespaces.is_empty() {
            return self.0.values().collect();
        }
        let named = namespaces.iter();
        named.filter_map(|name| self.namespace(name)).collect()
    }
}
