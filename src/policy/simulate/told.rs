//! What is told of edges, while it is put together.

use std::collections::BTreeMap;

use super::{Flip, Nearest, Seen, Simulated, Unknown, Would, was};
use crate::policy::explain;
use crate::policy::revoked::Answer;
use crate::policy::rules::Rules;
use crate::policy::traffic::{Edge, Was};

/// What is told, while it is put together: the replicas of a workload are one.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) simulated: Simulated,
    flips: BTreeMap<FlipKey, Flip>,
    unknown: BTreeMap<SeenKey, Unknown>,
}

type SeenKey = (Was, String, String, u16);
/// Which way it flips, also whether only in shadow; and by what.
type FlipKey = (bool, SeenKey, Option<String>);

impl Told {
    /// Tells what becomes of an edge.
    pub(super) fn tell(&mut self, rules: &Rules, (edge, to): (&Edge, String), answer: &Answer) {
        if was(answer) != edge.was || answer.shadow().is_some() {
            self.flip(rules, (edge, to), answer);
        } else {
            self.simulated.unchanged.add(edge);
        }
    }

    fn flip(&mut self, rules: &Rules, (edge, to): (&Edge, String), answer: &Answer) {
        let seen = seen(rules, edge, to);
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
        let key = (is_in_shadow, key(edge, &seen), by);
        if let Some(flip) = self.flips.get_mut(&key) {
            flip.seen.add(edge);
            return;
        }
        let flip = Flip {
            seen,
            was_by: edge.rule.as_deref().map(str::to_owned),
            becomes: becomes.as_str(),
            reason: answer.reason(),
            revoked: answer.revoked().map(|id| rules.revoked.refused(id)),
            rule,
            near_miss,
            shadow,
        };
        self.flips.insert(key, flip);
    }

    pub(super) fn unknown(
        &mut self,
        rules: &Rules,
        (edge, to): (&Edge, String),
        why: &'static str,
    ) {
        let seen = seen(rules, edge, to);
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
        for ((is_in_shadow, ..), flip) in self.flips {
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

fn seen(rules: &Rules, edge: &Edge, to: String) -> Seen {
    Seen {
        from: edge.from.short(edge.trust_domain(&rules.trust_domain)),
        to,
        port: edge.port,
        was: edge.was.as_str(),
        count: edge.count,
        first: edge.first,
        last: edge.last,
        conn: edge.conn(),
    }
}
