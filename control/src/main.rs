//! The control program: arguments to [`palisade_control::run`], errors to people.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match palisade_control::run(palisade_control::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_chain(&error);
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, one a line; nothing is left to do where stderr is closed.
fn print_chain(error: &dyn Error) {
    let mut line = format!("error: {error}\n");
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!("  because: {cause}\n"));
        source = cause.source();
    }
    io::stderr().write_all(line.as_bytes()).ok();
}
