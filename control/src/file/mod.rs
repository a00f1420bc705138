//! Directories of YAML files: what they hold, and when to look again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::source::Found;

/// Directories whose `*.yaml` and `*.yml` files are read; what is below them is not.
#[derive(Debug)]
pub struct Directories {
    paths: Vec<PathBuf>,
    stirred: Arc<Notify>,
    /// Watches as long as it lives; none where the system refuses: then the clock alone says when to look.
    _watcher: Option<RecommendedWatcher>,
}

impl Directories {
    /// Watches the directories. Their files are not watched: an editor and a `ConfigMap` replace them.
    pub fn watch(paths: Vec<PathBuf>) -> Self {
        let stirred = Arc::new(Notify::new());
        let watcher = watcher(&paths, Arc::clone(&stirred))
            .inspect_err(|error| {
                tracing::warn!(%error, "files cannot be watched; they are read again every 2 s");
            })
            .ok();
        Self {
            paths,
            stirred,
            _watcher: watcher,
        }
    }

    /// Reads all files. Blocks.
    ///
    /// # Errors
    ///
    /// Where a directory itself cannot be read: nobody can tell then which files are gone.
    pub fn read(paths: &[PathBuf]) -> Result<Found, ReadError> {
        let mut found = Found::new();
        for directory in paths {
            let failed = |source| ReadError(directory.clone(), source);
            for entry in fs::read_dir(directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if !is_manifest(&path) {
                    continue;
                }
                match read_within(directory, &path) {
                    // It went between listing and reading. A link that leads nowhere is still there, and is no
                    // leave to forget what its file said.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !is_there(&path) => {}
                    content => {
                        let content = content.map_err(|error| error.to_string());
                        found.insert(path.display().to_string(), content);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Waits until something may have changed, and reads until two readings agree.
    ///
    /// An editor that truncates before it writes, or removes before it renames, is so not mistaken for somebody who
    /// takes a rule away. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Directories::read`].
    pub async fn changed(&self) -> Result<Found, ReadError> {
        let mut clock = interval(RESCAN);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock.tick().await;
        tokio::select! {
            () = self.stirred.notified() => sleep(SETTLE).await,
            _ = clock.tick() => {}
        }
        let mut found = self.read_aside().await?;
        for _ in 0..MAX_READINGS {
            sleep(SETTLE).await;
            let again = self.read_aside().await?;
            if again == found {
                break;
            }
            found = again;
        }
        Ok(found)
    }

    async fn read_aside(&self) -> Result<Found, ReadError> {
        let paths = self.paths.clone();
        match tokio::task::spawn_blocking(move || Self::read(&paths)).await {
            Ok(found) => found,
            Err(error) => Err(ReadError(PathBuf::new(), error.into())),
        }
    }
}

fn watcher(paths: &[PathBuf], stirred: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is an event too, and is what we do ourselves.
        if !matches!(&event, Ok(event) if event.kind.is_access()) {
            stirred.notify_one();
        }
    })?;
    for path in paths {
        watcher.watch(path, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// By the name alone: what it leads to may be a link into a `ConfigMap`'s `..data`.
fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Reads a file that lies in the directory, as that of a `ConfigMap`'s link does. What a link leads out to could be
/// changed where nobody watches, and by whom the directory is closed to.
fn read_within(directory: &Path, path: &Path) -> io::Result<Vec<u8>> {
    if !path.canonicalize()?.starts_with(directory.canonicalize()?) {
        return Err(io::Error::other(
            "a link that leads out of the directory; put the file itself there",
        ));
    }
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("larger than 16 MiB"));
    }
    fs::read(path)
}

/// A directory that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be read as a directory; create it, or make it readable for this user")]
pub struct ReadError(PathBuf, #[source] io::Error);

/// A change that no event told of is found by then.
const RESCAN: Duration = Duration::from_secs(2);
/// Between two readings that must agree.
const SETTLE: Duration = Duration::from_millis(15);
/// A directory that never rests is taken as it is.
const MAX_READINGS: usize = 8;
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
