//! Puts rules in force, and waits until every sidecar that they concern enforces them.

mod cluster;
mod files;
mod heard;
mod local;
mod progress;
mod standing;
mod warning;
mod watched;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use palisade_api::manifest::{Document, Manifest};
use palisade_api::policy::AuthorizationPolicy;
use serde::Serialize;

use super::revoked::DENY_INSTEAD;
use crate::args::MeshArgs;
use crate::kubernetes::meant::{Meant, meant_to_change};

pub(super) use progress::Progress;
pub(super) use warning::Warning;

/// Policies that belong together, as they are to be.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) policies: Vec<AuthorizationPolicy>,
    /// What they were read from, and what else stands there; none of what no file says.
    pub(super) documents: Vec<Document>,
    /// By file: what stands there too and is for no mesh, as people call it.
    pub(super) others: BTreeMap<String, Vec<String>>,
    /// The files of a local mesh that say so.
    pub(super) files: Vec<NewFile>,
    /// On a cluster: takes fields over that somebody else manages.
    pub(super) force: bool,
    /// On a cluster: a label that the objects get.
    pub(super) label: Option<&'static str>,
}

impl Change {
    /// What a local mesh puts in force beside policies.
    fn others_in_force(&self) -> impl Iterator<Item = &Manifest> {
        let manifests = self.documents.iter().map(|one| &one.manifest);
        manifests.filter(|manifest| manifest.policy().is_none())
    }
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
    /// `AuthorizationPolicy shop/orders`; on a local mesh also what else took effect, as `Namespace shop`.
    pub(super) policy: String,
    /// The file, or the object's generation.
    pub(super) place: String,
}

/// How long is waited, if at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) patience: Option<Duration>,
}

/// What could not be put in force, beside others that are.
#[derive(Debug, Serialize)]
pub(super) struct Unapplied {
    pub(super) policy: String,
    /// Why, of the one that was tried last; after it none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    /// At least one.
    pub(super) put: Vec<Put>,
    /// Then nothing was waited for.
    pub(super) unapplied: Vec<Unapplied>,
    /// How far sidecars are with it, where that was waited for.
    pub(super) progress: Option<Progress>,
    pub(super) warnings: Vec<Warning>,
}

/// Puts policies in force: all of them, or none where one is not as it must be. Where a cluster refuses one that it would
/// have taken a moment before, it is told which are in force and which are not.
pub(super) fn put(mesh: &MeshArgs, change: &Change, wait: Wait) -> anyhow::Result<Done> {
    let meant = meant_to_change(mesh)?;
    if meant == Meant::Cluster && change.policies.is_empty() {
        let mut others = change.others_in_force();
        let revokes = others.any(|one| matches!(one, Manifest::Revocations(_)));
        let instead = if revokes {
            format!("; it takes no Revocations: {DENY_INSTEAD}")
        } else {
            String::new()
        };
        bail!(
            "there is no rule in these files, and a cluster is told of rules only; nothing was applied{instead}"
        );
    }
    let mut done = match meant {
        Meant::Local => local::put(mesh.name.as_deref(), change, wait),
        Meant::Cluster => crate::kubernetes::complete(cluster::put(mesh, change, wait)),
    }?;
    let left_out = warning::of_what_is_left_out(change, meant);
    done.warnings.extend(left_out);
    Ok(done)
}
