//! The pair benchmark: what a pair of sidecars costs, Palisade's and others, side by side. `README.md` says how.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the table is for stdout, and how far it is for stderr"
)]

mod args;
mod ask;
mod certificates;
mod figures;
mod ground;
mod meter;
mod needs;
mod peers;
mod pods;
mod program;
mod proof;
mod run;
mod work;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use args::Args;
use figures::results::Results;
use figures::table::table;

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(results) => {
            print!("{}", table(&results));
            let mut measures = results.iter().flat_map(|run| &run.measures);
            ExitCode::from(u8::from(measures.any(|measure| measure.failure.is_some())))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<Vec<Results>> {
    if !args.table.is_empty() {
        return args.table.iter().map(read).collect();
    }
    // One thread: programs end with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(vec![runtime.block_on(run_or_stop(args))?])
}

/// However it ends, the run is dropped, and so is everything that it made.
async fn run_or_stop(args: &Args) -> Result<Results> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        results = run::run(args) => results,
        _ = hangup.recv() => bail!("stopped by a hangup"),
        _ = interrupt.recv() => bail!("stopped"),
        _ = terminate.recv() => bail!("stopped"),
    }
}

fn read(path: &PathBuf) -> Result<Results> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(name)?;
    serde_json::from_str(&text).with_context(name)
}
