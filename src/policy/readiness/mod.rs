//! `palisade policy readiness`: what would break if everything were enforced now.

mod outside;
mod print;
#[cfg(test)]
mod tests;
mod what;

use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use palisade_api::policy::{Effect, Policy, Verdict};
use palisade_api::usage::{Seen, Usage};
use palisade_api::workload::NamespaceSettings;
use serde::Serialize;
use time::OffsetDateTime;

use super::beside;
use super::counted::{self, Edge, Workloads, few};
use super::revoked::Refused;
use super::rules::{self, Rules};
use super::unshadowed;
use crate::args::{MeshArgs, Output};
use crate::usage::Heard;
use outside::Outside;
use what::What;

/// `palisade policy readiness`.
#[derive(Debug, Args)]
pub(crate) struct ReadinessArgs {
    /// A workload (shop/orders) or a namespace (shop) [default: the whole mesh]
    what: Option<What>,
    /// Only what was in use lately, such as 7d, and 20s at least: who has had no connection for longer is not waited for
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Duration>,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Decides every connection that was let through once more, as if its namespace were strict and enforced, and as if rules in
shadow were enforced: callers in clear by name, denials by rule. What never happened since counting began cannot be told.
A connection that is open is in use: its sidecar tells that again every half minute. What was let through to a port where
nobody ever answered, as by who looks for open ones, is no edge: nothing of it can break, and it is told apart;
so is who is revoked, as caller or as called: no rule and no setting lets that through any more. What is denied today
already, as by a rule that is gone or a break-glass that has ended, would not break, and is not listed. Replicas without a
sidecar and excluded ports are named: nothing of them is counted, and they are open whatever is enforced.
Exits with 0 where nothing would break, with 1 where something would, with 2 where it cannot be told.

  palisade policy readiness shop
  palisade policy readiness shop/orders --since 7d -o json";

/// Sidecars tell what they counted some ten seconds later: of less, nothing may be known.
fn since(text: &str) -> Result<Duration, String> {
    let since = crate::args::span(text)?;
    match since < LEAST {
        true => Err("name 20s at least, as counts come some seconds late".to_owned()),
        false => Ok(since),
    }
}

const LEAST: Duration = Duration::from_secs(20);

/// Whether everything could be enforced.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    ready: bool,
    /// What was counted since then was looked at.
    since: String,
    /// How many edges were let through, and had an answer.
    edges: usize,
    breaks: Vec<Break>,
    /// What would be denied, too, and nobody ever answered it: nothing breaks.
    never_answered: Vec<Unanswered>,
    /// What is refused by now whatever is enforced, as one of both is revoked: nothing breaks.
    revoked: Vec<Barred>,
    /// What no sidecar sees: nothing is said of it.
    outside: Outside,
    /// Connections that could not be told apart any more.
    others: u64,
}

/// An edge that was let through, and would not be.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Break {
    to: String,
    from: String,
    port: u16,
    /// `mtls`, `authorization` or `mode`: what would have to be switched on for it to break.
    by: By,
    /// The rule that would deny it; none where no rule would allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// The rule that came nearest to allowing it, and the field that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    near_miss: Option<String>,
    count: u64,
    first: String,
    last: String,
    #[serde(skip)]
    last_at: i64,
}

/// An edge that was let through, to a port where nobody was.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Unanswered {
    to: String,
    from: String,
    port: u16,
    count: u64,
    last: String,
}

/// An edge that was let through, before one of its ends was revoked.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Barred {
    to: String,
    from: String,
    port: u16,
    count: u64,
    last: String,
    /// Which of both.
    revoked: Refused,
}

/// What would have to be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// `palisade.dev/mtls: strict`.
    Mtls,
    /// `palisade.dev/authorization: enforce`.
    Authorization,
    /// `mode: enforce` of a rule.
    Mode,
}

/// Prints what would break.
pub(crate) fn run(args: &ReadinessArgs) -> anyhow::Result<ExitCode> {
    let rules = rules::of_mesh(&args.mesh)?;
    super::warn(&rules.warnings);
    super::warn(rules.revoked.warning().as_slice());
    match &args.what {
        Some(what) => what.is_there(&rules)?,
        None => rules.sure_in(None)?,
    }
    let Heard { usage, doubts } = crate::usage::heard(&args.mesh)?;
    super::warn(&doubts);
    let now = OffsetDateTime::now_utc();
    let least = args
        .since
        .map_or(i64::MIN, |age| (now - age).unix_timestamp());
    let report = report(&rules, &usage, (args.what.as_ref(), least), now);
    let sidecars = sidecars(&rules, args.what.as_ref());
    // Who was not heard of may be called, and is no reason to say that all is well.
    let silent = silent(&sidecars, &usage);
    ensure!(
        !report.ready || doubts.is_empty() || silent.is_empty(),
        "it cannot be told yet: not every replica of control could be asked, or one began just now, and nothing was heard of \
         {}; ask again in half a minute; `palisade ps` says whether a pod ends, as those of a node do that is lost",
        few(&silent)
    );
    if args.what.is_none() && report.ready {
        rules.sure_of_all()?;
    }
    if let Some(cut_off) = counted::cut_off(&sidecars, &usage, doubts.is_empty()) {
        ensure!(!report.ready, "it cannot be told: {cut_off}");
        super::warn(&[cut_off]);
    }
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => write!(out, "{}", print::report(&report, now))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
    }
    Ok(if report.ready {
        ExitCode::SUCCESS
    } else {
        super::NO
    })
}

/// The sidecars that are meant, by their names.
fn sidecars(rules: &Rules, what: Option<&What>) -> Vec<String> {
    let sidecars = counted::sidecars(rules);
    let asked = sidecars.filter(|(one, _)| what.is_none_or(|what| what.names(one)));
    asked.map(|(_, name)| name).collect()
}

/// Of some sidecars, those that have told nothing, not even that nobody called them.
fn silent(sidecars: &[String], usage: &Usage) -> Vec<String> {
    let heard = usage.workloads.iter();
    let heard = heard.map(|one| format!("{}/{}", one.namespace, one.name));
    let heard: HashSet<String> = heard.collect();
    let silent = sidecars.iter().filter(|name| !heard.contains(*name));
    silent.cloned().collect()
}

fn report(
    rules: &Rules,
    usage: &Usage,
    (what, least): (Option<&What>, i64),
    now: OffsetDateTime,
) -> Report {
    let workloads = Workloads::of(rules);
    let mut edges = counted::edges(&workloads, usage);
    edges.retain(|edge| {
        // What is decided by rules that were not read is left out, which was said.
        rules.reach(&edge.called.namespace).is_ok()
            && edge.decided.is_allowed()
            && edge.seen.last >= least
            && what.is_none_or(|what| what.has(&edge.called))
    });
    let edges = counted::whatever_decided(edges);
    let (revoked, edges) = barred(&workloads, rules, edges);
    let (edges, unanswered): (Vec<_>, Vec<_>) =
        edges.into_iter().partition(|edge| edge.was_answered());
    let judges = Judges::new(&workloads, rules);
    let mut breaks: Vec<_> = edges
        .iter()
        .filter_map(|edge| judges.judge(edge, now))
        .collect();
    breaks.sort_by(|one, other| {
        let key = |one: &Break| (one.to.clone(), one.by, one.from.clone(), one.port);
        key(one).cmp(&key(other))
    });
    let denied = unanswered
        .iter()
        .filter(|edge| judges.judge(edge, now).is_some());
    let mut never_answered: Vec<_> = denied
        .map(|edge| Unanswered {
            to: edge.called.to_string(),
            from: workloads.named(edge),
            port: edge.port,
            count: edge.seen.count,
            last: counted::moment(edge.seen.last),
        })
        .collect();
    never_answered.sort_by(|one, other| {
        (&one.to, &one.from, one.port).cmp(&(&other.to, &other.from, other.port))
    });
    let others = counted::others(usage);
    Report {
        ready: breaks.is_empty() && others == 0,
        since: counted::moment(usage.since),
        edges: edges.len(),
        breaks,
        never_answered,
        revoked,
        outside: Outside::of(rules, what),
        others,
    }
}

/// Those of which one end is revoked, and all others.
fn barred(workloads: &Workloads<'_>, rules: &Rules, edges: Vec<Edge>) -> (Vec<Barred>, Vec<Edge>) {
    let (mut barred, mut others) = (Vec::new(), Vec::new());
    for edge in edges {
        let settings = rules.known.settings(&edge.called.namespace);
        let destination = edge.called.destination(&rules.trust_domain, settings);
        match rules.revoked.of_call_to(&edge.caller, &destination) {
            Some(id) => barred.push(Barred {
                to: edge.called.to_string(),
                from: workloads.named(&edge),
                port: edge.port,
                count: edge.seen.count,
                last: counted::moment(edge.seen.last),
                revoked: rules.revoked.refused(&id),
            }),
            None => others.push(edge),
        }
    }
    barred.sort_by(|one, other| {
        (&one.to, &one.from, one.port).cmp(&(&other.to, &other.from, other.port))
    });
    (barred, others)
}

/// The rules as they are, and as they would be with none in shadow.
struct Judges<'a> {
    workloads: &'a Workloads<'a>,
    rules: &'a Rules,
    now: Policy,
    /// Their allowances enforced: what is ready to be let in is not what would break.
    allowing: Policy,
    enforced: Policy,
}

impl<'a> Judges<'a> {
    fn new(workloads: &'a Workloads<'a>, rules: &'a Rules) -> Self {
        Self {
            workloads,
            rules,
            now: rules.compiled(),
            allowing: unshadowed::with(rules, |rule| rule.effect == Effect::Allow),
            enforced: unshadowed::with(rules, |_| true),
        }
    }

    /// Switches on one after the other, so that the first that breaks it is the one that is told. What the rules as they
    /// are deny by now is broken already, and breaks no more.
    fn judge(&self, edge: &Edge, now: OffsetDateTime) -> Option<Break> {
        let rules = self.rules;
        let settings = rules.known.settings(&edge.called.namespace);
        let strict = NamespaceSettings {
            mtls: NamespaceSettings::default().mtls,
            ..settings
        };
        let closed = NamespaceSettings::default();
        let beside = self.workloads.beside(edge);
        let denied = |policy: &Policy, settings| {
            let destination = edge.called.destination(&rules.trust_domain, settings);
            let caller = (&edge.caller, &*beside);
            let decided = beside::decide(policy, caller, &destination, edge.port, now);
            Some(decided.verdict).filter(|verdict| verdict.effect() == Effect::Deny)
        };
        if denied(&self.now, settings).is_some() {
            return None;
        }
        let steps = [
            (By::Mtls, &self.allowing, strict),
            (By::Authorization, &self.allowing, closed),
            (By::Mode, &self.enforced, closed),
        ];
        let enforcing = NamespaceSettings {
            closing: closed.closing,
            ..settings
        };
        steps.into_iter().find_map(|(by, policy, wanted)| {
            let verdict = denied(policy, wanted)?;
            // Where that alone would let it in as permissive, it takes mutual TLS to keep it out.
            let is_by_both = by == By::Authorization && denied(policy, enforcing).is_none();
            let by = if is_by_both { By::Mtls } else { by };
            Some(broken(self.workloads.named(edge), edge, by, &verdict))
        })
    }
}

fn broken(from: String, edge: &Edge, by: By, verdict: &Verdict) -> Break {
    let Seen {
        count, first, last, ..
    } = edge.seen;
    Break {
        to: edge.called.to_string(),
        from,
        port: edge.port,
        by,
        rule: verdict.rule().map(ToString::to_string),
        near_miss: verdict.near_miss().map(ToString::to_string),
        count,
        first: counted::moment(first),
        last: counted::moment(last),
        last_at: last,
    }
}
