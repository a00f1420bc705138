//! The report, for people.

use std::fmt::Write;

use time::OffsetDateTime;

use super::{Barred, Break, By, Report, Unanswered};
use crate::policy::counted::times;
use crate::policy::ports;
use crate::policy::revoked::Refused;
use crate::records::{DIM, ERROR, GOOD, WAITING};

/// The workloads that would lose somebody, each with whom.
pub(super) fn report(report: &Report, now: OffsetDateTime) -> String {
    let mut text = String::new();
    let mut to = "";
    for one in &report.breaks {
        if one.to != to {
            to = &one.to;
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{to}");
        }
        let _written = writeln!(text, "{}", line(one, now));
    }
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let (on, off) = match report.ready {
        true => (GOOD.render(), GOOD.render_reset()),
        false => (ERROR.render(), ERROR.render_reset()),
    };
    let verdict = match (report.ready, report.breaks.len(), report.edges) {
        (true, _, 0) => {
            format!("{on}ready{off}, but no connection was let through that could break")
        }
        (true, _, edges) => format!("{on}ready{off}: none of {edges} edges would break"),
        (false, 0, _) => format!("{on}not ready{off}: not all edges are known"),
        (false, broken, edges) => {
            format!("{on}not ready{off}: {broken} of {edges} edges would break")
        }
    };
    let _written = writeln!(
        text,
        "{verdict}  {dim}counted since {}{undim}",
        report.since
    );
    unanswered(&mut text, &report.never_answered);
    revoked(&mut text, &report.revoked);
    for line in report.outside.lines() {
        let _written = writeln!(text, "{dim}{line}{undim}");
    }
    if report.others > 0 {
        let (on, off) = (WAITING.render(), WAITING.render_reset());
        let _written = writeln!(
            text,
            "{on}{} connections are in no edge: there were more than sidecars keep{off}",
            report.others
        );
    }
    text
}

/// Who called where nobody was: each caller once, with the ports.
fn unanswered(text: &mut String, edges: &[Unanswered]) {
    let would = match edges.len() {
        1 => "it",
        _ => "they",
    };
    let why = format!("nobody ever answered at these ports, and {would} would be denied");
    let edges: Vec<_> = edges
        .iter()
        .map(|one| (&*one.from, &*one.to, one.port, String::new()))
        .collect();
    left_out(text, &why, &edges);
}

/// Who would be refused in any case, and as whom.
fn revoked(text: &mut String, edges: &[Barred]) {
    let edges: Vec<_> = edges
        .iter()
        .map(|one| {
            let Refused { identity, place } = &one.revoked;
            let why = format!(": {identity} is revoked ({place})");
            (&*one.from, &*one.to, one.port, why)
        })
        .collect();
    left_out(text, "refused by now, whatever is enforced", &edges);
}

/// Caller, called one, port, and what is said of it.
type Edge<'a> = (&'a str, &'a str, u16, String);

fn left_out(text: &mut String, why: &str, edges: &[Edge<'_>]) {
    if edges.is_empty() {
        return;
    }
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let what = match edges.len() {
        1 => "1 edge".to_owned(),
        many => format!("{many} edges"),
    };
    // Writing to a string cannot fail.
    let _written = writeln!(text, "{dim}{what} left out: {why}{undim}");
    let callers: Vec<_> = edges
        .chunk_by(|one, other| (one.0, one.1, &one.3) == (other.0, other.1, &other.3))
        .collect();
    for caller in callers.iter().take(MOST_CALLERS) {
        let Some((from, to, _, said)) = caller.first() else {
            continue;
        };
        let at = ports::shown(&caller.iter().map(|one| one.2).collect());
        let _written = writeln!(text, "{dim}  {from} → {to} {at}{said}{undim}");
    }
    if let Some(more) = callers
        .len()
        .checked_sub(MOST_CALLERS)
        .filter(|more| *more > 0)
    {
        let _written = writeln!(text, "{dim}  and {more} more callers (-o json){undim}");
    }
}

fn line(one: &Break, now: OffsetDateTime) -> String {
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let by = match one.by {
        By::Mtls => "refused with palisade.dev/mtls: strict",
        By::Authorization => "denied with palisade.dev/authorization: enforce",
        By::Mode => "denied once rules in shadow are enforced",
    };
    let why = match (&one.rule, &one.near_miss) {
        (Some(rule), _) => format!("by {rule}"),
        (None, Some(near)) => format!("no rule allows it; nearest: {near}"),
        (None, None) => "no rule allows it".to_owned(),
    };
    format!(
        "  {} at port {}: {by}  {dim}{}; {why}{undim}",
        one.from,
        one.port,
        times(one.count, one.last_at, now)
    )
}

/// Who looks for open ports from many addresses fills no terminal.
const MOST_CALLERS: usize = 10;
