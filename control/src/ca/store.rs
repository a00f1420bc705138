//! The authority on disk: created once, loaded ever after, never overwritten.
//!
//! Two files in one directory, `ca.key` (0600) and `ca.crt`. Each is written under another name, synced and then
//! linked into place, so that a file under its own name is whole; a link never replaces what is there. One without
//! the other is a creation that was cut off, and is an error: to go on would mean to guess which half to trust.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use zeroize::Zeroizing;

use palisade_api::spiffe::TrustDomain;

use super::pem::{self, GenerateError, PairError};
use super::{Ca, Root};

/// Loads the authority of a store, or creates it where the store has none.
///
/// # Errors
///
/// Where the directory cannot be used, or what is in it is half-written, does not fit together, is readable by
/// others, or belongs to another trust domain. Nothing that exists is overwritten.
pub fn load_or_create(store: &Path, trust_domain: &TrustDomain) -> Result<Ca, CaError> {
    let paths = Paths::new(store);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(store)
        .map_err(|source| CaError::Directory(store.into(), source))?;
    // Two programs that start at once create one authority.
    let _locked = lock(&paths.lock)?;
    match (paths.key.exists(), paths.certificate.exists()) {
        (false, false) => create(store, &paths, trust_domain)?,
        (true, true) => {}
        (true, false) => return Err(CaError::half(&paths.key, &paths.certificate)),
        (false, true) => return Err(CaError::half(&paths.certificate, &paths.key)),
    }
    load(&paths, trust_domain)
}

/// The certificate of a store that has one already.
pub(crate) fn root(store: &Path, trust_domain: &TrustDomain) -> Result<Root, CaError> {
    let paths = Paths::new(store);
    let certificate = fs::read(&paths.certificate)
        .map_err(|source| CaError::Read(paths.certificate.clone(), source))?;
    pem::root_from_pem(&certificate, trust_domain).map_err(|error| paths.refused(error))
}

fn load(paths: &Paths, trust_domain: &TrustDomain) -> Result<Ca, CaError> {
    let read = |path: &Path| fs::read(path).map_err(|source| CaError::Read(path.into(), source));
    let mode = fs::metadata(&paths.key)
        .map_err(|source| CaError::Read(paths.key.clone(), source))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(CaError::KeyMode(paths.key.clone(), mode & 0o777));
    }
    let certificate = read(&paths.certificate)?;
    let key = Zeroizing::new(read(&paths.key)?);
    pem::from_pem(&certificate, &key, trust_domain).map_err(|error| paths.refused(error))
}

fn create(store: &Path, paths: &Paths, trust_domain: &TrustDomain) -> Result<(), CaError> {
    let made = pem::generate(trust_domain, OffsetDateTime::now_utc())?;
    place(&paths.key, made.key_pem.as_bytes(), 0o600)?;
    place(&paths.certificate, made.cert_pem.as_bytes(), 0o644)?;
    sync_directory(store).map_err(|source| CaError::Write(store.into(), source))
}

/// Writes a whole file or none, and never over another.
fn place(path: &Path, content: &[u8], mode: u32) -> Result<(), CaError> {
    let mut unfinished = path.to_owned();
    unfinished.as_mut_os_string().push(".unfinished");
    let failed = |source| CaError::Write(path.into(), source);
    // Left by a creation that was cut off; it was never in force, and the lock is ours.
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    write_new(&unfinished, content, mode)
        .and_then(|()| fs::hard_link(&unfinished, path))
        .and_then(|()| fs::remove_file(&unfinished))
        .map_err(failed)
}

/// Creates a file that must not exist, with its mode from the first moment on, and syncs it.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock(path: &Path) -> Result<File, CaError> {
    let failed = |source| CaError::Write(path.into(), source);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

struct Paths {
    key: PathBuf,
    certificate: PathBuf,
    lock: PathBuf,
}

impl Paths {
    fn new(store: &Path) -> Self {
        Self {
            key: store.join("ca.key"),
            certificate: store.join("ca.crt"),
            lock: store.join("lock"),
        }
    }

    /// Which file is to blame.
    fn refused(&self, error: PairError) -> CaError {
        match error {
            PairError::Key => CaError::Key(self.key.clone()),
            PairError::Certificate => CaError::Certificate(self.certificate.clone()),
            PairError::Mismatch => CaError::Mismatch(self.key.clone(), self.certificate.clone()),
            PairError::TrustDomain(expected) => {
                CaError::TrustDomain(self.certificate.clone(), expected)
            }
        }
    }
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The directory cannot be made.
    #[error(
        "the store {0} cannot be used as a directory; choose a directory that this user may write"
    )]
    Directory(PathBuf, #[source] io::Error),
    /// A file cannot be written.
    #[error("{0} cannot be written; make the store writable for this user, or choose another")]
    Write(PathBuf, #[source] io::Error),
    /// A file cannot be read.
    #[error(
        "{0} cannot be read; create the authority first with `palisade control ca init`, or mend the permissions"
    )]
    Read(PathBuf, #[source] io::Error),
    /// One half without the other.
    #[error(
        "{present} exists and {absent} does not: the store is half-written; restore {absent} from a backup or, \
         if nothing was ever issued from this store, remove {present}"
    )]
    Half {
        /// What is there.
        present: PathBuf,
        /// What is not.
        absent: PathBuf,
    },
    /// Others may read the key.
    #[error(
        "{0} has mode {1:o} and may be read by others; run `chmod 600 {0}`, or replace the authority if others could read it"
    )]
    KeyMode(PathBuf, u32),
    /// Not a private key.
    #[error("{0} holds no private key; restore it from a backup")]
    Key(PathBuf),
    /// Not the certificate of an authority.
    #[error("{0} holds no certificate of an authority; restore it from a backup")]
    Certificate(PathBuf),
    /// They are not of one authority.
    #[error("{0} is not the key of {1}; restore both from one backup")]
    Mismatch(PathBuf, PathBuf),
    /// The store is another mesh's.
    #[error(
        "{0} is not the authority of trust domain {1}; use the store that is, or the trust domain that it names"
    )]
    TrustDomain(PathBuf, TrustDomain),
    /// None could be made.
    #[error("no authority could be made")]
    Generate(#[from] GenerateError),
}

impl CaError {
    fn half(present: &Path, absent: &Path) -> Self {
        Self::Half {
            present: present.into(),
            absent: absent.into(),
        }
    }
}
