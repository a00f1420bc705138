//! An inbound TLS connection of the mesh, and each of its streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use palisade_api::policy::Source;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use super::sources::Place;
use super::{describe_client, describe_own, permitted_again};
use crate::authorize::{Permit, PolicyState, Refusal, authorize, until_denied};
use crate::hop::Hop;
use crate::lifecycle::{Phase, reached};
use crate::outcome::{Denied, Failure, Outcome};
use crate::pod::Pod;
use crate::relay::{code_for, relay, session_ended};
use crate::standing;
use crate::telemetry::{ConnId, Direction, Record, TlsFacts};
use crate::tls::error::{HandshakeError, PeerError};
use crate::tls::{self, Established};
use crate::transport::{self, Code, Offered, SessionEnd, SessionHandle, Settings};
use crate::usage::Call;

/// The two ends of the TLS connection. Its destination is that of every stream in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) dst: SocketAddr,
}

/// Serves one TLS connection until it ends: a handshake that fails is recorded here, all else by stream.
pub(super) async fn serve(
    pod: &Arc<Pod>,
    hop: Hop,
    ends: Ends,
    deadline: Instant,
    handshake: Place,
) {
    let begun = Instant::now();
    let snapshot = pod.identity.snapshot();
    let shaken = timeout_at(
        deadline,
        tls::terminate(&snapshot, hop, OffsetDateTime::now_utc()),
    );
    let shaken = shaken.await.unwrap_or(Err(HandshakeError::TimedOut));
    drop(handshake);
    match shaken {
        Ok((tls, established)) => {
            pod.telemetry
                .metrics()
                .handshake_finished(established.group.unwrap_or_default(), begun.elapsed());
            serve_session(pod, tls, Arc::new(established), ends).await;
        }
        Err(error) => {
            pod.telemetry.metrics().handshake_failed(&error);
            let record = open_record(pod, ends);
            describe_client(pod, &record, ends.client).await;
            record.close(&Err(error.into()));
        }
    }
}

async fn serve_session<T>(pod: &Arc<Pod>, tls: T, peer: Arc<Established>, ends: Ends)
where
    T: tokio::io::AsyncBufRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let _alive = pod.sessions.clone();
    let settings = Settings::default();
    let (mut incoming, driver) =
        transport::server(tls, Arc::clone(&peer), settings, pod.budget.clone());
    let handle = incoming.handle();
    let mut guard = std::pin::pin!(guard(pod, &peer, &handle));
    let mut driver = std::pin::pin!(driver);
    let end = loop {
        tokio::select! {
            // Streams that have come are all taken before the session is looked at again.
            biased;
            offered = incoming.next() => match offered {
                Some(offered) => {
                    let stream = serve_stream(Arc::clone(pod), offered, Arc::clone(&peer), ends);
                    tokio::spawn(stream);
                }
                None => break driver.await,
            },
            end = &mut driver => break end,
            () = &mut guard => {}
        }
    };
    record_violation(pod, &peer, ends, &end).await;
}

/// A peer that breaks the protocol is recorded, whether a stream was open or not.
async fn record_violation(pod: &Arc<Pod>, peer: &Established, ends: Ends, end: &SessionEnd) {
    if matches!(end, SessionEnd::Protocol(_)) {
        let record = open_record(pod, ends);
        record.set_tls(TlsFacts::from(peer));
        record.set_src_identity(peer.peer.id());
        describe_client(pod, &record, ends.client).await;
        record.close(&Err(session_ended(end)));
    }
}

/// Ends the session when what it rests on ends: either SVID, the peer's standing, the proxy itself. Looks at
/// the wall clock when the first SVID ends, and once a second, because timers sleep when a laptop does. Never
/// resolves.
async fn guard(pod: &Pod, peer: &Established, session: &SessionHandle) {
    let mut snapshots = pod.identity.subscribe();
    let mut phases = pod.phases.clone();
    let mut phase = Phase::Running;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let now = OffsetDateTime::now_utc();
        if let Some(code) = standing::ended(peer, &snapshot, now) {
            session.close(code);
        } else if peer.is_superseded(&snapshot) {
            session.retire(Code::Expired);
        }
        let next = if phase < Phase::Draining {
            Phase::Draining
        } else {
            Phase::Stopping
        };
        tokio::select! {
            () = tokio::time::sleep(next_look(peer.ends_at(), now)) => {}
            _ = snapshots.changed() => {}
            () = reached(&mut phases, next), if phase < Phase::Stopping => {
                phase = next;
                match phase {
                    Phase::Running | Phase::Draining => session.retire(Code::Draining),
                    Phase::Stopping => session.close(Code::Draining),
                }
            }
        }
    }
}

/// How long the wall clock may go unread.
fn next_look(ends_at: OffsetDateTime, now: OffsetDateTime) -> Duration {
    match Duration::try_from(ends_at - now) {
        Ok(left) if !left.is_zero() => left.min(WALL_CLOCK_STEP),
        Ok(_) | Err(_) => WALL_CLOCK_STEP,
    }
}

/// Serves one stream and records how it ended, once.
async fn serve_stream(
    pod: Arc<Pod>,
    offered: Offered<Established>,
    peer: Arc<Established>,
    ends: Ends,
) {
    let record = open_record(&pod, ends);
    record.set_conn_id(ConnId(peer.conn_id(offered.id())));
    record.set_tls(TlsFacts::from(&*peer));
    record.set_src_identity(peer.peer.id());
    if let Some(source) = offered.open().source {
        record.set_claimed(&source.to_string());
    }
    let proxied = proxy(&pod, offered, &peer, ends.dst, &record);
    // At once, so that a long connection's `open` has the name too.
    let (outcome, ()) = tokio::join!(proxied, describe_client(&pod, &record, ends.client));
    record.close(&outcome);
}

async fn proxy(
    pod: &Pod,
    offered: Offered<Established>,
    peer: &Established,
    dst: SocketAddr,
    record: &Record,
) -> Outcome {
    // Read before the decision: a revision that comes between is then seen by the wait below.
    let mut policy = pod.policy.clone();
    let state = policy.borrow_and_update().clone();
    let call = Call {
        source: Source::Authenticated(peer.peer.id()),
        port: dst.port(),
        state: &state,
    };
    let decided = OffsetDateTime::now_utc();
    let permit = match permit(pod, &state, peer, dst) {
        Ok(permit) => permit,
        Err(refusal) => {
            pod.usage.denied(call, &refusal);
            return Err(refuse(pod, offered, peer, refusal, record));
        }
    };
    let mut open = pod.usage.permitted(call, permit.decision());
    record.permitted(&permit);
    // A long stream must not keep the rules under which it began.
    drop(state);

    // At the address that was asked for, and never at loopback.
    let app = match pod.dial.connect(permit.dst()).await {
        Ok(app) => app,
        Err(error) => {
            pod.usage.not_reached(&open, &error);
            let failure = Failure::Connect(Arc::new(error));
            offered.refuse(code_for(&failure), None);
            return Err(failure);
        }
    };
    let stream = offered.accept();
    record.established();
    let source = Source::Authenticated(peer.peer.id());
    let check = |state: &PolicyState, now| {
        let again = authorize(state, source, dst, now);
        permitted_again(pod, record, &mut open, (state, source, again))
    };
    let outcome = tokio::select! {
        // The decision first: what a newer policy forbids is not delivered because it was faster.
        biased;
        refusal = until_denied(policy, decided, check) => Err(Failure::Policy {
            revision: refusal.revision,
            denied: refusal.denied,
        }),
        relayed = relay(&stream, &app, record.bytes()) => relayed,
    };
    if let Err(failure) = &outcome {
        stream.reset(code_for(failure));
        crate::listen::reset(app);
    }
    outcome
}

/// The peer's standing, checked again for this stream, and then the rules.
fn permit(
    pod: &Pod,
    state: &PolicyState,
    peer: &Established,
    dst: SocketAddr,
) -> Result<Permit, Refusal> {
    let now = OffsetDateTime::now_utc();
    if let Err(error) = peer.peer.still_valid(&pod.identity.snapshot(), now) {
        let denied = match error {
            PeerError::Expired | PeerError::NotYetValid => Denied::Expired,
            PeerError::Revoked => Denied::Revoked,
            PeerError::NoCertificate
            | PeerError::Malformed
            | PeerError::NoUriName
            | PeerError::ManyUriNames
            | PeerError::NotSpiffe(_)
            | PeerError::UnknownTrustDomain(_)
            | PeerError::UnknownAuthority
            | PeerError::LeafIsAuthority
            | PeerError::KeyUsage
            | PeerError::Unexpected { .. }
            | PeerError::Chain => Denied::Untrusted,
        };
        return Err(Refusal {
            denied,
            decision: None,
            revision: 0,
        });
    }
    authorize(state, Source::Authenticated(peer.peer.id()), dst, now)
}

/// Tells the peer, and the record, of a denial. The rule's name stays within the trust domain.
fn refuse(
    pod: &Pod,
    offered: Offered<Established>,
    peer: &Established,
    refusal: Refusal,
    record: &Record,
) -> Failure {
    if let Some(decision) = &refusal.decision {
        record.decided(decision, refusal.revision);
    }
    let same_domain = peer.peer.id().trust_domain() == pod.identity.trust_domain();
    let rule = if let Denied::Rule(rule) = &refusal.denied
        && same_domain
    {
        Some(rule.to_string())
    } else {
        None
    };
    offered.refuse(refusal.denied.code(), rule.as_deref());
    refusal.denied.into()
}

fn open_record(pod: &Pod, ends: Ends) -> Record {
    let record = pod
        .telemetry
        .open_record(Direction::Inbound, ends.client, ends.dst);
    // Asked for now, so that it is known when the record is closed.
    let _known_already = pod.workload_at(ends.client);
    describe_own(pod, &record);
    record
}

const WALL_CLOCK_STEP: Duration = Duration::from_secs(1);
