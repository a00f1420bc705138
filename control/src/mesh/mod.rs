//! gRPC `Mesh`: who may watch, and the stream that it gets.

mod channel;
mod held;
mod roster;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use palisade_api::usage::METADATA;
use palisade_api::wire::{self, WatchRequest, WatchResponse, watch_request};
use palisade_api::workload::Workload;

use crate::grpc::mesh_server::Mesh;
use crate::index::Index;
use crate::listen::Caller;
use crate::telemetry::metrics::Metrics;
use crate::tls::VerifiedPeer;
use crate::usage::Usage;

pub(crate) use roster::{Held, Roster};
use session::Session;

/// The service, and what all its streams share.
#[derive(Debug, Clone)]
pub(crate) struct MeshService {
    pub(crate) index: watch::Receiver<Arc<Index>>,
    /// True once control stops.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Mesh for MeshService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let peer = request
            .extensions()
            .get::<Caller>()
            .and_then(|caller| caller.peer.clone())
            .ok_or_else(|| Status::unauthenticated("a watch needs a client certificate"))?;
        let service = self.clone();
        let requests = request.into_inner();
        let (responses, stream) = mpsc::channel(QUEUED_RESPONSES);
        // The answer's headers go at once; a proxy that waits for its workload to be known sees an open stream.
        tokio::spawn(async move {
            let metrics = Arc::clone(&service.metrics);
            if let Err(status) = serve(service, &peer, requests, &responses).await {
                tell(&metrics, &peer, &status);
                // Where nobody reads any more, nobody needs the reason.
                responses.try_send(Err(status)).ok();
            }
        });
        let stream: Self::WatchStream = Box::pin(ReceiverStream::new(stream));
        let mut response = Response::new(stream);
        let taken = MetadataValue::from_static("1");
        response.metadata_mut().insert(METADATA, taken);
        Ok(response)
    }
}

/// Says why a stream ended; a refusal is counted too.
fn tell(metrics: &Metrics, peer: &VerifiedPeer, status: &Status) {
    let pod = peer.bound().map(ToString::to_string).unwrap_or_default();
    let (peer, said) = (peer.id(), status.message());
    let reason = if status.code() == Code::PermissionDenied {
        "denied"
    } else if status.code() == Code::ResourceExhausted {
        "exhausted"
    } else {
        tracing::info!(%peer, pod, status = %said, "a watch ended");
        return;
    };
    metrics.watch_refused(reason);
    tracing::warn!(%peer, pod, reason, status = %said, "a watch was refused");
}

/// One proxy's stream, from its hello to its end.
async fn serve(
    mut service: MeshService,
    peer: &VerifiedPeer,
    mut requests: Streaming<WatchRequest>,
    responses: &mpsc::Sender<Result<WatchResponse, Status>>,
) -> Result<(), Status> {
    let mut stopping = service.stopping.clone();
    let hello = tokio::select! {
        hello = hello(&mut requests) => hello?,
        () = responses.closed() => return Ok(()),
        _ = stopping.wait_for(|stopping| *stopping) => return Err(stopped()),
    };
    let workload = tokio::select! {
        workload = awaited(&mut service.index, &hello.workload) => workload?,
        () = responses.closed() => return Ok(()),
        () = ended(peer) => return Err(expired()),
        _ = stopping.wait_for(|stopping| *stopping) => return Err(stopped()),
    };
    admit(&service.index.borrow(), &workload, peer)?;
    tracing::info!(workload = %hello.workload, version = %printable(&hello.version), "a proxy watches");
    let mut index = service.index.clone();
    let session = Session::new(service, peer, hello, responses)?;
    // In this order: one who is revoked is not sent the index that says so.
    tokio::select! {
        biased;
        () = revoked(&mut index, peer) => Err(Status::permission_denied("the identity is revoked")),
        () = responses.closed() => Ok(()),
        ended = session.run(&mut requests) => ended,
        () = ended(peer) => Err(expired()),
        _ = stopping.wait_for(|stopping| *stopping) => Err(stopped()),
    }
}

async fn hello(requests: &mut Streaming<WatchRequest>) -> Result<wire::Hello, Status> {
    let first = timeout(HELLO_TIME, requests.next())
        .await
        .map_err(|_elapsed| Status::deadline_exceeded("no hello came in time"))?
        .ok_or_else(|| Status::invalid_argument("the stream ended before its hello"))??;
    match first.message {
        Some(watch_request::Message::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("the first message is a hello")),
    }
}

/// A proxy can be faster than the file that names its workload.
async fn awaited(index: &mut watch::Receiver<Arc<Index>>, key: &str) -> Result<Workload, Status> {
    let known = index.wait_for(|index| index.workload(key).is_some());
    let index = timeout(WORKLOAD_TIME, known)
        .await
        .map_err(|_elapsed| unknown_workload())?
        .map_err(|_closed| stopped())?;
    index.workload(key).cloned().ok_or_else(unknown_workload)
}

/// What the proxy runs, it says; that it may run it, its SVID says: by its service account and, where workloads are
/// pods, by the one pod that it was issued to. A pod that comes again under its name is another.
fn admit(index: &Index, workload: &Workload, peer: &VerifiedPeer) -> Result<(), Status> {
    if workload.identity != *peer.id() {
        return Err(Status::permission_denied(format!(
            "{} has another service account than the SVID",
            workload.key()
        )));
    }
    let is_bound = match index.workload_uid(&workload.key()) {
        None => true,
        Some(uid) => peer.bound().is_some_and(|pod| {
            (&*pod.namespace, &*pod.name, &*pod.uid) == (&*workload.namespace, &*workload.name, uid)
        }),
    };
    if is_bound {
        Ok(())
    } else {
        Err(Status::permission_denied(format!(
            "the SVID was issued to another pod than {}",
            workload.key()
        )))
    }
}

/// Until the peer is refused; a slow reader is not waited for.
async fn revoked(index: &mut watch::Receiver<Arc<Index>>, peer: &VerifiedPeer) {
    let refused = |index: &Arc<Index>| index.revoked().refuses(peer.id(), peer.serial());
    if index.wait_for(refused).await.is_err() {
        // Control stops, which is another reason to end.
        std::future::pending().await
    }
}

/// Until the peer's certificate ends, by the wall clock: timers sleep when a laptop does.
async fn ended(peer: &VerifiedPeer) {
    while OffsetDateTime::now_utc() < peer.not_after() {
        sleep(CLOCK_CHECK).await;
    }
}

/// What a peer says about itself, fit for a log.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_PRINTED_CHARS)
        .collect()
}

fn expired() -> Status {
    Status::unauthenticated("the SVID has expired")
}

fn stopped() -> Status {
    Status::unavailable("control is stopping")
}

fn unknown_workload() -> Status {
    Status::not_found("the workload is unknown")
}

const HELLO_TIME: Duration = Duration::from_secs(10);
const WORKLOAD_TIME: Duration = Duration::from_secs(10);
/// At most this long a watch outlives its SVID.
const CLOCK_CHECK: Duration = Duration::from_millis(250);
/// A proxy that reads slowly is given newer differences, not more of them.
const QUEUED_RESPONSES: usize = 4;
const MAX_PRINTED_CHARS: usize = 200;
