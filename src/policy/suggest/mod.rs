//! `palisade policy suggest`: the least rules that admit what was recorded.

mod gather;
mod judges;
mod print;
mod target;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use palisade_api::policy::{AuthorizationPolicy, Mode};
use palisade_api::spiffe::TrustDomain;
use serde::Serialize;
use time::OffsetDateTime;

use super::revoked::Refused;
use super::rules::{self, Rules};
use super::traffic::{self, Traffic, TrafficArgs};
use crate::args::{MeshArgs, Output};

/// `palisade policy suggest`.
#[derive(Debug, Args)]
pub(crate) struct SuggestArgs {
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Rules that exist, instead of the mesh's: what they admit is left out; may be repeated
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Mesh files and Kubernetes manifests that say who there is, and no more; may be repeated
    #[arg(long, value_name = "PATH")]
    who: Vec<PathBuf>,
    /// Names the callers' namespace where two service accounts of it or more were seen to call the same workload
    #[arg(long)]
    by_namespace: bool,
    /// Admits what was denied too; else it is listed in comments
    #[arg(long)]
    include_denied: bool,
    /// Rules that act at once [default: rules in shadow, which say in records what they would do]
    #[arg(long)]
    enforce: bool,
    /// The trust domain of the workloads, where no record says it [default: what a mesh file says, else the mesh's, else
    /// cluster.local]
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Prints rules as YAML, one policy for each workload that was called and one rule for each of its callers, with comments
that say how often and when it was seen, and what to look at twice. Ports where nobody was ever there to take a call are
left out, and listed in comments, as whoever looks for open ones calls them. What a rule in shadow would admit is a comment: that
rule is there, and waits for mode: enforce. So is what no rule would admit, as the caller or the called one is revoked, in
files (-f) or in the mesh. -o json prints objects and evidence instead.
Exits with 0, also where there is nothing to suggest, and with 2 where records or rules cannot be read, of some namespace
at least: one object in it has mistakes, say.

  palisade policy suggest > rules/suggested.yaml
  palisade logs -o json > records.jsonl
  palisade policy suggest --records records.jsonl -f rules/ --who shop.yaml";

/// What its `-o` says: what is to be reviewed, and kept in a file, is YAML wherever it is written to.
pub(crate) const OUTPUT: &str = "Text is YAML, for a file of rules; or JSON lines [default: text]";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) by_namespace: bool,
    pub(crate) include_denied: bool,
    pub(crate) mode: Mode,
}

/// What is suggested.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suggested {
    /// By namespace and name.
    pub(crate) targets: Vec<ForTarget>,
    /// Connections that existing rules admit.
    pub(crate) admitted: u64,
    /// Connections that are left out, as a fault keeps from knowing what is decided there.
    pub(crate) unknown: u64,
    pub(crate) warnings: Vec<String>,
}

/// What is suggested for one called workload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ForTarget {
    /// `shop/orders`.
    pub(crate) to: String,
    /// None where nothing is admitted.
    pub(crate) policy: Option<AuthorizationPolicy>,
    /// Of its rules, in their order.
    pub(crate) evidence: Vec<Evidence>,
    /// What is not sure of its target.
    pub(crate) unsure: Vec<String>,
    /// What was denied, and is left out.
    pub(crate) denied: Vec<Denied>,
    /// Rules admit some calls to it already.
    pub(crate) is_admitted: bool,
    /// What was let in, and is left out as nobody was there.
    pub(crate) unanswered: Vec<Unanswered>,
    /// What is there in shadow already, and is left out.
    pub(crate) in_shadow: Vec<InShadow>,
    /// What no rule would admit, and is left out.
    pub(crate) revoked: Vec<Barred>,
}

/// What a rule is suggested for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Evidence {
    pub(crate) rule: String,
    /// How many connections.
    pub(crate) count: u64,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) first: OffsetDateTime,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) last: OffsetDateTime,
    /// The `conn.id` of the latest.
    pub(crate) conn: String,
    pub(crate) unsure: Vec<String>,
}

/// Calls that were denied.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Denied {
    pub(crate) from: String,
    pub(crate) port: u16,
    pub(crate) count: u64,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) last: OffsetDateTime,
    /// Somebody was answered at this port.
    pub(crate) answered: bool,
}

/// Calls of one caller to ports where nobody was ever there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unanswered {
    pub(crate) from: String,
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) count: u64,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) last: OffsetDateTime,
}

/// Calls that rules in shadow would admit.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InShadow {
    pub(crate) from: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) count: u64,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) last: OffsetDateTime,
    /// These rules.
    pub(crate) rules: Vec<String>,
    pub(crate) unsure: Vec<String>,
}

/// Calls of one caller of which one end is revoked.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Barred {
    pub(crate) from: String,
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) count: u64,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) last: OffsetDateTime,
    /// Which of both.
    pub(crate) revoked: Refused,
}

/// Prints the rules, and a summary on stderr.
pub(crate) fn run(args: &SuggestArgs) -> anyhow::Result<ExitCode> {
    let rules = load(args)?;
    let mut traffic = traffic::load(&args.traffic, &args.mesh)?;
    let unknown = traffic.leave_out_unread(&rules);
    super::warn(&rules.warnings);
    super::warn(rules.revoked.warning().as_slice());
    super::warn(&traffic.warnings);
    let mode = if args.enforce {
        Mode::Enforce
    } else {
        Mode::Shadow
    };
    let wanted = Wanted {
        by_namespace: args.by_namespace,
        include_denied: args.include_denied,
        mode,
    };
    let suggested = Suggested {
        unknown,
        ..suggest(&rules, &traffic, wanted, OffsetDateTime::now_utc())
    };
    super::warn(&suggested.warnings);
    let mut out = std::io::stdout().lock();
    // In a pipe too: what is printed is a file of rules.
    match args.mesh.output {
        Some(Output::Json) => write!(out, "{}", print::json(&suggested)?)?,
        Some(Output::Text) | None => write!(out, "{}", print::yaml(&suggested))?,
    }
    anstream::eprintln!("{}", print::summary(&suggested));
    // What is printed is good, and not all that there may be to suggest.
    Ok(match unknown {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(super::UNANSWERED),
    })
}

fn load(args: &SuggestArgs) -> anyhow::Result<Rules> {
    let is_of_mesh = args.traffic.records.is_empty() || args.mesh.names_a_cluster();
    if args.files.is_empty() && is_of_mesh {
        return Ok(rules::of_mesh(&args.mesh)?);
    }
    let mut rules = rules::of_files(&args.files, args.trust_domain.clone())?;
    if !args.who.is_empty() {
        rules.know(rules::of_files(&args.who, args.trust_domain.clone())?);
    }
    if is_of_mesh && rules.known.workloads.is_empty() {
        let mesh = rules::of_mesh(&args.mesh)?;
        rules.revoked.add(&mesh.revoked);
        rules.know(mesh);
    } else if is_of_mesh {
        let revoked = rules::revoked_in_mesh(&args.mesh)?;
        rules.revoked.add(&revoked);
    }
    Ok(rules)
}

/// The least rules that admit what was seen and is not admitted yet.
pub(crate) fn suggest(
    rules: &Rules,
    traffic: &Traffic,
    wanted: Wanted,
    now: OffsetDateTime,
) -> Suggested {
    let gathered = gather::gather(rules, traffic, wanted, now);
    let mut names = write::Names::of(rules);
    let targets = gathered
        .targets
        .into_values()
        .map(|target| write::for_target(rules, target, wanted, &mut names));
    Suggested {
        targets: targets.collect(),
        admitted: gathered.admitted,
        unknown: 0,
        warnings: gathered.warnings,
    }
}
