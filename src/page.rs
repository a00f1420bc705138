//! One HTTP request over a connection that carries nothing else.

use anyhow::{Context, anyhow};
use http::header::{AUTHORIZATION, HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// GETs a page, with a token for whoever answers.
///
/// # Errors
///
/// Where no whole answer comes, or one of more than 64 MiB.
pub(crate) async fn get(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
    token: Option<&str>,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    let mut request = Request::get(path).header(HOST, "localhost");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER)
            .collect()
            .await;
        let body = body.map_err(|error| anyhow!("the answer is cut off: {error}"))?;
        let body = String::from_utf8(body.to_bytes().into());
        let body = body.context("the answer is no text")?;
        Ok(Answer { status, body })
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end with the last byte of the answer.
        _ended = connection => answer.await,
    }
}

const LONGEST_ANSWER: usize = 64 << 20;
