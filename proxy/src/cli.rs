//! The command line of the sidecar, for its own program and for `palisade proxy`.

use std::env;
use std::io::{IsTerminal, stderr};

use clap::{Parser, Subcommand};
use palisade_api::log;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, RunArgs};
use crate::redirect::{self, RedirectArgs};
use crate::run::run;

/// The sidecar of the mesh.
#[derive(Debug, Parser)]
#[command(name = "palisade-proxy", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the sidecar can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar: records on standard output, logs on standard error
    Run(Box<RunArgs>),
    /// Write, remove or check the redirect of this network namespace
    Redirect(RedirectArgs),
}

/// Does what was asked for.
///
/// # Errors
///
/// With the cause; the caller prints the chain.
pub fn main(command: Command) -> anyhow::Result<()> {
    start_log();
    match command {
        Command::Redirect(args) => Ok(redirect::run(&args)?),
        Command::Run(args) => {
            let config = Config::try_from(*args)?;
            keep_freed_memory();
            // One thread: a sidecar is paid for in every pod.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let outcome = runtime.block_on(run(config));
            // Dropped, it would wait for a name that is still looked up.
            runtime.shutdown_background();
            Ok(outcome?)
        }
    }
}

/// Lets the allocator keep some freed memory, instead of giving it to the kernel and asking for it again a moment later.
/// In bulk a sixth of a proxy's CPU was seen to go into pages that the kernel cleared for that.
///
/// The GNU allocator learns from the largest block that it saw freed (mallopt(3), M_MMAP_THRESHOLD): it then keeps up to
/// twice that. The block is never touched, so it costs nothing. Other allocators do as they please.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        LARGEST_FREED_BYTES,
    )));
}

/// Half of what is kept at most; a few streams' windows.
const LARGEST_FREED_BYTES: usize = 2 * 1024 * 1024;

/// Lines of text: in a cluster they stand among the records, and those are JSON.
fn start_log() {
    let asked = env::var_os(log::VARIABLE).unwrap_or_default();
    let filter = log::filter(&asked.to_string_lossy());
    let misread = filter.as_ref().err().cloned();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr);
    let logger = tracing_subscriber::registry()
        .with(lines)
        .with(filter.unwrap_or_else(|_misread| log::ordinary()));
    if let Err(error) = logger.try_init() {
        tracing::debug!(%error, "a log was started already");
    }
    if let Some(misread) = misread {
        tracing::warn!("{misread}");
    }
}
