//! `palisade policy usage`: what the rules permit against what is done.

mod print;
#[cfg(test)]
pub(in crate::policy) mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use palisade_api::policy::{Effect, Mode, Rule, RuleName};
use palisade_api::usage::{Usage, Use};
use serde::Serialize;
use time::OffsetDateTime;

use super::counted::{self, Edge};
use super::rules::{self, Rules};
use crate::args::{MeshArgs, Output};

/// `palisade policy usage`.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Only rules and edges that were not used
    #[arg(long)]
    unused: bool,
    /// Only what was tried and denied
    #[arg(long, conflicts_with = "unused")]
    denied: bool,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Sidecars count, and control keeps the counts: restarts of either lose nothing on a local mesh; on a cluster, those of
sidecars. On a cluster this needs the Role palisade-ask in palisade-system.

  palisade policy usage
  palisade policy usage --unused -o json | jq -r '.unused[] | .rule' | sort -u";

/// The parts that are wanted; the others are none.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What was counted since then is in it.
    since: String,
    /// Of what is unused, those that never decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<RuleUse>>,
    /// Edges that a rule permits, and nobody used.
    #[serde(skip_serializing_if = "Option::is_none")]
    unused: Option<Vec<Unused>>,
    /// Edges that were tried and denied, most first.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<Vec<Tried>>,
    /// Connections that could not be told apart any more.
    others: u64,
}

/// Which parts of it are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    Unused,
    Denied,
}

/// How often a rule decided.
#[derive(Debug, Serialize)]
pub(crate) struct RuleUse {
    rule: String,
    effect: &'static str,
    mode: &'static str,
    place: String,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// How often it would have decided otherwise, in shadow.
    shadow_count: u64,
    #[serde(skip)]
    last_at: i64,
}

/// What is permitted and was never done.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Unused {
    rule: String,
    from: String,
    to: String,
}

/// What was tried and denied.
#[derive(Debug, Serialize)]
pub(crate) struct Tried {
    from: String,
    to: String,
    port: u16,
    count: u64,
    first: String,
    last: String,
    /// By this rule; by none where no rule allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip)]
    last_at: i64,
}

/// Prints what was used, and what was not.
pub(crate) fn run(args: &UsageArgs) -> anyhow::Result<ExitCode> {
    let rules = rules::of_mesh(&args.mesh)?;
    super::warn(&rules.warnings);
    let usage = crate::usage::usage(&args.mesh)?;
    let wanted = match (args.unused, args.denied) {
        (true, _) => Wanted::Unused,
        (false, true) => Wanted::Denied,
        (false, false) => Wanted::All,
    };
    let report = report(&rules, &usage, wanted);
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => {
            write!(out, "{}", print::report(&report, OffsetDateTime::now_utc()))?;
        }
        Output::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn report(rules: &Rules, usage: &Usage, wanted: Wanted) -> Report {
    let edges = counted::edges(rules, usage);
    let used = (wanted != Wanted::Denied).then(|| {
        let mut used = used(rules, usage);
        used.retain(|rule| wanted == Wanted::All || rule.count.max(rule.shadow_count) == 0);
        used
    });
    Report {
        since: counted::moment(usage.since),
        rules: used,
        unused: (wanted != Wanted::Denied).then(|| unused(rules, &edges)),
        denied: (wanted != Wanted::Unused).then(|| denied(rules, &edges)),
        others: counted::others(usage),
    }
}

/// Each rule, those least used first.
fn used(rules: &Rules, usage: &Usage) -> Vec<RuleUse> {
    let mut uses: BTreeMap<&str, Use> = BTreeMap::new();
    for (name, each) in usage.workloads.iter().flat_map(|one| &one.totals.rules) {
        let held = uses.entry(name).or_default();
        held.count = held.count.saturating_add(each.count);
        held.shadow_count = held.shadow_count.saturating_add(each.shadow_count);
        held.last = held.last.max(each.last);
        held.shadow_last = held.shadow_last.max(each.shadow_last);
    }
    let mut listed: Vec<_> = each_rule(rules)
        .map(|(name, rule)| {
            let shown = name.to_string();
            let used = uses.get(shown.as_str()).copied().unwrap_or_default();
            let last_at = used.last.max(used.shadow_last);
            RuleUse {
                place: rules.place(&name),
                rule: shown,
                effect: rule.effect.as_str(),
                mode: rule.mode.as_str(),
                count: used.count,
                last: (last_at > 0).then(|| counted::moment(last_at)),
                shadow_count: used.shadow_count,
                last_at,
            }
        })
        .collect();
    listed.sort_by(|one, other| {
        let key = |each: &RuleUse| each.count.max(each.shadow_count);
        (key(one), &one.rule).cmp(&(key(other), &other.rule))
    });
    listed
}

fn each_rule(rules: &Rules) -> impl Iterator<Item = (RuleName, &Rule)> {
    rules
        .policies
        .iter()
        .flat_map(|policy| policy.rule_names().zip(&policy.rules))
}

/// Each source of each allowance, for each workload that it protects, of which no connection was seen.
fn unused(rules: &Rules, edges: &[Edge]) -> Vec<Unused> {
    let selected = super::subject::selected_labels(rules);
    let mut unused = Vec::new();
    for policy in &rules.policies {
        let protected = rules.known.workloads.iter().filter(|one| {
            one.meshed && policy.selects(&one.namespace, &one.service_account, &one.labels)
        });
        let mut protected: Vec<_> = protected
            .map(|one| super::subject::of(one, &selected))
            .collect();
        protected.sort();
        protected.dedup();
        let allowing = policy.rule_names().zip(&policy.rules);
        let allowing =
            allowing.filter(|(_, rule)| (rule.effect, rule.mode) == (Effect::Allow, Mode::Enforce));
        for (name, rule) in allowing {
            let name = name.to_string();
            for from in &rule.from {
                for called in &protected {
                    let is_used = edges.iter().any(|edge| {
                        edge.rule.as_deref() == Some(&name)
                            && edge.called == *called
                            && from.fits(edge.caller.source(), &rules.trust_domain)
                    });
                    if !is_used {
                        unused.push(Unused {
                            rule: name.clone(),
                            from: source(from),
                            to: called.to_string(),
                        });
                    }
                }
            }
        }
    }
    unused
}

/// As a rule names it, in one line.
fn source(from: &palisade_api::policy::From) -> String {
    use palisade_api::policy::From;
    match from {
        From::ServiceAccount { namespace, name } => format!("{namespace}/{name}"),
        From::Identity(id) => id.to_string(),
        From::Namespace(namespace) => format!("{namespace}/*"),
        From::TrustDomain(domain) => format!("any identity of {domain}"),
        From::Unauthenticated(network) => format!("{network} in clear"),
    }
}

fn denied(rules: &Rules, edges: &[Edge]) -> Vec<Tried> {
    let mut denied: Vec<_> = edges
        .iter()
        .filter(|edge| !edge.decided.is_allowed())
        .map(|edge| Tried {
            from: counted::named(rules, edge),
            to: edge.called.to_string(),
            port: edge.port,
            count: edge.seen.count,
            first: counted::moment(edge.seen.first),
            last: counted::moment(edge.seen.last),
            rule: edge.rule.clone(),
            reason: edge.reason.clone(),
            last_at: edge.seen.last,
        })
        .collect();
    denied.sort_by_key(|tried| std::cmp::Reverse(tried.count));
    denied
}
