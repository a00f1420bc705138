//! The rules of the mesh that runs on this machine, as they stand in its files now.

use anyhow::Context;

use super::{Rules, files};
use crate::{ask, up};

/// Reads what the mesh reads: its directory of rules, and what control was told of its workloads.
pub(super) fn read(name: Option<&str>) -> anyhow::Result<Rules> {
    let state = ask::state_of(name)?;
    let running = up::running(&state)?;
    let mut paths = vec![running.workloads];
    // A mesh may have no rules yet: then everything is closed.
    if !files::texts_of_directory(&running.rules)?.is_empty() {
        paths.push(running.rules);
    }
    let mut rules = files::read(&paths, None)?;
    let trust_domain = running.trust_domain.parse();
    rules.trust_domain = trust_domain.context("the mesh's plan names no trust domain")?;
    rules.known.is_complete = true;
    rules
        .texts
        .retain(|file, _| !file.starts_with(&*state.to_string_lossy()));
    Ok(rules)
}
