//! The `palisade` command: a whole mesh in one program.

mod ask;
mod cli;
mod demo;
mod exec;
mod inject;
mod install;
mod records;
mod up;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!(
                "{}error:{} {error:#}",
                records::ERROR.render(),
                records::ERROR.render_reset()
            );
            ExitCode::FAILURE
        }
    }
}
