//! The report, for people.

use std::fmt::Write;

use time::OffsetDateTime;

use super::{Break, By, Report, Unanswered};
use crate::policy::counted::times;
use crate::policy::ports;
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
    if edges.is_empty() {
        return;
    }
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let (what, would) = match edges.len() {
        1 => ("1 edge".to_owned(), "it"),
        many => (format!("{many} edges"), "they"),
    };
    // Writing to a string cannot fail.
    let _written = writeln!(
        text,
        "{dim}{what} left out: nobody ever answered at these ports, and {would} would be denied{undim}"
    );
    let callers: Vec<_> = edges
        .chunk_by(|one, other| (&one.to, &one.from) == (&other.to, &other.from))
        .collect();
    for caller in callers.iter().take(MOST_CALLERS) {
        let Some(first) = caller.first() else {
            continue;
        };
        let at = ports::shown(&caller.iter().map(|one| one.port).collect());
        let _written = writeln!(text, "{dim}  {} → {} {at}{undim}", first.from, first.to);
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
