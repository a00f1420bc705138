//! The YAML that people write, and what is wrong with it.
//!
//! One validator for the command, the admission check and control. What it cannot understand in exactly one
//! way, it refuses, and says what to write instead. [`parse`] reads files, [`check_object`] what the API server holds.

mod against;
mod check;
mod diagnostic;
mod documents;
mod expectation;
mod known;
mod name;
mod namespace;
mod near;
mod node;
mod object;
mod place;
mod policy;
mod print;
mod read;
mod reading;
mod resource;
mod rule;
mod selection;
mod snippet;
#[cfg(test)]
mod tests;
mod trust;
mod underline;
mod warning;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::policy::AuthorizationPolicy;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::workload::{NamespaceSettings, ServicePort};

pub use against::against;
pub use check::{check, together};
pub use diagnostic::{Diagnostic, Severity};
pub use expectation::{
    Expectation, Names, Placed, PolicyTest, TestReading, Who, read_all_tests, read_tests,
};
pub use known::{Known, KnownWorkload};
pub use namespace::settings_of;
pub use node::apart;
pub use object::{Object, ObjectDiagnostic, check_object, read_object};
pub use place::{Document, Position, RulePlace, TargetPlace};
pub use print::print;
pub use read::without_controls;
pub use reading::{Reading, read_all, read_together};
pub use resource::is_ours;
pub use snippet::{Part, Snippet, Style};
pub use warning::{NARROW, lets_nodes_in, warnings};

/// Reads every document of a file; `file` is its name, for messages.
///
/// # Errors
///
/// Everything that is wrong with the file: a file is good as a whole or not at all. Of a document that is no YAML,
/// only the first mistake is known.
pub fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, Vec<Diagnostic>> {
    let documents = read(file, text)?.into_iter();
    Ok(documents.map(|document| document.manifest).collect())
}

/// The same, with the places of what was read.
///
/// Documents of the kind `PolicyTest` are for [`read_tests`], and left out.
///
/// # Errors
///
/// Those of [`parse`].
pub fn read(file: &str, text: &str) -> Result<Vec<Document>, Vec<Diagnostic>> {
    let Reading {
        documents,
        mistakes,
        ..
    } = read_all(file, text);
    if mistakes.is_empty() {
        Ok(documents)
    } else {
        Err(mistakes)
    }
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// `AuthorizationPolicy` or, where it has no namespace, `ClusterAuthorizationPolicy`.
    Policy(AuthorizationPolicy),
    /// `Workload`.
    Workload(WorkloadSpec),
    /// `Service`.
    Service(ServiceSpec),
    /// `Namespace`.
    Namespace {
        /// Its name.
        name: String,
        /// How it is set, by its annotations.
        settings: NamespaceSettings,
    },
    /// `Revocations`. Those of several documents add up.
    Revocations(RevocationsSpec),
    /// `TrustBundle`.
    TrustBundle {
        /// The foreign trust domain.
        trust_domain: TrustDomain,
        /// Its authorities, PEM; that they are certificates is not checked here.
        authorities_pem: String,
    },
}

impl Manifest {
    /// The policy that it is, of either kind.
    pub fn policy(&self) -> Option<&AuthorizationPolicy> {
        match self {
            Self::Policy(policy) => Some(policy),
            Self::Workload(_)
            | Self::Service(_)
            | Self::Namespace { .. }
            | Self::Revocations(_)
            | Self::TrustBundle { .. } => None,
        }
    }

    /// Kind and name, as people call it: `AuthorizationPolicy shop/orders`. Of these there is one each; revocations add up
    /// and have none.
    pub fn title(&self) -> Option<String> {
        match self {
            Self::Policy(policy) => Some(policy.title()),
            Self::Workload(workload) => {
                Some(format!("Workload {}/{}", workload.namespace, workload.name))
            }
            Self::Service(service) => {
                Some(format!("Service {}/{}", service.namespace, service.name))
            }
            Self::Namespace { name, .. } => Some(format!("Namespace {name}")),
            Self::TrustBundle { trust_domain, .. } => Some(format!("TrustBundle {trust_domain}")),
            Self::Revocations(_) => None,
        }
    }
}

/// A workload, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
    /// The service account that its identity is made of.
    pub service_account: String,
    /// What rules and services select it by.
    pub labels: BTreeMap<String, String>,
    /// Its own addresses, at least one.
    pub addresses: Vec<IpAddr>,
    /// Whether a sidecar answers for it; true by default.
    pub meshed: bool,
}

/// A service, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its namespace, and that of its workloads.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
    /// Its virtual addresses, at least one.
    pub addresses: Vec<IpAddr>,
    /// The labels that its workloads have, at least one.
    pub selector: BTreeMap<String, String>,
    /// Its ports, at least one, each once.
    pub ports: Vec<ServicePort>,
}

/// What is refused from now on, though it was issued.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationsSpec {
    /// Names.
    pub identities: Vec<SpiffeId>,
    /// Serial numbers of certificates, lower-case hex, two digits a byte.
    pub serials: Vec<String>,
}
