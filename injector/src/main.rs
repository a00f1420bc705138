//! The injector's program: arguments to [`palisade_injector::main`], errors to people.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match palisade_injector::main(palisade_injector::Cli::parse().command) {
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
