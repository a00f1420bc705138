//! `palisade policy simulate`: what recorded connections would become under edited rules.

mod print;
mod settings;
#[cfg(test)]
mod tests;
mod told;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use palisade_api::policy::{Effect, Policy};
use palisade_api::spiffe::TrustDomain;
use serde::Serialize;
use time::OffsetDateTime;

use super::explain::{self, Placed};
use super::revoked::{Answer, Refused, Revoked};
use super::rules::{self, Known, Rules};
use super::subject::Called;
use super::taken;
use super::traffic::{self, Beside, Denials, Edge, Traffic, TrafficArgs, Was, Workloads};
use crate::args::{MeshArgs, Output};
use crate::kubernetes::meant::{Meant, meant};

/// `palisade policy simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The edited rules: files or directories; mesh files and Kubernetes manifests among them say who there is
    #[arg(required = true, value_name = "DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Mesh files and Kubernetes manifests that say who there is, and no more; may be repeated
    #[arg(long, value_name = "PATH")]
    who: Vec<PathBuf>,
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
Who has which labels is said by --who, or by manifests beside the rules, else by the mesh; where it is not known and rules
ask for it, the connection is listed as unknown; so is one in clear that rules admit, where they deny an account that may
be at its address. Who is revoked is denied before any rule is asked: by DIR; by the mesh where DIR says nothing of that.
What was refused as revoked is replayed, too; where it was the caller's certificate, as a call of who is at its address.
Exits with 0 where nothing flips, with 1 where something does, with 2 where that cannot be told of all.

  palisade policy simulate edited/
  palisade logs -o json > records.jsonl
  palisade policy simulate --records records.jsonl edited/ --who shop.yaml";

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
    /// By which rule it was so, by the latest record; `revoked` where one of both was, and no rule was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) was_by: Option<String>,
    /// Whether the caller is only taken for who is at its address: its certificate was refused, and no name recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) presumed: bool,
    /// `allow` or `deny`.
    pub(crate) becomes: &'static str,
    /// In the word of records.
    pub(crate) reason: &'static str,
    /// The caller's or the called one's name, where it is revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<Refused>,
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
    let rules = load(args)?;
    let traffic = traffic::load(&args.traffic, &args.mesh)?;
    super::warn(&rules.warnings);
    super::warn(rules.revoked.warning().as_slice());
    super::warn(&traffic.warnings);
    let now = args.at.unwrap_or_else(OffsetDateTime::now_utc);
    let simulated = simulate(&rules, &traffic, now);
    super::warn(&simulated.warnings);
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => write!(out, "{}", print::text(&simulated))?,
        Output::Json => write!(out, "{}", print::json(&simulated)?)?,
    }
    Ok(match (&*simulated.flips, &*simulated.unknown) {
        ([], []) => ExitCode::SUCCESS,
        ([], _) => ExitCode::from(super::UNANSWERED),
        _ => super::NO,
    })
}

/// The edited rules, and who there is.
fn load(args: &SimulateArgs) -> anyhow::Result<Rules> {
    let mut rules = rules::of_files(&args.paths, args.trust_domain.clone())?;
    if !args.who.is_empty() {
        rules.know(rules::of_files(&args.who, args.trust_domain.clone())?);
    }
    let is_of_mesh = args.traffic.records.is_empty() || args.mesh.names_a_cluster();
    let is_of_cluster = is_of_mesh && meant(&args.mesh)? == Meant::Cluster;
    if is_of_mesh && rules.known.workloads.is_empty() {
        let mesh = rules::of_mesh(&args.mesh)?;
        if is_of_cluster {
            of_cluster(&mut rules, &mesh.known);
        }
        stay_revoked(&mut rules, mesh.revoked.clone());
        rules.know(mesh);
        if let Some(own) = &args.trust_domain {
            rules.trust_domain = own.clone();
        }
    } else if is_of_mesh {
        if is_of_cluster {
            of_cluster(&mut rules, &Known::default());
        }
        let revoked = rules::revoked_in_mesh(&args.mesh)?;
        stay_revoked(&mut rules, revoked);
    }
    Ok(rules)
}

/// What is not put in force by applying the files to a cluster is left out, or named.
fn of_cluster(rules: &mut Rules, cluster: &Known) {
    taken::leave_out_revocations(rules);
    let set = rules.known.told.iter().filter(|name| {
        !cluster.told.contains(*name) || cluster.settings(name) != rules.known.settings(name)
    });
    let set = set.map(|name| {
        let annotate = taken::annotate(name, rules.known.settings(name));
        format!(
            "{name} is taken to be set as its Namespace in the files says, which a cluster does not take from files of \
             rules; to set it so: {annotate}"
        )
    });
    let set: Vec<_> = set.collect();
    rules.warnings.extend(set);
}

/// What the mesh revokes stays so, unless the edited rules say of revocations themselves, or have edited the file.
fn stay_revoked(rules: &mut Rules, mut mesh: Revoked) {
    if !rules.revoked.is_empty() {
        return;
    }
    let name = |file: &str| Some(Path::new(file).file_name()?.to_str()?.to_owned());
    let edited: BTreeSet<String> = rules.texts.keys().filter_map(|file| name(file)).collect();
    mesh.leave_out(|file| edited.contains(file));
    if let Some(place) = mesh.places().first() {
        rules.warnings.push(format!(
            "whom the mesh revokes stays revoked ({place}): the edited rules say nothing of it; replay the records of a file \
             (--records) over them to have nobody revoked"
        ));
    }
    rules.revoked.add(&mesh);
}

/// Decides each edge anew.
pub(crate) fn simulate(rules: &Rules, traffic: &Traffic, now: OffsetDateTime) -> Simulated {
    let asked = Asked {
        rules,
        policy: &rules.compiled(),
        selected: &super::subject::selected_labels(rules),
        workloads: &Workloads::of(&rules.known),
        denials: &Denials::of(rules, now),
        shown: &settings::Shown::of(rules, &traffic.edges),
        now,
    };
    let mut told = told::Told::default();
    for edge in &traffic.edges {
        asked.replay(&mut told, edge, false);
    }
    for edge in &traffic.revoked {
        match asked.workloads.with_caller(edge, &rules.trust_domain) {
            Some(named) => asked.replay(&mut told, &named, matches!(named, Cow::Owned(_))),
            None => told.unknown(rules, &asked.of(edge, false), NO_CALLER),
        }
    }
    told.finish(asked.shown.warnings.clone())
}

/// Whether it was read, or is said by files, how a namespace is set and who is there.
fn is_known(rules: &Rules, namespace: &str) -> bool {
    rules.known.told.contains(namespace) || rules.reach(namespace).is_ok()
}

/// What edges are decided by.
struct Asked<'a> {
    rules: &'a Rules,
    policy: &'a Policy,
    /// The keys of labels that some rule selects by.
    selected: &'a BTreeSet<&'a str>,
    workloads: &'a Workloads<'a>,
    denials: &'a Denials<'a>,
    shown: &'a settings::Shown,
    now: OffsetDateTime,
}

impl Asked<'_> {
    fn replay(&self, told: &mut told::Told, edge: &Edge, presumed: bool) {
        let replayed = self.of(edge, presumed);
        match self.answer(edge) {
            Ok(answer) => told.tell(self.rules, &replayed, &answer),
            Err(why) => told.unknown(self.rules, &replayed, why),
        }
    }

    fn of<'e>(&self, edge: &'e Edge, presumed: bool) -> told::Replayed<'e> {
        told::Replayed {
            edge,
            to: self.workloads.whom(edge).shown(edge),
            presumed,
        }
    }

    /// What becomes of it, or why that is not known.
    fn answer(&self, edge: &Edge) -> Result<Answer, &'static str> {
        let rules = self.rules;
        if let Some(id) = rules.revoked.of_call(&edge.from, edge.identity.as_ref()) {
            return Ok(Answer::Revoked(id));
        }
        if edge.was_revoked() && rules.revoked.has_serials() {
            return Err(MAYBE_BY_NUMBER);
        }
        if !is_known(rules, &edge.namespace) {
            return Err(NOT_READ);
        }
        let whom = self.workloads.whom(edge);
        let called = whom.called(rules, self.selected, edge).ok_or(NO_LABELS)?;
        let trust_domain = edge.trust_domain(&rules.trust_domain);
        let beside = self.workloads.beside(edge, trust_domain);
        let mut answers = called.iter().map(|one| self.decide(edge, one, &beside));
        let answer = answers.next().ok_or(DIFFERENT_LABELS)?;
        if answers.any(|other| was(&other) != was(&answer)) {
            return Err(DIFFERENT_LABELS);
        }
        let maybe = || {
            let at = (trust_domain, edge.port);
            self.denials.maybe(&beside, &called, at)
        };
        if was(&answer) == Was::Allowed && !maybe().is_empty() {
            return Err(NOT_KNOWN_BESIDE);
        }
        Ok(answer)
    }

    fn decide(&self, edge: &Edge, called: &Called, beside: &Beside) -> Answer {
        let trust_domain = edge.trust_domain(&self.rules.trust_domain);
        let settings = self.shown.settings(self.rules, &edge.namespace);
        let destination = called.destination(trust_domain, settings);
        let caller = (&edge.from, &*beside.known);
        let at = (edge.port, self.now);
        let revoked = &self.rules.revoked;
        revoked.decide(self.policy, caller, &destination, at)
    }
}

fn was(answer: &Answer) -> Was {
    match answer.effect() {
        Effect::Allow => Was::Allowed,
        Effect::Deny => Was::Denied,
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

const NO_CALLER: &str = "the caller's certificate was revoked, and it is not known whose that was: no name is recorded, and the account at its address is not known";
const MAYBE_BY_NUMBER: &str = "it was refused as revoked, which may have been by a serial number, and the edited rules revoke some";
const NOT_READ: &str = "of the mesh, the called one's namespace was not read; ask without -n, or with that namespace's";
const NO_LABELS: &str =
    "the labels of the called one are not known, and rules of its namespace select by them";
const NOT_KNOWN_BESIDE: &str = "it came without an identity, the account at its address is not known, and a rule denies one that may be it";
const DIFFERENT_LABELS: &str = "workloads of the called one's account have different labels, and the record does not say which it was";
