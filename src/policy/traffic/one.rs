//! What records say of one connection: its own, and those of refusals that the called side put together.
//!
//! Either side writes the first of refusals that are alike, and of those that follow within some seconds only the last,
//! with a count. The sides do so apart, so that a connection which the calling side names may be one of those that the
//! called side only counted.

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
    /// Of such a denial, what the called side says of the refusals that this was one of, as far as its records are there.
    pub(crate) among: Option<Edge>,
    /// What its records say, where rules had no part in it.
    pub(crate) unsaid: Option<Unsaid>,
}

/// A record that says nothing of what rules decided.
#[derive(Debug)]
pub(crate) struct Unsaid {
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
    is_by_caller: bool,
    /// Refusals of others that were put together.
    together: Vec<Edge>,
    unsaid: Option<Unsaid>,
}

impl One {
    pub(super) fn new(conn: u128, since: Option<OffsetDateTime>) -> Self {
        Self {
            conn,
            since,
            own: Edges::default(),
            is_by_caller: false,
            together: Vec::new(),
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
        } else if line.is_of_many() && self.together.len() < MOST_TOGETHER {
            self.together
                .extend(line.told().and_then(|told| alone(&line, told, (at, conn))));
        }
        true
    }

    fn take_own(&mut self, line: &Line<'_>, at: OffsetDateTime) {
        match line.told().or_else(|| line.refused()) {
            Some(told) => {
                self.own.take_record(line, told, (at, self.conn));
                self.is_by_caller = self.own.is_undecided(self.conn);
            }
            None => {
                self.unsaid = Some(Unsaid {
                    error: line.error().map(str::to_owned),
                    edge: alone(line, Told::Refused, (at, self.conn)),
                });
            }
        }
    }

    pub(super) fn finish(self) -> Connection {
        let (own, _) = self.own.finish();
        let edge = own.into_iter().next();
        let among = edge
            .as_ref()
            .filter(|own| self.is_by_caller && own.was == Was::Denied)
            .and_then(|own| among(own, self.together));
        Connection {
            edge,
            is_by_caller: self.is_by_caller,
            among,
            unsaid: self.unsaid,
        }
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
        let is_alike = is_of
            && (&other.from, &other.namespace, &other.identity, other.port)
                == (&own.from, &own.namespace, &own.identity, own.port);
        is_alike && (own.last - MOST_APART..=own.last + MOST_APART).contains(&other.last)
    };
    let alike = together.into_iter().filter(is_it);
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
