//! `palisade policy check`: what is wrong with rules, and what may not be what their author meant.

mod broad;
#[cfg(test)]
mod cluster_tests;
mod finding;
mod lints;
mod objects;
mod print;
mod seen;
#[cfg(test)]
mod tests;
mod who;

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use palisade_api::spiffe::TrustDomain;
use time::OffsetDateTime;

use super::rules::{self, Rules};
use crate::args::{MeshArgs, Output};
use finding::{Code, Finding};
use lints::Asked;
use objects::Sheets;
use seen::Seen;

/// `palisade policy check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files and directories with rules; mesh files and Kubernetes manifests say who there is; - is stdin
    /// [default: the running mesh]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Holds names in files against the running mesh; so does naming a cluster (-n, -A, --context, --kubeconfig)
    #[arg(long = "mesh")]
    is_mesh: bool,
    /// The trust domain of the workloads in files [default: what a mesh file says, else cluster.local]
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    /// Records of connections, as `palisade logs -o json` prints them: rules that are wider get a warning; may be repeated
    #[arg(long, value_name = "FILE")]
    records: Vec<PathBuf>,
    /// Rules that expire within this time get a warning
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = crate::args::span)]
    soon: Duration,
    /// Leaves out the warnings of this kind; may be repeated
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    allow: Vec<Code>,
    /// Ends with 1 where there are warnings
    #[arg(long)]
    deny_warnings: bool,
    /// Says each rule in an English sentence, too
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Tells of every mistake of every file at once, then of what is allowed and may still be a mistake: the code in brackets is
for --allow. Where a mesh file, Kubernetes manifests or a running mesh say who there is, names are held against that; the
rules of a mesh file count where no others are named. Of a file that is no YAML, only the first mistake of each document
is known.
Exits with 0, with 1 where there are mistakes (with --deny-warnings: or warnings), with 2 where it could not look.

  palisade policy check rules/
  palisade policy check rules/ shop.yaml --explain
  palisade policy check rules/ --mesh
  palisade logs -o json > records.json; palisade policy check --records records.json";

/// Prints what was found.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let is_mistake = |code: &Code| matches!(code, Code::Invalid | Code::Expired);
    if args.allow.iter().any(is_mistake) {
        bail!("mistakes cannot be allowed; --allow is for warnings");
    }
    let (rules, warnings) = load(args)?;
    super::warn(&warnings);
    let seen = match args.records.as_slice() {
        [] => None,
        files => Some(Seen::read(files)?),
    };
    let sheets = Sheets::of(&rules);
    let asked = Asked {
        rules: &rules,
        documents: &sheets.documents,
        now: OffsetDateTime::now_utc(),
        soon: args.soon.try_into()?,
        seen: seen.as_ref(),
    };
    let mut found = findings(&asked);
    found.retain(|one| one.is_error() || !args.allow.contains(&one.code));
    for one in &mut found {
        sheets.place(one);
    }
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    let sentences = if args.explain {
        print::sentences(&rules, &sheets)
    } else {
        Vec::new()
    };
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => write!(out, "{}", print::text(&rules, &found, &sentences))?,
        Output::Json => print::json(&mut out, &rules, &found, &sentences)?,
    }
    let is_bad = |one: &Finding| args.deny_warnings || one.is_error();
    Ok(if found.iter().any(is_bad) {
        super::NO
    } else {
        ExitCode::SUCCESS
    })
}

/// The rules that are meant, also those beside which others have mistakes; and what is not known of them.
fn load(args: &CheckArgs) -> anyhow::Result<(Rules, Vec<String>)> {
    let mut rules = match args.paths.as_slice() {
        [] => rules::all_of_mesh(&args.mesh)?,
        paths => {
            let mut rules = rules::all_of_files(paths, args.trust_domain.clone())?;
            if args.is_mesh || args.mesh.names_a_cluster() {
                rules.know(rules::of_mesh(&args.mesh)?);
            }
            rules
        }
    };
    let presumed = rules.presumed();
    // Objects that are left out are told of as findings, and so is how namespaces are set.
    let is_found = |warning: &String| {
        let (mut mistakes, mut misset) = (rules.mistakes.iter(), rules.misset.iter());
        mistakes.any(|one| warning.starts_with(&one.file))
            || misset.any(|one| one.told() == *warning)
    };
    let others = rules.warnings.iter().filter(|one| !is_found(one));
    let warnings = others.cloned().chain(presumed).collect();
    Ok((rules, warnings))
}

/// Everything that was found, in the order of files and lines.
fn findings(asked: &Asked<'_>) -> Vec<Finding> {
    let rules: &Rules = asked.rules;
    let mut mistakes = rules.mistakes.clone();
    mistakes.extend(rules::expectations(&rules.texts).1);
    let mut told = HashSet::new();
    mistakes.retain(|one| told.insert(one.clone()));
    let mut found: Vec<_> = mistakes.into_iter().map(Finding::mistake).collect();
    found.extend(rules.misset.iter().map(Finding::misset));
    let lints = lints::lints(asked);
    let mut unknown = who::unknown(asked);
    // Of one account, one finding is enough.
    let defaults = lints.iter().filter(|one| one.code == Code::DefaultAccount);
    let defaults: HashSet<_> = defaults.map(Finding::place).collect();
    unknown.retain(|one| !defaults.contains(&one.place()));
    found.extend(unknown);
    found.extend(lints);
    if let Some(seen) = asked.seen {
        let (broad, left_out) = broad::broad(asked, seen);
        found.extend(broad);
        super::warn(left_out.as_slice());
    }
    found.sort_by(|one, other| {
        let key = |one: &Finding| one.diagnostic.severity;
        (one.place(), key(one)).cmp(&(other.place(), key(other)))
    });
    found
}
