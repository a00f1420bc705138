//! How much of a cluster was read: of what was not, nothing can be said.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Rules;

/// Some namespaces of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// These.
    Only(BTreeSet<String>),
    /// All others than these.
    AllBut(BTreeSet<String>),
}

/// Of which namespaces it was read what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Whose rules, and how they are set.
    pub(super) rules: Namespaces,
    pub(super) pods: Namespaces,
    pub(super) accounts: Namespaces,
    /// In which it was looked who has the addresses that are asked about.
    pub(super) addresses: Namespaces,
    /// Whether namespaces of which nothing was read may be there.
    pub(super) has_unnamed: bool,
}

/// Who is looked up on a cluster, whichever namespace is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sought {
    /// All who are in it.
    Namespace(String),
    /// Who has it, in whichever namespace.
    Address(IpAddr),
}

/// Why a question about a namespace has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnreadError {
    /// Another one was asked about.
    #[error("the rules of {0} were not read; ask with -n {0}, or without -n")]
    Elsewhere(String),
    /// An object has mistakes, or the API server lists it no more: this one, and what to do.
    #[error("{0}")]
    Unknown(String),
    /// They may not be read.
    #[error("the rules of {0} were not read; ask for `list` on authorizationpolicies in {0}")]
    Forbidden(String),
}

impl Namespaces {
    pub(super) fn only(name: &str) -> Self {
        Self::Only(BTreeSet::from([name.to_owned()]))
    }

    pub(super) fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    pub(super) fn all_but(names: &[String]) -> Self {
        Self::AllBut(names.iter().cloned().collect())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Only(own) => own.contains(name),
            Self::AllBut(others) => !others.contains(name),
        }
    }

    pub(super) fn add(&mut self, name: &str) {
        match self {
            Self::Only(own) => {
                own.insert(name.to_owned());
            }
            Self::AllBut(others) => {
                others.remove(name);
            }
        }
    }
}

impl Rules {
    /// Nothing, where it is known what decides in a namespace: of files and of a local mesh, it is.
    ///
    /// # Errors
    ///
    /// Where it is not: its rules were not read, or an object that is in force there has mistakes.
    pub(crate) fn reach(&self, namespace: &str) -> Result<(), UnreadError> {
        self.were_read(namespace)?;
        self.sure_in(Some(namespace))
    }

    /// Nothing, where the objects of a namespace are among those that were read.
    ///
    /// # Errors
    ///
    /// Where they are not.
    pub(crate) fn were_read(&self, namespace: &str) -> Result<(), UnreadError> {
        match self.known.extent.as_ref().map(|extent| &extent.rules) {
            Some(Namespaces::Only(own)) if !own.contains(namespace) => {
                Err(UnreadError::Elsewhere(namespace.to_owned()))
            }
            Some(Namespaces::AllBut(others)) if others.contains(namespace) => {
                Err(UnreadError::Forbidden(namespace.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether they are those of every namespace.
    pub(crate) fn is_of_all(&self) -> bool {
        let extent = self.known.extent.as_ref();
        extent.is_none_or(|extent| extent.rules == Namespaces::all_but(&[]))
    }
}

impl super::Known {
    /// Whether pods of this namespace exist that are not known: they were not read.
    pub(crate) fn has_unread_pods(&self, namespace: &str) -> bool {
        let extent = self.extent.as_ref();
        extent.is_some_and(|extent| !extent.pods.has(namespace))
    }

    /// Whose pods were not read when it was looked who has an address, in words; none where all were.
    pub(crate) fn unread_at(&self, addr: IpAddr) -> Option<String> {
        let mut workloads = self.workloads.iter();
        if workloads.any(|one| one.addresses.contains(&addr)) {
            return None;
        }
        let listed = |names: &BTreeSet<String>| Vec::from_iter(names.iter().cloned()).join(", ");
        match &self.extent.as_ref()?.addresses {
            Namespaces::AllBut(others) if others.is_empty() => None,
            Namespaces::AllBut(others) => Some(listed(others)),
            Namespaces::Only(own) if own.is_empty() => Some("any namespace".to_owned()),
            Namespaces::Only(own) => Some(format!("other namespaces than {}", listed(own))),
        }
    }

    /// Whether every pod of a namespace, or of all, is known.
    pub(crate) fn has_all_pods(&self, namespace: Option<&str>) -> bool {
        let all = Namespaces::all_but(&[]);
        match (&self.extent, namespace) {
            (None, _) => self.is_complete,
            (Some(extent), Some(namespace)) => extent.pods.has(namespace),
            (Some(extent), None) => extent.pods == all,
        }
    }

    /// Whether all of a namespace is known: who is not among them is not there.
    pub(crate) fn is_complete_in(&self, namespace: &str) -> bool {
        let extent = self.extent.as_ref();
        self.is_complete
            || extent.is_some_and(|it| it.pods.has(namespace) && it.accounts.has(namespace))
    }
}
