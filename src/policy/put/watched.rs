//! What somebody else makes of files that were applied, while sidecars are waited for.

use std::fs;
use std::path::{Path, PathBuf};

use palisade_api::policy::AuthorizationPolicy;

use super::standing::Write;
use crate::policy::rules;

/// The files that were written.
pub(super) struct Watched<'a> {
    mesh: Option<&'a str>,
    files: Vec<File>,
}

struct File {
    path: PathBuf,
    /// As it was at the last look; none where it was not there, or is no text.
    text: Option<String>,
    /// It was other at the look before that one. Editors write in several steps.
    is_new: bool,
}

impl<'a> Watched<'a> {
    pub(super) fn of(mesh: Option<&'a str>, directory: &Path, writes: &[Write]) -> Self {
        let files = writes.iter().map(|one| File {
            path: directory.join(&one.name),
            text: Some(one.text.clone()),
            is_new: false,
        });
        Self {
            mesh,
            files: files.collect(),
        }
    }

    /// Those of the policies that the mesh's files no longer say as they were applied, and the file where somebody wrote.
    pub(super) fn changed<'p>(
        &mut self,
        policies: &'p [AuthorizationPolicy],
    ) -> Vec<(&'p AuthorizationPolicy, String)> {
        let settled: Vec<_> = self.files.iter_mut().filter_map(File::settled).collect();
        if settled.is_empty() {
            return Vec::new();
        }
        // Where they cannot be read, nothing new is in force.
        let Ok(now) = rules::of_running(self.mesh) else {
            return Vec::new();
        };
        let lost = policies.iter().filter(|one| !now.policies.contains(one));
        lost.map(|one| (one, settled.join(", "))).collect()
    }
}

impl File {
    /// Its name, where it was changed and stays as it is now.
    fn settled(&mut self) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok();
        let was_new = self.is_new;
        self.is_new = text != self.text;
        self.text = text;
        (was_new && !self.is_new).then(|| self.path.display().to_string())
    }
}
