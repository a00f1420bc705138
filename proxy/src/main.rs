//! The sidecar as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use palisade_proxy::cli::{Cli, main as proxy};

#[expect(
    clippy::print_stderr,
    reason = "the one place where an error is told to a person"
)]
fn main() -> ExitCode {
    match proxy(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("palisade-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
