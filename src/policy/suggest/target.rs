//! What a suggested policy protects.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::policy::Target;

use crate::policy::rules::{Known, Workload};
use crate::policy::traffic::{Edge, Whom};

/// A called workload, by what a policy can select it by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Selected {
    pub(super) namespace: String,
    /// The workload's, or its account's.
    pub(super) name: String,
    by: By,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Label(&'static str, String),
    Account(String),
}

impl Selected {
    /// By the label that no other workload of the namespace has, else by the service account; none where the record
    /// tells of neither.
    pub(super) fn of(known: &Known, edge: &Edge, whom: &Whom<'_>) -> Option<Self> {
        let namespace = edge.namespace.to_string();
        if let Whom::Workloads(found) = whom
            && let Some((name, label, value)) = identified(known, found)
        {
            return Some(Self {
                namespace,
                name: name.to_owned(),
                by: By::Label(label, value.to_owned()),
            });
        }
        let account = edge.account()?.to_owned();
        Some(Self {
            namespace,
            name: account.clone(),
            by: By::Account(account),
        })
    }

    /// As policies write it.
    pub(super) fn target(&self) -> Target {
        match &self.by {
            By::Label(label, value) => Target {
                labels: BTreeMap::from([((*label).to_owned(), value.clone())]),
                ..Target::default()
            },
            By::Account(account) => Target {
                service_account: Some(account.clone()),
                ..Target::default()
            },
        }
    }

    /// Whom it protects besides.
    pub(super) fn unsure(&self, known: &Known) -> Option<String> {
        let By::Account(account) = &self.by else {
            return None;
        };
        let sharing = of_account(known, &self.namespace, account);
        let names: Vec<_> = sharing.iter().copied().collect();
        (names.len() > 1).then(|| {
            let names = names.join(", ");
            format!(
                "the target is the service account {account}, shared by {} workloads: {names}",
                sharing.len()
            )
        })
    }
}

/// The names of the workloads of a service account.
pub(super) fn of_account<'a>(
    known: &'a Known,
    namespace: &str,
    account: &str,
) -> BTreeSet<&'a str> {
    let workloads = known.workloads.iter();
    let sharing = workloads
        .filter(|one| one.meshed && one.namespace == namespace && one.service_account == account);
    sharing.map(|one| one.name.as_str()).collect()
}

/// The workload that all of these are, and the label that only it has.
fn identified<'a>(
    known: &Known,
    found: &[&'a Workload],
) -> Option<(&'a str, &'static str, &'a str)> {
    let (first, rest) = found.split_first()?;
    if rest.iter().any(|one| one.name != first.name) {
        return None;
    }
    let has = |one: &Workload, label: &str, value: &str| {
        one.labels.get(label).is_some_and(|own| own == value)
    };
    LABELS.into_iter().find_map(|label| {
        let value = first.labels.get(label)?;
        let mut others = known
            .workloads
            .iter()
            .filter(|one| one.namespace == first.namespace && one.name != first.name);
        let is_of_all = rest.iter().all(|one| has(one, label, value));
        let is_unique = !others.any(|one| has(one, label, value));
        (is_of_all && is_unique).then_some((first.name.as_str(), label, value.as_str()))
    })
}

/// The labels that name a workload by custom.
const LABELS: [&str; 2] = ["app", "app.kubernetes.io/name"];
