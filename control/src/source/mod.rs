//! Files to an index: a file that does not validate never replaces a good state. Pure.
//!
//! Each file stands for itself: while its newest version is bad, its last good one stays in force, and the others go
//! on. What only shows across files (one name twice) holds back the file that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_api::manifest::{self, Manifest};
use serde::{Deserialize, Serialize};

use crate::digest::{Sha256, sha256};
use crate::index::{Facts, Ground, Index};

/// The files as they were found: a name for people, and the content, or why there is none.
pub type Found = BTreeMap<String, Result<Vec<u8>, String>>;

/// The last good version of every file.
#[derive(Debug)]
pub struct Source {
    ground: Ground,
    good: Files,
    /// What was seen last of each file, good or not.
    seen: BTreeMap<String, Sha256>,
    errors: BTreeSet<String>,
}

/// The texts of files that are in force, by name: of a file with mistakes that which was good last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// By the files' names, as control was told of their directories.
    pub files: BTreeMap<String, String>,
}

/// A file without mistakes.
#[derive(Debug)]
struct File {
    text: String,
    /// With the file's name, as the validator takes them.
    manifests: Vec<(String, Manifest)>,
}

type Files = BTreeMap<String, Arc<File>>;

/// What a change of files came to.
#[derive(Debug)]
pub struct Update {
    /// The new index, if anything that is in force changed.
    pub index: Option<Arc<Index>>,
    /// Errors that were not there before, each with file, line, column and remedy.
    pub new_errors: Vec<String>,
    /// All errors that stand.
    pub errors: usize,
}

impl Source {
    /// Nothing is known yet.
    pub fn new(ground: Ground) -> Self {
        Self {
            ground,
            good: Files::new(),
            seen: BTreeMap::new(),
            errors: BTreeSet::new(),
        }
    }

    /// Takes the files as they are now.
    pub fn update(&mut self, found: &Found) -> Update {
        let seen: BTreeMap<_, _> = found
            .iter()
            .map(|(file, content)| (file.clone(), digest(content)))
            .collect();
        if seen == self.seen && !seen.is_empty() {
            return self.unchanged();
        }
        let mut errors = BTreeSet::new();
        let mut good = self.good.clone();
        good.retain(|file, _| found.contains_key(file));
        let mut changed = Files::new();
        for (file, content) in found {
            // A file that is as it was when it was good needs no second look; one that is bad is looked at again,
            // because what it clashed with may be gone.
            let settled = self.seen.get(file) == seen.get(file) && self.errors.is_empty();
            if settled && good.contains_key(file) {
                continue;
            }
            match parse(file, content) {
                Ok(read) => {
                    changed.insert(file.clone(), Arc::new(read));
                }
                Err(messages) => errors.extend(messages),
            }
        }
        let index = self.merge(&mut good, changed, &mut errors);
        self.seen = seen;
        self.good = good;
        let new_errors = errors.difference(&self.errors).cloned().collect();
        self.errors = errors;
        Update {
            index,
            new_errors,
            errors: self.errors.len(),
        }
    }

    /// The texts of what is in force.
    pub fn in_force(&self) -> InForce {
        let files = self.good.iter();
        InForce {
            files: files
                .map(|(name, file)| (name.clone(), file.text.clone()))
                .collect(),
        }
    }

    /// Puts changed files in force: all together or, where they clash, each that fits.
    fn merge(
        &self,
        good: &mut Files,
        mut changed: Files,
        errors: &mut BTreeSet<String>,
    ) -> Option<Arc<Index>> {
        let mut whole = good.clone();
        whole.extend(changed.clone());
        if let Ok(index) = self.index(&whole) {
            *good = whole;
            return Some(index);
        }
        let mut index = self.index(good).ok();
        loop {
            let fits = changed.keys().find_map(|file| {
                let mut with = good.clone();
                with.insert(file.clone(), Arc::clone(changed.get(file)?));
                Some((file.clone(), self.index(&with).ok()?, with))
            });
            let Some((file, fitting, with)) = fits else {
                break;
            };
            changed.remove(&file);
            *good = with;
            index = Some(fitting);
        }
        for (name, file) in changed {
            let mut with = good.clone();
            with.insert(name, file);
            if let Err(messages) = self.index(&with) {
                errors.extend(messages);
            }
        }
        index
    }

    fn index(&self, files: &Files) -> Result<Arc<Index>, Vec<String>> {
        let manifests = files.values().flat_map(|file| &file.manifests);
        let manifests: Vec<_> = manifests.cloned().collect();
        let diagnostics = manifest::check(&manifests);
        if !diagnostics.is_empty() {
            return Err(diagnostics.iter().map(ToString::to_string).collect());
        }
        let manifests = manifests.iter().map(|(_, manifest)| manifest);
        Facts::from_manifests(&self.ground.trust_domain, manifests)
            .map(|facts| Arc::new(Index::build(self.ground.clone(), facts, None)))
            .map_err(|error| vec![error.to_string()])
    }

    fn unchanged(&self) -> Update {
        Update {
            index: None,
            new_errors: Vec::new(),
            errors: self.errors.len(),
        }
    }
}

fn parse(name: &str, content: &Result<Vec<u8>, String>) -> Result<File, Vec<String>> {
    let content = content
        .as_ref()
        .map_err(|error| vec![format!("{name}: {error}; make it readable for this user")])?;
    let text = std::str::from_utf8(content).map_err(|error| {
        let before = content.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        vec![format!("{name}:{line}:1: not UTF-8; save it as UTF-8")]
    })?;
    match manifest::parse(name, text) {
        Ok(manifests) => {
            let manifests = manifests.into_iter();
            Ok(File {
                text: text.to_owned(),
                manifests: manifests
                    .map(|manifest| (name.to_owned(), manifest))
                    .collect(),
            })
        }
        Err(diagnostics) => Err(diagnostics.iter().map(ToString::to_string).collect()),
    }
}

fn digest(content: &Result<Vec<u8>, String>) -> Sha256 {
    match content {
        Ok(content) => sha256(content),
        Err(error) => sha256(error.as_bytes()),
    }
}

#[cfg(test)]
mod tests;
