//! Rewritten probes: the kubelet asks the sidecar, and the sidecar asks the application.
//!
//! The kubelet has no identity, so what it asks for itself would be refused. It is asked here in its place, at the
//! pod's own address by a socket that is not redirected, and the answer says good or bad and nothing else: no byte of the
//! application's leaves by this way. Probes are served before the proxy is ready, and while it drains.

mod address;
mod get;
mod grpc;
mod questions;
mod unverified;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use self::questions::{Question, Questions};
use crate::dial::Dial;

pub use self::questions::{Probes, ProbesError};

/// Asks applications what the kubelet wants to know.
#[derive(Debug)]
pub struct Prober {
    probes: BTreeMap<String, Asked>,
    mark: Option<u32>,
    /// Where the application is: the pod's own addresses, the preferred one first.
    addresses: fn() -> Vec<IpAddr>,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    timeout: Duration,
    /// An answer that is on its way, for all who ask meanwhile: the port is open to the pod's network, and whoever asks
    /// there must neither become many who ask the application nor hold up the kubelet.
    flight: Mutex<Option<watch::Receiver<Option<Answer>>>>,
}

type Answer = Result<(), Unwell>;

/// Why an application is not well: one word, as the kubelet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwell {
    /// It does not listen.
    Refused,
    /// No connection, for another reason.
    Unreachable,
    /// The pod has no address yet.
    NoAddress,
    /// It took longer than the probe allows.
    Timeout,
    /// The TLS handshake failed.
    Tls,
    /// What it answers is not the protocol that is asked for.
    Protocol,
    /// It answers with a status that is none of success.
    Status,
    /// It says that it does not serve.
    NotServing,
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::NoAddress => "no-address",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::NotServing => "not-serving",
        })
    }
}

impl Prober {
    /// Asks by sockets with this mark, where the redirect tells the proxy's own by one.
    pub fn new(probes: &Probes, mark: Option<u32>) -> Self {
        Self::at(probes, mark, address::own)
    }

    fn at(probes: &Probes, mark: Option<u32>, addresses: fn() -> Vec<IpAddr>) -> Self {
        let Questions(questions) = probes.questions();
        let asked = questions.iter().map(|(path, (question, timeout))| {
            let asked = Asked {
                question: question.clone(),
                timeout: *timeout,
                flight: Mutex::default(),
            };
            (path.clone(), asked)
        });
        Self {
            probes: asked.collect(),
            mark,
            addresses,
        }
    }

    /// How long the probe at `path` may take; none where there is no such probe.
    pub fn patience(&self, path: &str) -> Option<Duration> {
        self.probes.get(path).map(|asked| asked.timeout)
    }

    /// Asks the probe at `path`; none where there is no such probe. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where the application is not well, within the probe's own time.
    pub async fn ask(&self, path: &str) -> Option<Result<(), Unwell>> {
        let asked = self.probes.get(path)?;
        loop {
            let mut flight = match asked.board() {
                Boarding::Lead(flight) => {
                    let answer = timeout(asked.timeout, self.ask_once(asked)).await;
                    let answer = answer.unwrap_or(Err(Unwell::Timeout));
                    if let Err(unwell) = &answer {
                        tracing::debug!(path, %unwell, "a probe failed");
                    }
                    flight.send_replace(Some(answer));
                    return Some(answer);
                }
                Boarding::Follow(flight) => flight,
            };
            // An error: whoever led has hung up, and somebody else leads.
            if let Ok(answer) = flight.wait_for(Option::is_some).await {
                return *answer;
            }
        }
    }

    async fn ask_once(&self, asked: &Asked) -> Answer {
        let (stream, address) = self.connect(asked.question.port(), asked.timeout).await?;
        match &asked.question {
            Question::Tcp { .. } => Ok(()),
            Question::Grpc { service, .. } => grpc::check(stream, address, service).await,
            Question::Http(get) if get.https => {
                get::get(unverified::handshake(stream).await?, address, get).await
            }
            Question::Http(get) => get::get(stream, address, get).await,
        }
    }

    /// A connection to the application: by the other family where it does not listen in the preferred one.
    async fn connect(
        &self,
        port: u16,
        timeout: Duration,
    ) -> Result<(TcpStream, SocketAddr), Unwell> {
        let dial = Dial {
            mark: self.mark,
            timeout,
        };
        let mut unwell = Unwell::NoAddress;
        for ip in (self.addresses)() {
            let address = SocketAddr::new(ip, port);
            match dial.connect(address).await {
                Ok(stream) => return Ok((stream, address)),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    unwell = Unwell::Refused;
                }
                Err(error) => {
                    tracing::debug!(%error, %address, "a probe found no connection");
                    return Err(Unwell::Unreachable);
                }
            }
        }
        Err(unwell)
    }
}

enum Boarding {
    Lead(watch::Sender<Option<Answer>>),
    Follow(watch::Receiver<Option<Answer>>),
}

impl Asked {
    fn board(&self) -> Boarding {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        match &*flight {
            // An error: it has landed, or its leader is gone.
            Some(flight) if flight.has_changed().is_ok() => Boarding::Follow(flight.clone()),
            Some(_) | None => {
                let (leader, follower) = watch::channel(None);
                *flight = Some(follower);
                Boarding::Lead(leader)
            }
        }
    }
}

#[cfg(test)]
mod tests;
