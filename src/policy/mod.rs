//! `palisade policy`: what is done with rules.

pub(crate) mod allow;
mod apply;
mod beside;
mod check;
mod counted;
mod diff;
mod excluded;
mod explain;
mod gone;
mod import;
mod mistakes;
mod named;
mod ports;
mod put;
mod readiness;
mod revoked;
pub(crate) mod rules;
mod simulate;
mod subject;
mod suggest;
mod taken;
mod test;
mod traffic;
mod unshadowed;
mod usage;

use std::process::ExitCode;

use clap::Subcommand;

use crate::netpol::{self, NetworkPoliciesArgs};
use crate::usage::CountersArgs;

pub(crate) use mistakes::Mistakes;

/// What is done with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Says what is wrong with rules, and what may not be what their author meant
    #[command(after_help = check::AFTER_HELP)]
    Check(check::CheckArgs),
    /// Holds rules against what they are expected to decide
    #[command(after_help = test::AFTER_HELP)]
    Test(test::TestArgs),
    /// Says whether one may reach another, and by which rule, or which came nearest
    #[command(after_help = explain::AFTER_HELP)]
    Explain(explain::ExplainArgs),
    /// Says what recorded connections would become under edited rules
    #[command(after_help = simulate::AFTER_HELP)]
    Simulate(simulate::SimulateArgs),
    /// Prints the least rules that admit what was recorded, ready to review
    #[command(after_help = suggest::AFTER_HELP, mut_arg("output", |output| output.help(suggest::OUTPUT)))]
    Suggest(suggest::SuggestArgs),
    /// Says who may reach whom that could not, and who no longer may, by other rules
    #[command(after_help = diff::AFTER_HELP)]
    Diff(diff::DiffArgs),
    /// Puts the rules of files in force, and waits until every sidecar that they concern enforces them
    #[command(after_help = apply::AFTER_HELP)]
    Apply(apply::ApplyArgs),
    /// Lets somebody in for a while (break-glass): a rule that ends and removes itself
    #[command(after_help = allow::AFTER_HELP)]
    Allow(allow::AllowArgs),
    /// Says what would break if everything were strict and enforced now
    #[command(after_help = readiness::AFTER_HELP)]
    Readiness(readiness::ReadinessArgs),
    /// Says which rules and edges are used, which never, and what was tried and denied
    #[command(after_help = usage::AFTER_HELP)]
    Usage(usage::UsageArgs),
    /// Prints what was counted of connections and rules, for programs
    #[command(after_help = crate::usage::AFTER_HELP)]
    Counters(CountersArgs),
    /// Converts the rules of another mesh: palisade policy import istio FILE > rules.yaml
    #[command(after_help = import::AFTER_HELP)]
    Import(import::ImportArgs),
    /// Prints NetworkPolicies that match the rules, for a cluster whose network enforces them
    #[command(name = "networkpolicies", after_help = netpol::AFTER_HELP)]
    NetworkPolicies(NetworkPoliciesArgs),
}

/// Does what was typed. What cannot be asked ends with 2, so that scripts can tell it from a `no`.
pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    let done = match command {
        PolicyCommand::Check(args) => check::run(args),
        PolicyCommand::Test(args) => test::run(args),
        PolicyCommand::Explain(args) => explain::run(args),
        PolicyCommand::Simulate(args) => simulate::run(args),
        PolicyCommand::Suggest(args) => suggest::run(args),
        PolicyCommand::Diff(args) => diff::run(args),
        PolicyCommand::Apply(args) => apply::run(args),
        PolicyCommand::Allow(args) => allow::run(args),
        PolicyCommand::Readiness(args) => readiness::run(args),
        PolicyCommand::Usage(args) => usage::run(args),
        PolicyCommand::Counters(args) => crate::usage::run(args),
        PolicyCommand::Import(args) => import::run(args),
        PolicyCommand::NetworkPolicies(args) => return netpol::run(args),
    };
    done.or_else(|error| {
        if crate::is_unread(&error) {
            return Err(error);
        }
        crate::print_error(&error);
        Ok(ExitCode::from(UNANSWERED))
    })
}

/// Says on stderr what was left out.
fn warn(warnings: &[String]) {
    warnings
        .iter()
        .for_each(|warning| crate::kubernetes::warn(warning));
}

/// The answer is no: denied, not as expected, not ready.
const NO: ExitCode = ExitCode::FAILURE;
/// There is no answer.
const UNANSWERED: u8 = 2;
