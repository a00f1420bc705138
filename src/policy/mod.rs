//! `palisade policy`: what is done with rules.

use std::process::ExitCode;

use clap::Subcommand;

use crate::netpol::{self, NetworkPoliciesArgs};

/// What is done with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Prints NetworkPolicies that match the rules, for a cluster whose network enforces them
    #[command(name = "networkpolicies", after_help = netpol::AFTER_HELP)]
    NetworkPolicies(NetworkPoliciesArgs),
}

/// Does what was typed.
pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::NetworkPolicies(args) => netpol::run(args),
    }
}
