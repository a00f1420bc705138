//! Differences, for people and for programs.

use std::fmt::Write;

use palisade_api::policy::{PortRange, RuleName};
use palisade_api::spiffe::SpiffeId;
use serde_json::json;

use super::Sides;
use super::compare::{Said, Why};
use super::merge::Line;
use crate::policy::revoked::REVOKED;
use crate::policy::subject::Caller;
use crate::policy::traffic::Was;
use crate::records::{DIM, ERROR, GOOD};

/// For people: a line for each, and the sums.
pub(super) fn text(sides: Sides<'_>, lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        let (sign, style) = match line.why.becomes {
            Was::Allowed => ('+', GOOD),
            Was::Denied => ('-', ERROR),
        };
        let (on, off) = (style.render(), style.render_reset());
        let (dim, undim) = (DIM.render(), DIM.render_reset());
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "{on}{sign} {} → {} {}{off} {dim}({}){undim}",
            line.from,
            line.to,
            ports(&line.ports),
            reason(sides, &line.why),
        );
    }
    let count = |becomes| {
        lines
            .iter()
            .filter(|line| line.why.becomes == becomes)
            .count()
    };
    let _written = match (count(Was::Allowed), count(Was::Denied)) {
        (0, 0) => writeln!(text, "no difference in who reaches whom"),
        (allowed, denied) => writeln!(
            text,
            "{allowed} allowed that were denied, {denied} denied that were allowed"
        ),
    };
    text
}

fn ports(ports: &[PortRange]) -> String {
    if let [all] = ports
        && (all.first, all.last) == (1, u16::MAX)
    {
        return "all ports".to_owned();
    }
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

fn reason(
    sides: Sides<'_>,
    Why {
        becomes,
        before,
        after,
    }: &Why,
) -> String {
    let placed = |side: &super::Rules, rule: &RuleName| format!("{rule}, {}", side.place(rule));
    let new = match (becomes, after) {
        (Was::Allowed, Said::Rule(rule)) => format!("by {}", placed(sides.after, rule)),
        (Was::Denied, Said::Rule(rule)) => format!("denied by {}", placed(sides.after, rule)),
        (_, Said::NoRule) => "no rule allows it".to_owned(),
        (_, Said::Permissive) => "its namespace is permissive".to_owned(),
        (_, Said::ClosingInShadow) => "its namespace's default denial is in shadow".to_owned(),
        (_, Said::Revoked(id)) => revoked(sides, sides.after, id, "is"),
    };
    match before {
        Said::Rule(rule) => {
            let was = match becomes {
                Was::Allowed => "was denied by",
                Was::Denied => "was by",
            };
            format!("{new}; {was} {}", placed(sides.before, rule))
        }
        Said::Permissive => format!("{new}; its namespace was permissive"),
        Said::ClosingInShadow => format!("{new}; its namespace's default denial was in shadow"),
        Said::Revoked(id) => format!("{new}; {}", revoked(sides, sides.before, id, "was")),
        Said::NoRule => new,
    }
}

fn revoked(sides: Sides<'_>, side: &super::Rules, id: &SpiffeId, word: &str) -> String {
    let name = Caller::Identity(id.clone()).short(sides.trust_domain);
    format!("{name} {word} revoked, {}", side.revoked.refused(id).place)
}

/// For programs: an object a line.
pub(super) fn json(sides: Sides<'_>, lines: &[Line]) -> serde_json::Result<String> {
    let mut text = String::new();
    for Line {
        to,
        from,
        ports,
        why,
    } in lines
    {
        let rule = |side: &super::Rules, said: &Said| match said {
            Said::Rule(rule) => Some(json!({"name": rule.to_string(), "place": side.place(rule)})),
            Said::NoRule | Said::Permissive | Said::ClosingInShadow | Said::Revoked(_) => None,
        };
        let revoked = |side: &super::Rules, said: &Said| match said {
            Said::Revoked(id) => Some(side.revoked.refused(id)),
            Said::Rule(_) | Said::NoRule | Said::Permissive | Said::ClosingInShadow => None,
        };
        let line = json!({
            "becomes": why.becomes.as_str(),
            "from": from,
            "to": to,
            "ports": ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "reason": why.after.word(),
            "rule": rule(sides.after, &why.after),
            "revoked": revoked(sides.after, &why.after),
            "was": {
                "reason": why.before.word(),
                "rule": rule(sides.before, &why.before),
                "revoked": revoked(sides.before, &why.before),
            },
        });
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    Ok(text)
}

impl Said {
    /// In the word of records.
    fn word(&self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::NoRule => "no_rule",
            Self::Permissive => "permissive",
            Self::ClosingInShadow => "closing_in_shadow",
            Self::Revoked(_) => REVOKED,
        }
    }
}
