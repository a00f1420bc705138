//! The programs of the example shop: no mesh in them, only ordinary clear-text TCP.

mod db;
mod http;
mod traffic;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

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
        #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
        every: Duration,
        /// Keeps connections open from round to round
        #[arg(long)]
        keep: bool,
        /// Ends after so many rounds, with a failure if a call failed; by default it never ends
        #[arg(long)]
        count: Option<u64>,
    },
    /// Does nothing, for ever: a pod to run things in by `palisade exec`
    Wait,
}

/// Runs one.
pub(crate) fn run(demo: Demo) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match demo {
            Demo::Http { listen, db } => http::serve(listen, db).await,
            Demo::Db { listen } => db::serve(listen).await,
            Demo::Traffic {
                targets,
                every,
                keep,
                count,
            } => traffic::run(targets, traffic::Rounds { every, count }, keep).await,
            Demo::Wait => std::future::pending().await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
