//! The mesh of a cluster, as the kubeconfig's user may see it. Nothing here changes an object.

pub(crate) mod client;
pub(crate) mod definitions;
pub(crate) mod exec;
pub(crate) mod forward;
pub(crate) mod logs;
pub(crate) mod meant;
pub(crate) mod namespace;
pub(crate) mod pod;
pub(crate) mod ps;
#[cfg(test)]
pub(crate) mod served;

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context;

pub(crate) use palisade_control::audit::list;

/// Runs a command that talks to a cluster.
pub(crate) fn run(
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    complete(command)
}

/// Asks a cluster.
pub(crate) fn complete<T>(question: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let answer = runtime.block_on(question);
    // A stream that still waits for the API server is not waited for.
    runtime.shutdown_background();
    answer
}

/// Says on stderr what was left out, and goes on.
pub(crate) fn warn(text: &str) {
    use crate::records::WAITING;
    anstream::eprintln!(
        "{}warning:{} {text}",
        WAITING.render(),
        WAITING.render_reset()
    );
}
