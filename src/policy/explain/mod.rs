//! `palisade policy explain`: whether one may reach another, and why.

pub(super) mod print;
mod proxy;
mod recorded;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use palisade_api::policy::{Policy, RuleName};
use palisade_api::spiffe::SpiffeId;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::beside;
use super::excluded::is_excluded;
use super::revoked::Refused;
use super::rules::{self, LoadRulesError, Rules, RulesArgs, Sought};
use super::subject::{self, Called, Caller, Subject};
use super::traffic::TrafficArgs;
use crate::args::Output;
use crate::records::filter::Replica;

/// `palisade policy explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Who calls: shop/web, a SPIFFE ID, or an address for one without an identity
    #[arg(long, value_name = "WHO", required_unless_present = "conn")]
    from: Option<Subject>,
    /// Who is called: shop/orders
    #[arg(long, value_name = "WHO", required_unless_present_any = ["proxy", "conn"])]
    to: Option<Subject>,
    /// Asks the sidecar of this replica (shop/orders-0), or of a workload's first one, what it enforces, instead of the
    /// rules as they are written
    #[arg(long, value_name = "REPLICA", conflicts_with_all = ["to", "to_labels", "at", "files"])]
    proxy: Option<Replica>,
    /// The called workload's own port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), required_unless_present = "conn")]
    port: Option<u16>,
    /// Of a recorded connection, by its `conn.id`, instead of --from, --to and --port
    #[arg(long, value_name = "CONN_ID", value_parser = conn, conflicts_with_all = ["from", "to", "port", "proxy", "to_labels"])]
    conn: Option<u128>,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Labels of the called one, where nothing says which it has
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    to_labels: Vec<(String, String)>,
    /// At another moment than now, such as 2026-12-01T00:00:00Z: rules may have expired by then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<OffsetDateTime>,
    #[command(flatten)]
    rules: RulesArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Asks the rules of the running mesh, or of files (-f), as they are written now.
With --proxy, asks what one sidecar enforces at this moment, and by which revision of the rules; nothing is recorded.
Exits with 0 where it is allowed, with 1 where it is denied, with 2 where the question cannot be answered, or where the rules
deny it and nothing enforces them: who is called has no sidecar (`enforced` is false, `without_sidecar` names the replicas).
--conn takes the conn.id of either side: of refusals that repeat, the called side writes one record with a count.

  palisade policy explain --from shop/web --to shop/orders --port 8080
  palisade policy explain --conn 9f4c0d2be1a84d1f9a6b2c7d8e0f1a2b --records web.jsonl
  palisade policy explain --from shop/web --proxy shop/orders-0 --port 8080
  palisade policy explain -f rules/ -f shop.yaml --from 10.2.0.7 --to shop/orders --port 8080";

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn conn(text: &str) -> Result<u128, String> {
    let read = u128::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == CONN_ID_DIGITS);
    read.ok_or_else(|| "write it as records do: 32 hexadecimal digits".to_owned())
}

pub(super) fn moment(text: &str) -> Result<OffsetDateTime, String> {
    let read = OffsetDateTime::parse(text, &Rfc3339);
    read.map_err(|_what| "write it like 2026-12-01T00:00:00Z".to_owned())
}

/// An answer, with the words of records.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Explained {
    pub(crate) from: String,
    /// `authenticated` or `unauthenticated`.
    pub(crate) source: &'static str,
    /// Whether the caller is only taken for the service account of its name, or its address for nobody's: pods may not be
    /// read; or for the account of who is at its address, as its record names nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) presumed: bool,
    pub(crate) to: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) port: u16,
    /// Whose sidecar answered, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<String>,
    /// Of how many replicas it is one, where the workload was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replicas: Option<usize>,
    /// By which revision of the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<u64>,
    /// Whether every replica of the called workload has a sidecar; none where nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enforced: Option<bool>,
    /// Those that have none, so that nothing enforces rules there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) without_sidecar: Vec<String>,
    /// Whether a sidecar does not see the port, so that no rule is asked there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) excluded: bool,
    /// `allow` or `deny`.
    pub(crate) decision: String,
    /// In the word of records.
    pub(crate) reason: String,
    /// The caller's or the called one's name, where it is revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<Refused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Placed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) near_miss: Option<Near>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<InShadow>,
    /// What the rules say as they are written, where the sidecar that was asked enforces others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) as_written: Option<AsWritten>,
    /// What was decided then, where a record was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recorded: Option<recorded::Recorded>,
}

/// A rule, and where it is written.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Placed {
    pub(crate) name: String,
    pub(crate) place: String,
    /// What it says, in English.
    pub(crate) says: String,
}

/// What is not enforced yet, or no more.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AsWritten {
    /// `allow` or `deny`.
    pub(crate) decision: String,
    /// In the word of records.
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
}

/// The rule that came nearest to allowing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Near {
    #[serde(flatten)]
    pub(crate) rule: Placed,
    /// The first field that differed.
    pub(crate) differs: String,
}

/// The rule in shadow that would have decided otherwise.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InShadow {
    /// What it would have done: `allow` or `deny`.
    pub(crate) would: String,
    #[serde(flatten)]
    pub(crate) rule: Placed,
}

/// Prints why.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let rules = load(args)?;
    super::warn(&rules.warnings);
    super::warn(rules.revoked.warning().as_slice());
    let now = args.at.unwrap_or_else(OffsetDateTime::now_utc);
    let answers = match (args.conn, &args.from, args.port) {
        (Some(conn), _, _) => recorded::explain(&rules, args, conn, now)?,
        (None, Some(from), Some(port)) => asked(&rules, args, (from, port), now)?,
        (None, _, _) => anyhow::bail!("name --from, --to and --port, or --conn"),
    };
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.rules.mesh.output) {
        Output::Text => write!(out, "{}", print::answers(&answers))?,
        Output::Json => {
            for answer in &answers {
                writeln!(out, "{}", serde_json::to_string(answer)?)?;
            }
        }
    }
    let mut denied = answers.iter().filter(|answer| answer.decision != "allow");
    let is_sure = denied.clone().any(|answer| answer.enforced != Some(false));
    Ok(match denied.next() {
        None => ExitCode::SUCCESS,
        Some(_) if is_sure => super::NO,
        // Whoever takes that for a no would trust a wall that is not there.
        Some(_) => ExitCode::from(super::UNANSWERED),
    })
}

fn load(args: &ExplainArgs) -> Result<Rules, LoadRulesError> {
    match &args.proxy {
        // A sidecar knows what it enforces, whatever the API server lists.
        Some(_) => rules::of_mesh_as_listed(&args.rules.mesh, &callers(args)),
        None => args.rules.load(&callers(args)),
    }
}

/// Who is looked up, besides those whose rules are asked.
fn callers(args: &ExplainArgs) -> BTreeSet<Sought> {
    let mut sought = subject::sought(&args.from);
    let proxy = args.proxy.iter();
    let namespaces = proxy.filter_map(|replica| replica.namespace.clone());
    sought.extend(namespaces.map(Sought::Namespace));
    sought
}

/// An answer for each way in which the caller may come, and for each kind of replica.
fn asked(
    rules: &Rules,
    args: &ExplainArgs,
    (from, port): (&Subject, u16),
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Explained>> {
    let mut answers = answers(rules, args, (from, port), now)?;
    let doubt = subject::doubt(rules, from);
    for answer in &mut answers {
        answer.presumed = doubt.is_some();
    }
    super::warn(doubt.as_slice());
    let called = args.to.as_ref().filter(|_| args.to_labels.is_empty());
    let unheard_of = called.and_then(|to| subject::unheard_of(rules, to));
    super::warn(unheard_of.as_slice());
    Ok(answers)
}

fn answers(
    rules: &Rules,
    args: &ExplainArgs,
    (from, port): (&Subject, u16),
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Explained>> {
    let callers = subject::callers(rules, from)?;
    let mut answers = Vec::new();
    if let Some(replica) = &args.proxy {
        let mesh = &args.rules.mesh;
        let chosen = proxy::choose(rules, mesh, replica)?;
        for caller in &callers {
            answers.push(proxy::ask(rules, mesh, &chosen, (caller, port), now)?);
        }
        return Ok(answers);
    }
    let labels = args.to_labels.iter().cloned().collect();
    let to = args
        .to
        .as_ref()
        .map(|to| subject::called(rules, to, &labels));
    let policy = rules.compiled();
    for called in to.transpose()?.into_iter().flatten() {
        for caller in &callers {
            answers.push(explain(rules, &policy, (caller, &called, port), now));
        }
    }
    Ok(answers)
}

/// Asks the rules, and says of each that takes part where it is written.
pub(crate) fn explain(
    rules: &Rules,
    policy: &Policy,
    (caller, called, port): (&Caller, &Called, u16),
    now: OffsetDateTime,
) -> Explained {
    let beside = beside::of(rules, caller);
    explain_beside(rules, policy, (caller, &beside, called, port), now)
}

/// A caller, the identities that are known at its address, whom it calls, and at which port.
type Call<'a> = (&'a Caller, &'a [SpiffeId], &'a Called, u16);

/// The same of a caller at whose address somebody is known.
fn explain_beside(
    rules: &Rules,
    policy: &Policy,
    (caller, beside, called, port): Call<'_>,
    now: OffsetDateTime,
) -> Explained {
    let settings = rules.known.settings(&called.namespace);
    let destination = called.destination(&rules.trust_domain, settings);
    let from = (caller, beside);
    let answer = rules
        .revoked
        .decide(policy, from, &destination, (port, now));
    let (enforced, without_sidecar) = enforced(rules, called);
    let excluded = is_excluded(rules, called, port);
    let near_miss = answer.near_miss().map(|near| Near {
        rule: placed(rules, &near.rule),
        differs: near.differs.as_str().to_owned(),
    });
    Explained {
        from: caller.to_string(),
        source: caller.kind(),
        presumed: false,
        to: called.to_string(),
        labels: called.labels.clone(),
        port,
        proxy: None,
        replicas: None,
        revision: None,
        enforced: if excluded { Some(false) } else { enforced },
        without_sidecar,
        excluded,
        decision: answer.effect().as_str().to_owned(),
        reason: answer.reason().to_owned(),
        revoked: answer.revoked().map(|id| rules.revoked.refused(id)),
        rule: answer.rule().map(|rule| placed(rules, rule)),
        near_miss,
        shadow: answer.shadow().map(|(effect, rule)| InShadow {
            would: effect.as_str().to_owned(),
            rule: placed(rules, rule),
        }),
        as_written: None,
        recorded: None,
    }
}

/// Whether each replica that is known has a sidecar, and those that have none. Manifests say nothing of that.
fn enforced(rules: &Rules, called: &Called) -> (Option<bool>, Vec<String>) {
    let replicas = subject::replicated(rules, called);
    let is_enforced = replicas.iter().all(|one| one.meshed);
    (
        (!replicas.is_empty()).then_some(is_enforced),
        subject::without_sidecar(&replicas),
    )
}

pub(crate) fn placed(rules: &Rules, name: &RuleName) -> Placed {
    Placed {
        name: name.to_string(),
        place: rules.place(name),
        says: rules.sentence(name).unwrap_or_default(),
    }
}

const CONN_ID_DIGITS: usize = 32;
