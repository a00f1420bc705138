//! One expectation, asked of the rules.

use std::collections::BTreeSet;

use palisade_api::policy::{Decision, Effect, Policy, PortRange, RuleName};
use time::OffsetDateTime;

use super::super::beside;
use super::super::explain::{self, Explained};
use super::super::rules::Rules;
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
    for caller in &case.callers {
        let beside = beside::of(rules, caller);
        for called in &case.called {
            let settings = rules.known.settings(&called.namespace);
            let destination = called.destination(&rules.trust_domain, settings);
            let mut alike: Vec<(Decision, Vec<u16>)> = Vec::new();
            for port in case
                .expectation
                .ports
                .iter()
                .flat_map(|range| range.first..=range.last)
            {
                let decision = beside::decide(policy, (caller, &beside), &destination, port, now);
                match alike.iter_mut().find(|(other, _)| *other == decision) {
                    Some((_, ports)) => ports.push(port),
                    None => alike.push((decision, vec![port])),
                }
            }
            for (decision, ports) in alike {
                exercised.extend(rules_of(&decision).cloned());
                let first = ports.first().copied().unwrap_or_default();
                answers.push(Answer {
                    differs: differs(&case, &decision),
                    ports: ranges(&ports),
                    explained: explain::explain(rules, policy, (caller, called, first), now),
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

/// The first thing that is not as expected.
fn differs(case: &Case<'_>, decision: &Decision) -> Option<String> {
    let expected = case.expectation;
    let (effect, reason) = (decision.verdict.effect(), decision.verdict.reason());
    if effect != expected.expect {
        let (wanted, got) = (expected.expect.as_str(), effect.as_str());
        return Some(format!("expected {wanted}, got {got}"));
    }
    if let (Some(rules), Some(named)) = (&case.rules, &expected.rule) {
        let decided = decision.verdict.rule();
        if !decided.is_some_and(|rule| rules.contains(rule)) {
            let got = decided.map_or_else(|| "none".to_owned(), ToString::to_string);
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
    let shadow = decision.shadow.as_ref().map(|(effect, _)| *effect);
    (shadow != Some(wanted)).then(|| {
        let got = shadow.map_or("no other verdict", Effect::as_str);
        format!("expected {} in shadow, got {got}", wanted.as_str())
    })
}

/// Those that decided, or would have.
fn rules_of(decision: &Decision) -> impl Iterator<Item = &RuleName> {
    let shadow = decision.shadow.as_ref().map(|(_, rule)| rule);
    decision.verdict.rule().into_iter().chain(shadow)
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
