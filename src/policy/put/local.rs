//! The mesh of this machine: its rules are the files of one directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use palisade_api::manifest;
use palisade_control::index::policy_digest;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::{Change, Done, Progress, Put, Wait, named};
use crate::policy::Mistakes;
use crate::policy::rules::{self, LoadRulesError, Rules};
use crate::up::state::part;
use crate::{ask, kubernetes, page, up};

/// What control says of one sidecar.
#[derive(Debug, Deserialize)]
struct Proxy {
    workload: String,
    policies: BTreeMap<String, String>,
    refused_policies: BTreeMap<String, String>,
}

/// Writes the files, after a look at all of them together, and waits.
pub(super) fn put(name: Option<&str>, change: &Change, wait: Wait) -> anyhow::Result<Done> {
    let state = ask::state_of(name)?;
    let running = up::running(&state)?;
    change
        .files
        .iter()
        .try_for_each(|(name, _)| file_name(name))?;
    check(&running.rules, &change.files)?;
    for (name, text) in &change.files {
        write(&running.rules, name, text)?;
    }
    let begun = Instant::now();
    let now = rules::of_running(name)?;
    let put = change.policies.iter().map(|policy| Put {
        policy: named(policy),
        place: policy
            .rule_names()
            .next()
            .map(|rule| now.place(&rule))
            .unwrap_or_default(),
    });
    let put = put.collect();
    let Some(patience) = wait.patience else {
        return Ok((put, None));
    };
    let progress = follow(&state, change, &now, (begun, patience))?;
    Ok((put, Some(progress)))
}

/// Nothing is written where the directory would not be as control takes it.
fn check(directory: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    let (mut documents, mut mistakes) = (Vec::new(), Vec::new());
    let mut texts = rules::texts_of_directory(directory)?;
    for (name, text) in files {
        texts.insert(directory.join(name).display().to_string(), text.clone());
    }
    for (file, text) in &texts {
        match manifest::read(file, text) {
            Ok(read) => documents.extend(read),
            Err(found) => mistakes.extend(found),
        }
    }
    mistakes.extend(manifest::together(&documents));
    if !mistakes.is_empty() {
        return Err(LoadRulesError::Mistakes(Mistakes::new(mistakes, texts)).into());
    }
    Ok(())
}

/// As a whole, and under its name only then: control reads files while they are written.
fn write(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = directory.join(name);
    let failed = || format!("cannot write {}", path.display());
    let unfinished: PathBuf = directory.join(format!(".{name}.new"));
    let mut file = std::fs::File::create(&unfinished).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    std::fs::rename(&unfinished, &path).with_context(failed)
}

/// Looks again and again, until all sidecars that are concerned have all of it, or patience ends.
fn follow(
    state: &Path,
    change: &Change,
    now: &Rules,
    (begun, patience): (Instant, Duration),
) -> anyhow::Result<Progress> {
    let wanted: Vec<(String, String)> = change.policies.iter().map(policy_digest).collect();
    let mut waiting = concerned(change, now);
    let mut progress = Progress::default();
    loop {
        let proxies = proxies(state)?;
        let proxies: BTreeMap<&str, &Proxy> = proxies
            .iter()
            .map(|proxy| (proxy.workload.as_str(), proxy))
            .collect();
        waiting.retain(|workload, policies| {
            let proxy = proxies.get(workload.as_str());
            let enforces = proxy.is_some_and(|proxy| {
                let mut wanted = wanted.iter().filter(|(name, _)| policies.contains(name));
                wanted.all(|(name, digest)| proxy.policies.get(name) == Some(digest))
            });
            if enforces {
                progress.enforces(begun.elapsed());
            }
            !enforces
        });
        if waiting.is_empty() || begun.elapsed() >= patience {
            let stragglers = waiting.iter().map(|(workload, policies)| {
                let why = why(proxies.get(workload.as_str()).copied(), policies);
                (workload.clone(), why)
            });
            progress.left(stragglers.collect(), 0);
            return Ok(progress);
        }
        std::thread::sleep(LOOK);
    }
}

/// As control knows them now.
fn proxies(state: &Path) -> anyhow::Result<Vec<Proxy>> {
    let answer = kubernetes::complete(async {
        let connection = UnixStream::connect(state.join(part::CONTROL)).await;
        let connection = connection.context("the mesh's control does not answer")?;
        Ok(page::get(connection, "/proxies", None).await?)
    });
    serde_json::from_str(&answer?).context("control is of another version")
}

/// The replicas that the policies select, and which policies do.
fn concerned(change: &Change, now: &Rules) -> BTreeMap<String, BTreeSet<String>> {
    let mut concerned: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for policy in &change.policies {
        let (object, _) = policy_digest(policy);
        let meshed = now
            .known
            .workloads
            .iter()
            .filter(|workload| workload.meshed);
        let selected =
            meshed.filter(|one| policy.selects(&one.namespace, &one.service_account, &one.labels));
        for workload in selected {
            for replica in &workload.replicas {
                let key = format!("{}/{replica}", workload.namespace);
                concerned.entry(key).or_default().insert(object.clone());
            }
        }
    }
    concerned
}

fn why(proxy: Option<&Proxy>, policies: &BTreeSet<String>) -> String {
    let Some(proxy) = proxy else {
        return "it is not connected to control".to_owned();
    };
    let refused = policies
        .iter()
        .find_map(|name| proxy.refused_policies.get(name));
    match refused {
        Some(why) => format!("it refuses it: {why}"),
        None => "it has not taken it up yet".to_owned(),
    }
}

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The file names of a change must be names: nothing may be written elsewhere.
fn file_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
        bail!("{name:?} cannot be the name of a file of rules; use letters, digits, - and _");
    }
    Ok(())
}
