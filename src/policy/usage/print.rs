//! The report, for people.

use std::fmt::Write;

use palisade_api::usage::Seen;
use time::OffsetDateTime;

use super::{Report, RuleUse, Tried};
use crate::policy::counted::{ago, times};
use crate::records::{self, DIM, WAITING};

/// Each part that is wanted, with its heading; rules that are least used come first.
pub(super) fn report(report: &Report, now: OffsetDateTime) -> String {
    let mut text = String::new();
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    // Writing to a string cannot fail.
    let _written = writeln!(text, "{dim}counted since {}{undim}", report.since);
    if let Some(rules) = &report.rules {
        let width = rules.iter().map(|rule| rule.rule.chars().count()).max();
        let width = width.unwrap_or_default();
        let lines = rules.iter().map(|rule| {
            let (name, effect, used) = (&rule.rule, rule.effect, used(rule, now));
            format!(
                "{name:<width$}  {effect:<5}  {used:<28}  {dim}{}{undim}",
                rule.place
            )
        });
        part(&mut text, "rules", lines);
    }
    if let Some(unused) = &report.unused {
        part(
            &mut text,
            "permitted and never used",
            unused.iter().map(|unused| {
                format!(
                    "{} → {}  {dim}{}{undim}",
                    unused.from, unused.to, unused.rule
                )
            }),
        );
    }
    if let Some(tried) = &report.denied {
        let lines = tried.iter().map(|one| denied(one, now));
        part(&mut text, "tried and denied", lines);
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

fn used(rule: &RuleUse, now: OffsetDateTime) -> String {
    let count = match (rule.mode, rule.count.max(rule.shadow_count)) {
        (_, 0) => return "never used".to_owned(),
        ("shadow", count) => format!("{count}× in shadow"),
        (_, count) => format!("{count}×"),
    };
    format!("{count}, last {}", ago(rule.last_at, now))
}

fn part(text: &mut String, heading: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    let _written = writeln!(text, "\n{heading} ({})", lines.len());
    for line in lines {
        let _written = writeln!(text, "  {line}");
    }
}

fn denied(tried: &Tried, now: OffsetDateTime) -> String {
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let seen = Seen {
        count: tried.count,
        first: tried.last_at,
        last: tried.last_at,
    };
    let why = match (&tried.rule, &tried.reason) {
        (Some(rule), _) => format!("denied by {rule}"),
        (None, Some(reason)) => records::in_words(reason),
        (None, None) => "no rule allows it".to_owned(),
    };
    let (from, to, port) = (&tried.from, &tried.to, tried.port);
    format!(
        "{from} → {to} port {port}: {}  {dim}{why}{undim}",
        times(seen, now)
    )
}
