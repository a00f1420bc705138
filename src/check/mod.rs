//! `palisade check`: what is wrong with a mesh, and what to do about it.
//!
//! One function gathers a [`Snapshot`] of the cluster; every judgement is a pure function of it.

mod backoff;
pub(crate) mod callers;
mod certificate;
pub(crate) mod fetch;
mod finding;
mod frozen;
mod installed;
mod meshed;
mod network;
mod nodes;
mod platform;
mod preflight;
pub(crate) mod rules;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
mod webhook;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::args::Output;
use crate::kubernetes::client::{self, KubeArgs, Scope, ScopeArgs};
use finding::{Finding, Severity};
use snapshot::Snapshot;

/// `palisade check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Looks at a cluster that has no mesh yet: whether it can have one, and whether you may install it
    #[arg(long)]
    pre: bool,
    /// Where control and the injector run
    #[arg(long, value_name = "NAMESPACE", env = "PALISADE_NAMESPACE", default_value = palisade_api::cluster::SYSTEM_NAMESPACE)]
    system_namespace: String,
    /// Text or JSON lines [default: text on a terminal, else json]
    #[arg(short, long, env = "PALISADE_OUTPUT")]
    output: Option<Output>,
    #[command(flatten)]
    kube: KubeArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Looks at every namespace unless -n names one. Nothing is changed: the injector is asked by a dry run.
Exit code: 0 where nothing is wrong but for warnings, 1 where something is, 2 where something could not be looked at.";

/// Looks, judges and prints.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let looked = crate::kubernetes::run(async {
        let client = client::client(&args.kube).await?;
        let scope = args.scope.or(Scope::All);
        let findings = if args.pre {
            let snapshot = fetch::platform(&client, &args.system_namespace).await;
            preflight::judge(&snapshot)
        } else {
            let snapshot = fetch::everything(&client, &args.system_namespace, &scope).await;
            judge(&snapshot)
        };
        print(&findings, Output::or_by_terminal(args.output))?;
        Ok(ExitCode::from(exit_code(&findings)))
    });
    looked.or_else(|error| {
        crate::print_error(&error);
        Ok(ExitCode::from(COULD_NOT_LOOK))
    })
}

/// All that there is to say about a mesh.
fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    [
        platform::judge(&snapshot.platform),
        installed::judge(snapshot),
        webhook::judge(snapshot),
        certificate::judge(snapshot),
        meshed::judge(snapshot),
        backoff::judge(snapshot),
        rules::judge(snapshot),
        frozen::judge(snapshot),
        nodes::judge(snapshot),
        callers::judge(snapshot),
        network::judge(snapshot),
    ]
    .concat()
}

fn print(findings: &[Finding], output: Output) -> anyhow::Result<()> {
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    for finding in findings {
        match output {
            Output::Text => write!(out, "{}", finding.text())?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(finding)?)?,
        }
    }
    if output == Output::Text {
        writeln!(out, "{}", finding::summary(findings))?;
    }
    Ok(())
}

fn exit_code(findings: &[Finding]) -> u8 {
    let has = |severity| findings.iter().any(|finding| finding.severity == severity);
    if has(Severity::Error) {
        1
    } else if has(Severity::Unknown) {
        COULD_NOT_LOOK
    } else {
        0
    }
}

const COULD_NOT_LOOK: u8 = 2;
