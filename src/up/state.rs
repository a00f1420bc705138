//! The state directory: everything that a running mesh keeps on disk, gone when it ends.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// A locked state directory. Only one mesh of a name can hold it; it is removed when dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

/// Why there is no state directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimStateError {
    #[error("a mesh named \"{name}\" runs already; end it, or start this one with --name")]
    Running { name: String },
    #[error("{} is not a directory of this user alone; remove it", path.display())]
    Foreign { path: PathBuf },
    #[error("cannot use the state directory {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StateDir {
    /// Makes and locks the directory of a mesh, and cleans what a killed one has left in it.
    pub(crate) fn claim(name: &str) -> Result<Self, ClaimStateError> {
        let base = base();
        let path = base.join(name);
        let io = |source| ClaimStateError::Io {
            path: path.clone(),
            source,
        };
        // In a base of root's, a proxy of another uid passes through to its token, and reads nothing.
        make(&base, if geteuid().is_root() { 0o711 } else { 0o700 })?;
        loop {
            make(&path, 0o700)?;
            let lock = File::open(&path).map_err(io)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(ClaimStateError::Running {
                        name: name.to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            // Another mesh may have removed the directory between the opening and the lock.
            if is_there(&lock, &path).map_err(io)? {
                let state = Self { path, _lock: lock };
                state.empty().map_err(|source| ClaimStateError::Io {
                    path: state.path.clone(),
                    source,
                })?;
                return Ok(state);
            }
        }
    }

    /// Removes a directory of which the holder was killed, and none that a mesh still holds.
    pub(crate) fn remove_abandoned(path: &Path) -> io::Result<()> {
        let lock = File::open(path)?;
        if lock.try_lock().is_err() || !is_there(&lock, path)? {
            return Ok(());
        }
        // Empty, unless the user's own rules are still bound there: then nothing is removed.
        std::fs::remove_dir(path.join(part::RULES))?;
        drop(Self {
            path: path.to_owned(),
            _lock: lock,
        });
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn empty(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "state directory not removed");
        }
        // Another mesh's directory keeps it.
        let _in_use = self.path.parent().map(std::fs::remove_dir);
    }
}

/// Whether the file that is held is still the one at this path.
fn is_there(held: &File, path: &Path) -> io::Result<bool> {
    let (held, there) = (held.metadata()?, path.symlink_metadata());
    Ok(there.is_ok_and(|there| there.ino() == held.ino() && there.dev() == held.dev()))
}

fn make(path: &Path, mode: u32) -> Result<(), ClaimStateError> {
    let io = |source| ClaimStateError::Io {
        path: path.to_owned(),
        source,
    };
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(io)?;
    let found = path.symlink_metadata().map_err(io)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(ClaimStateError::Foreign {
            path: path.to_owned(),
        });
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(io)
}

/// Where this user's meshes keep their state.
pub(crate) fn base() -> PathBuf {
    let user = geteuid();
    if user.is_root() {
        return PathBuf::from("/run/palisade");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if Path::new(&directory).is_dir() => {
            PathBuf::from(directory).join("palisade")
        }
        _ => PathBuf::from(format!("/tmp/palisade-{user}")),
    }
}

/// The parts of a state directory.
pub(crate) mod part {
    /// The socket of `ps`, `logs` and `exec`.
    pub(crate) const SOCKET: &str = "mesh.sock";
    /// The socket on which control shows what it knows, to its own user.
    pub(crate) const CONTROL: &str = "control.sock";
    /// Control's CA, tokens and counts.
    pub(crate) const STORE: &str = "control";
    /// The workloads and services, as control reads them.
    pub(crate) const CONFIG: &str = "config";
    /// The user's rules, bound here so that renaming a parent directory does not exchange them.
    pub(crate) const RULES: &str = "rules";
    /// What applications, proxies and control write.
    pub(crate) const LOG: &str = "log";
    /// A directory for each pod.
    pub(crate) const PODS: &str = "pods";
    /// Every record, bounded.
    pub(crate) const RECORDS: &str = "records.jsonl";
}

/// Makes the parts that hold files.
pub(crate) fn furnish(state: &Path) -> Result<(), ClaimStateError> {
    use part::{CONFIG, LOG, PODS, RULES, STORE};
    for part in [STORE, CONFIG, RULES, LOG, PODS] {
        make(&state.join(part), 0o700)?;
    }
    Ok(())
}
