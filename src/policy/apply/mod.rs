//! `palisade policy apply`: puts the rules of files in force, and waits until they are.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::json;
use time::OffsetDateTime;

use super::put::{self, Change, NewFile, Progress, Put, Wait};
use super::rules;
use crate::args::{MeshArgs, Output};

/// `palisade policy apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Files and directories of rules
    #[arg(required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Returns when every sidecar that they concern enforces them
    #[arg(long)]
    wait: bool,
    /// How long is waited at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// On a cluster: takes fields over that somebody else manages
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
All rules are put in force or, where one is not as it must be, none. On a cluster they are applied as objects; a local
mesh has them in its directory of rules, where the files are copied to under their own names.
Exits with 0 where all sidecars enforce them (with --wait), with 1 where some do not, with 2 where nothing was done.

  palisade policy apply rules/orders.yaml --wait
  palisade policy apply rules/ --wait --timeout 2m --context staging";

/// Puts the files in force.
pub(crate) fn run(args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let rules = rules::of_files(&args.files, None)?;
    if rules.policies.is_empty() {
        bail!("there is no rule in these files, and nothing was applied");
    }
    let now = OffsetDateTime::now_utc();
    if let Some(over) = rules.policies.iter().find(|policy| policy.has_expired(now)) {
        bail!(
            "all rules of {} have expired, and nothing was applied; move `expires`, or remove it",
            over.title()
        );
    }
    // Of Kubernetes's manifests, mesh files and expectations beside them, a mesh's rules say nothing.
    let said: HashSet<&str> = rules.documents.iter().map(|one| &*one.file).collect();
    let texts = rules
        .texts
        .iter()
        .filter(|(file, _)| said.contains(file.as_str()));
    let mut files = Vec::new();
    for (file, text) in texts {
        let name = PathBuf::from(file);
        let name = name.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| anyhow!("{file} has no name that can be kept"))?;
        files.push(NewFile {
            name: name.to_owned(),
            text: text.clone(),
            place: file.clone(),
        });
    }
    let change = Change {
        policies: rules.policies,
        files,
        force: args.force_conflicts,
        label: None,
    };
    let wait = Wait {
        patience: args.wait.then_some(args.timeout),
    };
    let (put, progress) = put::put(&args.mesh, &change, wait)?;
    print(
        &put,
        progress.as_ref(),
        Output::or_by_terminal(args.mesh.output),
    )?;
    Ok(code(progress.as_ref()))
}

/// Prints what is in force, and where.
pub(super) fn print(
    put: &[Put],
    progress: Option<&Progress>,
    output: Output,
) -> anyhow::Result<()> {
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match output {
        Output::Text => {
            for one in put {
                writeln!(out, "{} applied ({})", one.policy, one.place)?;
            }
            for line in progress.map(Progress::lines).unwrap_or_default() {
                writeln!(out, "{line}")?;
            }
        }
        Output::Json => {
            let report = progress.map(Progress::report);
            writeln!(out, "{}", json!({"applied": put, "enforced": report}))?;
        }
    }
    Ok(())
}

/// Whether all that was waited for happened.
pub(super) fn code(progress: Option<&Progress>) -> ExitCode {
    match progress {
        Some(progress) if !progress.is_done() => super::NO,
        Some(_) | None => ExitCode::SUCCESS,
    }
}
