//! What would flip, for people and for programs.

use std::fmt::Write;

use serde_json::json;

use super::{Count, Flip, Seen, Simulated, Unknown};
use crate::policy::explain::Placed;
use crate::policy::revoked::{REVOKED, Refused};
use crate::policy::traffic::{counted, moment};
use crate::records::{DIM, ERROR, GOOD, WAITING};

/// For people: what would be denied first.
pub(super) fn text(simulated: &Simulated) -> String {
    let mut text = String::new();
    let (flips, shadow) = (&simulated.flips, &simulated.in_shadow);
    for (was, becomes, style) in [("allow", "deny", ERROR), ("deny", "allow", GOOD)] {
        let flips: Vec<_> = flips.iter().filter(|flip| flip.seen.was == was).collect();
        if flips.is_empty() {
            continue;
        }
        let total = total(flips.iter().map(|flip| &flip.seen));
        let (on, off) = (style.render(), style.render_reset());
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{on}{was} → {becomes}{off}  {}", of(total));
        flips.iter().for_each(|flip| one(&mut text, flip));
        text.push('\n');
    }
    if !shadow.is_empty() {
        let (on, off) = (WAITING.render(), WAITING.render_reset());
        let total = total(shadow.iter().map(|flip| &flip.seen));
        let _written = writeln!(
            text,
            "{on}if rules in shadow were enforced{off}  {}",
            of(total)
        );
        shadow
            .iter()
            .for_each(|flip| one_in_shadow(&mut text, flip));
        text.push('\n');
    }
    unknown(&mut text, &simulated.unknown);
    if flips.is_empty() && simulated.unknown.is_empty() {
        text.push_str("nothing flips; ");
    }
    let _written = writeln!(text, "unchanged: {}", of(simulated.unchanged));
    text
}

fn total<'a>(seen: impl Iterator<Item = &'a Seen>) -> Count {
    let mut total = Count::default();
    for one in seen {
        total.edges += 1;
        total.connections = total.connections.saturating_add(one.count);
    }
    total
}

fn of(count: Count) -> String {
    let connections = counted(count.connections, "connection");
    format!("{connections} on {}", counted(count.edges, "edge"))
}

fn line(text: &mut String, seen: &Seen) {
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let _written = writeln!(
        text,
        "  {} → {}:{}  {}  {dim}{} to {}{undim}",
        seen.from,
        seen.to,
        seen.port,
        counted(seen.count, "connection"),
        moment(seen.first),
        moment(seen.last),
    );
}

fn one(text: &mut String, flip: &Flip) {
    line(text, &flip.seen);
    if let Some(rule) = &flip.rule {
        by(text, "by", rule, "");
    } else if let Some(Refused { identity, place }) = &flip.revoked {
        let (dim, undim) = (DIM.render(), DIM.render_reset());
        let _written = writeln!(text, "    {identity} is revoked  {dim}{place}{undim}");
    } else {
        let why = match flip.reason {
            "no_rule" => "no rule allows it",
            "permissive" => "its namespace is permissive, and the caller has no identity",
            "closing_in_shadow" => {
                "no rule allows it, and its namespace's default denial is in shadow"
            }
            other => other,
        };
        let _written = writeln!(text, "    {why}");
    }
    if let Some(near) = &flip.near_miss {
        let but = format!(", but for its {}", near.differs);
        by(text, "nearest:", &near.rule, &but);
    }
    if let Some(was_by) = &flip.was_by {
        let (dim, undim) = (DIM.render(), DIM.render_reset());
        let said = match was_by.as_str() {
            REVOKED => "was so as one of both was revoked".to_owned(),
            rule => format!("was so by {rule}"),
        };
        let _written = writeln!(text, "    {dim}{said}{undim}");
    }
    presumed(text, flip);
}

/// Where no record names the caller.
fn presumed(text: &mut String, flip: &Flip) {
    if flip.presumed {
        let (dim, undim) = (DIM.render(), DIM.render_reset());
        let why = "the called side refused a certificate, and records no name: the caller is taken for who is at its address";
        let _written = writeln!(text, "    {dim}{why}{undim}");
    }
}

fn one_in_shadow(text: &mut String, flip: &Flip) {
    line(text, &flip.seen);
    if let Some(shadow) = &flip.shadow {
        let would = format!("; it would {} it", shadow.would);
        by(text, "by", &shadow.rule, &would);
    }
}

fn by(text: &mut String, word: &str, rule: &Placed, but: &str) {
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let _written = writeln!(
        text,
        "    {word} {}{but}  {dim}{}{undim}",
        rule.name, rule.place
    );
}

fn unknown(text: &mut String, unknown: &[Unknown]) {
    if unknown.is_empty() {
        return;
    }
    let (on, off) = (WAITING.render(), WAITING.render_reset());
    let total = total(unknown.iter().map(|one| &one.seen));
    let _written = writeln!(text, "{on}unknown{off}  {}", of(total));
    for one in unknown {
        line(text, &one.seen);
        let _written = writeln!(text, "    {}", one.why);
    }
    text.push_str(
        "  name a mesh file or Kubernetes manifests with --who: they say who has which labels and account\n\n",
    );
}

/// For programs: each flip a line, and the sums in the last.
pub(super) fn json(simulated: &Simulated) -> serde_json::Result<String> {
    let mut text = String::new();
    let kinds = [("flip", &simulated.flips), ("shadow", &simulated.in_shadow)];
    for (kind, flips) in kinds {
        for flip in flips {
            let line = Kind { kind, told: flip };
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
    }
    for one in &simulated.unknown {
        let line = Kind {
            kind: "unknown",
            told: one,
        };
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    let flips = |was: &str| {
        let flips = simulated.flips.iter().map(|flip| &flip.seen);
        total(flips.filter(|seen| seen.was == was))
    };
    let sums = json!({
        "kind": "summary",
        "denied": flips("allow"), "allowed": flips("deny"),
        "in_shadow": total(simulated.in_shadow.iter().map(|flip| &flip.seen)),
        "unknown": total(simulated.unknown.iter().map(|one| &one.seen)),
        "unchanged": simulated.unchanged,
    });
    text.push_str(&sums.to_string());
    text.push('\n');
    Ok(text)
}

#[derive(serde::Serialize)]
struct Kind<'a, T> {
    kind: &'static str,
    #[serde(flatten)]
    told: &'a T,
}
