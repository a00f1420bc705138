//! One HTTP request over a connection that carries nothing else.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    /// The connection failed.
    #[error("the connection to control failed")]
    Io(#[source] io::Error),
    /// It ended early, or control is something else.
    #[error("control's answer is cut off, or it is no answer")]
    Cut,
    /// Control says no.
    #[error("control answers: {said}")]
    Refused {
        /// The status code.
        status: u16,
        /// In control's words.
        said: String,
    },
}

/// The page at a path.
///
/// # Errors
///
/// Where there is none, or not all of it.
pub(super) async fn get(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    token: Option<&str>,
) -> Result<String, GetError> {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: control\r\n{}connection: close\r\n\r\n",
        authorization.unwrap_or_default()
    );
    connection
        .write_all(request.as_bytes())
        .await
        .map_err(GetError::Io)?;
    let mut answer = Vec::new();
    let mut reading = connection.take(MAX_ANSWER_BYTES);
    reading
        .read_to_end(&mut answer)
        .await
        .map_err(GetError::Io)?;
    read(&answer)
}

fn read(answer: &[u8]) -> Result<String, GetError> {
    let answer = std::str::from_utf8(answer).map_err(|_not_text| GetError::Cut)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(GetError::Cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    match status {
        _ if length != Some(body.len()) => Err(GetError::Cut),
        Some(200) => Ok(body.to_owned()),
        Some(status) => Err(GetError::Refused {
            status,
            said: body
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_SAID_CHARS)
                .collect(),
        }),
        None => Err(GetError::Cut),
    }
}

/// Beyond what control keeps.
const MAX_ANSWER_BYTES: u64 = 256 << 20;
const MAX_SAID_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_page_is_asked_for_and_read() {
        let (near, mut far) = tokio::io::duplex(4096);
        let asked = tokio::spawn(async move { get(near, "/usage", Some("a.b.c")).await });
        let mut request = vec![0; 1024];
        let length = far.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        assert!(request.starts_with("GET /usage HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("\r\nauthorization: Bearer a.b.c\r\n"),
            "{request}"
        );
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        far.write_all(answer.as_bytes()).await.unwrap();
        drop(far);
        assert_eq!(asked.await.unwrap().unwrap(), "{}");
    }

    #[test]
    fn what_is_no_whole_answer_is_none() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "HTTP/1.1 what\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert!(
                matches!(read(answer.as_bytes()), Err(GetError::Cut)),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn a_refusal_is_told_in_controls_words_without_what_could_forge_a_terminal() {
        let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 12\r\n\r\nyou \u{1b}may not";
        let error = read(answer.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "control answers: you may not");
        assert!(matches!(error, GetError::Refused { status: 403, .. }));
    }
}
