//! Explanations, for people.

use std::fmt::Write;

use super::recorded::Recorded;
use super::{Explained, Placed};
use crate::policy::excluded::WHY;
use crate::policy::revoked::{REVOKED, Refused};
use crate::policy::traffic::moment;
use crate::records::{self, DIM, ERROR, GOOD, WAITING};

/// One after the other. Replicas of which the rules say the same are one answer already.
pub(in crate::policy) fn answers(answers: &[Explained]) -> String {
    let texts: Vec<_> = answers.iter().map(answer).collect();
    texts.join("\n")
}

fn answer(answer: &Explained) -> String {
    let mut text = String::new();
    let (style, word) = match answer.decision.as_str() {
        "allow" => (GOOD, "allowed"),
        _ => (ERROR, "denied"),
    };
    let (on, off) = (style.render(), style.render_reset());
    let labels: Vec<_> = answer
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let labels = match labels.as_slice() {
        [] => String::new(),
        labels => format!(" ({})", labels.join(", ")),
    };
    // Writing to a string cannot fail.
    let _written = writeln!(
        text,
        "{on}{word}{off}  {} → {}{labels}, port {}",
        answer.from, answer.to, answer.port
    );
    // At a port that it does not see, it enforces nothing.
    if let Some(proxy) = answer.proxy.as_ref().filter(|_| !answer.excluded) {
        let of = match answer.replicas {
            Some(count) if count > 1 => format!(" (one of {count} replicas)"),
            Some(_) | None => String::new(),
        };
        let at = answer
            .revision
            .map(|revision| format!(", at revision {revision}"));
        let at = at.unwrap_or_default();
        let is_of_called = |one: &Refused| one.identity != answer.from;
        plain(
            &mut text,
            &match answer.revoked.as_ref().is_some_and(is_of_called) {
                false => format!("enforced by the sidecar of {proxy}{of}{at}"),
                true => format!("enforced by its callers' sidecars, which refuse {proxy}{of}"),
            },
        );
    }
    unenforced(&mut text, answer);
    why(&mut text, answer);
    shadow(&mut text, answer);
    as_written(&mut text, answer);
    if let Some(told) = &answer.recorded {
        recorded(&mut text, told);
        if told.reason.as_deref() == Some(REVOKED) && answer.revoked.is_none() {
            plain(
                &mut text,
                "   neither is revoked by now: above is what would be decided",
            );
        }
    }
    text
}

/// What was decided then, and in whose words.
fn recorded(text: &mut String, recorded: &Recorded) {
    let word = if recorded.decision == "allow" {
        "allowed"
    } else {
        "denied"
    };
    let by = match (&recorded.rule, &recorded.reason) {
        (Some(rule), _) => format!(" by {rule}"),
        (None, Some(reason)) => format!(": {}", records::in_words(reason)),
        (None, None) => String::new(),
    };
    let at = moment(recorded.at);
    let often = match recorded.count {
        Some(count) => format!(", one of {count} in one record"),
        None => String::new(),
    };
    plain(text, &format!("recorded: {word}{by}, at {at}{often}"));
    let is_told_of = (recorded.direction, recorded.decision) == ("outbound", "deny")
        && recorded.reason.as_deref() != Some(REVOKED);
    let other = match recorded.direction {
        "outbound" => "called",
        _ => "calling",
    };
    match &recorded.among {
        Some(among) if among.count == 1 => {
            plain(
                text,
                &format!("   the {other} side's record of it is {}", among.conn),
            );
        }
        Some(among) => plain(
            text,
            &format!(
                "   the {other} side put {} like it together, in the record {}",
                among.count, among.conn
            ),
        ),
        None if is_told_of => plain(
            text,
            "   by the calling side, which is not told why; the called side's record of it was not found",
        ),
        None => {}
    }
}

/// Where nothing enforces what the rules say.
fn unenforced(text: &mut String, answer: &Explained) {
    let (on, off) = (ERROR.render(), ERROR.render_reset());
    if answer.excluded {
        let _written = writeln!(text, "  {on}not enforced{off} at this port: {WHY}");
    }
    let place = match answer.without_sidecar.as_slice() {
        [] => return,
        [one] => format!("{one}: it has no sidecar"),
        [one, others @ ..] => format!("{one} and {} more: they have no sidecar", others.len()),
    };
    let _written = writeln!(text, "  {on}not enforced{off} at {place}");
}

/// The deciding rule, or the nearest.
fn why(text: &mut String, answer: &Explained) {
    match (answer.reason.as_str(), &answer.rule) {
        (_, Some(rule)) => part(text, "by", rule),
        ("permissive", None) => plain(
            text,
            "its namespace is permissive (palisade.dev/mtls), and the caller has no identity",
        ),
        ("closing_in_shadow", None) => plain(
            text,
            "no rule allows it; its namespace's default denial is in shadow (palisade.dev/authorization)",
        ),
        ("no_rule", None) => plain(text, "no rule allows it"),
        (other, None) => plain(
            text,
            &answer.revoked.as_ref().map_or_else(
                || records::in_words(other),
                |one| {
                    format!(
                        "{} is revoked ({}), and no rule is asked",
                        one.identity, one.place
                    )
                },
            ),
        ),
    }
    match &answer.near_miss {
        Some(near) => {
            part(text, "nearest:", &near.rule);
            plain(text, &differs(&near.differs));
        }
        None if answer.reason == "no_rule" => {
            plain(
                text,
                "no rule comes near: none is about this caller, or for this workload",
            );
        }
        None => {}
    }
}

fn shadow(text: &mut String, answer: &Explained) {
    if let Some(shadow) = &answer.shadow {
        let (on, off) = (WAITING.render(), WAITING.render_reset());
        let word = if shadow.would == "deny" {
            "denied"
        } else {
            "allowed"
        };
        let _written = writeln!(
            text,
            "  {on}in shadow:{off} it would be {word} if this rule were enforced"
        );
        part(text, "by", &shadow.rule);
    }
}

/// What is not enforced there.
fn as_written(text: &mut String, answer: &Explained) {
    let Some(written) = &answer.as_written else {
        return;
    };
    let (on, off) = (WAITING.render(), WAITING.render_reset());
    let word = if written.decision == "allow" {
        "allowed"
    } else {
        "denied"
    };
    let why = match &written.rule {
        Some(rule) => format!("by {rule}"),
        None => records::in_words(&written.reason),
    };
    let _written = writeln!(
        text,
        "  {on}as the rules are written{off} it would be {word}, {why}: the sidecar does not enforce that"
    );
}

fn part(text: &mut String, word: &str, rule: &Placed) {
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let _written = writeln!(text, "  {word} {}  {dim}{}{undim}", rule.name, rule.place);
    if !rule.says.is_empty() {
        let _written = writeln!(text, "     {dim}{}{undim}", rule.says);
    }
}

fn plain(text: &mut String, line: &str) {
    let _written = writeln!(text, "  {line}");
}

fn differs(field: &str) -> String {
    match field {
        "mode" => "it would allow it, but is in shadow (`mode`)".to_owned(),
        "expires" => "it would have allowed it, but has expired (`expires`)".to_owned(),
        "ports" => "it allows this caller, but not at this port (`ports`)".to_owned(),
        "from" => "it allows others here, but not this caller (`from`)".to_owned(),
        "target" => "it allows this caller, but protects other workloads (`target`)".to_owned(),
        other => format!("it differs in `{other}`"),
    }
}
