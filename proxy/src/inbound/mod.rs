//! One inbound connection, top to bottom: where it was going, what it speaks, and who serves that.
//!
//! `mesh` serves what offers our ALPN, `plain` everything else, as a source without an identity, on which `clear` decides.

pub(crate) mod clear;
mod mesh;
mod plain;
mod sources;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_api::policy::Source;
use palisade_api::workload::AtAddress;
use socket2::SockRef;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::authorize::{Permit, PolicyState, Refusal, authorize};
use crate::hop::Hop;
use crate::lifecycle::Phase;
use crate::listen::{Accepted, reset};
use crate::original_dst::{OriginalDst, OriginalDstError, canonical, is_own};
use crate::outcome::{Failure, RefusedReason};
use crate::pod::Pod;
use crate::relay::{End, EndError};
use crate::telemetry::{Direction, Record};
use crate::tls::error::HandshakeError;
use crate::tls::{Hello, is_mesh_client_hello};
use crate::usage::{Call, Open};

use sources::Place;
pub use sources::Sources;

/// What inbound connections share.
#[derive(Debug)]
pub struct Inbound {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Handshakes in progress, by source.
    pub sources: Sources,
}

/// Serves one inbound connection; what it carries is recorded by whoever serves it.
pub async fn serve(inbound: Arc<Inbound>, accepted: Accepted) {
    let Accepted {
        stream,
        client,
        place,
    } = accepted;
    let started = Instant::now();
    let stream = match stream.into_watched() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection could not be watched"),
    };
    let (dst, handshake) = match admit(&inbound, &stream, client, place.is_some()) {
        Ok(admitted) => admitted,
        Err((dst, reason)) => return refuse(&inbound.pod, stream, client, dst, reason.into()),
    };
    match spoken(&inbound.pod, &stream, client, dst).await {
        Ok(Spoken::Mesh(first)) => {
            let deadline = started + inbound.pod.config.args.handshake_timeout;
            let (hop, ends) = (Hop::tcp(stream, first), mesh::Ends { client, dst });
            mesh::serve(&inbound.pod, hop, ends, deadline, handshake).await;
        }
        Ok(Spoken::Plain { first, silent }) => {
            drop(handshake);
            let opening = plain::Opening {
                client,
                dst,
                first,
                silent,
            };
            plain::serve(&inbound.pod, stream, opening).await;
        }
        Err(failure) => refuse(&inbound.pod, stream, client, dst, failure),
    }
}

type Turned = (SocketAddr, RefusedReason);

/// Everything that is asked before the first byte is read: where it was going, and whether there is room.
fn admit(
    inbound: &Inbound,
    stream: &TcpStream,
    client: SocketAddr,
    has_place: bool,
) -> Result<(SocketAddr, Place), Turned> {
    let unresolved = stream.local_addr().map_or(client, canonical);
    if !has_place {
        return Err((unresolved, RefusedReason::TooManyConnections));
    }
    let dst = match destination(stream, client) {
        Ok(dst) => dst,
        Err((dst, reason)) => return Err((dst.unwrap_or(unresolved), reason)),
    };
    if *inbound.pod.phases.borrow() >= Phase::Draining {
        return Err((dst, RefusedReason::Draining));
    }
    inbound.pod.ready().map_err(|reason| (dst, reason))?;
    let handshake = inbound.sources.admit(client.ip());
    Ok((
        dst,
        handshake.ok_or((dst, RefusedReason::TooManyHandshakes))?,
    ))
}

fn refuse(pod: &Arc<Pod>, stream: TcpStream, client: SocketAddr, dst: SocketAddr, why: Failure) {
    let record = pod.telemetry.open_record(Direction::Inbound, client, dst);
    describe_own(pod, &record);
    record.close(&Err(why));
    reset(stream);
}

/// Serves a connection that the own outbound side makes to its own workload, in memory: the same handshake,
/// the same authorization and the same records as any other.
pub async fn serve_own(inbound: Arc<Inbound>, hop: Hop, client: SocketAddr, dst: SocketAddr) {
    let Some(handshake) = inbound.sources.admit(client.ip()) else {
        let record = inbound
            .pod
            .telemetry
            .open_record(Direction::Inbound, client, dst);
        return record.close(&Err(RefusedReason::TooManyHandshakes.into()));
    };
    let deadline = Instant::now() + inbound.pod.config.args.handshake_timeout;
    mesh::serve(
        &inbound.pod,
        hop,
        mesh::Ends { client, dst },
        deadline,
        handshake,
    )
    .await;
}

type Misdirected = (Option<SocketAddr>, RefusedReason);

/// Where the connection was going: an address of this pod, and no port of ours.
fn destination(stream: &TcpStream, client: SocketAddr) -> Result<SocketAddr, Misdirected> {
    let dst = match OriginalDst::of(&SockRef::from(stream), client) {
        Ok(dst) => dst.addr(),
        Err(OriginalDstError::OwnPort(dst)) => return Err((Some(dst), RefusedReason::OwnPort)),
        Err(OriginalDstError::NotRedirected | OriginalDstError::Unknown(_)) => {
            return Err((None, RefusedReason::NotOurAddress));
        }
    };
    match is_own(dst.ip()) {
        Ok(true) => Ok(dst),
        Ok(false) | Err(_) => Err((Some(dst), RefusedReason::NotOurAddress)),
    }
}

enum Spoken {
    /// A ClientHello that offers our ALPN begins so.
    Mesh(Bytes),
    /// Anything else; silent: nothing was said in time.
    Plain { first: Bytes, silent: bool },
}

/// Reads until it is clear what is spoken. First bytes are read and replayed, not peeked at: a post-quantum
/// ClientHello spans segments.
async fn spoken(
    pod: &Pod,
    stream: &TcpStream,
    client: SocketAddr,
    dst: SocketAddr,
) -> Result<Spoken, Failure> {
    let started = Instant::now();
    let patience = pod.config.args.handshake_timeout;
    let mut first = BytesMut::new();
    loop {
        let wait = if first.is_empty() && may_be_silent(pod, client, dst) {
            SILENCE.min(patience)
        } else {
            patience
        };
        let read = match timeout_at(started + wait, End::read(stream, FIRST_BYTES)).await {
            Ok(read) => read,
            Err(_elapsed) if first.is_empty() && may_be_silent(pod, client, dst) => {
                return Ok(Spoken::Plain {
                    first: Bytes::new(),
                    silent: true,
                });
            }
            Err(_elapsed) => return Err(HandshakeError::TimedOut.into()),
        };
        match read {
            Ok(Some(bytes)) => first.extend_from_slice(&bytes),
            Ok(None) if first.is_empty() => {
                // Nothing was said, and nothing will be: an application may still answer to that.
                return Ok(Spoken::Plain {
                    first: Bytes::new(),
                    silent: false,
                });
            }
            Ok(None) => {
                return Ok(Spoken::Plain {
                    first: first.freeze(),
                    silent: false,
                });
            }
            Err(EndError::Io(error)) => return Err(HandshakeError::Cut(error).into()),
            Err(EndError::Stream(_) | EndError::BelatedHello) => return Err(Failure::SessionCut),
        }
        match is_mesh_client_hello(&first) {
            Hello::Mesh => return Ok(Spoken::Mesh(first.freeze())),
            Hello::Foreign | Hello::NotTls => {
                return Ok(Spoken::Plain {
                    first: first.freeze(),
                    silent: false,
                });
            }
            Hello::Incomplete => {}
        }
    }
}

/// Whether a client that says nothing for [`SILENCE`] is taken for one whose server speaks first: a rule
/// admits it without an identity, and its address is not known as meshed (a lost ClientHello looks the same).
fn may_be_silent(pod: &Pod, client: SocketAddr, dst: SocketAddr) -> bool {
    let now = OffsetDateTime::now_utc();
    let source = Source::Unauthenticated(client.ip());
    if authorize(&pod.policy.borrow(), source, dst, now).is_err() {
        return false;
    }
    match pod.workload_at(client).as_deref() {
        Some(AtAddress::Workload(workload)) => !workload.meshed,
        Some(AtAddress::Service(_) | AtAddress::Outside | AtAddress::Unknown) => true,
        None => false,
    }
}

/// What the record says of a source whose address control knows: from control's table, never from the peer.
///
/// The first connection from an address asks for it, so the answer is waited for, shortly, once the connection
/// has ended: nothing but its record is late then.
/// What an open connection is decided by now: counted and recorded where it may go on, else why not.
fn permitted_again(
    pod: &Pod,
    record: &Record,
    open: &mut Open,
    (state, source, again): (&PolicyState, Source<'_>, Result<Permit, Refusal>),
) -> Option<Refusal> {
    let permit = match again {
        Ok(permit) => permit,
        Err(refusal) => return Some(refusal),
    };
    let port = permit.dst().port();
    let call = Call {
        source,
        port,
        state,
    };
    pod.usage.permitted_again(open, call, permit.decision());
    record.permitted_again(&permit);
    None
}

async fn describe_client(pod: &Pod, record: &Record, client: SocketAddr) {
    let at = pod.book.lookup(client.ip(), RECORD_PATIENCE).await;
    if let Some(AtAddress::Workload(workload)) = at.as_deref() {
        record.set_src_workload(workload);
    }
}

/// The own side of the record.
fn describe_own(pod: &Pod, record: &Record) {
    if let Some(rules) = pod.policy.borrow().rules() {
        record.set_dst_workload(&rules.own);
        record.set_dst_identity(&rules.own.identity);
    }
}

/// Read at a time until it is clear what is spoken.
const FIRST_BYTES: usize = 16 * 1024;
/// How long a record waits for the name of its source.
const RECORD_PATIENCE: Duration = Duration::from_millis(500);
/// How long a client may be silent where its server may speak first.
const SILENCE: Duration = Duration::from_secs(1);
