//! One page, asked for over a connection that carries nothing else.

use std::path::Path;

use anyhow::Context;
use http::header::{AUTHORIZATION, HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::up::state::part;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// The path or the token cannot stand in a request.
    #[error("this cannot be asked for")]
    Request(#[source] http::Error),
    /// The connection failed, or what answers speaks no HTTP.
    #[error("there is no whole answer")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It says no.
    #[error("the answer is: {said}")]
    Refused {
        /// The status code.
        status: u16,
        /// In its words.
        said: String,
    },
}

/// The page at a path of the control of a local mesh, which has its socket in the mesh's state directory.
pub(crate) async fn of_control(state: &Path, path: &str) -> anyhow::Result<String> {
    let connection = UnixStream::connect(state.join(part::CONTROL)).await;
    let connection = connection
        .context("control does not answer; it may be starting, or there is no meshed workload")?;
    let page = get(connection, path, None).await;
    page.with_context(|| format!("control has no {path}; it may be of another version"))
}

/// GETs the page at a path, with a token for whoever answers.
///
/// # Errors
///
/// Where there is none, not all of it, or more than 256 MiB.
pub(crate) async fn get(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
    token: Option<&str>,
) -> Result<String, GetError> {
    let cut = |error: hyper::Error| GetError::Cut(error.into());
    let mut request = Request::get(path).header(HOST, "localhost");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(GetError::Request)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await;
    let (mut sender, connection) = handshake.map_err(cut)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(cut)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let body = body.collect().await.map_err(GetError::Cut)?;
        let body = String::from_utf8(body.to_bytes().into());
        let body = body.map_err(|error| GetError::Cut(error.into()))?;
        if status == 200 {
            return Ok(body);
        }
        let said = body.chars().filter(|c| !c.is_control());
        let said = said.take(MAX_SAID_CHARS).collect();
        Err(GetError::Refused { status, said })
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end with the last byte of the answer.
        _ended = connection => answer.await,
    }
}

/// Beyond what control keeps.
const MAX_ANSWER_BYTES: usize = 256 << 20;
const MAX_SAID_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What is made of an answer, and the request.
    async fn asked(answer: &str) -> (Result<String, GetError>, String) {
        let (near, mut far) = duplex(1 << 16);
        let got = tokio::spawn(get(near, "/usage", Some("a.b.c")));
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(far.read_u8().await.unwrap());
        }
        far.write_all(answer.as_bytes()).await.unwrap();
        drop(far);
        let request = String::from_utf8(request).unwrap();
        (got.await.unwrap(), request)
    }

    #[tokio::test]
    async fn a_page_is_asked_for_with_the_token() {
        let (page, request) = asked("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        assert_eq!(page.unwrap(), "{}");
        assert!(request.starts_with("GET /usage HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("authorization: Bearer a.b.c\r\n"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn what_is_no_whole_answer_is_none() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
            "HTTP/1.1 what\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (page, _) = asked(answer).await;
            assert!(
                matches!(page, Err(GetError::Cut(_))),
                "{answer:?}: {page:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_its_words_without_what_could_forge_a_terminal() {
        let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 12\r\n\r\nyou \u{1b}may not";
        let (page, _) = asked(answer).await;
        let error = page.unwrap_err();
        assert_eq!(error.to_string(), "the answer is: you may not");
        assert!(matches!(error, GetError::Refused { status: 403, .. }));
    }
}
