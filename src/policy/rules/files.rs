//! Rules of files and directories.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use palisade_api::manifest::{self, Diagnostic, Reading, Severity};
use palisade_api::spiffe::TrustDomain;
use palisade_control::file::Directories;

use super::split::split;
use super::{Rules, objects};
use crate::policy::named;
use crate::up;

/// Reads files, and of directories the `*.yaml` and `*.yml` files, not what is below them. What is wrong with some of them
/// is told by [`Rules::mistakes`].
pub(super) fn read(paths: &[PathBuf], trust_domain: Option<TrustDomain>) -> anyhow::Result<Rules> {
    let mut rules = of_texts(texts(paths)?)?;
    rules.trust_domain = trust_domain.unwrap_or(rules.trust_domain);
    Ok(rules)
}

/// Reads texts of files. Where they describe a local mesh, its rules count where they have none of their own.
pub(super) fn of_texts(texts: Texts) -> anyhow::Result<Rules> {
    let mut rules = Rules::of(super::usual_trust_domain()?);
    rules.mistakes = texts.unreadable;
    rules.warnings = texts.warnings;
    rules.texts = texts.by_file;
    let mut ours = BTreeMap::new();
    let (mut others, mut meshes) = (Vec::new(), Vec::new());
    for (file, text) in &rules.texts {
        let split = split(text);
        let split_off = split.others.into_iter();
        others.extend(split_off.map(|object| (file.clone(), object)));
        if split.is_mesh {
            meshes.push((file.clone(), text.as_str()));
        }
        ours.insert(file.clone(), split.ours);
    }
    let mut directories = Vec::new();
    for (file, text) in meshes {
        // What came out of a pipe cannot be read again.
        match up::described(Path::new(&file), text) {
            Ok(described) => {
                rules.trust_domain = described.trust_domain;
                rules.known.is_complete = true;
                ours.insert(file, described.manifests);
                directories.push(within(described.rules));
            }
            Err(found) => {
                rules.mistakes.extend(found);
                rules.known.is_cut = true;
            }
        }
    }
    for (file, object) in &others {
        for mut misset in objects::take(&mut rules.known, object) {
            misset.file = Some(file.clone());
            rules.take_misset(misset);
        }
    }
    let mut read = manifest::read_together(&ours);
    if !directories.is_empty() && !has_policy(&read) {
        for directory in directories {
            let named = texts_of_directory(&directory)?;
            rules.mistakes.extend(named.unreadable);
            ours.extend(named.by_file.clone());
            rules.texts.extend(named.by_file);
        }
        read = manifest::read_together(&ours);
    }
    read.documents.into_iter().for_each(|one| rules.take(one));
    rules.doubtful = read.doubtful;
    rules.mistakes.extend(read.mistakes);
    Ok(rules)
}

fn has_policy(read: &Reading) -> bool {
    let mut documents = read.documents.iter().chain(&read.doubtful);
    documents.any(|one| one.manifest.policy().is_some())
}

fn unreadable(file: &str, why: &str) -> Diagnostic {
    Diagnostic {
        file: file.to_owned(),
        line: 0,
        column: 0,
        width: 0,
        severity: Severity::Error,
        message: why.to_owned(),
        remedy: "put a file there that this user can read, or take it away".to_owned(),
    }
}

/// As people would name it from where they are.
fn within(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map(Path::to_owned).unwrap_or(path)
}

/// Texts of files, by their names.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) by_file: BTreeMap<String, String>,
    /// What is wrong with files that have no text.
    pub(crate) unreadable: Vec<Diagnostic>,
    /// What was passed over that somebody may have meant.
    pub(crate) warnings: Vec<String>,
}

/// Every file, with its text. A file that is named itself must be there.
pub(super) fn texts(paths: &[PathBuf]) -> anyhow::Result<Texts> {
    let mut texts = Texts::default();
    for path in paths {
        let is_stdin = path == Path::new("-");
        let path = if is_stdin { Path::new(STDIN) } else { path };
        if !path.is_dir() {
            let content = named::read(path)
                .map_err(|why| anyhow!("cannot read {}: {why}", path.display()))?;
            texts.take(path.display().to_string(), Ok(content));
            continue;
        }
        let mut found = texts_of_directory(path)?;
        found
            .by_file
            .retain(|file, text| !is_kustomization(file, text));
        if found.by_file.is_empty() && found.unreadable.is_empty() {
            bail!(
                "there is no *.yaml or *.yml file in {}; directories below it are not read, so name them too",
                path.display()
            );
        }
        texts.by_file.extend(found.by_file);
        texts.unreadable.extend(found.unreadable);
        let passed_over = below(path)?.into_iter().filter(|one| !paths.contains(one));
        texts.warnings.extend(passed_over.map(|one| {
            format!(
                "{} is not read, as it is a directory in another; name it too if it is meant",
                one.display()
            )
        }));
    }
    Ok(texts)
}

/// Whether it is what kustomize builds a directory by. It need not say what it is.
fn is_kustomization(file: &str, text: &str) -> bool {
    let name = Path::new(file).file_name();
    let is_named =
        name.is_some_and(|name| name == "kustomization.yaml" || name == "kustomization.yml");
    is_named && !text.lines().any(|line| line.starts_with("kind:"))
}

/// Directories in a directory that have files such as are read.
fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        // Kubernetes keeps what it mounts in directories that are hidden.
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.is_dir() && has_files(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn has_files(directory: &Path) -> bool {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let mut extensions = entries.filter_map(|entry| {
        let path = entry.path();
        path.extension().map(|extension| extension.to_owned())
    });
    extensions.any(|one| one == "yaml" || one == "yml")
}

/// Every file of a directory that control would read, with its text.
pub(super) fn texts_of_directory(directory: &Path) -> anyhow::Result<Texts> {
    let mut texts = Texts::default();
    for (file, content) in Directories::read(&[directory.to_owned()])? {
        texts.take(file, content);
    }
    Ok(texts)
}

/// Under a name by which it can be read, as any other.
const STDIN: &str = "/dev/stdin";

impl Texts {
    fn take(&mut self, file: String, content: Result<Vec<u8>, String>) {
        let text = content.and_then(|content| {
            let text = String::from_utf8(content);
            text.map_err(|error| {
                let good = error.utf8_error().valid_up_to();
                let before = error.as_bytes().iter().take(good);
                let line = before.filter(|byte| **byte == b'\n').count() + 1;
                format!("line {line} is not UTF-8 text")
            })
        });
        match text {
            Ok(text) => drop(self.by_file.insert(file, text)),
            Err(why) => self.unreadable.push(unreadable(&file, &why)),
        }
    }
}
