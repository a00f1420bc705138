//! The report, for people.

use std::fmt::Write;

use time::OffsetDateTime;

use super::Report;
use super::denied::{Reason, Tried};
use super::permitted::Unused;
use super::rules::RuleUse;
use crate::policy::counted::{ago, times};
use crate::policy::ports;
use crate::records::{self, DIM, WAITING};

/// One line: its columns, and what stands behind them as what matters less.
type Line<const N: usize> = ([String; N], String);

/// Each part that is wanted, with its heading; rules that are least used come first.
pub(super) fn report(report: &Report, now: OffsetDateTime) -> String {
    let mut text = String::new();
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    // Writing to a string cannot fail.
    let _written = writeln!(text, "{dim}counted since {}{undim}", report.since);
    if let Some(rules) = &report.rules {
        let hit = rules.iter().filter(|rule| rule.is_hit());
        let hit: Vec<_> = hit.map(|rule| used(rule, now)).collect();
        if report.denied.is_some() {
            part(&mut text, "rules that decide", &hit, report.more.rules);
        }
        let never = rules.iter().filter(|rule| !rule.is_hit());
        let never: Vec<_> = never.map(never_hit).collect();
        part(&mut text, "rules never hit", &never, report.more.never_hit);
    }
    if let Some(edges) = &report.unused {
        let lines: Vec<_> = edges.iter().map(unused).collect();
        part(
            &mut text,
            "permitted and never used",
            &lines,
            report.more.unused,
        );
    }
    if let Some(tried) = &report.denied {
        let lines: Vec<_> = tried.iter().map(|one| denied(one, now)).collect();
        part(&mut text, "tried and denied", &lines, report.more.denied);
    }
    if report.others > 0 {
        let (on, off) = (WAITING.render(), WAITING.render_reset());
        let _written = writeln!(
            text,
            "\n{on}{} connections are in no line: there were more edges than sidecars keep{off}",
            report.others
        );
    }
    text
}

/// With its columns below each other, and how many lines are left out.
fn part<const N: usize>(text: &mut String, heading: &str, lines: &[Line<N>], more: usize) {
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let _written = writeln!(text, "\n{heading} ({})", lines.len() + more);
    let mut widths = [0; N];
    for (columns, _) in lines {
        for (width, column) in widths.iter_mut().zip(columns) {
            *width = (*width).max(column.chars().count());
        }
    }
    for (columns, rest) in lines {
        text.push_str("  ");
        for (column, width) in columns.iter().zip(widths) {
            let _written = write!(text, "{column:<width$}  ");
        }
        let _written = writeln!(text, "{dim}{rest}{undim}");
    }
    if more > 0 {
        let _written = writeln!(text, "  {dim}and {more} more (--most){undim}");
    }
}

fn used(rule: &RuleUse, now: OffsetDateTime) -> Line<3> {
    let count = rule.hits();
    let count = match rule.mode {
        "shadow" => format!("{count}× in shadow"),
        _ => format!("{count}×"),
    };
    let used = format!("{count}, last {}", ago(rule.last_at, now));
    let rest = match rule.before() {
        Some(before) => format!("{}  {before}", rule.place),
        None => rule.place.clone(),
    };
    ([rule.rule.clone(), rule.effect.to_owned(), used], rest)
}

fn never_hit(rule: &RuleUse) -> Line<2> {
    let instead = match rule.instead.as_slice() {
        [] => None,
        [one] => Some(format!("its edges are used by {one}")),
        [one, others @ ..] => Some(format!(
            "its edges are used by {one} and {} more",
            others.len()
        )),
    };
    let why = match (&rule.repeats, &rule.denied_by) {
        _ if rule.expired => Some("it has expired".to_owned()),
        (Some(other), _) if rule.effect == "allow" => {
            Some(format!("every edge is also allowed by {other}"))
        }
        (Some(other), _) => Some(format!("every edge is also denied by {other}")),
        (None, Some(other)) => Some(format!("every edge is denied by {other}")),
        (None, None) => rule.before().or(instead),
    };
    let effect = match rule.mode {
        "shadow" => format!("{} in shadow", rule.effect),
        _ => rule.effect.to_owned(),
    };
    let rest = match why {
        Some(why) => format!("{}  {why}", rule.place),
        None => rule.place.clone(),
    };
    ([rule.rule.clone(), effect], rest)
}

fn unused(edge: &Unused) -> Line<2> {
    let rules = match edge.rules.as_slice() {
        [one, two, others @ ..] if !others.is_empty() => {
            format!("{one}, {two} and {} more", others.len())
        }
        few => few.join(", "),
    };
    let (from, to) = (&edge.from, &edge.to);
    (
        [format!("{from} → {to}"), ports::in_words(&edge.ranges)],
        rules,
    )
}

fn denied(tried: &Tried, now: OffsetDateTime) -> Line<3> {
    let (from, to) = (&tried.from, &tried.to);
    let edge = [
        format!("{from} → {to}"),
        format!("port {}", tried.port),
        times(tried.count, tried.last_at, now),
    ];
    let reasons = match tried.reasons.as_slice() {
        [one] => why(one),
        several => {
            let each = several
                .iter()
                .map(|one| format!("{} ({}×)", why(one), one.count));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    (edge, reasons)
}

fn why(reason: &Reason) -> String {
    match &reason.rule {
        Some(rule) => format!("{rule} denies it"),
        None => records::in_words(&reason.reason),
    }
}
