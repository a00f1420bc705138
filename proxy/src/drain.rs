//! The end of the proxy: live connections end by themselves, then the rest is told, then it goes.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::lifecycle::Phase;
use crate::outbound::Peers;
use crate::pod::Pod;
use crate::readiness::{Condition, Readiness};
use crate::transport::Code;

/// Resolves when the proxy is asked to stop.
///
/// # Errors
///
/// Where the system gives no signals.
pub async fn terminated() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Lets live connections end, up to the bound, or until it is told to stop again. TLS connections of the mesh that carry
/// nothing hold nothing up: they are closed so that the peers know, and open no stream on one that is gone.
pub async fn drain(
    pod: &Pod,
    peers: &Peers,
    readiness: &watch::Sender<Readiness>,
    phase: &watch::Sender<Phase>,
) {
    readiness.send_modify(|now| now.running = Condition::not_yet("the proxy is stopping"));
    phase.send_replace(Phase::Draining);
    tokio::select! {
        () = idle(pod) => {}
        () = abandoned(pod) => {}
        () = tokio::time::sleep(pod.config.args.drain_timeout) => {}
        _ = terminated() => {}
    }
    phase.send_replace(Phase::Stopping);
    tokio::select! {
        () = idle(pod) => {}
        () = tokio::time::sleep(LAST_RECORDS) => {}
    }
    peers.close_where(|_, _| true, Code::Draining);
    tokio::select! {
        () = alone(pod, peers) => {}
        () = tokio::time::sleep(LAST_WORDS) => {}
    }
}

async fn idle(pod: &Pod) {
    while pod.telemetry.open_connections() > 0 {
        tokio::time::sleep(STEP).await;
    }
}

/// Resolves once nothing moves any more on connections that all are half-closed by the pod's own applications. These may
/// be gone, as they are where a sidecar is stopped after them, and then nobody here will hear what the other side says,
/// nor does the other side, which may keep its half for ever, hear of that from anyone else.
async fn abandoned(pod: &Pod) {
    let mut last = None;
    loop {
        let now = pod.telemetry.left_behind();
        if now.is_some() && now == last {
            return;
        }
        last = now;
        tokio::time::sleep(SILENCE).await;
    }
}

/// Resolves once no TLS connection of the mesh is left.
async fn alone(pod: &Pod, peers: &Peers) {
    let outbound = || {
        let counts = peers.counts();
        counts.open_sessions + counts.retired_sessions
    };
    while pod.sessions.others() > 0 || outbound() > 0 {
        tokio::time::sleep(STEP).await;
    }
}

/// How long an answer to a half-closed connection may keep silent while the proxy stops.
const SILENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(20);
/// For the records of what was ended.
const LAST_RECORDS: Duration = Duration::from_secs(1);
/// For peers to hear that the proxy goes. One that is gone itself hears nothing.
const LAST_WORDS: Duration = Duration::from_millis(500);
