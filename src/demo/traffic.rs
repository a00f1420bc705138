//! A client that calls the shop's servers, round after round.

use std::fmt;
use std::io::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{db, http};

const PATIENCE: Duration = Duration::from_secs(5);

/// Whom to call, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    kind: Kind,
    /// `orders:8080`.
    address: String,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Db,
}

/// Why a text is no target.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is no target; write http://HOST:PORT/PATH or db://HOST:PORT")]
pub(crate) struct ParseTargetError(String);

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseTargetError(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(refused)?;
        let kind = match scheme {
            "http" => Kind::Http,
            "db" => Kind::Db,
            _ => return Err(refused()),
        };
        let (address, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self {
                kind,
                address: address.to_owned(),
                path: path.to_owned(),
            }),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Http => write!(f, "http://{}{}", self.address, self.path),
            Kind::Db => write!(f, "db://{}", self.address),
        }
    }
}

/// An open connection.
enum Line {
    Http(BufReader<TcpStream>),
    Db(db::Client),
}

/// How often to call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    /// The pause between two rounds.
    pub(super) every: Duration,
    /// None: for ever.
    pub(super) count: Option<u64>,
}

/// Calls each target in each round.
pub(super) async fn run(targets: Vec<Target>, rounds: Rounds, keep: bool) -> anyhow::Result<()> {
    let mut lines: Vec<Option<Line>> = targets.iter().map(|_| None).collect();
    let mut failed = 0_u64;
    let mut round = 0;
    if rounds.count.is_none() {
        // Whoever is called starts at the same time as this program.
        sleep(rounds.every).await;
    }
    loop {
        for (target, line) in targets.iter().zip(&mut lines) {
            let started = Instant::now();
            let result = match timeout(PATIENCE, call(target, line, keep)).await {
                Ok(result) => result,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let took = started.elapsed().as_millis();
            let text = match result {
                Ok(answer) => format!("{target}: {answer} ({took} ms)"),
                Err(error) => {
                    *line = None;
                    failed += 1;
                    format!("{target}: failed: {error} ({took} ms)")
                }
            };
            writeln!(io::stdout().lock(), "{text}")?;
        }
        round += 1;
        if rounds.count.is_some_and(|count| round >= count) {
            anyhow::ensure!(failed == 0, "{failed} calls failed");
            return Ok(());
        }
        sleep(rounds.every).await;
    }
}

/// Asks once.
pub(super) async fn print_one(target: &Target) -> anyhow::Result<()> {
    let mut connection = BufReader::new(TcpStream::connect(&target.address).await?);
    let (answer, _stays_open) = timeout(PATIENCE, get(&mut connection, target, false)).await??;
    let Some(body) = answer.strip_prefix("200 OK: ") else {
        anyhow::bail!("{answer}");
    };
    writeln!(io::stdout().lock(), "{body}")?;
    Ok(())
}

async fn call(target: &Target, line: &mut Option<Line>, keep: bool) -> io::Result<String> {
    let mut open = match line.take() {
        Some(open) => open,
        None => match target.kind {
            Kind::Http => Line::Http(BufReader::new(TcpStream::connect(&target.address).await?)),
            Kind::Db => Line::Db(db::Client::connect(&target.address).await?),
        },
    };
    let (answer, stays_open) = match &mut open {
        Line::Http(connection) => get(connection, target, keep).await?,
        Line::Db(client) => (client.ask("COUNT").await?, true),
    };
    if keep && stays_open {
        *line = Some(open);
    }
    Ok(answer)
}

async fn get(
    connection: &mut BufReader<TcpStream>,
    target: &Target,
    keep: bool,
) -> io::Result<(String, bool)> {
    let closing = if keep { "keep-alive" } else { "close" };
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: {closing}\r\n\r\n",
        target.path, target.address
    );
    connection.write_all(request.as_bytes()).await?;
    let Some(answer) = http::read_message(connection).await? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let body = String::from_utf8_lossy(&answer.body).trim().to_owned();
    let status = answer.start.trim_start_matches("HTTP/1.1 ");
    Ok((format!("{status}: {body}"), answer.keep_alive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_once() {
        let cases = [
            ("http://orders:8080/a", Some("http://orders:8080/a")),
            ("http://orders:8080", Some("http://orders:8080/")),
            ("db://db:5432", Some("db://db:5432")),
            ("http://[fd71::2]:80/", Some("http://[fd71::2]:80/")),
            ("orders:8080", None),
            ("ftp://orders:21", None),
            ("http://orders", None),
            ("http://:80", None),
        ];
        for (text, expected) in cases {
            let shown = text.parse::<Target>().ok().map(|t| t.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }
}
