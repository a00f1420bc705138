//! The join token: proves this proxy to control once, and says which control to believe.

use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

/// `palisade1.<SHA-256 of the root's SubjectPublicKeyInfo>.<secret>`, both in base64url without padding.
pub struct JoinToken {
    root_sha256: [u8; 32],
    text: Zeroizing<String>,
}

impl JoinToken {
    /// Reads a token from a file, or from a Unix socket that answers each connection with a fresh one.
    ///
    /// # Errors
    ///
    /// Where nothing could be read, or what was read is no token.
    pub async fn read(path: &Path) -> Result<Self, ReadTokenError> {
        let kind = tokio::fs::metadata(path)
            .await
            .map_err(ReadTokenError::Open)?
            .file_type();
        let text = if kind.is_socket() {
            let socket = UnixStream::connect(path).await;
            read_bounded(socket.map_err(ReadTokenError::Open)?).await?
        } else {
            let file = tokio::fs::File::open(path).await;
            read_bounded(file.map_err(ReadTokenError::Open)?).await?
        };
        Ok(text.trim().parse()?)
    }

    /// The hash of the root's SubjectPublicKeyInfo that control must prove itself with.
    pub fn root_sha256(&self) -> [u8; 32] {
        self.root_sha256
    }

    /// The whole token, which is a secret.
    pub(crate) fn secret_text(&self) -> &str {
        &self.text
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let rest = text.strip_prefix(PREFIX).ok_or(JoinTokenError::Prefix)?;
        let (root, secret) = rest.split_once('.').ok_or(JoinTokenError::Parts)?;
        decode(secret).ok_or(JoinTokenError::Base64)?;
        Ok(Self {
            root_sha256: decode(root).ok_or(JoinTokenError::Base64)?,
            text: Zeroizing::new(text.to_owned()),
        })
    }
}

/// Without the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(…)")
    }
}

/// Why a text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// It does not begin as one.
    #[error("a join token begins with {PREFIX}")]
    Prefix,
    /// A part is missing.
    #[error("a join token has three parts, with dots between them")]
    Parts,
    /// A part is not 32 bytes of base64url.
    #[error("a part of the join token is not 32 bytes of base64url without padding")]
    Base64,
}

/// Why no join token could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadTokenError {
    /// The file or socket is not there, or not for us.
    #[error("the join token's file or socket cannot be opened")]
    Open(#[source] io::Error),
    /// It could not be read to its end.
    #[error("the join token cannot be read")]
    Read(#[source] io::Error),
    /// It holds something else.
    #[error("what was read is no join token")]
    Malformed(#[from] JoinTokenError),
}

async fn read_bounded(from: impl AsyncRead + Unpin) -> Result<Zeroizing<String>, ReadTokenError> {
    let mut text = Zeroizing::new(String::new());
    from.take(MAX_TOKEN_BYTES)
        .read_to_string(&mut text)
        .await
        .map_err(ReadTokenError::Read)?;
    Ok(text)
}

/// Exactly 32 bytes, written in the one way that base64url without padding has for them.
fn decode(text: &str) -> Option<[u8; 32]> {
    if text.len() != ENCODED_BYTES {
        return None;
    }
    let mut bytes = Vec::with_capacity(32);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(bytes)?.try_into().ok()
}

const PREFIX: &str = "palisade1.";
const ENCODED_BYTES: usize = 43;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const MAX_TOKEN_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixListener;

    // 32 bytes: 0, 1, 2 … 31, by coreutils' basenc --base64url.
    const COUNTING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const HIGH: &str = "__________________________________________8";

    #[test]
    fn a_token_names_its_root_and_does_not_print_its_secret() {
        let token: JoinToken = format!("palisade1.{COUNTING}.{HIGH}").parse().unwrap();
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(&token.root_sha256()[..], counting);
        assert_eq!(decode(HIGH), Some([255; 32]));
        assert!(!format!("{token:?}").contains(HIGH));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let short = &COUNTING[1..];
        let loose = COUNTING.replace("Hh8", "Hh9");
        let padded = format!("{short}=");
        for (text, error) in [
            (String::new(), JoinTokenError::Prefix),
            (
                format!("palisade2.{COUNTING}.{HIGH}"),
                JoinTokenError::Prefix,
            ),
            (format!("palisade1.{COUNTING}"), JoinTokenError::Parts),
            (
                format!("palisade1.{COUNTING}.{short}"),
                JoinTokenError::Base64,
            ),
            (
                format!("palisade1.{COUNTING}.{loose}"),
                JoinTokenError::Base64,
            ),
            (format!("palisade1.{padded}.{HIGH}"), JoinTokenError::Base64),
            (
                format!("palisade1.{HIGH}.{HIGH}.{HIGH}"),
                JoinTokenError::Base64,
            ),
        ] {
            assert_eq!(text.parse::<JoinToken>().err(), Some(error), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_token_comes_from_a_file_or_from_a_socket() {
        let text = format!("palisade1.{COUNTING}.{HIGH}");
        let directory = tempfile::tempdir().unwrap();
        let (file, socket) = (directory.path().join("f"), directory.path().join("s"));
        tokio::fs::write(&file, format!("{text}\n")).await.unwrap();
        assert_eq!(JoinToken::read(&file).await.unwrap().secret_text(), text);

        let listener = UnixListener::bind(&socket).unwrap();
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
        };
        let (token, ()) = tokio::join!(JoinToken::read(&socket), answer);
        assert_eq!(token.unwrap().secret_text(), text);

        let missing = JoinToken::read(&directory.path().join("none")).await;
        assert!(matches!(missing, Err(ReadTokenError::Open(_))));
    }
}
