//! Which of the known workloads an edge leads to, and what rules see of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Edge;
use crate::policy::rules::{Known, Rules, Workload};
use crate::policy::subject::{self, Called};
use crate::records::filter::is_replica;

/// Known workloads by their namespace.
#[derive(Debug)]
pub(crate) struct Workloads<'a>(HashMap<&'a str, Vec<&'a Workload>>);

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
        let mut by_namespace: HashMap<&str, Vec<&Workload>> = HashMap::new();
        for workload in &known.workloads {
            let held = by_namespace.entry(&workload.namespace).or_default();
            held.push(workload);
        }
        Self(by_namespace)
    }

    /// Who is meant: the workload of this replica; else one of which it has the name; else those of its service account.
    pub(crate) fn whom(&self, edge: &'a Edge) -> Whom<'a> {
        let account = edge.account();
        let all = self.0.get(&*edge.namespace);
        let of_account = |one: &&Workload| account.is_none_or(|own| own == one.service_account);
        let all: Vec<&Workload> = all
            .into_iter()
            .flatten()
            .copied()
            .filter(of_account)
            .collect();
        if let Some(replica) = edge.workload.as_deref() {
            let is = |one: &&Workload| one.replicas.iter().any(|name| name == replica);
            let is_named = |one: &&Workload| one.name == replica || is_replica(replica, &one.name);
            for found in [chosen(&all, is), chosen(&all, is_named)] {
                if !found.is_empty() {
                    return Whom::Workloads(found);
                }
            }
        }
        match account {
            Some(_) if !all.is_empty() => Whom::Workloads(all),
            Some(account) => Whom::Account(account),
            None => Whom::Unknown,
        }
    }
}

fn chosen<'a>(all: &[&'a Workload], is: impl Fn(&&Workload) -> bool) -> Vec<&'a Workload> {
    all.iter().copied().filter(|one| is(one)).collect()
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
                    _ => edge.account().unwrap_or_default(),
                }
            }
            Self::Account(account) => account,
            Self::Unknown => edge.workload.as_deref().unwrap_or_default(),
        };
        format!("{}/{name}", edge.namespace)
    }
}
