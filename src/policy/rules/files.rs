//! Rules of files and directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use palisade_api::manifest::{self, Diagnostic};
use palisade_api::spiffe::TrustDomain;
use palisade_control::file::Directories;

use super::split::split;
use super::{Rules, objects};
use crate::up;

/// Reads files, and of directories the `*.yaml` and `*.yml` files, not what is below them. What is wrong with some of them
/// is told by [`Rules::mistakes`].
pub(super) fn read(paths: &[PathBuf], trust_domain: Option<TrustDomain>) -> anyhow::Result<Rules> {
    let mut rules = Rules::of(super::usual_trust_domain()?);
    let mut mistakes = Vec::new();
    let (mut others, mut meshes) = (Vec::new(), Vec::new());
    for (file, text) in texts(paths)? {
        let split = split(&text);
        others.extend(split.others);
        match manifest::read(&file, &split.ours) {
            Ok(documents) => documents.into_iter().for_each(|one| rules.take(one)),
            Err(found) => mistakes.extend(found),
        }
        if split.is_mesh {
            meshes.push(PathBuf::from(&file));
        }
        rules.texts.insert(file, text);
    }
    for file in meshes {
        take_mesh(&mut rules, &file, &mut mistakes)?;
    }
    for object in &others {
        objects::take(&mut rules.known, object);
    }
    mistakes.extend(manifest::together(&rules.documents));
    rules.mistakes = mistakes;
    rules.trust_domain = trust_domain.unwrap_or(rules.trust_domain);
    Ok(rules)
}

/// Takes who a mesh file says there is, and the rules that it names.
fn take_mesh(rules: &mut Rules, file: &Path, mistakes: &mut Vec<Diagnostic>) -> anyhow::Result<()> {
    let described = up::described(file)?;
    rules.trust_domain = described.trust_domain;
    rules.known.is_complete = true;
    let name = file.display().to_string();
    let mut all = vec![(name, described.manifests)];
    let named = texts_of_directory(&within(described.rules))?;
    // Where both were named, they are read once.
    let taken: Vec<_> = rules.texts.keys().filter_map(canonical).collect();
    all.extend(
        named
            .into_iter()
            .filter(|(file, _)| canonical(file).is_none_or(|file| !taken.contains(&file))),
    );
    for (file, text) in all {
        match manifest::read(&file, &text) {
            Ok(documents) => documents.into_iter().for_each(|one| rules.take(one)),
            Err(found) => mistakes.extend(found),
        }
        rules.texts.entry(file).or_insert(text);
    }
    Ok(())
}

/// As people would name it from where they are.
fn within(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map(Path::to_owned).unwrap_or(path)
}

fn canonical(file: impl AsRef<Path>) -> Option<PathBuf> {
    file.as_ref().canonicalize().ok()
}

/// Every file, with its text.
pub(super) fn texts(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for path in paths {
        if !path.is_dir() {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            texts.insert(path.display().to_string(), text);
            continue;
        }
        let found = texts_of_directory(path)?;
        if found.is_empty() {
            bail!(
                "there is no *.yaml or *.yml file in {}; directories below it are not read, so name them too",
                path.display()
            );
        }
        texts.extend(found);
    }
    Ok(texts)
}

/// Every file of a directory that control would read, with its text.
pub(super) fn texts_of_directory(directory: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for (file, content) in Directories::read(&[directory.to_owned()])? {
        let bytes = content.map_err(|why| anyhow!("cannot read {file}: {why}"))?;
        let text = String::from_utf8(bytes);
        let text = text.with_context(|| format!("{file} is not UTF-8 text"))?;
        texts.insert(file, text);
    }
    Ok(texts)
}
