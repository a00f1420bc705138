//! The programs of the example shop: no mesh in them, only ordinary clear-text TCP.

mod db;
mod http;
mod serve;
mod traffic;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

/// A program of the shop.
#[derive(Debug, Subcommand)]
pub(crate) enum Demo {
    /// Answers HTTP/1.1: GET and POST, whatever the path
    Http {
        /// Where to listen
        #[arg(long, default_value = "[::]:8080")]
        listen: SocketAddr,
        /// A `demo db` that is asked for each answer, as HOST:PORT
        #[arg(long)]
        db: Option<String>,
    },
    /// A small database: greets first, then answers a line with a line (SET K V, GET K, COUNT, QUIT)
    Db {
        /// Where to listen
        #[arg(long, default_value = "[::]:5432")]
        listen: SocketAddr,
    },
    /// Calls others again and again, and prints a line for each result
    Traffic {
        /// `http://HOST:PORT/PATH` or `db://HOST:PORT`
        #[arg(required = true)]
        targets: Vec<traffic::Target>,
        /// The pause between two rounds
        #[arg(long, default_value = "1s", value_parser = crate::args::span)]
        every: Duration,
        /// Keeps connections open from round to round
        #[arg(long)]
        keep: bool,
        /// Ends after so many rounds, with a failure if a call failed; by default it never ends
        #[arg(long)]
        count: Option<u64>,
    },
    /// Asks an HTTP server once, and prints what it answers
    Get {
        /// `http://HOST:PORT/PATH`
        target: traffic::Target,
    },
    /// Does nothing, for ever: a pod to run things in by `palisade exec`
    Wait,
}

/// Runs one, until it is asked to end.
pub(crate) fn run(demo: Demo) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(start(demo));
    // A name that is being looked up holds nothing up.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn start(demo: Demo) -> anyhow::Result<()> {
    let asked_to_end = asked_to_end()?;
    match demo {
        Demo::Http { listen, db } => http::run(listen, db, asked_to_end).await,
        Demo::Db { listen } => db::run(listen, asked_to_end).await,
        Demo::Traffic {
            targets,
            every,
            keep,
            count,
        } => tokio::select! {
            ended = traffic::run(targets, traffic::Rounds { every, count }, keep) => ended,
            () = asked_to_end => {
                ensure!(count.is_none(), "asked to end before the last round");
                Ok(())
            }
        },
        Demo::Get { target } => traffic::print_one(&target).await,
        Demo::Wait => {
            asked_to_end.await;
            Ok(())
        }
    }
}

/// Resolves when the program is asked to end. What a signal does by itself it does not do to the first process of a
/// container.
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
