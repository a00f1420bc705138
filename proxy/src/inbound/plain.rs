//! An inbound connection without an identity: admitted only by a rule that names an unauthenticated source.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use palisade_api::policy::Source;
use palisade_api::workload::AtAddress;
use time::OffsetDateTime;
use tokio::net::TcpStream;

use super::clear::{self, Decided, Passed, Turned};
use super::{FIRST_BYTES, describe_client, describe_own, permitted_again};
use crate::authorize::{PolicyState, authorize_in_clear, until_denied};
use crate::lifecycle::{Phase, reached};
use crate::listen::reset;
use crate::outcome::{Failure, Outcome};
use crate::pod::Pod;
use crate::relay::{End, EndError, relay};
use crate::telemetry::{Direction, Record};
use crate::tls::{Hello, is_mesh_client_hello};
use crate::transport::Code;
use crate::usage::{Call, Open};

/// How the connection began.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) client: SocketAddr,
    pub(super) dst: SocketAddr,
    /// What it said so far.
    pub(super) first: Bytes,
    /// It said nothing in time: a server may speak first, or a ClientHello may be late.
    pub(super) silent: bool,
}

/// Serves it and records how it ended, once.
pub(super) async fn serve(pod: &Arc<Pod>, stream: TcpStream, opening: Opening) {
    let record = pod
        .telemetry
        .open_record(Direction::Inbound, opening.client, opening.dst);
    describe_own(pod, &record);
    let client = opening.client;
    let outcome = proxy(pod, &stream, opening, &record).await;
    // At once: its end may be told by that alone, and the record may have to wait for a name.
    if outcome.is_err() {
        reset(stream);
    } else {
        drop(stream);
    }
    describe_client(pod, &record, client).await;
    record.close(&outcome);
}

async fn proxy(pod: &Pod, stream: &TcpStream, opening: Opening, record: &Record) -> Outcome {
    let Opening {
        client,
        dst,
        first,
        silent,
    } = opening;
    let mut phases = pod.phases.clone();
    // Seen before the decision: whatever comes between is noticed by the wait below.
    let mut policy = pod.policy.clone();
    policy.mark_unchanged();
    let decided = OffsetDateTime::now_utc();
    let (beside, mut open) = admit(pod, client.ip(), dst, record).await?;
    let app = pod.dial.connect(dst).await.map_err(|error| {
        pod.usage.not_reached(&open, &error);
        Failure::Connect(Arc::new(error))
    })?;
    record.established();
    let late = Late {
        stream,
        first: Mutex::new(first),
        silent: AtomicBool::new(silent),
    };
    let source = Source::Unauthenticated(client.ip());
    let check = |state: &PolicyState, now| {
        let again = authorize_in_clear(state, (client.ip(), &beside), dst, now);
        permitted_again(pod, record, &mut open, (state, source, again))
    };
    let outcome = tokio::select! {
        biased;
        refusal = until_denied(policy, decided, check) => Err(Failure::Policy {
            revision: refusal.revision,
            denied: refusal.denied,
        }),
        () = reached(&mut phases, Phase::Stopping) => Err(Failure::Drain),
        relayed = relay(&late, &app, record.bytes()) => relayed,
    };
    if outcome.is_err() {
        reset(app);
    }
    outcome
}

/// Decides, counts and records; of one that is let in, what is known at its address.
async fn admit(
    pod: &Pod,
    client: IpAddr,
    dst: SocketAddr,
    record: &Record,
) -> Result<(Arc<AtAddress>, Open), Failure> {
    let patience = pod.config.args.lookup_timeout;
    let decided = clear::decide(&pod.policy, (&pod.book, patience), client, dst).await;
    let Decided { state, verdict } = decided;
    let call = Call {
        source: Source::Unauthenticated(client),
        port: dst.port(),
        state: &state,
    };
    match verdict {
        Ok(Passed { permit, beside }) => {
            if let AtAddress::Workload(workload) = &*beside {
                record.set_src_workload(workload);
            }
            let open = pod.usage.permitted(call, permit.decision());
            record.permitted(&permit);
            Ok((beside, open))
        }
        Err(Turned::Denied(refusal)) => {
            pod.usage.denied(call, &refusal);
            if let Some(decision) = &refusal.decision {
                record.decided(decision, refusal.revision);
            }
            Err(refusal.denied.into())
        }
        Err(Turned::Refused(reason)) => {
            pod.usage.refused(call, reason);
            Err(reason.into())
        }
    }
}

/// A client whose first bytes were read already, or who may yet turn out to be one of the mesh.
#[derive(Debug)]
struct Late<'a> {
    stream: &'a TcpStream,
    first: Mutex<Bytes>,
    /// It was silent, and what it says first is looked at before it is passed on.
    silent: AtomicBool,
}

impl Late<'_> {
    fn replayed(&self) -> Bytes {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *first)
    }

    /// What a client that was silent says first, once it is clear that it is no ClientHello of the mesh: that
    /// would come from a peer with an identity, and is never delivered without it.
    async fn belated(&self) -> Result<Option<Bytes>, EndError> {
        let mut said = BytesMut::new();
        loop {
            match End::read(self.stream, FIRST_BYTES).await? {
                Some(bytes) => said.extend_from_slice(&bytes),
                None if said.is_empty() => return Ok(None),
                None => return Ok(Some(said.freeze())),
            }
            match is_mesh_client_hello(&said) {
                Hello::Mesh => return Err(EndError::BelatedHello),
                Hello::Foreign | Hello::NotTls => return Ok(Some(said.freeze())),
                Hello::Incomplete => {}
            }
        }
    }
}

impl End for Late<'_> {
    async fn read(&self, most: usize) -> Result<Option<Bytes>, EndError> {
        let replayed = self.replayed();
        if !replayed.is_empty() {
            return Ok(Some(replayed));
        }
        if self.silent.swap(false, Ordering::Relaxed) {
            return self.belated().await;
        }
        End::read(self.stream, most).await
    }

    async fn room(&self) -> Result<usize, EndError> {
        End::room(self.stream).await
    }

    async fn failed(&self) -> EndError {
        End::failed(self.stream).await
    }

    async fn aborted(&self) -> EndError {
        End::aborted(self.stream).await
    }

    async fn write(&self, bytes: Bytes) -> Result<(), EndError> {
        End::write(self.stream, bytes).await
    }

    fn finish(&self, has_ended: bool) -> Result<(), EndError> {
        End::finish(self.stream, has_ended)
    }

    fn reset(&self, code: Code) {
        End::reset(self.stream, code);
    }
}
