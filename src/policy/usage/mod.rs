//! `palisade policy usage`: what the rules permit against what is done.

mod allowances;
mod callers;
mod denied;
mod permitted;
mod print;
mod rules;
#[cfg(test)]
pub(in crate::policy) mod tests;

use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use palisade_api::usage::Usage;
use serde::Serialize;
use time::OffsetDateTime;

use self::denied::Tried;
use self::permitted::Unused;
use self::rules::RuleUse;
use super::counted::{self, Workloads};
use super::rules::Rules;
use crate::args::{MeshArgs, Output};
use crate::usage::Heard;

/// `palisade policy usage`.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Only rules and edges that were not used
    #[arg(long)]
    unused: bool,
    /// Only what was tried and denied
    #[arg(long, conflicts_with = "unused")]
    denied: bool,
    /// Lines of each part, at most [default: 50, in JSON 100000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    most: Option<u32>,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Sidecars count, and control keeps the counts: restarts of either lose nothing on a local mesh; on a cluster, those of
sidecars. On a cluster this needs the Role palisade-ask in palisade-system, and about a namespace that you may view palisade-reach.
A rule that was never hit decided nothing, perhaps as others do what it says, which are named then. An edge is permitted and
never used where no rule at all let such a caller in, of the ports that rules name at those; the widest come first.

  palisade policy usage
  palisade policy usage --denied --most 10
  palisade policy usage --unused -o json | jq -r '.unused[] | .rules[]' | sort -u";

/// The parts that are wanted; the others are none.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What was counted since then is in it.
    since: String,
    /// Of what is unused, those that never decided; least used first.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<RuleUse>>,
    /// Edges that rules permit, and nobody used; the widest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    unused: Option<Vec<Unused>>,
    /// Edges that were tried and denied, most first.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<Vec<Tried>>,
    /// How many are left out of each part.
    #[serde(skip_serializing_if = "More::is_none")]
    more: More,
    /// Connections that could not be told apart any more.
    others: u64,
}

/// What is left out, as it is more than is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct More {
    /// Rules that decided.
    rules: usize,
    /// Rules that never did.
    never_hit: usize,
    unused: usize,
    denied: usize,
}

impl More {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Which parts of it are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    Unused,
    Denied,
}

/// Prints what was used, and what was not.
pub(crate) fn run(args: &UsageArgs) -> anyhow::Result<ExitCode> {
    let rules = super::rules::of_mesh(&args.mesh)?;
    super::warn(&rules.warnings);
    rules.sure_in(None)?;
    if let Some(namespace) = &args.mesh.scope.namespace {
        rules.sure_in(Some(namespace))?;
    }
    let Heard { usage, doubts } = crate::usage::heard(&args.mesh)?;
    super::warn(&doubts);
    let sidecars: Vec<_> = counted::sidecars(&rules).map(|(_, name)| name).collect();
    super::warn(counted::cut_off(&sidecars, &usage, doubts.is_empty()).as_slice());
    let wanted = match (args.unused, args.denied) {
        (true, _) => Wanted::Unused,
        (false, true) => Wanted::Denied,
        (false, false) => Wanted::All,
    };
    let output = Output::or_by_terminal(args.mesh.output);
    let most = args.most.unwrap_or(match output {
        Output::Text => MOST_SHOWN,
        Output::Json => MOST_PRINTED,
    });
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let now = OffsetDateTime::now_utc();
    let report = report(&rules, &usage, (wanted, most), now);
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match output {
        Output::Text => write!(out, "{}", print::report(&report, now))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The parts that are wanted, each with so many lines at most.
fn report(
    rules: &Rules,
    usage: &Usage,
    (wanted, most): (Wanted, usize),
    now: OffsetDateTime,
) -> Report {
    let workloads = Workloads::of(rules);
    let edges = counted::edges(&workloads, usage);
    let mut report = Report {
        since: counted::moment(usage.since),
        rules: None,
        unused: None,
        denied: None,
        more: More::default(),
        others: counted::others(usage),
    };
    if wanted != Wanted::Denied {
        let mut used = rules::used(rules, usage, now);
        let decided = used.iter().filter(|rule| rule.has_decided());
        let decided: HashSet<_> = decided.map(|rule| rule.name().clone()).collect();
        let has_decided = |name: &_| decided.contains(name);
        let found = permitted::find(&workloads, rules, (&edges, &has_decided), (most, now));
        rules::explain(&mut used, rules, found.instead);
        let (mut never_hit, mut hit): (Vec<_>, Vec<_>) =
            used.into_iter().partition(|rule| !rule.is_hit());
        report.more.never_hit = bound(&mut never_hit, most);
        if wanted == Wanted::All {
            report.more.rules = bound(&mut hit, most);
            never_hit.append(&mut hit);
        }
        report.rules = Some(never_hit);
        report.unused = Some(found.edges);
        report.more.unused = found.more;
    }
    if wanted != Wanted::Unused {
        let (denied, more) = denied::denied(&workloads, &edges, most);
        report.denied = Some(denied);
        report.more.denied = more;
    }
    report
}

/// Says how many were too many.
fn bound<T>(lines: &mut Vec<T>, most: usize) -> usize {
    let more = lines.len().saturating_sub(most);
    lines.truncate(most);
    more
}

/// What people read to its end.
const MOST_SHOWN: u32 = 50;
/// What programs can hold.
const MOST_PRINTED: u32 = 100_000;
