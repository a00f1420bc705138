//! To what is not of the mesh: passed as it is, and recorded.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Candidates, Outbound};
use crate::lifecycle::{Phase, reached};
use crate::listen::reset;
use crate::outcome::{Failure, Outcome, RefusedReason};
use crate::pod::Pod;
use crate::relay::relay;
use crate::telemetry::Record;

/// To one of a service's workloads, or the one that was asked for, which have no sidecar.
pub(super) async fn proxy(
    outbound: &Outbound,
    stream: &TcpStream,
    candidates: &Candidates,
    record: &Record,
) -> Outcome {
    let mut failure = Failure::from(RefusedReason::NoEndpoint);
    for endpoint in outbound.order(candidates) {
        let _active = outbound.endpoints.begin(endpoint.addr);
        match outbound.pod.dial.connect(endpoint.addr).await {
            Ok(server) => {
                outbound.stay_with(candidates, endpoint);
                let outcome = relayed(&outbound.pod, stream, server, record).await;
                outbound.ended_with(candidates, endpoint);
                return outcome;
            }
            Err(error) => {
                outbound.endpoints.failed(endpoint.addr, Instant::now());
                failure = Failure::Connect(Arc::new(error));
            }
        }
    }
    Err(failure)
}

/// To where the connection was going.
pub(super) async fn pass(
    pod: &Pod,
    stream: &TcpStream,
    dst: SocketAddr,
    record: &Record,
) -> Outcome {
    match pod.dial.connect(dst).await {
        Ok(server) => relayed(pod, stream, server, record).await,
        Err(error) => Err(Failure::Connect(Arc::new(error))),
    }
}

async fn relayed(pod: &Pod, stream: &TcpStream, server: TcpStream, record: &Record) -> Outcome {
    record.established();
    let mut phases = pod.phases.clone();
    let outcome = tokio::select! {
        () = reached(&mut phases, Phase::Stopping) => Err(Failure::Drain),
        relayed = relay(stream, &server, record.bytes()) => relayed,
    };
    if outcome.is_err() {
        reset(server);
    }
    outcome
}
