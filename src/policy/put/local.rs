//! The mesh of this machine: its rules are the files of one directory.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use palisade_api::manifest::{self, Diagnostic, Document, Manifest, RevocationsSpec};
use palisade_api::policy::AuthorizationPolicy;
use palisade_api::spiffe::SpiffeId;
use palisade_control::index::{self, policy_digest};
use serde::Deserialize;
use tokio::time::Instant;

use super::standing::{self, Write};
use super::watched::Watched;
use super::{Change, Done, Progress, Put, Wait, files, warning};
use crate::policy::Mistakes;
use crate::policy::rules::{self, LoadRulesError, Rules, Texts, Workload};
use crate::up::Running;
use crate::{ask, kubernetes, page, up};

/// What control says of one sidecar.
#[derive(Debug, Deserialize)]
struct Proxy {
    workload: String,
    policies: BTreeMap<String, String>,
    refused_policies: BTreeMap<String, String>,
    /// By channel and name.
    objects: BTreeMap<String, BTreeMap<String, String>>,
}

/// The channel of an object that is no policy, its name, and the digest that a sidecar is to have.
type Wanted = (Option<&'static str>, String, String);

/// Writes the files, after a look at all of them together, and waits.
pub(super) fn put(name: Option<&str>, change: &Change, wait: Wait) -> anyhow::Result<Done> {
    let state = ask::state_of(name)?;
    let running = up::running(&state)?;
    let texts = rules::texts_of_directory(&running.rules)?;
    let before = rules::of_running(name)?.documents;
    let writes = standing::placed(&running.rules, &texts.by_file, &before, &change.files)?;
    check(&running, texts, &writes)?;
    files::write(&running.rules, &writes)?;
    let begun = Instant::now();
    let now = rules::of_running(name)?;
    let put = placed(change, &running.rules, &writes);
    let progress = match wait.patience {
        Some(patience) => {
            let concerned = concerned(change, &now)?;
            let watched = Watched::of(name, &running.rules, &writes);
            let bound = (begun, patience);
            Some(follow(&state, &change.policies, concerned, watched, bound)?)
        }
        None => None,
    };
    let mut warnings = warning::of_names(change, &now);
    warnings.extend(warning::of_other_files(&change.files, &writes));
    Ok(Done {
        put,
        unapplied: Vec::new(),
        progress,
        warnings,
    })
}

/// Nothing is written that control would not take. What was wrong before with other files is no reason: control goes on
/// with how they were.
fn check(running: &Running, texts: Texts, writes: &[Write]) -> anyhow::Result<()> {
    let mut held = texts.by_file;
    // Rules and what the mesh file says must not say one thing twice.
    let own = std::fs::read_to_string(&running.workloads);
    let own = own.context("the mesh's own workloads cannot be read")?;
    held.insert(OWN.to_owned(), own);
    let former: HashSet<_> = mistakes(&held, &[]).into_iter().collect();
    for one in writes {
        held.remove(&running.rules.join(&one.name).display().to_string());
    }
    let mut found = mistakes(&held, writes);
    found.retain(|one| !former.contains(one));
    if found.is_empty() {
        return Ok(());
    }
    let own = writes
        .iter()
        .map(|one| (one.place.clone(), one.text.clone()));
    held.extend(own);
    Err(LoadRulesError::Mistakes(Mistakes::new(found, held)).into())
}

/// What is wrong with files that are in force together, each told once. Those that are written come last: what two of
/// them say is told of the one that somebody has before them.
fn mistakes(held: &BTreeMap<String, String>, writes: &[Write]) -> Vec<Diagnostic> {
    let held = held.iter();
    let writes = writes.iter().map(|one| (&one.place, &one.text));
    let (mut documents, mut found) = (Vec::new(), Vec::new());
    for (file, text) in held.chain(writes) {
        let read = manifest::read_all(file, text);
        let own = read.documents.into_iter().chain(read.doubtful);
        documents.extend(own.map(|document| Document {
            // Nobody wrote the lines that the mesh file becomes.
            line: if file == OWN { 0 } else { document.line },
            ..document
        }));
        found.extend(read.mistakes);
    }
    found.extend(manifest::together(&documents));
    let mut told = HashSet::new();
    found.retain(|one| told.insert(one.clone()));
    found
}

/// What took effect, and where it stands now: policies first.
fn placed(change: &Change, directory: &Path, writes: &[Write]) -> Vec<Put> {
    let mut places = BTreeMap::new();
    let mut revocations = Vec::new();
    for one in writes {
        let file = directory.join(&one.name).display().to_string();
        let is_own = change.files.iter().any(|new| new.place == one.place);
        for document in manifest::read(&file, &one.text).unwrap_or_default() {
            let rule = document.rules.first().map(|rule| rule.name.line);
            let place = format!("{file}:{}", rule.unwrap_or(document.line));
            match (document.manifest.title(), &document.manifest) {
                (Some(title), _) => {
                    places.insert(title, place);
                }
                // What stood in a file before, in which something else is replaced, is not new.
                (None, Manifest::Revocations(spec)) if is_own => revocations.push(Put {
                    policy: counted(spec),
                    place,
                }),
                (None, _) => {}
            }
        }
    }
    let policies = change.policies.iter().map(AuthorizationPolicy::title);
    let others = change.others_in_force().filter_map(Manifest::title);
    let named = policies.chain(others).map(|policy| {
        let place = places.get(&policy).cloned().unwrap_or_default();
        Put { policy, place }
    });
    let mut put: Vec<Put> = named.collect();
    put.extend(revocations);
    put
}

/// `Revocations (2 identities)`.
fn counted(spec: &RevocationsSpec) -> String {
    let several = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {many}")),
    };
    let parts = [
        several(spec.identities.len(), "identity", "identities"),
        several(spec.serials.len(), "serial number", "serial numbers"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("Revocations ({})", parts.join(", "))
}

/// Looks again and again, until all sidecars that are concerned have all of it, or patience ends, or somebody else wrote
/// something else instead.
fn follow(
    state: &Path,
    policies: &[AuthorizationPolicy],
    mut concerned: BTreeMap<String, Vec<Wanted>>,
    mut watched: Watched<'_>,
    (begun, patience): (Instant, Duration),
) -> anyhow::Result<Progress> {
    let mut progress = Progress::default();
    // By replica, how long it took.
    let mut enforcing: BTreeMap<String, Duration> = BTreeMap::new();
    loop {
        for (policy, file) in watched.changed(policies) {
            let why = format!(
                "it was changed meanwhile, in {file}: what is in force is not what was applied"
            );
            progress.unsettled(policy.title(), why);
            let (name, _) = policy_digest(policy);
            concerned.retain(|_, wanted| {
                wanted.retain(|(channel, held, _)| channel.is_some() || *held != name);
                !wanted.is_empty()
            });
            // Who enforced it, enforces it no more.
            enforcing.retain(|replica, _| concerned.contains_key(replica));
        }
        let proxies = proxies(state)?;
        let proxies: BTreeMap<&str, &Proxy> = proxies
            .iter()
            .map(|proxy| (proxy.workload.as_str(), proxy))
            .collect();
        for (replica, wanted) in &concerned {
            if enforcing.contains_key(replica) {
                continue;
            }
            let proxy = proxies.get(replica.as_str());
            if proxy.is_some_and(|proxy| wanted.iter().all(|one| proxy.holds(one))) {
                enforcing.insert(replica.clone(), begun.elapsed());
            }
        }
        if enforcing.len() == concerned.len() || begun.elapsed() >= patience {
            let waiting = concerned
                .iter()
                .filter(|(replica, _)| !enforcing.contains_key(*replica));
            let stragglers = waiting.map(|(replica, wanted)| {
                let why = why(proxies.get(replica.as_str()).copied(), wanted);
                (replica.clone(), why)
            });
            progress.left(stragglers.collect(), 0);
            for took in enforcing.into_values() {
                progress.enforces(took);
            }
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

/// The replicas that the policies select, or all where there is more than policies, and what each is to have.
fn concerned(change: &Change, now: &Rules) -> anyhow::Result<BTreeMap<String, Vec<Wanted>>> {
    let mut concerned: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
    for policy in &change.policies {
        let (name, digest) = policy_digest(policy);
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
                let wanted = (None, name.clone(), digest.clone());
                concerned.entry(key).or_default().push(wanted);
            }
        }
    }
    if change.others_in_force().next().is_some() {
        let documents = now.documents.iter().map(|one| &one.manifest);
        for (workload, wanted) in index::other_digests(&now.trust_domain, documents)? {
            let wanted = wanted
                .into_iter()
                .map(|(channel, name, digest)| (Some(channel), name, digest));
            concerned.entry(workload).or_default().extend(wanted);
        }
    }
    // Control serves none of whom it revokes, and everybody else refuses them.
    for workload in now
        .known
        .workloads
        .iter()
        .filter(|one| is_revoked(now, one))
    {
        for replica in &workload.replicas {
            concerned.remove(&format!("{}/{replica}", workload.namespace));
        }
    }
    Ok(concerned)
}

fn is_revoked(now: &Rules, workload: &Workload) -> bool {
    let (namespace, account) = (&workload.namespace, &workload.service_account);
    let id = SpiffeId::of_service_account(&now.trust_domain, namespace, account);
    id.is_ok_and(|id| now.revoked.identities().any(|one| *one == id))
}

impl Proxy {
    fn holds(&self, (channel, name, digest): &Wanted) -> bool {
        let held = match channel {
            None => Some(&self.policies),
            Some(channel) => self.objects.get(*channel),
        };
        held.and_then(|held| held.get(name)) == Some(digest)
    }
}

fn why(proxy: Option<&Proxy>, wanted: &[Wanted]) -> String {
    let Some(proxy) = proxy else {
        return "it is not connected to control".to_owned();
    };
    let refused = wanted
        .iter()
        .find_map(|(_, name, _)| proxy.refused_policies.get(name));
    match refused {
        Some(why) => format!("it refuses it: {why}"),
        None => "it has not taken it up yet".to_owned(),
    }
}

/// Where the mesh's workloads and namespaces are written, for people.
const OWN: &str = "what the mesh file says";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
