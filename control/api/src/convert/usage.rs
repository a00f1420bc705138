//! What a proxy counted. Counts decide nothing: an entry that means nothing here, as from a newer proxy, is left out
//! alone.

use super::{ConvertError, Converted, ip_from_wire, ip_to_wire, port_from_wire};
use crate::spiffe::SpiffeId;
use crate::usage::{Caller, Decided, EdgeKey, Seen, Shadow, Totals, Use, Word};
use crate::wire;

/// One report of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The process that counted.
    pub epoch: String,
    /// When it began, in seconds since 1970 UTC.
    pub started: i64,
    /// Its totals, of what it tells.
    pub totals: Totals,
    /// How many entries meant nothing.
    pub left_out: usize,
}

/// A report.
///
/// # Errors
///
/// Where its epoch is none. Entries that mean nothing are left out, and counted.
pub fn usage_from_wire(usage: wire::Usage) -> Converted<Report> {
    let is_epoch = (1..=MAX_EPOCH_BYTES).contains(&usage.epoch.len())
        && usage.epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_epoch {
        return Err(ConvertError::Unknown("epoch"));
    }
    let mut report = Report {
        epoch: usage.epoch,
        started: usage.started,
        totals: Totals::default(),
        left_out: 0,
    };
    for edge in usage.edges {
        match edge_from_wire(edge) {
            Ok((key, seen)) => drop(report.totals.edges.insert(key, seen)),
            Err(_meaningless) => report.left_out += 1,
        }
    }
    for used in usage.rules {
        let (rule, counts) = used_from_wire(used);
        match named(rule) {
            Ok(Some(rule)) => drop(report.totals.rules.insert(rule, counts)),
            Ok(None) | Err(_) => report.left_out += 1,
        }
    }
    for others in usage.others {
        match decided_from_wire(others.decided()) {
            Ok(decided) => drop(report.totals.others.insert(decided, others.count)),
            Err(_meaningless) => report.left_out += 1,
        }
    }
    Ok(report)
}

/// The same, the other way: one edge of it.
pub fn edge_to_wire(key: &EdgeKey, seen: Seen) -> wire::Edge {
    let source = match &key.caller {
        Caller::Identity(id) => wire::edge::Source::Identity(id.clone()),
        Caller::Address(ip) => wire::edge::Source::Address(ip_to_wire(*ip)),
    };
    let shadow_effect = match &key.shadow {
        None => wire::Effect::Unspecified,
        Some(shadow) => match shadow.effect {
            Word::Allow => wire::Effect::Allow,
            Word::Deny => wire::Effect::Deny,
        },
    };
    let shadow = key.shadow.as_ref().map(|shadow| shadow.rule.clone());
    wire::Edge {
        source: Some(source),
        port: key.port.into(),
        decided: decided_to_wire(key.decided).into(),
        rule: key.rule.clone().unwrap_or_default(),
        reason: key.reason.clone().unwrap_or_default(),
        shadow: shadow.unwrap_or_default(),
        shadow_effect: shadow_effect.into(),
        count: seen.count,
        first: seen.first,
        last: seen.last,
        unanswered: seen.unanswered,
    }
}

/// The same, the other way: how often a rule decided.
pub fn use_to_wire(rule: String, used: Use) -> wire::RuleUse {
    wire::RuleUse {
        rule,
        count: used.count,
        last: used.last,
        shadow_count: used.shadow_count,
        shadow_last: used.shadow_last,
    }
}

/// The same, the other way: what did not fit.
pub fn others_to_wire(decided: Decided, count: u64) -> wire::Others {
    wire::Others {
        decided: decided_to_wire(decided).into(),
        count,
    }
}

fn edge_from_wire(edge: wire::Edge) -> Converted<(EdgeKey, Seen)> {
    let decided = decided_from_wire(edge.decided())?;
    let effect = edge.shadow_effect();
    let caller = match edge.source {
        Some(wire::edge::Source::Identity(id)) => {
            let id: SpiffeId = id.parse()?;
            Caller::Identity(id.as_str().to_owned())
        }
        Some(wire::edge::Source::Address(bytes)) => Caller::Address(ip_from_wire(&bytes)?),
        None => return Err(ConvertError::Unknown("source")),
    };
    let shadow = match (named(edge.shadow)?, effect) {
        (None, _) => None,
        (Some(rule), wire::Effect::Allow) => Some(Shadow {
            effect: Word::Allow,
            rule,
        }),
        (Some(rule), wire::Effect::Deny) => Some(Shadow {
            effect: Word::Deny,
            rule,
        }),
        (Some(_), wire::Effect::Unspecified) => return Err(ConvertError::Unknown("effect")),
    };
    let key = EdgeKey {
        caller,
        port: port_from_wire(edge.port)?,
        decided,
        rule: named(edge.rule)?,
        reason: named(edge.reason)?,
        shadow,
    };
    let seen = Seen {
        count: edge.count,
        first: edge.first,
        last: edge.last,
        unanswered: edge.unanswered,
    };
    Ok((key, seen))
}

fn used_from_wire(used: wire::RuleUse) -> (String, Use) {
    let counts = Use {
        count: used.count,
        last: used.last,
        shadow_count: used.shadow_count,
        shadow_last: used.shadow_last,
    };
    (used.rule, counts)
}

/// A rule's name, or a reason's word: printable, and no longer than names can be. None where it is empty.
fn named(text: String) -> Converted<Option<String>> {
    if text.len() > MAX_NAME_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConvertError::Unknown("name"));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn decided_from_wire(decided: wire::Decided) -> Converted<Decided> {
    Ok(match decided {
        wire::Decided::AllowedByRule => Decided::AllowedByRule,
        wire::Decided::AllowedAsPermissive => Decided::AllowedAsPermissive,
        wire::Decided::AllowedByShadow => Decided::AllowedByShadow,
        wire::Decided::DeniedByRule => Decided::DeniedByRule,
        wire::Decided::DeniedByNoRule => Decided::DeniedByNoRule,
        wire::Decided::Denied => Decided::Denied,
        wire::Decided::Unspecified => return Err(ConvertError::Unknown("decided")),
    })
}

fn decided_to_wire(decided: Decided) -> wire::Decided {
    match decided {
        Decided::AllowedByRule => wire::Decided::AllowedByRule,
        Decided::AllowedAsPermissive => wire::Decided::AllowedAsPermissive,
        Decided::AllowedByShadow => wire::Decided::AllowedByShadow,
        Decided::DeniedByRule => wire::Decided::DeniedByRule,
        Decided::DeniedByNoRule => wire::Decided::DeniedByNoRule,
        Decided::Denied => wire::Decided::Denied,
    }
}

const MAX_EPOCH_BYTES: usize = 64;
/// A namespace, a policy and a rule.
const MAX_NAME_BYTES: usize = 3 * 253 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EdgeKey {
        EdgeKey {
            caller: Caller::Identity("spiffe://cluster.local/ns/shop/sa/web".to_owned()),
            port: 8080,
            decided: Decided::AllowedByRule,
            rule: Some("shop/orders/web".to_owned()),
            reason: None,
            shadow: Some(Shadow {
                effect: Word::Deny,
                rule: "cluster/baseline/soon".to_owned(),
            }),
        }
    }

    const SEEN: Seen = Seen {
        count: 3,
        first: 1,
        last: 2,
        unanswered: 1,
    };

    fn report(edges: Vec<wire::Edge>) -> wire::Usage {
        wire::Usage {
            epoch: "0af3".to_owned(),
            started: 1,
            edges,
            ..wire::Usage::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let plaintext = EdgeKey {
            caller: Caller::Address("fd00::1".parse().unwrap()),
            decided: Decided::Denied,
            rule: None,
            reason: Some("no_policy".to_owned()),
            shadow: None,
            ..key()
        };
        let used = Use {
            count: 3,
            last: 2,
            shadow_count: 1,
            shadow_last: 1,
        };
        let mut usage = report(vec![
            edge_to_wire(&key(), SEEN),
            edge_to_wire(&plaintext, SEEN),
        ]);
        usage
            .rules
            .push(use_to_wire("shop/orders/web".to_owned(), used));
        usage.others = Decided::ALL
            .map(|decided| others_to_wire(decided, 4))
            .to_vec();
        let read = usage_from_wire(usage).unwrap();
        let expected = Totals {
            edges: [(key(), SEEN), (plaintext, SEEN)].into(),
            rules: [("shop/orders/web".to_owned(), used)].into(),
            others: Decided::ALL.map(|decided| (decided, 4)).into(),
        };
        assert_eq!((read.totals, read.left_out), (expected, 0));
    }

    #[test]
    fn what_means_nothing_is_left_out_alone() {
        let good = edge_to_wire(&key(), SEEN);
        let change = |change: fn(&mut wire::Edge)| {
            let mut edge = good.clone();
            change(&mut edge);
            edge
        };
        let bad = [
            change(|edge| edge.source = None),
            change(|edge| edge.source = Some(wire::edge::Source::Identity("web".to_owned()))),
            change(|edge| edge.source = Some(wire::edge::Source::Address(vec![1, 2]))),
            change(|edge| edge.port = 0),
            change(|edge| edge.port = 65_536),
            change(|edge| edge.decided = 99),
            change(|edge| edge.shadow_effect = 0),
            change(|edge| edge.rule = "a\u{1b}[31m".to_owned()),
            change(|edge| edge.rule = "a".repeat(1000)),
            change(|edge| edge.reason = "for no reason".to_owned()),
        ];
        let mut edges = bad.to_vec();
        edges.push(good);
        let mut usage = report(edges);
        usage.rules.push(wire::RuleUse::default());
        usage.others.push(wire::Others::default());
        let read = usage_from_wire(usage).unwrap();
        assert_eq!(read.left_out, bad.len() + 2);
        assert_eq!(read.totals.len(), 1);
    }

    #[test]
    fn a_report_without_an_epoch_is_none() {
        for epoch in ["", "spaces here", "../../etc", &"a".repeat(65)] {
            let usage = wire::Usage {
                epoch: epoch.to_owned(),
                ..report(Vec::new())
            };
            assert_eq!(usage_from_wire(usage), Err(ConvertError::Unknown("epoch")));
        }
    }
}
