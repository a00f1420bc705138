//! The counts on disk, for a control that serves files and starts again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use palisade_api::usage::Usage;

use crate::ca::write_new;

/// Why the file of counts cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It cannot be read.
    #[error("{0} cannot be read")]
    Read(PathBuf, #[source] io::Error),
    /// It does not say what it should.
    #[error("{0} is no file of counts")]
    Broken(PathBuf, #[source] serde_json::Error),
    /// It cannot be written.
    #[error("{0} cannot be written")]
    Write(PathBuf, #[source] io::Error),
}

/// What was written last; none where nothing ever was.
pub(super) fn load(store: &Path) -> Result<Option<Usage>, StoreError> {
    let path = store.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::Read(path, error)),
    };
    match serde_json::from_slice(&text) {
        Ok(usage) => Ok(Some(usage)),
        Err(error) => Err(StoreError::Broken(path, error)),
    }
}

/// Puts a file that is broken out of the way, for people; says where.
pub(super) fn set_aside(store: &Path) -> io::Result<PathBuf> {
    let aside = store.join(format!("{FILE}.broken"));
    fs::rename(store.join(FILE), &aside)?;
    Ok(aside)
}

/// Writes the whole file or leaves the one before.
pub(super) fn save(store: &Path, usage: &Usage) -> Result<(), StoreError> {
    let (path, unfinished) = (store.join(FILE), store.join(format!("{FILE}.unfinished")));
    let failed = |error| StoreError::Write(path.clone(), error);
    let text = serde_json::to_vec(usage).map_err(|error| failed(error.into()))?;
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    write_new(&unfinished, &text, 0o600)
        .and_then(|()| fs::rename(&unfinished, &path))
        .map_err(failed)
}

const FILE: &str = "usage.json";
