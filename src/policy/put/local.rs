//! The mesh of this machine: its rules are the files of one directory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use palisade_api::manifest::{self, Manifest};
use palisade_control::index::policy_digest;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Change, Done, NewFile, Progress, Put, Wait};
use crate::policy::Mistakes;
use crate::policy::rules::{self, LoadRulesError, Rules};
use crate::up::Running;
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
        .try_for_each(|new| file_name(&new.name))?;
    once(&change.files)?;
    check(&running, &change.files)?;
    write(&running.rules, &change.files)?;
    let begun = Instant::now();
    let now = rules::of_running(name)?;
    let places = places(&running.rules, &change.files);
    let put = change.policies.iter().map(|policy| {
        let policy = policy.title();
        let place = places.get(&policy).cloned().unwrap_or_default();
        Put { policy, place }
    });
    let put = put.collect();
    let Some(patience) = wait.patience else {
        return Ok((put, None));
    };
    let progress = follow(&state, change, &now, (begun, patience))?;
    Ok((put, Some(progress)))
}

/// Nothing is written that control would not take. What was wrong before with other files is no reason: control goes on
/// with how they were.
fn check(running: &Running, files: &[NewFile]) -> anyhow::Result<()> {
    let directory = &running.rules;
    let mut texts = rules::texts_of_directory(directory)?;
    // Rules and what the mesh file says must not say one thing twice.
    let own = std::fs::read_to_string(&running.workloads);
    let own = own.context("the mesh's own workloads cannot be read")?;
    texts.by_file.insert(OWN.to_owned(), own);
    let former: HashSet<_> = manifest::read_together(&texts.by_file)
        .mistakes
        .into_iter()
        .collect();
    for new in files {
        let file = directory.join(&new.name).display().to_string();
        if let Some(former) = texts.by_file.remove(&file) {
            keeps(&new.name, &former, &new.text)?;
        }
        texts.by_file.insert(new.place.clone(), new.text.clone());
    }
    let mut found = manifest::read_together(&texts.by_file).mistakes;
    found.retain(|one| !former.contains(one));
    if found.is_empty() {
        return Ok(());
    }
    let mistakes = Mistakes::new(found, texts.by_file);
    Err(LoadRulesError::Mistakes(mistakes).into())
}

/// The directory has one file of a name.
fn once(files: &[NewFile]) -> anyhow::Result<()> {
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for NewFile { name, place, .. } in files {
        if let Some(other) = named.insert(name, place) {
            bail!(
                "{other} and {place} would both be {name} in the mesh, and nothing was applied; rename one of them"
            );
        }
    }
    Ok(())
}

/// Where each policy stands now.
fn places(directory: &Path, files: &[NewFile]) -> BTreeMap<String, String> {
    let documents = files.iter().flat_map(|new| {
        let file = directory.join(&new.name).display().to_string();
        manifest::read(&file, &new.text).unwrap_or_default()
    });
    let places = documents.filter_map(|document| {
        let policy = document.manifest.policy()?;
        let line = document.rules.first()?.name.line;
        Some((policy.title(), format!("{}:{line}", document.file)))
    });
    places.collect()
}

/// A file that is replaced may hold others, which would go with it.
fn keeps(name: &str, former: &str, text: &str) -> anyhow::Result<()> {
    let new = said(name, text);
    let mut gone = said(name, former);
    gone.retain(|one| !new.contains(one));
    if !gone.is_empty() {
        let gone: Vec<_> = gone.into_iter().collect();
        bail!(
            "the mesh has another {name}, and with it {} would be gone; rename yours, or write them into it",
            gone.join(", ")
        );
    }
    Ok(())
}

/// Everything that a file says, by name, also where it has mistakes.
fn said(name: &str, text: &str) -> BTreeSet<String> {
    let read = manifest::read_all(name, text);
    let documents = read.documents.into_iter().chain(read.doubtful);
    let said = documents.flat_map(|document| {
        if let Manifest::Revocations(revoked) = document.manifest {
            let identities = revoked.identities.iter().map(ToString::to_string);
            let all = identities.chain(revoked.serials);
            return all.map(|one| format!("the revocation of {one}")).collect();
        }
        Vec::from_iter(document.manifest.title())
    });
    said.collect()
}

/// Each under its name only once all of them are written: control reads files while they are, and what cannot be
/// written shows before anything is in force.
fn write(directory: &Path, files: &[NewFile]) -> anyhow::Result<()> {
    let mut unfinished = Vec::new();
    for NewFile { name, text, .. } in files {
        let (new, path) = (directory.join(format!(".{name}.new")), directory.join(name));
        if let Err(error) = write_one(&new, text) {
            unfinished
                .iter()
                .for_each(|(new, _)| drop(std::fs::remove_file(new)));
            let path = path.display();
            return Err(error).with_context(|| format!("cannot write {path}; nothing was applied"));
        }
        unfinished.push((new, path));
    }
    for (new, path) in unfinished {
        let failed = || format!("cannot rename {}", new.display());
        std::fs::rename(&new, &path).with_context(failed)?;
    }
    Ok(())
}

fn write_one(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
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
    let answer = kubernetes::complete(page::of_control(state, "/proxies"));
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

/// Where the mesh's workloads and namespaces are written, for people.
const OWN: &str = "what the mesh file says";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The file names of a change must be names: nothing may be written elsewhere.
fn file_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_read = name.ends_with(".yaml") || name.ends_with(".yml");
    if !is_read || name.starts_with('.') || !name.chars().all(fits) {
        bail!(
            "{name:?} cannot be a file of rules: name it with letters, digits, - and _, and .yaml at its end"
        );
    }
    Ok(())
}
