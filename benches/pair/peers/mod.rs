//! What is compared: pairs of proxies, each started in pods of its own.

mod find;
mod palisade;
mod relays;
mod standalone;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::ground::Ground;
use crate::pods::{ROLES, Role};
use crate::program::Program;
use crate::work::Work;

pub(crate) use find::{find, in_path, version};

/// One of those that are compared, and where its program is.
#[derive(Debug)]
pub(crate) struct Peer {
    /// As in the table.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
}

/// The kinds of peers, in the order in which they take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// No proxy at all.
    Direct,
    /// A relay pair that multiplexes, and does nothing that a mesh is for.
    Floor,
    /// A relay pair that only copies.
    Plain,
    Envoy,
    Haproxy,
    Ztunnel,
    Palisade,
}

impl Kind {
    /// Whether nobody between the pods may read what passes.
    pub(crate) const fn is_encrypted(self) -> bool {
        match self {
            Self::Direct | Self::Floor | Self::Plain => false,
            Self::Envoy | Self::Haproxy | Self::Ztunnel | Self::Palisade => true,
        }
    }

    /// Whether it can do this work.
    pub(crate) fn does(self, work: Work) -> bool {
        match self {
            Self::Direct => !work.is_about_the_proxies(),
            // It has no flow control and knows one port of the application.
            Self::Floor => !work.needs_more_than_small_requests(),
            Self::Plain | Self::Envoy | Self::Haproxy | Self::Ztunnel | Self::Palisade => true,
        }
    }
}

/// A pair that carries connections. Dropped, it has ended and its pods are gone.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The client's proxy and the server's, or none.
    pub(crate) proxies: Vec<Program>,
    /// What runs beside them, and is not measured.
    pub(crate) beside: Vec<Program>,
    pub(crate) ground: Ground,
}

impl Pair {
    /// Starts it on new ground, and waits until it is ready.
    pub(crate) async fn start(peer: &Peer, within: &Path) -> Result<Self> {
        let mut pair = Self {
            proxies: Vec::new(),
            beside: Vec::new(),
            ground: Ground::new(within).await?,
        };
        let started = match peer.kind {
            Kind::Direct => Ok(()),
            Kind::Floor => relays::floor(&mut pair, &peer.program).await,
            Kind::Plain => relays::plain(&mut pair, &peer.program).await,
            Kind::Envoy => standalone::envoy(&mut pair, &peer.program).await,
            Kind::Haproxy => standalone::haproxy(&mut pair, &peer.program).await,
            Kind::Ztunnel => standalone::ztunnel(&mut pair, &peer.program).await,
            Kind::Palisade => palisade::start(&mut pair, &peer.program).await,
        };
        started.with_context(|| format!("{} does not start", peer.name))?;
        Ok(pair)
    }

    /// The proxies with their roles.
    pub(crate) fn roles(&self) -> impl Iterator<Item = (Role, &Program)> {
        ROLES.into_iter().zip(&self.proxies)
    }

    /// What the proxies logged last.
    pub(crate) fn last_words(&self) -> String {
        let words = |(role, proxy): (Role, &Program)| match proxy.last_words() {
            words if words.is_empty() => String::new(),
            words => format!("\n{}'s proxy logged last:\n{words}", role.name()),
        };
        self.roles().map(words).collect()
    }
}
