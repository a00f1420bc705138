//! Puts rules in force, and waits until every sidecar that they concern enforces them.

mod cluster;
mod local;
mod progress;

use std::time::Duration;

use palisade_api::policy::AuthorizationPolicy;
use serde::Serialize;

use crate::args::MeshArgs;
use crate::kubernetes::meant::{Meant, meant};

pub(super) use progress::Progress;

/// Policies that belong together, as they are to be.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) policies: Vec<AuthorizationPolicy>,
    /// The files of a local mesh that say so.
    pub(super) files: Vec<NewFile>,
    /// On a cluster: takes fields over that somebody else manages.
    pub(super) force: bool,
    /// On a cluster: a label that the objects get.
    pub(super) label: Option<&'static str>,
}

/// A file for a local mesh's directory of rules.
#[derive(Debug)]
pub(super) struct NewFile {
    /// Its name there.
    pub(super) name: String,
    pub(super) text: String,
    /// Where people find the text, to put it right.
    pub(super) place: String,
}

/// What was put in force, and where.
#[derive(Debug, Serialize)]
pub(super) struct Put {
    /// `AuthorizationPolicy shop/orders`.
    pub(super) policy: String,
    /// The file, or the object's generation.
    pub(super) place: String,
}

/// How long is waited, if at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) patience: Option<Duration>,
}

/// What was put in force and, where that was waited for, how far sidecars are with it.
pub(super) type Done = (Vec<Put>, Option<Progress>);

/// Puts policies in force: all of them, or none where one is not as it must be.
pub(super) fn put(mesh: &MeshArgs, change: &Change, wait: Wait) -> anyhow::Result<Done> {
    match meant(mesh)? {
        Meant::Local => local::put(mesh.name.as_deref(), change, wait),
        Meant::Cluster => crate::kubernetes::complete(cluster::put(mesh, change, wait)),
    }
}
