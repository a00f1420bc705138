//! The `palisade` command: a whole mesh in one program.

mod ask;
mod check;
mod cli;
mod demo;
mod exec;
mod inject;
mod install;
mod kubernetes;
mod netpol;
mod records;
mod up;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says on stderr what went wrong, and why.
fn print_error(error: &anyhow::Error) {
    anstream::eprintln!(
        "{}error:{} {error:#}",
        records::ERROR.render(),
        records::ERROR.render_reset()
    );
}
