//! `palisade policy apply`: puts the rules of files in force, and waits until they are.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::put::{self, Change, Done, NewFile, Progress, Wait, Warning};
use super::rules::{self, Rules};
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
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = crate::args::span)]
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
mesh has them in its directory of rules: what stands in one of its files already is replaced there, and all else is
copied there under the names of its files, or beside others of these names. There a `Namespace` or
`Revocations` takes effect too, also without a rule beside it, and is named. Who is named and not there, what has expired
and what is left out is warned of.
Exits with 0 where all sidecars enforce them (with --wait), with 1 where some do not or a cluster took only some of the
rules (which is said), with 2 where nothing was done.

  palisade policy apply rules/orders.yaml --wait
  palisade policy apply rules/ --wait --timeout 2m --context staging";

/// Puts the files in force.
pub(crate) fn run(args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let rules = rules::of_files(&args.files, None)?;
    let now = OffsetDateTime::now_utc();
    if let Some(over) = rules.policies.iter().find(|policy| policy.has_expired(now)) {
        bail!(
            "all rules of {} have expired, and nothing was applied; move `expires`, or remove it",
            over.title()
        );
    }
    let texts = rules.texts.clone();
    let change = change(rules, args.force_conflicts)?;
    if change.policies.is_empty() && change.documents.is_empty() {
        bail!("there is no rule in these files, and nothing was applied");
    }
    let wait = Wait {
        patience: args.wait.then_some(args.timeout),
    };
    let done = put::put(&args.mesh, &change, wait)?;
    print(&done, &texts, Output::or_by_terminal(args.mesh.output))?;
    if !done.unapplied.is_empty() {
        return Ok(super::NO);
    }
    Ok(code(done.progress.as_ref()))
}

/// What files ask for.
fn change(rules: Rules, force: bool) -> anyhow::Result<Change> {
    let others = rules::others(&rules.texts);
    let mut documents = rules.documents;
    // What a mesh file says, its mesh knows.
    documents.retain(|one| others.get(&*one.file).is_none_or(|file| !file.is_mesh));
    // Of Kubernetes's manifests, mesh files and expectations beside them, a mesh's rules say nothing.
    let said: HashSet<&str> = documents.iter().map(|one| &*one.file).collect();
    let mut files = Vec::new();
    for (file, others) in others
        .iter()
        .filter(|(file, _)| said.contains(file.as_str()))
    {
        let name = PathBuf::from(file);
        let name = name.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| anyhow!("{file} has no name that can be kept"))?;
        files.push(NewFile {
            name: name.to_owned(),
            text: others.left.clone(),
            place: file.clone(),
        });
    }
    let others = others.into_iter().map(|(file, own)| (file, own.titles));
    Ok(Change {
        policies: rules.policies,
        documents,
        others: others.collect(),
        files,
        force,
        label: None,
    })
}

/// Prints what is in force and where, and what may not be as it was meant; `texts` are those of the files, by name.
pub(super) fn print(
    done: &Done,
    texts: &BTreeMap<String, String>,
    output: Output,
) -> anyhow::Result<()> {
    let progress = done.progress.as_ref();
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match output {
        Output::Text => {
            done.warnings.iter().for_each(|one| one.tell(texts));
            for one in &done.put {
                writeln!(out, "{} applied ({})", one.policy, one.place)?;
            }
            for line in progress.map(Progress::lines).unwrap_or_default() {
                writeln!(out, "{line}")?;
            }
        }
        Output::Json => writeln!(out, "{}", Value::Object(json(done)))?,
    }
    drop(out);
    partly(done);
    Ok(())
}

/// Says which are not in force, where others are.
fn partly(done: &Done) {
    let Some((first, others)) = done.unapplied.split_first() else {
        return;
    };
    let titles = |of: &mut dyn Iterator<Item = &String>| {
        let titles: Vec<_> = of.map(String::as_str).collect();
        titles.join(", ")
    };
    let applied = titles(&mut done.put.iter().map(|one| &one.policy));
    let why = first.why.as_deref().unwrap_or(&first.policy);
    let others = match others {
        [] => String::new(),
        others => format!(
            "; not applied either: {}",
            titles(&mut others.iter().map(|one| &one.policy))
        ),
    };
    crate::print_error(&anyhow!(
        "{why}{others}; in force already: {applied}. Put it right, and apply all of it again"
    ));
}

/// What was done, for programs.
pub(super) fn json(done: &Done) -> Map<String, Value> {
    let enforced = done.progress.as_ref().map(Progress::report);
    let fields = [
        ("applied", json!(done.put)),
        ("unapplied", json!(done.unapplied)),
        ("enforced", json!(enforced)),
        (
            "warnings",
            done.warnings.iter().map(Warning::json).collect(),
        ),
    ];
    let fields = fields.map(|(key, value)| (key.to_owned(), value));
    fields.into_iter().collect()
}

/// Whether all that was waited for happened.
pub(super) fn code(progress: Option<&Progress>) -> ExitCode {
    match progress {
        Some(progress) if !progress.is_done() => super::NO,
        Some(_) | None => ExitCode::SUCCESS,
    }
}
