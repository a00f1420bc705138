//! `palisade policy simulate`: what recorded connections would become under edited rules.

mod print;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use palisade_api::policy::{AllowReason, Decision, DenyReason, NearMiss, Policy, Verdict};
use palisade_api::spiffe::TrustDomain;
use palisade_api::workload::{Closing, Mtls, NamespaceSettings};
use serde::Serialize;
use time::OffsetDateTime;

use super::explain::{self, Placed};
use super::rules::{self, Rules};
use super::subject::Called;
use super::traffic::{self, Edge, Traffic, TrafficArgs, Was, Workloads};
use crate::args::{MeshArgs, Output};

/// `palisade policy simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The edited rules: files or directories; mesh files and Kubernetes manifests among them say who there is
    #[arg(required = true, value_name = "DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// At another moment than now, such as 2026-12-01T00:00:00Z: rules may have expired by then
    #[arg(long, value_name = "TIME", value_parser = explain::moment)]
    at: Option<OffsetDateTime>,
    /// The trust domain of the workloads [default: what a mesh file says, else the mesh's, else cluster.local]
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Decides every recorded connection anew by the rules of DIR, and says what would become of it otherwise than it was.
Who has which labels is said by a mesh file or manifests beside the rules, else by the mesh; where it is not known and
rules ask for it, the connection is listed as unknown.
Exits with 0 where nothing flips, with 1 where something does, with 2 where that cannot be told.

  palisade policy simulate rules/
  palisade logs -o json > records.jsonl
  palisade policy simulate --records records.jsonl rules/ shop.yaml";

/// What would become of the recorded connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Simulated {
    pub(crate) flips: Vec<Flip>,
    /// What only rules in shadow would decide otherwise.
    pub(crate) in_shadow: Vec<Flip>,
    pub(crate) unknown: Vec<Unknown>,
    pub(crate) unchanged: Count,
    pub(crate) warnings: Vec<String>,
}

/// Connections that would become something else.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Flip {
    #[serde(flatten)]
    pub(crate) seen: Seen,
    /// By which rule it was so, by the latest record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) was_by: Option<String>,
    /// `allow` or `deny`.
    pub(crate) becomes: &'static str,
    /// In the word of records.
    pub(crate) reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Placed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) near_miss: Option<Nearest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<Would>,
}

/// The rule that came nearest to allowing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Nearest {
    #[serde(flatten)]
    pub(crate) rule: Placed,
    /// The first field that differed.
    pub(crate) differs: &'static str,
}

/// The rule in shadow that would decide otherwise.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Would {
    /// What it would do: `allow` or `deny`.
    pub(crate) would: &'static str,
    #[serde(flatten)]
    pub(crate) rule: Placed,
}

/// Connections that cannot be decided.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unknown {
    #[serde(flatten)]
    pub(crate) seen: Seen,
    pub(crate) why: &'static str,
}

/// Recorded connections of one caller to one called workload and port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) port: u16,
    /// `allow` or `deny`.
    pub(crate) was: &'static str,
    pub(crate) count: u64,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) first: OffsetDateTime,
    #[serde(serialize_with = "traffic::rfc3339")]
    pub(crate) last: OffsetDateTime,
    /// The `conn.id` of the latest.
    pub(crate) conn: String,
}

/// Edges, and the connections of them all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) edges: u64,
    pub(crate) connections: u64,
}

/// Prints what would flip.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let mut rules = rules::of_files(&args.paths, args.trust_domain.clone())?;
    let is_of_mesh = args.traffic.records.is_empty() || traffic::names_a_mesh(&args.mesh);
    if is_of_mesh && rules.known.workloads.is_empty() {
        rules.know(rules::of_mesh(&args.mesh)?);
        if let Some(own) = &args.trust_domain {
            rules.trust_domain = own.clone();
        }
    }
    let traffic = traffic::load(&args.traffic, &args.mesh)?;
    super::warn(&rules.warnings);
    super::warn(&traffic.warnings);
    let now = args.at.unwrap_or_else(OffsetDateTime::now_utc);
    let simulated = simulate(&rules, &traffic, now);
    super::warn(&simulated.warnings);
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => write!(out, "{}", print::text(&simulated))?,
        Output::Json => write!(out, "{}", print::json(&simulated)?)?,
    }
    Ok(if simulated.flips.is_empty() {
        ExitCode::SUCCESS
    } else {
        super::NO
    })
}

/// Decides each edge anew.
pub(crate) fn simulate(rules: &Rules, traffic: &Traffic, now: OffsetDateTime) -> Simulated {
    let policy = rules.compiled();
    let selected = super::subject::selected_labels(rules);
    let workloads = Workloads::of(&rules.known);
    let shown = Shown::of(rules, &traffic.edges);
    let mut told = Told::default();
    for edge in &traffic.edges {
        let whom = workloads.whom(edge);
        let to = whom.shown(edge);
        let asked = Asked {
            rules,
            policy: &policy,
            settings: shown.settings(rules, &edge.namespace),
            now,
        };
        let Some(called) = whom.called(rules, &selected, edge) else {
            told.unknown(rules, (edge, to), NO_LABELS);
            continue;
        };
        let decisions = called.iter().map(|one| asked.decide(edge, one));
        let decisions: Vec<Decision> = decisions.collect();
        let becomes: BTreeSet<Was> = decisions.iter().map(was).collect();
        let (Some(decision), 1) = (decisions.first(), becomes.len()) else {
            told.unknown(rules, (edge, to), DIFFERENT_LABELS);
            continue;
        };
        if was(decision) != edge.was || decision.shadow.is_some() {
            told.flip(rules, (edge, to), decision);
        } else {
            told.simulated.unchanged.add(edge);
        }
    }
    told.finish(shown.warnings)
}

/// What edges are decided by.
struct Asked<'a> {
    rules: &'a Rules,
    policy: &'a Policy,
    settings: NamespaceSettings,
    now: OffsetDateTime,
}

impl Asked<'_> {
    fn decide(&self, edge: &Edge, called: &Called) -> Decision {
        let trust_domain = edge.trust_domain(&self.rules.trust_domain);
        let destination = called.destination(trust_domain, self.settings);
        let source = edge.from.source();
        self.policy
            .decide(source, &destination, edge.port, self.now)
    }
}

fn was(decision: &Decision) -> Was {
    match decision.verdict {
        Verdict::Allow(_) => Was::Allowed,
        Verdict::Deny(_) => Was::Denied,
    }
}

/// How namespaces are taken to be set of which the rules' files say nothing.
#[derive(Debug, Default)]
struct Shown {
    settings: BTreeMap<String, NamespaceSettings>,
    warnings: Vec<String>,
}

impl Shown {
    /// As the records show it: who was let in without a rule was so by an annotation.
    fn of(rules: &Rules, edges: &[Edge]) -> Self {
        let mut shown = Self::default();
        if rules.known.is_complete {
            return shown;
        }
        for edge in edges.iter().filter(|edge| edge.was == Was::Allowed) {
            let known = rules.known.settings(&edge.namespace);
            if known != NamespaceSettings::default() {
                continue;
            }
            let settings = match edge.reason.as_deref() {
                Some("permissive") => NamespaceSettings {
                    mtls: Mtls::Permissive,
                    ..known
                },
                Some("no_rule" | "closing_in_shadow") => NamespaceSettings {
                    closing: Closing::Shadow,
                    ..known
                },
                _ => continue,
            };
            let name = edge.namespace.to_string();
            let held = shown.settings.entry(name).or_default();
            if settings.mtls == Mtls::Permissive {
                held.mtls = settings.mtls;
            }
            if settings.closing == Closing::Shadow {
                held.closing = settings.closing;
            }
        }
        shown.warnings = shown.settings.iter().map(taken_for).collect();
        shown
    }

    fn settings(&self, rules: &Rules, namespace: &str) -> NamespaceSettings {
        let shown = self.settings.get(namespace).copied();
        shown.unwrap_or_else(|| rules.known.settings(namespace))
    }
}

fn taken_for((namespace, settings): (&String, &NamespaceSettings)) -> String {
    let mut annotations = Vec::new();
    if settings.mtls == Mtls::Permissive {
        annotations.push("palisade.dev/mtls: permissive");
    }
    if settings.closing == Closing::Shadow {
        annotations.push("palisade.dev/authorization: shadow");
    }
    let annotations = annotations.join(", ");
    format!(
        "the namespace {namespace} is taken to have the annotations that its records show ({annotations}); put its \
         Namespace beside the rules to have it otherwise"
    )
}

/// What is told, while it is put together: the replicas of a workload are one.
#[derive(Debug, Default)]
struct Told {
    simulated: Simulated,
    flips: BTreeMap<FlipKey, Flip>,
    unknown: BTreeMap<SeenKey, Unknown>,
}

type SeenKey = (Was, String, String, u16);
/// Which way it flips, also whether only in shadow; and by what.
type FlipKey = (bool, SeenKey, Option<String>);

impl Told {
    fn flip(&mut self, rules: &Rules, (edge, to): (&Edge, String), decision: &Decision) {
        let seen = seen(rules, edge, to);
        let becomes = was(decision);
        let is_in_shadow = becomes == edge.was;
        if is_in_shadow {
            self.simulated.unchanged.add(edge);
        }
        let (reason, rule, near_miss) = why(rules, &decision.verdict);
        let shadow = decision.shadow.as_ref().map(|(effect, name)| Would {
            would: effect.as_str(),
            rule: explain::placed(rules, name),
        });
        let by = if is_in_shadow {
            shadow.as_ref().map(|shadow| &shadow.rule)
        } else {
            rule.as_ref()
        };
        let by = by.map(|rule| rule.name.clone());
        let key = (is_in_shadow, key(edge, &seen), by);
        if let Some(flip) = self.flips.get_mut(&key) {
            flip.seen.add(edge);
            return;
        }
        let flip = Flip {
            seen,
            was_by: edge.rule.as_deref().map(str::to_owned),
            becomes: becomes.as_str(),
            reason,
            rule,
            near_miss,
            shadow,
        };
        self.flips.insert(key, flip);
    }

    fn unknown(&mut self, rules: &Rules, (edge, to): (&Edge, String), why: &'static str) {
        let seen = seen(rules, edge, to);
        let key = key(edge, &seen);
        match self.unknown.get_mut(&key) {
            Some(unknown) => unknown.seen.add(edge),
            None => {
                self.unknown.insert(key, Unknown { seen, why });
            }
        }
    }

    fn finish(self, warnings: Vec<String>) -> Simulated {
        let mut simulated = self.simulated;
        for ((is_in_shadow, ..), flip) in self.flips {
            if is_in_shadow {
                simulated.in_shadow.push(flip);
            } else {
                simulated.flips.push(flip);
            }
        }
        simulated.unknown = self.unknown.into_values().collect();
        simulated.warnings = warnings;
        simulated
    }
}

/// Why, in the word of records; the deciding rule, and the one that came nearest.
fn why(rules: &Rules, verdict: &Verdict) -> (&'static str, Option<Placed>, Option<Nearest>) {
    let near = |near: &Option<NearMiss>| {
        near.as_ref().map(|near| Nearest {
            rule: explain::placed(rules, &near.rule),
            differs: near.differs.as_str(),
        })
    };
    let (rule, near_miss) = match verdict {
        Verdict::Allow(AllowReason::Rule(rule)) | Verdict::Deny(DenyReason::Rule(rule)) => {
            (Some(explain::placed(rules, rule)), None)
        }
        Verdict::Allow(AllowReason::Permissive) => (None, None),
        Verdict::Allow(AllowReason::ClosingInShadow(miss))
        | Verdict::Deny(DenyReason::NoRule(miss)) => (None, near(miss)),
    };
    let reason = match verdict {
        Verdict::Allow(reason) => reason.as_str(),
        Verdict::Deny(reason) => reason.as_str(),
    };
    (reason, rule, near_miss)
}

fn key(edge: &Edge, seen: &Seen) -> SeenKey {
    (edge.was, seen.from.clone(), seen.to.clone(), seen.port)
}

fn seen(rules: &Rules, edge: &Edge, to: String) -> Seen {
    Seen {
        from: traffic::short(&edge.from, edge.trust_domain(&rules.trust_domain)),
        to,
        port: edge.port,
        was: edge.was.as_str(),
        count: edge.count,
        first: edge.first,
        last: edge.last,
        conn: edge.conn(),
    }
}

impl Seen {
    fn add(&mut self, edge: &Edge) {
        self.count = self.count.saturating_add(edge.count);
        self.first = self.first.min(edge.first);
        if edge.last > self.last {
            self.last = edge.last;
            self.conn = edge.conn();
        }
    }
}

impl Count {
    fn add(&mut self, edge: &Edge) {
        self.edges += 1;
        self.connections = self.connections.saturating_add(edge.count);
    }
}

const NO_LABELS: &str =
    "the labels of the called one are not known, and rules of its namespace select by them";
const DIFFERENT_LABELS: &str = "workloads of the called one's account have different labels, and the record does not say which it was";
