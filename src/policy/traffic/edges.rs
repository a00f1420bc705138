//! Records put together: each edge once, with what was seen of it.

use std::collections::HashMap;
use std::sync::Arc;

use palisade_api::spiffe::SpiffeId;
use time::OffsetDateTime;

use super::line::{Line, Told, Was};
use super::names::Names;
use crate::policy::revoked::REVOKED;
use crate::policy::subject::{self, Caller};

/// Who called whom at which port, what became of it, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: Caller,
    /// Who was known at the address of one that came without an identity.
    pub(crate) at: Option<Replica>,
    pub(crate) namespace: Arc<str>,
    /// The replica that was called, where control knew it.
    pub(crate) workload: Option<Arc<str>>,
    /// That of the called side.
    pub(crate) identity: Option<SpiffeId>,
    /// The called workload's own.
    pub(crate) port: u16,
    pub(crate) was: Was,
    /// Why, in the word of records, by the latest of them.
    pub(crate) reason: Option<Arc<str>>,
    /// By which rule, by the latest record.
    pub(crate) rule: Option<Arc<str>>,
    /// How many connections.
    pub(crate) count: u64,
    pub(crate) first: OffsetDateTime,
    pub(crate) last: OffsetDateTime,
    /// The `conn.id` of the latest.
    pub(crate) conn: u128,
    /// How many of them were let in for a while.
    pub(crate) passing: Passing,
    /// How many of them were let in by nobody knows which rule: only the calling side tells of them.
    pub(crate) one_sided: u64,
    /// How many of them reached nobody, though they were let in: the application was not there.
    pub(crate) unanswered: u64,
}

/// Connections that were let in by rules that end, as those for emergencies do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Passing {
    pub(crate) count: u64,
    /// By which rule, by the latest record of them, and why there is one.
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) because: Option<Arc<str>>,
}

/// Namespace and name.
type Replica = (Arc<str>, Arc<str>);

/// What records were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Records that say nothing of what rules decide.
    pub(super) undecided: u64,
    /// Records that were left out, as there are more edges than are kept.
    pub(super) beyond: u64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) edges: usize,
    /// Connections of which it is remembered that they were counted.
    pub(super) conns: usize,
}

impl Default for Most {
    fn default() -> Self {
        Self {
            edges: 1_000_000,
            conns: 4_000_000,
        }
    }
}

/// Edges while they are put together.
#[derive(Debug, Default)]
pub(super) struct Edges {
    most: Most,
    /// Records before this moment are passed over.
    since: Option<OffsetDateTime>,
    callers: Names<Caller>,
    identities: Names<SpiffeId>,
    names: Names<Arc<str>>,
    words: Names<Arc<str>>,
    by_key: HashMap<Key, usize>,
    edges: Vec<Edge>,
    /// Which edge counts a connection, so that its other records do not.
    conns: HashMap<u128, Counted>,
    read: Read,
}

/// What makes two records tell of the same edge: numbers of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    from: usize,
    at: Option<(usize, usize)>,
    namespace: usize,
    workload: Option<usize>,
    identity: Option<usize>,
    port: u16,
    was: Was,
    /// What was denied as one of both is revoked is an edge of its own.
    is_revoked: bool,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    edge: usize,
    /// The called side said so.
    is_decided: bool,
}

impl Edges {
    pub(super) fn new(most: Most, since: Option<OffsetDateTime>) -> Self {
        Self {
            most,
            since,
            ..Self::default()
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
        match line.told().or_else(|| line.revoked()) {
            Some(told) => self.take_record(&line, told, (at, conn)),
            None => self.read.undecided += 1,
        }
        true
    }

    /// Takes what a record says.
    pub(super) fn take_record(
        &mut self,
        line: &Line<'_>,
        told: Told,
        (at, conn): (OffsetDateTime, u128),
    ) {
        if let Some(before) = self.conns.get(&conn).copied() {
            self.tell_again(line, told, before, (at, conn));
        } else if self.conns.len() < self.most.conns {
            if let Some(edge) = self.count(line, told, (at, conn)) {
                let is_decided = told.is_decided();
                self.conns.insert(conn, Counted { edge, is_decided });
            }
        } else if line.is_last() && told.is_decided() {
            // Of each connection there is but one such record, so it counts once without being remembered.
            self.count(line, told, (at, conn));
        }
    }

    /// All edges, and how they were read.
    pub(super) fn finish(self) -> (Vec<Edge>, Read) {
        let mut edges = self.edges;
        edges.retain(|edge| edge.count > 0);
        edges.sort_by(|one, other| order(one).cmp(&order(other)));
        (edges, self.read)
    }

    /// A record of a connection that is counted. What the called side says replaces what the calling side said.
    fn tell_again(
        &mut self,
        line: &Line<'_>,
        told: Told,
        before: Counted,
        (at, conn): (OffsetDateTime, u128),
    ) {
        if !told.is_decided() || before.is_decided {
            if let Some(edge) = self.edges.get_mut(before.edge) {
                edge.first = edge.first.min(at);
                edge.last = edge.last.max(at);
            }
            return;
        }
        if let Some(edge) = self.edges.get_mut(before.edge) {
            edge.count = edge.count.saturating_sub(1);
            edge.one_sided = edge.one_sided.saturating_sub(1);
        }
        if let Some(edge) = self.count(line, told, (at, conn)) {
            let is_decided = true;
            self.conns.insert(conn, Counted { edge, is_decided });
        }
    }

    /// Says of which edge it is one more; none where it is left out.
    fn count(
        &mut self,
        line: &Line<'_>,
        told: Told,
        (at, conn): (OffsetDateTime, u128),
    ) -> Option<usize> {
        let Some(key) = self.key(line, told) else {
            self.read.undecided += 1;
            return None;
        };
        let index = match self.by_key.get(&key) {
            Some(index) => *index,
            None if self.edges.len() >= self.most.edges => {
                self.read.beyond += 1;
                return None;
            }
            None => self.add(key, at, conn)?,
        };
        let edge = self.edges.get_mut(index)?;
        edge.count = edge.count.saturating_add(line.count());
        edge.first = edge.first.min(at);
        if told == Told::WentWell {
            edge.one_sided = edge.one_sided.saturating_add(line.count());
        }
        if line.is_unanswered() {
            edge.unanswered = edge.unanswered.saturating_add(line.count());
        }
        if told == Told::Decided(Was::Allowed) && line.is_by_passing_rule() {
            edge.passing = Passing {
                count: edge.passing.count.saturating_add(line.count()),
                rule: line.rule().and_then(|word| self.words.kept(word)),
                because: line.because().and_then(|word| self.words.kept(word)),
            };
        }
        // Whichever side speaks last, only the called one knows why.
        if told == Told::Revoked {
            edge.reason = self.words.kept(REVOKED);
        } else if told.is_decided() && (at >= edge.last || edge.reason.is_none()) {
            edge.reason = line.reason().and_then(|word| self.words.kept(word));
            edge.rule = line.rule().and_then(|word| self.words.kept(word));
        } else if told == Told::Refused && edge.reason.is_none() {
            edge.rule = line.rule().and_then(|word| self.words.kept(word));
        }
        if at >= edge.last {
            edge.last = at;
            edge.conn = conn;
        }
        Some(index)
    }

    /// A new edge, of which nothing was counted yet.
    fn add(&mut self, key: Key, at: OffsetDateTime, conn: u128) -> Option<usize> {
        let identity = key.identity.and_then(|id| self.identities.at(id));
        let at_address = key.at.and_then(|(namespace, replica)| {
            let namespace = self.names.at(namespace)?.clone();
            Some((namespace, self.names.at(replica)?.clone()))
        });
        let edge = Edge {
            from: self.callers.at(key.from)?.clone(),
            at: at_address,
            namespace: self.names.at(key.namespace)?.clone(),
            workload: key.workload.and_then(|name| self.names.at(name)).cloned(),
            identity: identity.cloned(),
            port: key.port,
            was: key.was,
            reason: None,
            rule: None,
            count: 0,
            first: at,
            last: at,
            conn,
            passing: Passing::default(),
            one_sided: 0,
            unanswered: 0,
        };
        let index = self.edges.len();
        self.edges.push(edge);
        self.by_key.insert(key, index);
        Some(index)
    }

    /// None where an end is not named, or by something that is no name.
    fn key(&mut self, line: &Line<'_>, told: Told) -> Option<Key> {
        let from = match line.src_identity() {
            Some(id) => self
                .callers
                .number(id, |id| id.parse().ok().map(Caller::Identity)),
            None => {
                let ip = line.src_ip()?;
                self.callers
                    .number(&ip.to_string(), |_| Some(Caller::Address(ip)))
            }
        }?;
        let identity = match line.dst_identity() {
            Some(id) => Some(self.identities.number(id, |id| id.parse().ok())?),
            None => None,
        };
        let account = identity.and_then(|id| self.identities.at(id));
        let account = account.and_then(SpiffeId::service_account);
        let namespace = line
            .dst_namespace()
            .or_else(|| account.map(|(namespace, _)| namespace))?;
        let namespace = self.names.number(namespace, name)?;
        let workload = match line.dst_workload() {
            Some(workload) => Some(self.names.number(workload, name)?),
            None if account.is_some() => None,
            None => return None,
        };
        let at = match (line.src_identity(), line.src_workload()) {
            (None, Some((of, replica))) => {
                let of = self.names.number(of, name)?;
                Some((of, self.names.number(replica, name)?))
            }
            (Some(_), _) | (None, None) => None,
        };
        Some(Key {
            from,
            at,
            namespace,
            workload,
            identity,
            port: line.port,
            was: told.was(),
            is_revoked: told == Told::Revoked,
        })
    }
}

fn name(text: &str) -> Option<Arc<str>> {
    subject::is_name(text).then(|| text.into())
}

impl Edge {
    /// Whether it was denied as the caller or the called one is revoked. Where the caller has no name then, nobody said it:
    /// the called side believes no certificate that it refuses.
    pub(crate) fn was_revoked(&self) -> bool {
        self.reason.as_deref() == Some(REVOKED)
    }
}

fn order(edge: &Edge) -> (&Caller, &str, Option<&str>, u16, Was) {
    let workload = edge.workload.as_deref();
    (&edge.from, &edge.namespace, workload, edge.port, edge.was)
}
