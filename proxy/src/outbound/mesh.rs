//! To a workload of the mesh: a stream over a TLS connection to the identity that control names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use palisade_api::spiffe::SpiffeId;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Candidates, Endpoint, Outbound, OwnCall, of_client};
use crate::hop::Hop;
use crate::lifecycle::{Phase, reached};
use crate::listen::Arrival;
use crate::outcome::{ConnectError, Failure, Outcome, RefusedReason};
use crate::pod::Pod;
use crate::relay::{relay, said, session_ended};
use crate::standing;
use crate::telemetry::{Carrier, ConnId, Record, TlsFacts};
use crate::tls::error::HandshakeError;
use crate::tls::{self, Established, Secured};
use crate::transport::{Code, Open, OpenError, Opening, Pool, PoolError, SessionEnd, Stream};

/// TLS connections to other pods, shared by the streams that may ride on them.
pub type Peers = Pool<PeerKey, Established, ConnectError>;

/// What streams must have in common to share a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// Where it goes: a stream's destination is that of its connection.
    pub addr: SocketAddr,
    /// Who must answer there.
    pub expected: SpiffeId,
    /// The own SVID that it was made with; no new stream rides on a superseded one.
    pub svid_generation: u64,
}

pub(super) async fn proxy(
    outbound: &Outbound,
    stream: &mut Arrival,
    client: SocketAddr,
    candidates: &Candidates,
    record: &Record,
) -> Outcome {
    let opening = said_already(stream, client)?;
    let mut failure = Failure::from(RefusedReason::NoEndpoint);
    for endpoint in outbound.order(candidates) {
        record.set_endpoint(endpoint.addr);
        record.set_dst_workload(&endpoint.workload);
        record.set_dst_identity(&endpoint.workload.identity);
        let _active = outbound.endpoints.begin(endpoint.addr);
        match open(outbound, endpoint, &opening, record).await {
            Ok(opened) => {
                outbound.stay_with(candidates, endpoint);
                record.set_conn_id(ConnId(opened.facts().conn_id(opened.id())));
                record.set_tls(TlsFacts::from(&**opened.facts()));
                record.bytes().sent(opening.first.len() as u64);
                record.established();
                let outcome = match stream.watch() {
                    Ok(stream) => relayed(outbound, stream, &opened, record).await,
                    Err(error) => Err(of_client(error)),
                };
                outbound.ended_with(candidates, endpoint);
                return outcome;
            }
            Err(Attempt {
                failure: why,
                try_next,
            }) => {
                failure = why;
                if !try_next {
                    return Err(failure);
                }
                outbound.endpoints.failed(endpoint.addr, Instant::now());
            }
        }
    }
    Err(failure)
}

async fn relayed(
    outbound: &Outbound,
    stream: &TcpStream,
    opened: &Stream<Established>,
    record: &Record,
) -> Outcome {
    let mut phases = outbound.pod.phases.clone();
    tokio::select! {
        () = reached(&mut phases, Phase::Stopping) => {
            opened.reset(Code::Draining);
            Err(Failure::Drain)
        }
        relayed = relay(stream, opened, record.bytes()) => relayed,
    }
}

/// How an endpoint failed, and whether another may be tried: only where nothing was delivered.
struct Attempt {
    failure: Failure,
    try_next: bool,
}

async fn open(
    outbound: &Outbound,
    endpoint: &Endpoint,
    opening: &Opening,
    record: &Record,
) -> Result<Stream<Established>, Attempt> {
    let pod = &outbound.pod;
    let key = PeerKey {
        addr: endpoint.addr,
        expected: endpoint.workload.identity.clone(),
        svid_generation: pod.identity.snapshot().svid_generation,
    };
    let made = AtomicBool::new(false);
    let connect = || {
        made.store(true, Ordering::Relaxed);
        connect(outbound, endpoint, opening.open.source)
    };
    let opened = outbound.peers.open(&key, connect, opening.clone()).await;
    let carrier = if made.load(Ordering::Relaxed) {
        Carrier::New
    } else {
        Carrier::Reused
    };
    pod.telemetry.metrics().stream_opened(carrier);
    opened.map_err(|error| match error {
        PoolError::Connect(error) => Attempt {
            failure: Failure::from(&*error),
            try_next: true,
        },
        PoolError::Open { facts, error } => {
            record.set_tls(TlsFacts::from(&*facts));
            if let OpenError::Refused { stream, .. } = &error {
                record.set_conn_id(ConnId(facts.conn_id(*stream)));
            }
            attempt_failed(error)
        }
    })
}

fn attempt_failed(error: OpenError) -> Attempt {
    match error {
        // Nothing was delivered; but what one endpoint denies by policy, the others are asked no more.
        OpenError::Refused { code, rule, .. } => Attempt {
            try_next: !matches!(code, Code::Denied | Code::Revoked | Code::Expired),
            failure: Failure::PeerRefused { code, rule },
        },
        OpenError::Exhausted | OpenError::Full | OpenError::Retired => Attempt {
            failure: RefusedReason::NoMemory.into(),
            try_next: false,
        },
        OpenError::Unheard(end) => match late_alert(&end) {
            // The peer refused our certificate after our Finished: the handshake failed after all.
            Some(alert) => Attempt {
                failure: alert.into(),
                try_next: true,
            },
            None => may_be_delivered(&end),
        },
        // Even an alert: bytes that somebody else threw in bring one at any time.
        OpenError::SessionEnded(end) => may_be_delivered(&end),
    }
}

fn may_be_delivered(end: &SessionEnd) -> Attempt {
    Attempt {
        failure: session_ended(end),
        try_next: false,
    }
}

fn late_alert(end: &SessionEnd) -> Option<HandshakeError> {
    match end {
        SessionEnd::Cut(error) => tls::alert_of(error),
        SessionEnd::Clean
        | SessionEnd::Protocol(_)
        | SessionEnd::Dead
        | SessionEnd::Closed(_)
        | SessionEnd::PeerClosed(_) => None,
    }
}

/// Makes the TLS connection: over TCP to another pod, in memory to the own one.
async fn connect(
    outbound: &Outbound,
    endpoint: &Endpoint,
    client: Option<SocketAddr>,
) -> Result<(Secured<Hop>, Arc<Established>), ConnectError> {
    let pod = &outbound.pod;
    let snapshot = pod.identity.snapshot();
    let begun = Instant::now();
    let hop = if is_own(pod, endpoint) {
        let (near, far) = Hop::memory();
        let client = client.unwrap_or(endpoint.addr);
        let call = OwnCall {
            hop: far,
            client,
            dst: endpoint.addr,
        };
        if outbound.own.send(call).await.is_err() {
            return Err(ConnectError::Draining);
        }
        near
    } else {
        let stream = pod.dial.connect_peer(endpoint.addr).await;
        let stream = stream.map_err(|error| ConnectError::Reach(Arc::new(error)))?;
        Hop::tcp(stream, Bytes::new())
    };
    let now = OffsetDateTime::now_utc();
    let shaken = tls::originate(&snapshot, &endpoint.workload.identity, hop, now);
    let shaken = timeout(pod.config.args.handshake_timeout, shaken).await;
    match shaken.unwrap_or(Err(HandshakeError::TimedOut)) {
        Ok((tls, established)) => {
            pod.telemetry
                .metrics()
                .handshake_finished(established.group.unwrap_or_default(), begun.elapsed());
            Ok((tls, Arc::new(established)))
        }
        Err(error) => {
            pod.telemetry.metrics().handshake_failed(&error);
            Err(ConnectError::Handshake(Arc::new(error)))
        }
    }
}

fn is_own(pod: &Pod, endpoint: &Endpoint) -> bool {
    pod.policy.borrow().rules().is_some_and(|rules| {
        rules.own.addresses.contains(&endpoint.addr.ip())
            && rules.own.key() == endpoint.workload.key()
    })
}

/// What the application said before its connection was looked at: it travels with OPEN. Nothing is waited for.
fn said_already(stream: &Arrival, client: SocketAddr) -> Result<Opening, Failure> {
    let opening = |first: Bytes, first_is_all| {
        let open = Open {
            source: Some(client),
            ..Open::default()
        };
        Ok(Opening {
            open,
            first,
            first_is_all,
        })
    };
    match stream.socket().and_then(|socket| said(&socket)) {
        Ok(first) => {
            let first_is_all = first.is_empty();
            opening(first, first_is_all)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => opening(Bytes::new(), false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Failure::ResetByClient),
        Err(error) => Err(of_client(error)),
    }
}

/// Ends TLS connections when what they rest on ends, once a second and at every change of the identity: timers
/// sleep when a laptop does. Never resolves.
pub async fn sweep(outbound: Arc<Outbound>) {
    let mut snapshots = outbound.pod.identity.subscribe();
    let mut every = tokio::time::interval(WALL_CLOCK_STEP);
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let now = OffsetDateTime::now_utc();
        for code in [Code::Expired, Code::Revoked] {
            outbound.peers.close_where(
                |_, peer| standing::ended(peer, &snapshot, now) == Some(code),
                code,
            );
        }
        outbound
            .peers
            .retire_where(|_, peer| peer.is_superseded(&snapshot), Code::Expired);
        let counts = outbound.peers.counts();
        let active = counts.open_sessions.saturating_sub(counts.idle_sessions);
        let metrics = outbound.pod.telemetry.metrics();
        metrics.pool_is(counts.idle_sessions, active, counts.retired_sessions);
        tokio::select! {
            _ = every.tick() => {}
            changed = snapshots.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
        }
    }
}

const WALL_CLOCK_STEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn an_alert_is_a_refused_handshake_only_before_the_peer_said_anything() {
        let end = |error| SessionEnd::Cut(Arc::new(error));
        let alert = || {
            let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRevoked);
            end(io::Error::new(io::ErrorKind::InvalidData, alert))
        };
        let cut = || end(io::ErrorKind::UnexpectedEof.into());

        let refused = attempt_failed(OpenError::Unheard(alert()));
        assert!(refused.try_next && matches!(refused.failure, Failure::Handshake(_)));
        for error in [
            OpenError::Unheard(cut()),
            OpenError::SessionEnded(alert()),
            OpenError::SessionEnded(cut()),
        ] {
            let attempt = attempt_failed(error);
            assert!(!attempt.try_next && matches!(attempt.failure, Failure::SessionCut));
        }
    }
}
