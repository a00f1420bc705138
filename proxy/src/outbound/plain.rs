//! To what is not of the mesh: passed as it is, and recorded.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::lifecycle::{Phase, reached};
use crate::listen::reset;
use crate::outcome::{Failure, Outcome, RefusedReason};
use crate::pod::Pod;
use crate::relay::relay;
use crate::telemetry::Record;

pub(super) async fn proxy(
    pod: &Pod,
    stream: &TcpStream,
    addrs: &[SocketAddr],
    record: &Record,
) -> Outcome {
    let mut failure = Failure::from(RefusedReason::NoEndpoint);
    for addr in addrs {
        match pod.dial.connect(*addr).await {
            Ok(server) => {
                record.established();
                let mut phases = pod.phases.clone();
                let outcome = tokio::select! {
                    () = reached(&mut phases, Phase::Stopping) => Err(Failure::Drain),
                    relayed = relay(stream, &server, record.bytes()) => relayed,
                };
                if outcome.is_err() {
                    reset(server);
                }
                return outcome;
            }
            Err(error) => failure = Failure::Connect(Arc::new(error)),
        }
    }
    Err(failure)
}
