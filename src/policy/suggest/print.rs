//! Suggestions as rules with comments, and as objects with evidence.

use std::fmt::Write;

use palisade_api::manifest;
use serde_json::{Value, json};

use super::{Barred, Denied, Evidence, ForTarget, InShadow, Suggested, Unanswered};
use crate::policy::ports;
use crate::policy::revoked::Refused;
use crate::policy::traffic::{counted, moment};

/// A file of rules. Comments say what each is for.
pub(super) fn yaml(suggested: &Suggested) -> String {
    let policies = suggested.targets.iter().filter_map(with_comments);
    let mut text = policies.collect::<Vec<_>>().join("---\n");
    for target in suggested.targets.iter().filter(|one| one.policy.is_none()) {
        // Writing to a string cannot fail.
        let is_there = target.is_admitted || !target.in_shadow.is_empty();
        let why = match (is_there, target.unanswered.is_empty()) {
            (true, _) => "nothing to add",
            (false, true) if !target.revoked.is_empty() => "nothing that a rule could admit",
            (false, true) => "nothing was allowed",
            (false, false) => "nothing was answered",
        };
        let _written = writeln!(text, "# {}: {why}", target.to);
        left_out(&mut text, target);
    }
    text
}

/// What is no rule, and why not.
fn left_out(text: &mut String, target: &ForTarget) {
    in_shadow(text, &target.in_shadow);
    revoked(text, &target.revoked);
    denied(text, &target.denied);
    unanswered(text, &target.unanswered);
}

fn with_comments(target: &ForTarget) -> Option<String> {
    let printed = manifest::print(target.policy.as_ref()?);
    let mut text = String::new();
    for unsure in &target.unsure {
        let _written = writeln!(text, "# unsure: {unsure}");
    }
    let mut evidence = target.evidence.iter();
    for line in printed.lines() {
        if line.starts_with(RULE)
            && let Some(evidence) = evidence.next()
        {
            comment(&mut text, evidence);
        }
        text.push_str(line);
        text.push('\n');
    }
    left_out(&mut text, target);
    Some(text)
}

fn comment(text: &mut String, evidence: &Evidence) {
    let _written = writeln!(
        text,
        "  # {}, first {}, last {}",
        counted(evidence.count, "connection"),
        moment(evidence.first),
        moment(evidence.last),
    );
    for unsure in &evidence.unsure {
        let _written = writeln!(text, "  # unsure: {unsure}");
    }
}

fn in_shadow(text: &mut String, in_shadow: &[InShadow]) {
    for one in in_shadow {
        let ports: Vec<_> = one.ports.iter().map(ToString::to_string).collect();
        let _written = writeln!(
            text,
            "# left out, as {} is there in shadow: {} at port {}, {}, last {}",
            one.rules.join(", "),
            one.from,
            ports.join(", "),
            counted(one.count, "time"),
            moment(one.last),
        );
        for unsure in &one.unsure {
            let _written = writeln!(text, "# unsure: {unsure}");
        }
    }
}

fn revoked(text: &mut String, revoked: &[Barred]) {
    for one in revoked {
        let Refused { identity, place } = &one.revoked;
        let _written = writeln!(
            text,
            "# left out, as {identity} is revoked ({place}): {} at {}, {}, last {}",
            one.from,
            ports::shown(&one.ports),
            counted(one.count, "time"),
            moment(one.last),
        );
    }
}

fn denied(text: &mut String, denied: &[Denied]) {
    for one in denied {
        let silent = if one.answered {
            ""
        } else {
            "; nobody was seen to be answered there"
        };
        let _written = writeln!(
            text,
            "# left out, as it was denied: {} at port {}, {}, last {}{silent}",
            one.from,
            one.port,
            counted(one.count, "time"),
            moment(one.last),
        );
    }
}

fn unanswered(text: &mut String, unanswered: &[Unanswered]) {
    for one in unanswered {
        let _written = writeln!(
            text,
            "# left out, as nothing answered: {} at {}, {}, last {}",
            one.from,
            ports::shown(&one.ports),
            counted(one.count, "time"),
            moment(one.last),
        );
    }
}

/// Each called workload a line.
pub(super) fn json(suggested: &Suggested) -> anyhow::Result<String> {
    let mut text = String::new();
    for target in &suggested.targets {
        let policy = target.policy.as_ref().map(|policy| {
            let printed = manifest::print(policy);
            serde_saphyr::from_str::<Value>(&printed)
        });
        let line = json!({
            "to": target.to,
            "policy": policy.transpose()?,
            "evidence": target.evidence,
            "unsure": target.unsure,
            "denied": target.denied,
            "unanswered": target.unanswered,
            "in_shadow": target.in_shadow,
            "revoked": target.revoked,
        });
        let _written = writeln!(text, "{line}");
    }
    Ok(text)
}

/// What was made of what.
pub(super) fn summary(suggested: &Suggested) -> String {
    let targets = &suggested.targets;
    let policies = targets.iter().filter(|one| one.policy.is_some()).count();
    let evidence = || targets.iter().flat_map(|one| &one.evidence);
    let unsure = evidence().filter(|one| !one.unsure.is_empty()).count();
    let seen: u64 = evidence().map(|one| one.count).sum();
    let denied: u64 = targets
        .iter()
        .flat_map(|one| &one.denied)
        .map(|one| one.count)
        .sum();
    let unanswered: u64 = targets
        .iter()
        .flat_map(|one| &one.unanswered)
        .map(|one| one.count)
        .sum();
    let in_shadow: u64 = targets
        .iter()
        .flat_map(|one| &one.in_shadow)
        .map(|one| one.count)
        .sum();
    let revoked: u64 = targets
        .iter()
        .flat_map(|one| &one.revoked)
        .map(|one| one.count)
        .sum();
    let rules = counted(size(evidence().count()), "rule");
    let mut text = match policies {
        0 => "nothing to suggest".to_owned(),
        1 => format!("1 policy with {rules} for {}", counted(seen, "connection")),
        many => format!(
            "{many} policies with {rules} for {}",
            counted(seen, "connection")
        ),
    };
    if unsure > 0 {
        let _written = write!(text, ", unsure of {}", counted(size(unsure), "rule"));
    }
    for (count, what) in [
        (suggested.admitted, "admitted by rules already"),
        (in_shadow, "left out, as rules in shadow would admit them"),
        (
            revoked,
            "left out, as the caller or the called one is revoked",
        ),
        (denied, "denied and left out (--include-denied)"),
        (unanswered, "left out, as nothing answered at their ports"),
        (
            suggested.unknown,
            "left out, as it is not known what is decided there",
        ),
    ] {
        if count > 0 {
            let _written = write!(text, "; {} {what}", counted(count, "connection"));
        }
    }
    text
}

fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// How a rule begins, in the form that is printed.
const RULE: &str = "  - name: ";
