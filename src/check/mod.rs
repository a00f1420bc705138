//! `palisade check`: what is wrong with a mesh, and what to do about it.
//!
//! Control's own judgements ([`audit`]), printed; and what needs the rights of whoever asks: to read the records of
//! sidecars, and to offer a rule.

mod callers;
mod injector;
mod preflight;
mod print;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use palisade_control::audit::{self, Finding, Severity};

use crate::args::Output;
use crate::kubernetes::client::{self, KubeArgs, ScopeArgs};

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
        let scope = args.scope.or_all();
        let system = &args.system_namespace;
        let findings = if args.pre {
            let platform = audit::platform(&client).await;
            preflight::judge(&platform, &preflight::rights(&client, system).await)
        } else {
            let snapshot = audit::everything(&client, system, &scope).await;
            let answer = injector::ask(&client).await;
            let recorded = callers::read(&client, snapshot.pods()).await;
            [
                audit::judge(&snapshot),
                injector::judge(&answer),
                callers::judge(&recorded, snapshot.pods()),
            ]
            .concat()
        };
        show(&findings, Output::or_by_terminal(args.output))?;
        Ok(ExitCode::from(exit_code(&findings)))
    });
    looked.or_else(|error| {
        crate::print_error(&error);
        Ok(ExitCode::from(COULD_NOT_LOOK))
    })
}

fn show(findings: &[Finding], output: Output) -> anyhow::Result<()> {
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    for finding in findings {
        match output {
            Output::Text => write!(out, "{}", print::text(finding))?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(finding)?)?,
        }
    }
    if output == Output::Text {
        writeln!(out, "{}", print::summary(findings))?;
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
