//! Join tokens: one use, one identity, one end; stored only as a hash.
//!
//! `tokens/<hash>` says whom a token names and until when; `tokens/<hash>.by` says for which key it was redeemed.
//! The second file is linked into place, which exactly one of any number of redemptions achieves, whoever runs
//! them. The same key may redeem again until the token expires: a lost answer is not a lost proxy.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use palisade_api::spiffe::{SpiffeId, SpiffeIdError};

use crate::ca::{self, CaError, Root};
use crate::digest::{Sha256, hex, sha256};

/// Makes a token for one identity. Works while control runs.
///
/// # Errors
///
/// Where the store has no authority yet, cannot be written, or the identity can be issued to nobody.
pub fn create(
    store: &Path,
    identity: &SpiffeId,
    ttl: Duration,
    now: OffsetDateTime,
) -> Result<String, CreateTokenError> {
    let trust_domain = identity.trust_domain();
    if *identity == trust_domain.control() {
        return Err(CreateTokenError::Control);
    }
    if ttl > MAX_TTL {
        return Err(CreateTokenError::Ttl);
    }
    let root = ca::root(store, trust_domain)?;
    let mut secret = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *secret).map_err(CreateTokenError::Random)?;
    let secret = Zeroizing::new(base64url(&*secret));
    let record = Record {
        identity: identity.to_string(),
        expires: (now + ttl).unix_timestamp(),
    };
    let tokens = store.join("tokens");
    let failed = |source| CreateTokenError::Write(tokens.clone(), source);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&tokens)
        .map_err(failed)?;
    let content = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
    place(&tokens, &hex(&sha256(secret.as_bytes())), &content).map_err(failed)?;
    Ok(format!(
        "{PREFIX}.{}.{}",
        base64url(&root.key_hash()),
        secret.as_str()
    ))
}

/// Redeems a token for a key: whom it names.
pub(crate) fn redeem(
    store: &Path,
    root: &Root,
    token: &str,
    key: &Sha256,
    now: OffsetDateTime,
) -> Result<SpiffeId, RedeemError> {
    let secret = secret_of(token, root)?;
    let tokens = store.join("tokens");
    let name = hex(&sha256(secret.as_bytes()));
    let record = match fs::read(tokens.join(&name)) {
        Ok(record) => record,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RedeemError::Unknown),
        Err(error) => return Err(RedeemError::Store(error)),
    };
    let record: Record =
        serde_json::from_slice(&record).map_err(|error| RedeemError::Store(error.into()))?;
    if record.expires <= now.unix_timestamp() {
        return Err(RedeemError::Expired);
    }
    let identity: SpiffeId = record.identity.parse()?;
    let redeemed_by = format!("{name}{REDEEMED}");
    let key = hex(key);
    match place(&tokens, &redeemed_by, key.as_bytes()) {
        Ok(()) => Ok(identity),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let by = fs::read(tokens.join(redeemed_by)).map_err(RedeemError::Store)?;
            if by == key.as_bytes() {
                Ok(identity)
            } else {
                Err(RedeemError::Replayed)
            }
        }
        Err(error) => Err(RedeemError::Store(error)),
    }
}

/// Removes what has expired. Blocks.
pub(crate) fn sweep(store: &Path, now: OffsetDateTime) -> io::Result<()> {
    let tokens = match fs::read_dir(store.join("tokens")) {
        Ok(tokens) => tokens,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for token in tokens {
        let path = token?.path();
        if path.extension().is_some() {
            continue;
        }
        let Ok(record) = serde_json::from_slice::<Record>(&fs::read(&path)?) else {
            continue;
        };
        if record.expires <= now.unix_timestamp() {
            // The name first: a mark without its token is worth nothing, a token without its mark is fresh.
            fs::remove_file(&path)?;
            let mut mark = path;
            mark.as_mut_os_string().push(REDEEMED);
            match fs::remove_file(mark) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// The secret part, once the token's form and root are ours.
fn secret_of<'a>(token: &'a str, root: &Root) -> Result<&'a str, RedeemError> {
    let mut parts = token.trim().split('.');
    let (Some(PREFIX), Some(authority), Some(secret), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(RedeemError::Malformed);
    };
    if secret.len() != SECRET_CHARS || !secret.bytes().all(|byte| ALPHABET.contains(&byte)) {
        return Err(RedeemError::Malformed);
    }
    if authority != base64url(&root.key_hash()) {
        return Err(RedeemError::Foreign);
    }
    Ok(secret)
}

/// Writes a whole file under a name that must be free.
fn place(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    let unfinished = directory.join(format!("{name}.{}.unfinished", hex(&random)));
    ca::write_new(&unfinished, content, 0o600)?;
    let placed = fs::hard_link(&unfinished, directory.join(name));
    fs::remove_file(&unfinished)?;
    placed?;
    ca::sync_directory(directory)
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | usize::from(group.get(at).copied().unwrap_or(0))
        });
        let chars = [18, 12, 6, 0].map(|shift| ALPHABET.get(bits >> shift & 63).copied());
        text.extend(
            chars
                .into_iter()
                .flatten()
                .take(group.len() + 1)
                .map(char::from),
        );
    }
    text
}

#[derive(Serialize, Deserialize)]
struct Record {
    identity: String,
    /// Seconds since 1970 UTC.
    expires: i64,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    /// A token carries the hash of the root's key, so the root must exist.
    #[error("the store's authority cannot be read")]
    Ca(#[from] CaError),
    /// Control's own name.
    #[error("control's own name is issued to nobody")]
    Control,
    /// A secret that lies about for long is found.
    #[error("a join token lives for at most 24h; make a new one for each start")]
    Ttl,
    /// The system gave no randomness.
    #[error("there is no randomness for a secret")]
    Random(#[source] aws_lc_rs::error::Unspecified),
    /// The store cannot be written.
    #[error("{0} cannot be written")]
    Write(PathBuf, #[source] io::Error),
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// It is no token.
    #[error("it is no join token")]
    Malformed,
    /// It names another root.
    #[error("it is of another authority")]
    Foreign,
    /// It was never made, or has expired long ago.
    #[error("it is unknown")]
    Unknown,
    /// Its end has come.
    #[error("it has expired")]
    Expired,
    /// Somebody redeemed it for another key.
    #[error("it was redeemed already, for another key")]
    Replayed,
    /// What it names is no name.
    #[error("it names nobody")]
    Identity(#[from] SpiffeIdError),
    /// The store failed us.
    #[error("the store cannot be used")]
    Store(#[source] io::Error),
}

const PREFIX: &str = "palisade1";
const REDEEMED: &str = ".by";
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
const SECRET_CHARS: usize = 43;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests;
