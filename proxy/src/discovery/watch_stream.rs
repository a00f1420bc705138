//! The task that keeps the stream from control open.

use std::time::Duration;

use palisade_api::convert::ip_to_wire;
use palisade_api::usage::METADATA;
use palisade_api::wire::{self, watch_request::Message};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Discovery;
use super::addresses::Ask;
use crate::grpc::mesh_client::MeshClient;
use crate::identity::control::{ControlAddr, ControlError, connect, origin};
use crate::identity::rotate::retry_after;
use crate::random;
use crate::usage::{Due, Reporter};

/// Where control is, and as what the proxy presents itself.
#[derive(Debug, Clone)]
pub struct Control {
    /// Where control serves, and what it must be called.
    pub addr: ControlAddr,
    /// `namespace/name` of the own workload.
    pub workload: String,
}

/// Keeps a stream to control open, until `reporter` has told the last of what was counted: applies what comes, asks for addresses, and opens it anew,
/// with backoff and with an inventory, when it ends or when the own SVID was renewed.
pub async fn run(
    mut discovery: Discovery,
    control: Control,
    mut asked: mpsc::UnboundedReceiver<Ask>,
    mut reporter: Reporter,
) {
    let mut attempt = 0;
    loop {
        match watch_once(&mut discovery, &control, &mut asked, &mut reporter).await {
            Ok(Ended::Finished) => return,
            Ok(Ended::Renewed) => attempt = 0,
            Ok(Ended::ByControl) => {
                tracing::info!("control ended the stream; opening it anew");
                attempt = 1;
            }
            Err(error) => {
                attempt += 1;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, attempt, "no stream from control");
                discovery.trouble.send_replace(Some(match cause {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                }));
            }
        }
        if attempt > 0 {
            discovery.answer_without_control();
            let pause = retry_after(attempt, None, random::fraction()).min(LONGEST_PAUSE);
            wait_while_answering(&mut discovery, &mut asked, pause).await;
        }
    }
}

enum Ended {
    /// The proxy ends, and control has heard all.
    Finished,
    Renewed,
    ByControl,
}

/// Why a stream did not come to be, or was given up.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("control cannot be reached")]
    Control(#[source] ControlError),
    #[error("control refuses the stream: {}", .0.message())]
    Refused(tonic::Status),
    #[error("control sent what does not continue what is held")]
    Apply(#[source] super::held::ApplyError),
}

async fn watch_once(
    discovery: &mut Discovery,
    control: &Control,
    asked: &mut mpsc::UnboundedReceiver<Ask>,
    reporter: &mut Reporter,
) -> Result<Ended, WatchError> {
    let mut snapshots = discovery.identity.subscribe();
    let generation = loop {
        let snapshot = snapshots.borrow_and_update().clone();
        if snapshot.live_svid(OffsetDateTime::now_utc()).is_some() {
            break snapshot.svid_generation;
        }
        drop(snapshot);
        if snapshots.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let snapshot = discovery.identity.snapshot();
    let now = OffsetDateTime::now_utc();
    let channel = connect(&control.addr, &snapshot, now)
        .await
        .map_err(WatchError::Control)?;
    let (requests, outgoing) = mpsc::channel(64);
    greet(discovery, control, &requests).await;
    let response = MeshClient::with_origin(channel, origin())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .watch(ReceiverStream::new(outgoing))
        .await
        .map_err(WatchError::Refused)?;
    // An older control ends a stream on which it hears what it does not know.
    reporter.begin(response.metadata().contains_key(METADATA));
    let mut updates: Streaming<wire::WatchResponse> = response.into_inner();
    loop {
        tokio::select! {
            update = updates.message() => {
                let Some(update) = update.map_err(WatchError::Refused)? else {
                    return Ok(Ended::ByControl);
                };
                let ack = discovery.apply(update).map_err(WatchError::Apply)?;
                discovery.trouble.send_if_modified(|trouble| trouble.take().is_some());
                send(&requests, Message::Ack(ack)).await;
            }
            Some(ask) = asked.recv() => {
                let lookup = gather(discovery, ask, asked);
                send(&requests, Message::Lookup(lookup)).await;
            }
            due = reporter.due() => {
                report(&requests, reporter);
                if due == Due::Last {
                    drop(requests);
                    // Control ends its half once it has read all of ours.
                    while let Ok(Some(_)) = updates.message().await {}
                    return Ok(Ended::Finished);
                }
            }
            changed = snapshots.changed() => {
                if changed.is_err() || snapshots.borrow_and_update().svid_generation != generation {
                    return Ok(Ended::Renewed);
                }
            }
        }
    }
}

/// Says what was counted; where control reads slowly, a while later. It must not keep acknowledgements waiting.
fn report(requests: &mpsc::Sender<wire::WatchRequest>, reporter: &mut Reporter) {
    for usage in reporter.take() {
        let message = Some(Message::Usage(usage));
        if requests.try_send(wire::WatchRequest { message }).is_err() {
            reporter.again();
            return;
        }
    }
}

async fn greet(
    discovery: &Discovery,
    control: &Control,
    requests: &mpsc::Sender<wire::WatchRequest>,
) {
    let hello = wire::Hello {
        workload: control.workload.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        inventory: discovery.inventory(),
    };
    send(requests, Message::Hello(hello)).await;
    let asked = discovery.book.asked();
    if !asked.is_empty() {
        let subscribe = asked.into_iter().map(ip_to_wire).collect();
        send(
            requests,
            Message::Lookup(wire::Lookup {
                subscribe,
                drop: Vec::new(),
            }),
        )
        .await;
    }
}

/// One message for all that was asked meanwhile.
fn gather(
    discovery: &mut Discovery,
    first: Ask,
    asked: &mut mpsc::UnboundedReceiver<Ask>,
) -> wire::Lookup {
    let mut lookup = wire::Lookup::default();
    let mut next = Some(first);
    while let Some(ask) = next {
        match ask {
            Ask::Subscribe(ip) => lookup.subscribe.push(ip_to_wire(ip)),
            Ask::Drop(ip) => {
                discovery.forget(ip);
                lookup.drop.push(ip_to_wire(ip));
            }
        }
        next = asked.try_recv().ok();
    }
    lookup
}

/// While control cannot be asked, what operators listed as outside is answered all the same. Everything
/// that was asked meanwhile is in the book, and goes out with the next stream's first lookup.
async fn wait_while_answering(
    discovery: &mut Discovery,
    asked: &mut mpsc::UnboundedReceiver<Ask>,
    pause: Duration,
) {
    let paused = tokio::time::sleep(pause);
    tokio::pin!(paused);
    loop {
        tokio::select! {
            () = &mut paused => return,
            Some(ask) = asked.recv() => {
                let _lookup = gather(discovery, ask, asked);
                discovery.answer_without_control();
            }
        }
    }
}

async fn send(requests: &mpsc::Sender<wire::WatchRequest>, message: Message) {
    if requests
        .send(wire::WatchRequest {
            message: Some(message),
        })
        .await
        .is_err()
    {
        tracing::debug!("the stream to control has ended");
    }
}

const MAX_MESSAGE_BYTES: usize = 4 << 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
