//! What is told of edges, while it is put together.

use std::collections::BTreeMap;

use super::{Flip, Nearest, Seen, Simulated, Unknown, Would, was};
use crate::policy::explain;
use crate::policy::revoked::{Answer, REVOKED};
use crate::policy::rules::Rules;
use crate::policy::subject::Caller;
use crate::policy::traffic::{Edge, Was};

/// What is told, while it is put together: the replicas of a workload are one.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) simulated: Simulated,
    flips: BTreeMap<FlipKey, Flip>,
    unknown: BTreeMap<SeenKey, Unknown>,
}

/// An edge that was decided anew.
#[derive(Debug)]
pub(super) struct Replayed<'a> {
    pub(super) edge: &'a Edge,
    /// As people call it.
    pub(super) to: String,
    /// The caller is only taken for who is at its address.
    pub(super) presumed: bool,
}

type SeenKey = (Was, String, String, u16);
/// Whether only in shadow, and whether it was refused as revoked; which way it flips; and by what.
type FlipKey = ([bool; 2], SeenKey, Option<String>);

impl Told {
    /// Tells what becomes of an edge.
    pub(super) fn tell(&mut self, rules: &Rules, replayed: &Replayed<'_>, answer: &Answer) {
        let edge = replayed.edge;
        if was(answer) != edge.was || answer.shadow().is_some() {
            self.flip(rules, replayed, answer);
        } else {
            self.simulated.unchanged.add(edge);
        }
    }

    fn flip(&mut self, rules: &Rules, replayed: &Replayed<'_>, answer: &Answer) {
        let edge = replayed.edge;
        let seen = seen(rules, replayed);
        let becomes = was(answer);
        let is_in_shadow = becomes == edge.was;
        if is_in_shadow {
            self.simulated.unchanged.add(edge);
        }
        let rule = answer.rule().map(|rule| explain::placed(rules, rule));
        let near_miss = answer.near_miss().map(|near| Nearest {
            rule: explain::placed(rules, &near.rule),
            differs: near.differs.as_str(),
        });
        let shadow = answer.shadow().map(|(effect, name)| Would {
            would: effect.as_str(),
            rule: explain::placed(rules, name),
        });
        let by = if is_in_shadow {
            shadow.as_ref().map(|shadow| &shadow.rule)
        } else {
            rule.as_ref()
        };
        let by = by.map(|rule| rule.name.clone());
        let key = ([is_in_shadow, edge.was_revoked()], key(edge, &seen), by);
        if let Some(flip) = self.flips.get_mut(&key) {
            flip.seen.add(edge);
            flip.presumed |= replayed.presumed;
            return;
        }
        let flip = Flip {
            seen,
            was_by: match edge.was_revoked() {
                true => Some(REVOKED.to_owned()),
                false => edge.rule.as_deref().map(str::to_owned),
            },
            presumed: replayed.presumed,
            becomes: becomes.as_str(),
            reason: answer.reason(),
            revoked: answer.revoked().map(|id| rules.revoked.refused(id)),
            rule,
            near_miss,
            shadow,
        };
        self.flips.insert(key, flip);
    }

    pub(super) fn unknown(&mut self, rules: &Rules, replayed: &Replayed<'_>, why: &'static str) {
        let edge = replayed.edge;
        let seen = seen(rules, replayed);
        let key = key(edge, &seen);
        match self.unknown.get_mut(&key) {
            Some(unknown) => unknown.seen.add(edge),
            None => {
                self.unknown.insert(key, Unknown { seen, why });
            }
        }
    }

    pub(super) fn finish(self, warnings: Vec<String>) -> Simulated {
        let mut simulated = self.simulated;
        for (([is_in_shadow, _], ..), flip) in self.flips {
            if is_in_shadow {
                simulated.in_shadow.push(flip);
            } else {
                simulated.flips.push(flip);
            }
        }
        simulated.unknown = self.unknown.into_values().collect();
        simulated.warnings = warnings;
        simulated
    }
}

fn key(edge: &Edge, seen: &Seen) -> SeenKey {
    (edge.was, seen.from.clone(), seen.to.clone(), seen.port)
}

fn seen(rules: &Rules, replayed: &Replayed<'_>) -> Seen {
    let edge = replayed.edge;
    let from = match &edge.from {
        Caller::Address(addr) if edge.was_revoked() => format!("{addr}, by a revoked certificate"),
        from @ (Caller::Identity(_) | Caller::Address(_)) => {
            from.short(edge.trust_domain(&rules.trust_domain))
        }
    };
    Seen {
        from,
        to: replayed.to.clone(),
        port: edge.port,
        was: edge.was.as_str(),
        count: edge.count,
        first: edge.first,
        last: edge.last,
        conn: edge.conn(),
    }
}
