//! The command line of the injector, for its own program and for `palisade injector`.

use clap::{Parser, Subcommand};

use crate::config::{Config, RunArgs};
use crate::run::{RunError, run};

/// The admission webhook of the mesh.
#[derive(Debug, Parser)]
#[command(name = "palisade-injector", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the injector can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer the API server's reviews until told to stop
    Run(Box<RunArgs>),
}

/// Does what was asked for. `run` returns after SIGTERM or SIGINT.
///
/// # Errors
///
/// Where a mistake in the command line, the cluster or the system stops it.
pub fn main(command: Command) -> Result<(), RunError> {
    let Command::Run(args) = command;
    let config = Config::try_from(*args)?;
    crate::telemetry::start();
    // One thread answers; what can take long is on others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(run(config))
}
