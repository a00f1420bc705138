//! The record of one connection: opened at accept, closed exactly once, even by cancellation.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_api::policy::Decision;
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::Workload;
use tokio::time::Instant;

use super::Telemetry;
use super::facts::{ConnId, Direction, End, Facts, PolicyFacts, TlsFacts};
use super::said::said;
use crate::authorize::Permit;
use crate::outcome::{Failure, Outcome};

/// The record of one connection. Filled as facts become known; dropping it closes it as cancelled.
#[derive(Debug)]
pub struct Record {
    connection: Arc<Connection>,
}

/// Counts a connection's bytes as they move. Cheap to clone.
///
/// *Sent* goes from the connection's client to its server, *received* from the server to the client, on both
/// sides of the mesh alike: so the two records of a connection agree, whichever way each proxy faces.
#[derive(Debug, Clone)]
pub struct ByteCounts {
    connection: Arc<Connection>,
}

/// What the record, its byte counts and the sweep share.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) number: u64,
    pub(super) opened: Instant,
    direction: Direction,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    /// It is in the table of live connections.
    pub(super) established: AtomicBool,
    /// The pod's own application has ended its half.
    application_ended: AtomicBool,
    ended: AtomicBool,
    facts: Mutex<Facts>,
}

impl Record {
    pub(super) fn open(telemetry: &Arc<Telemetry>, facts: Facts, number: u64) -> Self {
        telemetry.metrics().connection_opened();
        let connection = Arc::new(Connection {
            telemetry: Arc::clone(telemetry),
            number,
            opened: Instant::now(),
            direction: facts.direction,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            established: AtomicBool::new(false),
            application_ended: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            facts: Mutex::new(facts),
        });
        Self { connection }
    }

    /// The name that both sides derive from the TLS session. Until then it is random and local.
    pub fn set_conn_id(&self, id: ConnId) {
        self.connection.facts().conn_id = id;
    }

    /// The client's name: proven (inbound), or this proxy's own (outbound).
    pub fn set_src_identity(&self, id: &SpiffeId) {
        self.connection.facts().src.identity = Some(id.clone());
    }

    /// The server's name: this proxy's own (inbound), or the one that must answer (outbound).
    pub fn set_dst_identity(&self, id: &SpiffeId) {
        self.connection.facts().dst.identity = Some(id.clone());
    }

    /// The client's workload, by control's table.
    pub fn set_src_workload(&self, workload: &Workload) {
        let mut facts = self.connection.facts();
        facts.src.is_workload(&workload.namespace, &workload.name);
    }

    /// The server's workload, by control's table.
    pub fn set_dst_workload(&self, workload: &Workload) {
        let mut facts = self.connection.facts();
        facts.dst.is_workload(&workload.namespace, &workload.name);
    }

    /// The service that the client called, `namespace/name`.
    pub fn set_service(&self, namespace: &str, name: &str) {
        self.connection.facts().dst_service = Some(format!("{namespace}/{name}").into());
    }

    /// The endpoint that was chosen behind the original destination; `dst.addr` and `dst.port` from now on.
    pub fn set_endpoint(&self, endpoint: SocketAddr) {
        let mut facts = self.connection.facts();
        facts.dst.addr = End::at(endpoint).addr;
        // What an endpoint tried before established says nothing of this one.
        facts.tls = None;
    }

    /// What the peer's OPEN says of the client. A claim: it is bounded and stripped, and decides nothing.
    pub fn set_claimed(&self, claim: &str) {
        self.connection.facts().src_claimed = Some(said(claim));
    }

    /// What the handshake established.
    pub fn set_tls(&self, tls: TlsFacts) {
        let tls = TlsFacts {
            peer_serial: said(&tls.peer_serial),
            ..tls
        };
        self.connection.facts().tls = Some(Box::new(tls));
    }

    /// What policy decided for this connection, at its beginning. Counted; say it once.
    pub fn decided(&self, decision: &Decision, revision: u64) {
        self.connection.telemetry.metrics().decided(decision);
        self.connection.facts().policy = Some(Box::new(PolicyFacts::of(decision, revision)));
    }

    /// The same, of one that is let through: by a rule that is there for a while only, perhaps.
    pub fn permitted(&self, permit: &Permit) {
        self.connection
            .telemetry
            .metrics()
            .decided(permit.decision());
        self.connection.facts().policy = Some(Box::new(policy_facts(permit)));
    }

    /// It is permitted still, by a newer policy or by another rule: that is what holds for it now. Not counted again. That
    /// it was let in for a while only stays said.
    pub fn permitted_again(&self, permit: &Permit) {
        let mut now = policy_facts(permit);
        let mut facts = self.connection.facts();
        if let Some(before) = &mut facts.policy
            && now.expires.is_none()
        {
            now.expires = before.expires;
            now.because = before.because.take();
        }
        facts.policy = Some(Box::new(now));
    }

    /// Both ends are reached and bytes may move: from now on it counts towards `open` and `progress`.
    pub fn established(&self) {
        if !self.connection.established.swap(true, Ordering::Relaxed) {
            self.connection.telemetry.established(&self.connection);
        }
    }

    /// The counts that the relay bumps.
    pub fn bytes(&self) -> ByteCounts {
        ByteCounts {
            connection: Arc::clone(&self.connection),
        }
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Closes the record: writes its line, counts its end.
    pub fn close(self, outcome: &Outcome) {
        self.connection.end(outcome);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.connection.end(&Err(Failure::Cancelled));
    }
}

impl ByteCounts {
    /// Bytes went from the client to the server.
    pub fn sent(&self, bytes: u64) {
        let connection = &self.connection;
        connection.sent.fetch_add(bytes, Ordering::Relaxed);
        connection
            .telemetry
            .metrics()
            .bytes_sent(connection.direction, bytes);
    }

    /// Bytes went from the server to the client.
    pub fn received(&self, bytes: u64) {
        let connection = &self.connection;
        connection.received.fetch_add(bytes, Ordering::Relaxed);
        connection
            .telemetry
            .metrics()
            .bytes_received(connection.direction, bytes);
    }

    /// The client says no more.
    pub fn client_ended(&self) {
        self.ended(Direction::Outbound);
    }

    /// The server says no more.
    pub fn server_ended(&self) {
        self.ended(Direction::Inbound);
    }

    /// In this direction the one who ended is the pod's own application.
    fn ended(&self, direction: Direction) {
        if self.connection.direction == direction {
            self.connection
                .application_ended
                .store(true, Ordering::Relaxed);
        }
    }
}

impl Connection {
    /// Held for as long as a field is set or a line is rendered and handed to the writer.
    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The bytes so far, where the own application has ended its half; none where it may still speak.
    pub(super) fn left_with(&self) -> Option<u64> {
        let bytes = [&self.sent, &self.received].map(|count| count.load(Ordering::Relaxed));
        let has_left = self.application_ended.load(Ordering::Relaxed);
        has_left.then(|| bytes.iter().sum())
    }

    /// The first end counts; every later one is the `Drop` of a closed record.
    fn end(self: &Arc<Self>, outcome: &Outcome) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.facts().ended(outcome);
        self.telemetry.ended(self, outcome);
    }
}

fn policy_facts(permit: &Permit) -> PolicyFacts {
    let mut facts = PolicyFacts::of(permit.decision(), permit.revision());
    if let Some(expiring) = permit.expiring() {
        facts.expires = Some(expiring.expires);
        facts.because = Some(said(&expiring.reason)).filter(|because| !because.is_empty());
    }
    facts
}
