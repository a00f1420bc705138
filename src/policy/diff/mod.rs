//! `palisade policy diff`: what becomes allowed and what becomes denied between two sets of rules.

mod about;
mod applied;
mod called;
mod callers;
mod changed;
mod compare;
mod groups;
mod merge;
mod names;
mod networks;
mod print;
#[cfg(test)]
mod property;
#[cfg(test)]
mod sample;
mod targets;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use palisade_api::spiffe::TrustDomain;
use time::OffsetDateTime;

use super::rules::{self, Rules};
use super::{explain, ports};
use crate::args::{MeshArgs, Output};
use crate::kubernetes::meant::{Meant, meant};

/// `palisade policy diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The rules as they are: a file or directory. Where only one is named, what `apply` of it would change in the mesh
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The rules as they would be: a file or directory
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// Where only one is named: as if the mesh had its rules only, and all others were deleted
    #[arg(long, conflicts_with = "second")]
    instead: bool,
    /// Mesh files and Kubernetes manifests that say who there is, for both; may be repeated
    #[arg(long, value_name = "PATH")]
    who: Vec<PathBuf>,
    /// At another moment than now, such as 2026-12-01T00:00:00Z: rules may have expired by then
    #[arg(long, value_name = "TIME", value_parser = explain::moment)]
    at: Option<OffsetDateTime>,
    /// How many questions may be decided; more take longer
    #[arg(long, value_name = "COUNT", default_value_t = 2_000_000)]
    most: u64,
    /// The trust domain of the workloads [default: what a mesh file says, else the mesh's, else cluster.local]
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Asks both sets of rules about everybody who is known or named in a rule, and about everybody else, at every port, and
says where the answers differ: + becomes allowed, - becomes denied. Names and comments of rules make no difference.
Of those who are known, calls that go around their sidecars are told of, too: shop/web, in clear from 10.2.0.7.
One argument is compared with the running mesh: its policies are added to the mesh's, or take the place of those of the
same name, as `palisade policy apply` does it. What deleting the others would change is told with --instead. A cluster
takes rules only, so of a file's `Namespace` nothing is told there: `palisade policy simulate` replays records over it.
Exits with 0 where there is none, with 1 where there is one, with 2 where that cannot be told.

  palisade policy diff rules/ edited/
  palisade policy diff orders.yaml              # what would `palisade policy apply orders.yaml` change?
  palisade policy diff rules/ --instead         # what, if the mesh had these rules and no others?
  palisade policy diff rules/ edited/ --who shop.yaml";

/// Both sets of rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides<'a> {
    pub(crate) before: &'a Rules,
    pub(crate) after: &'a Rules,
    /// That of the workloads, which service accounts are of.
    pub(crate) trust_domain: &'a TrustDomain,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "to tell, {needed} questions would have to be decided, and only {most} may be; allow more with --most, or compare \
     fewer files at once"
)]
pub(crate) struct TooManyError {
    needed: u64,
    most: u64,
}

/// Prints the differences.
pub(crate) fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (mut before, mut after) = both(args)?;
    if !args.who.is_empty() {
        for side in [&mut before, &mut after] {
            side.know(rules::of_files(&args.who, args.trust_domain.clone())?);
        }
    }
    super::warn(&before.warnings);
    let is_new = |warning: &&String| !before.warnings.contains(warning);
    super::warn(
        &after
            .warnings
            .iter()
            .filter(is_new)
            .cloned()
            .collect::<Vec<_>>(),
    );
    let serials = after.revoked.warning().or_else(|| before.revoked.warning());
    super::warn(serials.as_slice());
    // Rules alone say nothing of it.
    let knowing = [&after, &before]
        .into_iter()
        .find(|side| !side.known.workloads.is_empty());
    let trust_domain = knowing.map_or(&after.trust_domain, |side| &side.trust_domain);
    let trust_domain = args.trust_domain.as_ref().unwrap_or(trust_domain);
    let sides = Sides {
        before: &before,
        after: &after,
        trust_domain,
    };
    let now = args.at.unwrap_or_else(OffsetDateTime::now_utc);
    let compared = compare::compare(sides, now, args.most).map_err(|error| anyhow!(error))?;
    super::warn(&excluded(&compared));
    let lines = merge::lines(&compared, trust_domain);
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => write!(out, "{}", print::text(sides, &lines))?,
        Output::Json => write!(out, "{}", print::json(sides, &lines)?)?,
    }
    Ok(if lines.is_empty() {
        ExitCode::SUCCESS
    } else {
        super::NO
    })
}

/// Where nothing is told of, as no rule is asked.
fn excluded(compared: &compare::Compared) -> Vec<String> {
    let excluded = compared.namespaces.iter().flat_map(|one| &one.excluded);
    let told = excluded.map(|(name, ports)| {
        let at = ports::shown(ports);
        format!(
            "{name} {at}: excluded from its sidecar, so no rule is asked there, and it is left out"
        )
    });
    told.collect()
}

/// The rules as they are, and as they would be.
fn both(args: &DiffArgs) -> anyhow::Result<(Rules, Rules)> {
    let of = |path: &PathBuf| {
        let path = std::slice::from_ref(path);
        rules::of_files(path, args.trust_domain.clone())
    };
    let mut first = of(&args.first)?;
    if let Some(second) = &args.second {
        return Ok((first, of(second)?));
    }
    let mut mesh = rules::of_mesh(&args.mesh)?;
    if meant(&args.mesh)? == Meant::Cluster {
        applied::leave_out(&mut first, &mesh);
    }
    applied::is_within(&mut mesh, &first)?;
    if args.instead {
        return Ok((mesh, first));
    }
    let after = applied::applied(&mesh, first);
    Ok((mesh, after))
}
