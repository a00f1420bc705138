//! What proxies acknowledged, in generations of objects. Pure.

use std::collections::BTreeMap;

use super::acks::{Held, Rule};
use super::assembly::Standing;
use crate::index::Index;
use crate::mesh;

/// Digests to generations. A proxy that holds another version than the one in force enforces, as far as the rule's
/// status goes, nothing of it yet.
pub(crate) fn held(proxies: &[mesh::Held], index: &Index, standing: &Standing) -> Vec<Held> {
    let in_force: BTreeMap<&str, (&[u8], i64)> = index
        .policies()
        .filter_map(|(name, digest)| Some((name, (digest, standing.get(name)?.in_force?))))
        .collect();
    let rule = |name: &str, generation: i64| Rule {
        name: name.to_owned(),
        generation,
    };
    let each = proxies.iter().map(|proxy| Held {
        workload: proxy.workload.clone(),
        enforces: proxy
            .policies
            .iter()
            .filter_map(|(name, held)| {
                let (digest, generation) = in_force.get(name.as_str())?;
                (held == digest).then(|| rule(name, *generation))
            })
            .collect(),
        refuses: proxy
            .refused
            .keys()
            .filter_map(|name| Some(rule(name, in_force.get(name.as_str())?.1)))
            .collect(),
    });
    each.collect()
}
