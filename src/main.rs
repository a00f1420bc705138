//! The `palisade` command: a whole mesh in one program.

mod args;
mod ask;
mod check;
mod cli;
mod demo;
mod exec;
mod inject;
mod install;
mod kubernetes;
mod near;
mod netpol;
mod page;
mod policy;
mod records;
mod up;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::parse()) {
        Ok(code) => code,
        Err(error) if is_unread(&error) => ExitCode::from(ENDED_BY_SIGPIPE),
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Whether whoever reads has seen enough, as in `palisade logs | head`.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Says on stderr what went wrong, and why.
pub(crate) fn print_error(error: &anyhow::Error) {
    anstream::eprintln!(
        "{}error:{} {error:#}",
        records::ERROR.render(),
        records::ERROR.render_reset()
    );
}

/// What a shell says of a program that wrote where nobody reads.
const ENDED_BY_SIGPIPE: u8 = 128 + 13;
