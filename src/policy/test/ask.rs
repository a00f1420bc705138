//! One expectation, asked of the rules.

use std::collections::BTreeSet;

use palisade_api::policy::{Effect, Policy, PortRange, RuleName};
use time::OffsetDateTime;

use super::super::beside;
use super::super::explain::{self, Explained};
use super::super::revoked::{Answer as Said, REVOKED};
use super::super::rules::Rules;
use super::super::subject;
use super::expected::Case;

/// What came of an expectation.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) case: Case<'a>,
    /// What was not as expected, in the order in which it was asked.
    pub(super) wrong: Vec<Answer>,
}

impl Outcome<'_> {
    pub(super) fn is_as_expected(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// What the rules say of one caller, one called workload, and some ports.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) ports: Vec<PortRange>,
    /// In what it is not as expected; none where it is shown beside others that are not.
    pub(super) differs: Option<String>,
    /// Of the first of the ports.
    pub(super) explained: Explained,
}

/// Asks for every caller, called workload and port, and takes down which rules took part.
pub(super) fn ask<'a>(
    rules: &Rules,
    policy: &Policy,
    (case, now): (Case<'a>, OffsetDateTime),
    exercised: &mut BTreeSet<RuleName>,
) -> Outcome<'a> {
    let mut answers = Vec::new();
    let wanted = case.expectation.ports.iter();
    // Each once, where ranges overlap.
    let wanted: BTreeSet<u16> = wanted.flat_map(|range| range.first..=range.last).collect();
    for caller in &case.callers {
        let beside = beside::of(rules, caller);
        for called in &case.called {
            let settings = rules.known.settings(&called.namespace);
            let destination = called.destination(&rules.trust_domain, settings);
            let workloads = subject::workloads(rules, called);
            let has_sidecar = workloads.iter().all(|one| one.meshed);
            let excluded: BTreeSet<u16> = workloads
                .into_iter()
                .flat_map(|one| one.excluded_ports.iter().copied())
                .collect();
            let from = (caller, &*beside);
            let say = |port: u16| {
                let is_asked = has_sidecar && !excluded.contains(&port);
                is_asked.then(|| {
                    let revoked = &rules.revoked;
                    revoked.decide(policy, from, &destination, (port, now))
                })
            };
            let alike = alike(wanted.iter().copied(), say);
            for (said, ports) in alike {
                exercised.extend(said.iter().flat_map(rules_of).cloned());
                let first = ports.first().copied().unwrap_or_default();
                let explained = explain::explain(rules, policy, (caller, called, first), now);
                answers.push(Answer {
                    differs: match &said {
                        Some(said) => differs(&case, said),
                        // What rules would say there is true of nobody.
                        None => Some(unasked(&case, has_sidecar)),
                    },
                    ports: ranges(&ports),
                    explained: Explained {
                        presumed: case.doubt.is_some(),
                        ..explained
                    },
                });
            }
        }
    }
    let is_wrong = answers.iter().any(|answer| answer.differs.is_some());
    let is_one = case.callers.len() == 1 && case.called.len() == 1;
    // Where replicas are decided differently, what is as expected of the others explains as much.
    answers.retain(|answer| is_wrong && (!is_one || answer.differs.is_some()));
    Outcome {
        wrong: answers,
        case,
    }
}

/// The answers, each with the ports at which it is given, in the order of the first of them.
fn alike(ports: impl Iterator<Item = u16>, say: impl Fn(u16) -> Option<Said>) -> Vec<Alike> {
    let mut all: Vec<Alike> = Vec::new();
    for port in ports {
        let said = say(port);
        match all.iter_mut().find(|(other, _)| *other == said) {
            Some((_, ports)) => ports.push(port),
            None => all.push((said, vec![port])),
        }
    }
    all
}

/// What is said, or nothing where no rule is asked, and the ports.
type Alike = (Option<Said>, Vec<u16>);

/// What is not as expected where no sidecar sees the port.
fn unasked(case: &Case<'_>, has_sidecar: bool) -> String {
    let wanted = case.expectation.expect.as_str();
    let why = match has_sidecar {
        true => "the port is excluded from the sidecar",
        false => "no rule is asked where there is no sidecar",
    };
    format!("expected {wanted}, got no answer: {why}")
}

/// The first thing that is not as expected.
fn differs(case: &Case<'_>, said: &Said) -> Option<String> {
    let expected = case.expectation;
    let (effect, reason) = (said.effect(), said.reason());
    if effect != expected.expect {
        let (wanted, got) = (expected.expect.as_str(), effect.as_str());
        let why = said.revoked().map_or("", |_| ": revoked");
        return Some(format!("expected {wanted}, got {got}{why}"));
    }
    if let (Some(rules), Some(named)) = (&case.rules, &expected.rule) {
        let decided = said.rule();
        let is_so = match decided {
            Some(rule) => rules.contains(rule),
            None => said.revoked().is_some() && named.value == REVOKED,
        };
        if !is_so {
            let none = said.revoked().map_or("none", |_| REVOKED);
            let got = decided.map_or_else(|| none.to_owned(), ToString::to_string);
            return Some(format!(
                "expected the rule {} to decide, got {got}",
                named.value
            ));
        }
    }
    if let Some(wanted) = expected.reason.filter(|wanted| *wanted != reason) {
        return Some(format!("expected the reason {wanted}, got {reason}"));
    }
    let wanted = expected.shadow?;
    let shadow = said.shadow().map(|(effect, _)| *effect);
    (shadow != Some(wanted)).then(|| {
        let got = shadow.map_or("no other verdict", Effect::as_str);
        format!("expected {} in shadow, got {got}", wanted.as_str())
    })
}

/// Those that decided, or would have.
fn rules_of(said: &Said) -> impl Iterator<Item = &RuleName> {
    let shadow = said.shadow().map(|(_, rule)| rule);
    said.rule().into_iter().chain(shadow)
}

/// Ascending ports, in as few ranges as there can be.
fn ranges(ports: &[u16]) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> = Vec::new();
    for port in ports.iter().copied() {
        match ranges.last_mut() {
            Some(last) if last.last.checked_add(1) == Some(port) => last.last = port,
            _ => ranges.push(PortRange {
                first: port,
                last: port,
            }),
        }
    }
    ranges
}
