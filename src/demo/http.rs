//! A small HTTP/1.1 server, and the reading of a message that its clients use too.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};

use super::db;
use super::serve::{Ending, serve};

/// A request or an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// `GET / HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub(super) start: String,
    pub(super) body: Vec<u8>,
    /// Whether another one may follow on the connection.
    pub(super) keep_alive: bool,
}

const LONGEST_HEAD: u64 = 16 * 1024;
const LONGEST_BODY: u64 = 1 << 20;

/// Answers until it is asked to end.
pub(super) async fn run(
    listen: SocketAddr,
    db: Option<String>,
    asked_to_end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let name: Arc<str> = name.into();
    let db: Option<Arc<str>> = db.map(Into::into);
    serve(listen, asked_to_end, move |connection, ending| {
        let (name, db) = (name.clone(), db.clone());
        async move {
            // A client that leaves early is its own affair.
            let _left = answer_all(connection, &name, db.as_deref(), &ending).await;
        }
    })
    .await
}

/// Answers one request after the other. Once the server is ending the next answer says that it is the last, so that
/// nobody sends a request where no answer will come from.
async fn answer_all<C>(
    connection: C,
    name: &str,
    db: Option<&str>,
    ending: &Ending,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = BufReader::new(connection);
    while let Some(request) = read_message(&mut connection).await? {
        let (status, body) = answer(&request, name, db).await;
        let stays_open = request.keep_alive && !ending.has_begun();
        let closing = if stays_open { "keep-alive" } else { "close" };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: {closing}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(answer.as_bytes()).await?;
        if !stays_open {
            return connection.shutdown().await;
        }
    }
    Ok(())
}

async fn answer(request: &Message, name: &str, db: Option<&str>) -> (&'static str, String) {
    let method = request.start.split(' ').next().unwrap_or_default();
    if !matches!(method, "GET" | "POST") {
        return (
            "405 Method Not Allowed",
            format!("{name} takes GET and POST\n"),
        );
    }
    let Some(db) = db else {
        return (
            "200 OK",
            format!("{name} got {method} with {} bytes\n", request.body.len()),
        );
    };
    let question = if method == "POST" {
        "SET order placed"
    } else {
        "COUNT"
    };
    match db::ask(db, question).await {
        Ok(said) => (
            "200 OK",
            format!("{name} got {method}; the database says {said}\n"),
        ),
        Err(error) => (
            "502 Bad Gateway",
            format!("{name} cannot reach {db}: {error}\n"),
        ),
    }
}

/// Reads a message whose body has a length; none where the connection ended between messages.
pub(super) async fn read_message<R>(reader: &mut R) -> io::Result<Option<Message>>
where
    R: AsyncBufRead + Unpin,
{
    let mut head = reader.take(LONGEST_HEAD);
    let mut start = String::new();
    if head.read_line(&mut start).await? == 0 {
        return Ok(None);
    }
    let start = start.trim_end().to_owned();
    let mut keep_alive = !start.contains("HTTP/1.0");
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(':') {
            None if line.is_empty() => break,
            Some(("content-length", value)) => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(("connection", value)) if value.trim() == "close" => keep_alive = false,
            _ => {}
        }
    }
    if length > LONGEST_BODY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).await?;
    Ok(Some(Message {
        start,
        body,
        keep_alive,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_follow_each_other_on_a_connection() {
        let mut text: &[u8] =
            b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nConnection: close\r\n\r\n";
        let post = read_message(&mut text).await.unwrap().unwrap();
        assert_eq!(
            (post.body.as_slice(), post.keep_alive),
            (b"abc".as_slice(), true)
        );
        let get = read_message(&mut text).await.unwrap().unwrap();
        assert_eq!(
            (get.start.as_str(), get.keep_alive),
            ("GET /b HTTP/1.1", false)
        );
        assert_eq!(read_message(&mut text).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_last_answer_of_a_server_that_ends_says_so() {
        for (has_begun, said) in [(false, "keep-alive"), (true, "close")] {
            let (mut client, server) = tokio::io::duplex(1024);
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            let ending = super::super::serve::ending(has_begun);
            answer_all(server, "web", None, &ending).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.contains(&format!("connection: {said}\r\n")),
                "{answer}"
            );
        }
    }

    #[tokio::test]
    async fn a_cut_head_is_an_error() {
        let mut text: &[u8] = b"GET / HTTP/1.1\r\nHost: a";
        assert!(read_message(&mut text).await.is_err());
    }
}
