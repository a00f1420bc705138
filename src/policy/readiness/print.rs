//! The report, for people.

use std::fmt::Write;

use palisade_api::usage::Seen;
use time::OffsetDateTime;

use super::{Break, By, Report};
use crate::policy::counted::times;
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
    let seen = Seen {
        count: one.count,
        first: one.last_at,
        last: one.last_at,
    };
    format!(
        "  {} at port {}: {by}  {dim}{}; {why}{undim}",
        one.from,
        one.port,
        times(seen, now)
    )
}
