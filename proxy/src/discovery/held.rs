//! What a proxy holds of what control sent: a pure fold over differences.

use std::collections::HashMap;

use palisade_api::wire::{self, Channel};

/// The objects of every channel, by name, as control sent them.
#[derive(Debug, Default)]
pub struct Held {
    channels: HashMap<Channel, Holding>,
}

#[derive(Debug, Default)]
struct Holding {
    revision: u64,
    objects: HashMap<String, wire::Object>,
}

impl Held {
    /// Applies a difference. What it says is kept as it was sent; what it means is asked elsewhere.
    ///
    /// # Errors
    ///
    /// Where it is a difference to another revision than the one held, or of no known channel: nothing is
    /// applied then, and the stream is opened anew with an inventory.
    pub fn apply(&mut self, update: wire::WatchResponse) -> Result<Channel, ApplyError> {
        let channel = update.channel();
        if channel == Channel::Unspecified {
            return Err(ApplyError::Channel(update.channel));
        }
        let holding = self.channels.entry(channel).or_default();
        if update.base != holding.revision {
            return Err(ApplyError::Base {
                held: holding.revision,
                base: update.base,
            });
        }
        if update.revision < holding.revision {
            return Err(ApplyError::Older {
                held: holding.revision,
                sent: update.revision,
            });
        }
        for name in update.removed {
            holding.objects.remove(&name);
        }
        for object in update.changed {
            holding.objects.insert(object.name.clone(), object);
        }
        holding.revision = update.revision;
        Ok(channel)
    }

    /// The revision of a channel; 0 before anything was received on it.
    pub fn revision(&self, channel: Channel) -> u64 {
        self.channels
            .get(&channel)
            .map_or(0, |holding| holding.revision)
    }

    /// The objects of a channel, in no order.
    pub fn objects(&self, channel: Channel) -> impl Iterator<Item = &wire::Object> {
        self.channels
            .get(&channel)
            .into_iter()
            .flat_map(|holding| holding.objects.values())
    }

    /// Forgets an object that the proxy no longer wants.
    pub fn forget(&mut self, channel: Channel, name: &str) {
        if let Some(holding) = self.channels.get_mut(&channel) {
            holding.objects.remove(name);
        }
    }

    /// What is held, for a new stream to go on from.
    pub fn inventory(&self) -> Vec<wire::Inventory> {
        self.channels
            .iter()
            .map(|(channel, holding)| wire::Inventory {
                channel: (*channel).into(),
                revision: holding.revision,
                objects: holding
                    .objects
                    .values()
                    .map(|object| wire::Held {
                        name: object.name.clone(),
                        digest: object.digest.clone(),
                    })
                    .collect(),
            })
            .collect()
    }
}

/// Why a difference was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A channel that this version does not know.
    #[error("no channel of this version: {0}")]
    Channel(i32),
    /// A difference to something else.
    #[error("a difference to revision {base}, while {held} is held")]
    Base {
        /// What is held.
        held: u64,
        /// What the difference is to.
        base: u64,
    },
    /// A step back.
    #[error("revision {sent} is older than {held}, which is held")]
    Older {
        /// What is held.
        held: u64,
        /// What was sent.
        sent: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(base: u64, revision: u64, changed: &[&str], removed: &[&str]) -> wire::WatchResponse {
        wire::WatchResponse {
            channel: Channel::Rules.into(),
            revision,
            base,
            changed: changed
                .iter()
                .map(|name| wire::Object {
                    name: (*name).into(),
                    digest: vec![1],
                    body: None,
                })
                .collect(),
            removed: removed.iter().map(|name| (*name).into()).collect(),
        }
    }

    fn names(held: &Held) -> Vec<String> {
        let mut names: Vec<_> = held
            .objects(Channel::Rules)
            .map(|o| o.name.clone())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn differences_add_up() {
        let mut held = Held::default();
        assert_eq!(
            held.apply(update(0, 5, &["a", "b"], &[])),
            Ok(Channel::Rules)
        );
        assert_eq!(held.apply(update(5, 9, &["c"], &["a"])), Ok(Channel::Rules));
        assert_eq!(names(&held), ["b", "c"]);
        assert_eq!(held.revision(Channel::Rules), 9);
        assert_eq!(held.inventory()[0].objects.len(), 2);
    }

    #[test]
    fn a_difference_to_something_else_changes_nothing() {
        let mut held = Held::default();
        held.apply(update(0, 5, &["a"], &[])).unwrap();
        assert_eq!(
            held.apply(update(4, 6, &["b"], &["a"])),
            Err(ApplyError::Base { held: 5, base: 4 })
        );
        assert_eq!(
            held.apply(update(5, 4, &["b"], &["a"])),
            Err(ApplyError::Older { held: 5, sent: 4 })
        );
        assert_eq!(names(&held), ["a"]);
    }
}
