//! What records say of one connection: its own, and those of refusals that the called side put together.
//!
//! Either side writes the first of refusals that are alike, and of those that follow within some seconds only the last,
//! with a count. The sides do so apart, so that a connection which the calling side names may be one of those that the
//! called side only counted.
//!
//! A handshake that fails has no id that both sides know: each writes one of its own. The record of who was refused does not
//! say why; the other's does, and is found by who called whom at which time.

use std::net::IpAddr;

use time::{Duration, OffsetDateTime};

use super::Edge;
use super::edges::Edges;
use super::line::{Line, Told, Was};

/// What is known of a connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// What was decided; none where no record says so.
    pub(crate) edge: Option<Edge>,
    /// Only the calling side says so. Of a denial it is not told why.
    pub(crate) is_by_caller: bool,
    /// Of such a denial, what the called side says of the refusals that this was one of, as far as its records are there; of
    /// a certificate that was refused, what the side says that refused it as revoked.
    pub(crate) among: Option<Edge>,
    /// What its records say, where rules had no part in it.
    pub(crate) unsaid: Option<Unsaid>,
}

/// A record that says nothing of what rules decided.
#[derive(Debug)]
pub(crate) struct Unsaid {
    /// Whether a handshake failed: then who comes without a name has one that was not believed.
    pub(crate) is_of_handshake: bool,
    /// Why it came to nothing, in the word of records; none where it did not.
    pub(crate) error: Option<String>,
    /// Who called whom, where both are named.
    pub(crate) edge: Option<Edge>,
}

/// Records of one connection while they are read.
#[derive(Debug)]
pub(super) struct One {
    conn: u128,
    since: Option<OffsetDateTime>,
    own: Edges,
    /// Whether the called side wrote of it.
    is_by_called: bool,
    /// Refusals of others that were put together.
    together: Vec<Edge>,
    /// Handshakes of others that failed as one of both was revoked.
    revoked: Vec<Handshake>,
    /// The handshake of this one, where the other side refused it.
    refused: Option<Handshake>,
    unsaid: Option<Unsaid>,
}

/// A handshake that failed.
#[derive(Debug)]
struct Handshake {
    edge: Edge,
    is_by_caller: bool,
    /// The caller's replica, with its namespace, and its address, whatever it is called.
    replica: Option<(String, String)>,
    addr: Option<IpAddr>,
}

impl One {
    pub(super) fn new(conn: u128, since: Option<OffsetDateTime>) -> Self {
        Self {
            conn,
            since,
            own: Edges::default(),
            is_by_called: false,
            together: Vec::new(),
            revoked: Vec::new(),
            refused: None,
            unsaid: None,
        }
    }

    /// Takes one line, whatever it is; says whether it is a record.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let Some((line, (at, conn))) = Line::placed(bytes) else {
            return false;
        };
        if self.since.is_some_and(|since| at < since) {
            return true;
        }
        if conn == self.conn {
            self.take_own(&line, at);
        } else if line.is_of_handshake() {
            if let Some(told) = line.revoked()
                && self.revoked.len() < MOST_TOGETHER
            {
                self.revoked.extend(Handshake::of(&line, told, (at, conn)));
            }
        } else if line.is_of_many() && self.together.len() < MOST_TOGETHER {
            self.together
                .extend(line.told().and_then(|told| alone(&line, told, (at, conn))));
        }
        true
    }

    fn take_own(&mut self, line: &Line<'_>, at: OffsetDateTime) {
        self.is_by_called |= !line.is_by_caller();
        let told = line.told().or_else(|| line.revoked());
        match told.or_else(|| line.refused()) {
            Some(told) => self.own.take_record(line, told, (at, self.conn)),
            None => {
                if line.is_refused_by_peer() {
                    self.refused = Handshake::of(line, Told::Refused, (at, self.conn));
                }
                self.unsaid = Some(Unsaid {
                    is_of_handshake: line.is_of_handshake(),
                    error: line.error().map(str::to_owned),
                    edge: alone(line, Told::Refused, (at, self.conn)),
                });
            }
        }
    }

    pub(super) fn finish(self) -> Connection {
        let is_by_caller = !self.is_by_called;
        let (own, _) = self.own.finish();
        let (edge, among) = match (own.into_iter().next(), self.refused) {
            (Some(edge), _) => {
                let is_told = is_by_caller && edge.was == Was::Denied && !edge.was_revoked();
                let among = is_told.then(|| among(&edge, self.together)).flatten();
                (Some(edge), among)
            }
            (None, Some(refused)) => match refused.other(self.revoked) {
                Some(other) => (Some(refused.edge), Some(other)),
                None => (None, None),
            },
            (None, None) => (None, None),
        };
        Connection {
            edge,
            is_by_caller,
            among,
            unsaid: self.unsaid,
        }
    }
}

impl Handshake {
    fn of(line: &Line<'_>, told: Told, of: (OffsetDateTime, u128)) -> Option<Self> {
        let replica = line.src_workload();
        Some(Self {
            edge: alone(line, told, of)?,
            is_by_caller: line.is_by_caller(),
            replica: replica.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())),
            addr: line.src_ip(),
        })
    }

    /// What the other side says of it. Names are no help: who refuses a certificate does not believe the one in it.
    fn other(&self, revoked: Vec<Self>) -> Option<Edge> {
        let own = &self.edge;
        let is_it = |other: &Self| {
            let is_from = match (&self.replica, &other.replica) {
                (Some(own), Some(other)) => own == other,
                (None, _) | (_, None) => self.addr == other.addr,
            };
            let is_to = match (&own.workload, &other.edge.workload) {
                (Some(own), Some(other)) => own == other,
                (None, _) | (_, None) => own.identity == other.edge.identity,
            };
            let is_alike = self.is_by_caller != other.is_by_caller
                && (&other.edge.namespace, other.edge.port) == (&own.namespace, own.port);
            is_alike && is_from && is_to
        };
        let alike = revoked.into_iter().filter(is_it);
        nearest(own, alike.map(|other| other.edge))
    }
}

/// What one record says, whatever others do.
fn alone(line: &Line<'_>, told: Told, of: (OffsetDateTime, u128)) -> Option<Edge> {
    let mut edges = Edges::default();
    edges.take_record(line, told, of);
    edges.finish().0.pop()
}

/// The record that counts a refusal is written when the time is over within which they are put together: the first that
/// was written after it, or else, as the calling side may have put together, too, the last before.
fn among(own: &Edge, together: Vec<Edge>) -> Option<Edge> {
    let is_it = |other: &Edge| {
        // The calling side may know the account only.
        let is_of = own.workload.is_none() || own.workload == other.workload;
        is_of
            && (&other.from, &other.namespace, &other.identity, other.port)
                == (&own.from, &own.namespace, &own.identity, own.port)
    };
    nearest(own, together.into_iter().filter(is_it))
}

fn nearest(own: &Edge, alike: impl Iterator<Item = Edge>) -> Option<Edge> {
    let near = own.last - MOST_APART..=own.last + MOST_APART;
    let alike = alike.filter(|other| near.contains(&other.last));
    alike.min_by_key(|other| {
        let is_before = other.last < own.last - CLOCKS_DIFFER;
        (is_before, (other.last - own.last).abs())
    })
}

/// For so many seconds proxies put refusals together, and then some until they are written.
const MOST_APART: Duration = Duration::seconds(15);
const CLOCKS_DIFFER: Duration = Duration::seconds(1);
/// Some hundred bytes each.
const MOST_TOGETHER: usize = 100_000;
