//! Outcomes, for people and for programs.

use std::fmt::Write as _;
use std::io::Write;

use palisade_api::policy::PortRange;
use serde::Serialize;

use super::super::explain::{Explained, print};
use super::Report;
use super::ask::{Answer, Outcome};
use super::coverage::Coverage;
use super::expected::meant;
use crate::records::{DIM, ERROR, GOOD, WAITING};

/// For people.
pub(super) fn text(report: &Report<'_>) -> String {
    let mut text = String::new();
    let mut suite = None;
    for outcome in &report.outcomes {
        let test = outcome.case.test;
        if suite != Some(test) {
            let (dim, undim) = (DIM.render(), DIM.render_reset());
            let gap = if suite.is_some() { "\n" } else { "" };
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{gap}{}  {dim}{}{undim}", test.name, test.file);
            suite = Some(test);
        }
        text.push_str(&line(outcome));
    }
    text.push_str(&coverage(&report.coverage));
    let (all, failed) = (report.outcomes.len(), report.failed());
    let style = if report.is_good() { GOOD } else { ERROR };
    let (on, off) = (style.render(), style.render_reset());
    let s = if all == 1 { "" } else { "s" };
    let said = match failed {
        0 => "all as expected".to_owned(),
        failed => format!("{failed} failed"),
    };
    let _written = writeln!(text, "{all} expectation{s}: {on}{said}{off}");
    text
}

fn line(outcome: &Outcome<'_>) -> String {
    let title = title(outcome);
    if outcome.is_as_expected() {
        let (on, off) = (GOOD.render(), GOOD.render_reset());
        return format!("  {on}ok{off}      {title}\n");
    }
    let (on, off) = (ERROR.render(), ERROR.render_reset());
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let mut text = format!(
        "  {on}FAILED{off}  {title}  {dim}{}{undim}\n",
        place(outcome)
    );
    for line in details(outcome).lines() {
        let _written = writeln!(text, "          {line}");
    }
    text
}

/// What was not as expected, and why.
pub(super) fn details(outcome: &Outcome<'_>) -> String {
    let details = outcome.wrong.iter().map(|answer| {
        let differs = answer.differs.as_deref().unwrap_or("as expected");
        let explained = print::answers(std::slice::from_ref(&answer.explained));
        format!("{differs}{}\n{explained}", at_ports(&answer.ports))
    });
    details.collect()
}

/// The explanation tells of the first port.
fn at_ports(ports: &[PortRange]) -> String {
    match ports {
        [one] if one.first == one.last => String::new(),
        several => format!(", at {}", at(several)),
    }
}

/// What it is for, or else what it asks.
pub(super) fn title(outcome: &Outcome<'_>) -> String {
    let expectation = outcome.case.expectation;
    let by = expectation.rule.as_ref();
    let parts = [
        by.map(|rule| format!(", by {}", rule.value)),
        expectation.reason.map(|reason| format!(", for {reason}")),
        expectation
            .shadow
            .map(|effect| format!(", in shadow {}", effect.as_str())),
    ];
    let asked = format!(
        "{} → {}, {}: {}{}",
        meant(&expectation.from),
        meant(&expectation.to),
        at(&expectation.ports),
        expectation.expect.as_str(),
        parts.into_iter().flatten().collect::<String>()
    );
    match &expectation.name {
        Some(name) => format!("{} ({asked})", name.replace(char::is_control, "\u{fffd}")),
        None => asked,
    }
}

/// Where it is written.
pub(super) fn place(outcome: &Outcome<'_>) -> String {
    let case = &outcome.case;
    format!("{}:{}", case.test.file, case.expectation.place.line)
}

fn at(ports: &[PortRange]) -> String {
    match ports {
        [one] if one.first == one.last => format!("port {one}"),
        several => format!("ports {}", listed(several)),
    }
}

fn listed(ports: &[PortRange]) -> String {
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

fn coverage(coverage: &Coverage) -> String {
    let style = if coverage.is_enough() { WAITING } else { ERROR };
    let style = if coverage.unexercised.is_empty() {
        GOOD
    } else {
        style
    };
    let (on, off) = (style.render(), style.render_reset());
    let mut text = format!("\n{on}{}{off}", coverage.in_words());
    if !coverage.unexercised.is_empty() {
        text.push_str("; not these:");
    }
    text.push('\n');
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    for idle in &coverage.unexercised {
        let _written = writeln!(text, "  {}  {dim}{}{undim}", idle.rule, idle.place);
    }
    text
}

/// An outcome, for programs.
#[derive(Debug, Serialize)]
struct Line<'a> {
    test: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    file: &'a str,
    line: u64,
    from: String,
    to: String,
    ports: String,
    expect: &'static str,
    passed: bool,
    /// Whether the caller is only taken for the service account of its name: its pods may not be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    presumed: bool,
    /// What was answered, where it failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Answered<'a>>,
}

#[derive(Debug, Serialize)]
struct Answered<'a> {
    ports: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<&'a str>,
    explained: &'a Explained,
}

impl<'a> From<&'a Answer> for Answered<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            ports: listed(&answer.ports),
            differs: answer.differs.as_deref(),
            explained: &answer.explained,
        }
    }
}

/// What all of it comes to.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    expectations: usize,
    failed: usize,
    coverage: &'a Coverage,
    passed: bool,
}

/// For programs: an object for each expectation, and one for all of them.
pub(super) fn json(out: &mut impl Write, report: &Report<'_>) -> anyhow::Result<()> {
    for outcome in &report.outcomes {
        let (test, expectation) = (outcome.case.test, outcome.case.expectation);
        let line = Line {
            test: &test.name,
            name: expectation.name.as_deref(),
            file: &test.file,
            line: expectation.place.line,
            from: meant(&expectation.from).to_string(),
            to: meant(&expectation.to).to_string(),
            ports: listed(&expectation.ports),
            expect: expectation.expect.as_str(),
            passed: outcome.is_as_expected(),
            presumed: outcome.case.doubt.is_some(),
            answers: outcome.wrong.iter().map(Answered::from).collect(),
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    let summary = Summary {
        expectations: report.outcomes.len(),
        failed: report.failed(),
        coverage: &report.coverage,
        passed: report.is_good(),
    };
    writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    Ok(())
}
