//! The rules of the mesh that runs on this machine: as they stand in its files now or, where those have mistakes, as control
//! holds them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use palisade_control::source::InForce;

use super::{LoadRulesError, Rules, Texts, files};
use crate::up::state::part;
use crate::{ask, kubernetes, page, up};

/// Reads what the mesh reads: its directory of rules, and what control was told of its workloads.
pub(super) fn read(name: Option<&str>) -> anyhow::Result<Rules> {
    let state = ask::state_of(name)?;
    of_texts(&state, texts(&state)?)
}

/// The same where nothing is wrong with them, else what is in force.
pub(super) fn in_force(name: Option<&str>) -> Result<Rules, LoadRulesError> {
    let state = ask::state_of(name)?;
    let texts = texts(&state)?;
    let read = of_texts(&state, texts)?;
    if read.mistakes.is_empty() {
        return Ok(read);
    }
    let answer = kubernetes::complete(page::of_control(&state, "/rules"));
    let Ok(held) = answer.and_then(|text| Ok(serde_json::from_str::<InForce>(&text)?)) else {
        // Nobody knows how they were.
        return read.good();
    };
    let directory = up::running(&state)?.rules;
    let texts = Texts {
        by_file: named(held.files, &state.join(part::RULES), &directory),
        unreadable: Vec::new(),
    };
    let mut rules = of_texts(&state, texts)?;
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

fn texts(state: &Path) -> anyhow::Result<Texts> {
    let running = up::running(state)?;
    let mut texts = files::texts(&[running.workloads])?;
    // A mesh may have no rules yet: then everything is closed.
    let rules = files::texts_of_directory(&running.rules)?;
    texts.by_file.extend(rules.by_file);
    texts.unreadable.extend(rules.unreadable);
    Ok(texts)
}

fn of_texts(state: &Path, texts: Texts) -> anyhow::Result<Rules> {
    let mut rules = files::of_texts(texts)?;
    let trust_domain = up::running(state)?.trust_domain.parse();
    rules.trust_domain = trust_domain.context("the mesh's plan names no trust domain")?;
    rules.known.is_complete = true;
    // Nobody wrote what stands there.
    let is_own = |file: &str| file.starts_with(&*state.to_string_lossy());
    rules.texts.retain(|file, _| !is_own(file));
    Ok(rules)
}
