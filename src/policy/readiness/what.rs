//! What is asked about.

use std::fmt;
use std::str::FromStr;

use anyhow::ensure;

use crate::policy::rules::{Rules, Workload};
use crate::policy::subject::Called;

/// A part of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Namespace(String),
    Workload(String, String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
            Self::Workload(namespace, name) => write!(f, "workload {namespace}/{name}"),
        }
    }
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |text: &str| !text.is_empty() && !text.contains('/');
        match text.split_once('/') {
            None if is_name(text) => Ok(Self::Namespace(text.to_owned())),
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self::Workload(namespace.to_owned(), name.to_owned()))
            }
            _ => Err("name a namespace (shop) or a workload (shop/orders)".to_owned()),
        }
    }
}

impl What {
    /// Nobody of that name is no reason to say that all is well, nor somebody of whom nothing is counted.
    pub(super) fn is_there(&self, rules: &Rules) -> anyhow::Result<()> {
        let known = &rules.known;
        let (Self::Namespace(namespace) | Self::Workload(namespace, _)) = self;
        rules.reach(namespace)?;
        let is_there = match self {
            Self::Namespace(namespace) => known.namespaces.contains_key(namespace),
            Self::Workload(..) => known.workloads.iter().any(|one| self.names(one)),
        };
        ensure!(
            is_there,
            "there is no {self}; `palisade ps` lists who there is"
        );
        let mut asked = known.workloads.iter().filter(|one| self.names(one));
        let is_empty = asked.clone().next().is_none();
        ensure!(
            is_empty || asked.any(|one| one.meshed),
            "there is no sidecar in {self}: nothing of it is counted, and nothing can be enforced there"
        );
        Ok(())
    }

    pub(super) fn has(&self, called: &Called) -> bool {
        self.is_of(&called.namespace, &called.name)
    }

    pub(super) fn names(&self, workload: &Workload) -> bool {
        self.is_of(&workload.namespace, &workload.name)
    }

    fn is_of(&self, of: &str, called: &str) -> bool {
        match self {
            Self::Namespace(namespace) => of == namespace,
            Self::Workload(namespace, name) => (of, called) == (namespace, name),
        }
    }
}
