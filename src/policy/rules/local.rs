//! The rules of the mesh that runs on this machine: as they stand in its files now or, where those have mistakes, as control
//! holds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use palisade_control::source::InForce;

use super::{LoadRulesError, Rules, Texts, files};
use crate::up::state::part;
use crate::up::{self, Running};
use crate::{ask, kubernetes, page};

/// Reads what the mesh reads: its directory of rules, and what control was told of its workloads.
pub(super) fn read(name: Option<&str>) -> anyhow::Result<Rules> {
    let mesh = Mesh::of(name)?;
    mesh.read(mesh.texts()?)
}

/// The same where nothing is wrong with them, else what is in force.
pub(super) fn in_force(name: Option<&str>) -> Result<Rules, LoadRulesError> {
    let mesh = Mesh::of(name)?;
    let read = mesh.read(mesh.texts()?)?;
    if read.mistakes.is_empty() {
        return Ok(read);
    }
    let answer = kubernetes::complete(page::of_control(&mesh.state, "/rules"));
    let Ok(held) = answer.and_then(|text| Ok(serde_json::from_str::<InForce>(&text)?)) else {
        // Nobody knows how they were.
        return read.good();
    };
    let bound = mesh.state.join(part::RULES);
    let mut rules = mesh.read(Texts {
        by_file: named(held.files, &bound, &mesh.running.rules),
        ..Texts::default()
    })?;
    let mut bad: Vec<_> = read.mistakes.into_iter().map(|one| one.file).collect();
    bad.dedup();
    rules.warnings.extend(bad.iter().map(|file| {
        format!(
            "{file} has mistakes and counts as it was before; `palisade policy check` shows them"
        )
    }));
    rules.good()
}

/// Control finds the user's directory where it is bound; people find it where it is.
fn named(
    texts: BTreeMap<String, String>,
    bound: &Path,
    directory: &Path,
) -> BTreeMap<String, String> {
    let texts = texts.into_iter().map(|(file, text)| {
        let theirs = Path::new(&file).strip_prefix(bound);
        let theirs = theirs.map(|name| directory.join(name).display().to_string());
        (theirs.unwrap_or(file), text)
    });
    texts.collect()
}

struct Mesh {
    state: PathBuf,
    running: Running,
}

impl Mesh {
    fn of(name: Option<&str>) -> anyhow::Result<Self> {
        let state = ask::state_of(name)?;
        let running = up::running(&state)?;
        Ok(Self { state, running })
    }

    /// As its files are now.
    fn texts(&self) -> anyhow::Result<Texts> {
        let mut texts = files::texts(std::slice::from_ref(&self.running.workloads))?;
        // A mesh may have no rules yet: then everything is closed.
        let rules = files::texts_of_directory(&self.running.rules)?;
        texts.by_file.extend(rules.by_file);
        texts.unreadable.extend(rules.unreadable);
        Ok(texts)
    }

    fn read(&self, texts: Texts) -> anyhow::Result<Rules> {
        let mut rules = files::of_texts(texts)?;
        let trust_domain = self.running.trust_domain.parse();
        rules.trust_domain = trust_domain.context("the mesh's plan names no trust domain")?;
        rules.known.is_complete = true;
        // Nobody wrote what stands there.
        let own = self.state.to_string_lossy();
        rules.texts.retain(|file, _| !file.starts_with(&*own));
        Ok(rules)
    }
}
