//! `palisade policy`: what is done with rules.

mod import;

use std::process::ExitCode;

use clap::Subcommand;

use crate::netpol::{self, NetworkPoliciesArgs};
use crate::usage::{self, CountersArgs};

/// What is done with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Prints NetworkPolicies that match the rules, for a cluster whose network enforces them
    #[command(name = "networkpolicies", after_help = netpol::AFTER_HELP)]
    NetworkPolicies(NetworkPoliciesArgs),
    /// Prints what was counted of connections and rules, for programs
    #[command(after_help = usage::AFTER_HELP)]
    Counters(CountersArgs),
    /// Converts the rules of another mesh: palisade policy import istio FILE > rules.yaml
    #[command(after_help = import::AFTER_HELP)]
    Import(import::ImportArgs),
}

/// Does what was typed.
pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::NetworkPolicies(args) => netpol::run(args),
        PolicyCommand::Counters(args) => usage::run(args),
        PolicyCommand::Import(args) => import::run(args),
    }
}
