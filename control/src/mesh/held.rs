//! Which objects of a channel one proxy has applied: what it was sent, and what it said of it. Pure.

use std::collections::{BTreeMap, VecDeque};

use palisade_api::wire;

/// The objects of one channel of one proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct HeldObjects {
    /// What was sent and is not acknowledged yet, oldest first.
    sent: VecDeque<Sent>,
    objects: BTreeMap<String, Vec<u8>>,
    refused: BTreeMap<String, String>,
}

/// What a message on the channel changes, up to its revision: a digest, or none for a removal.
#[derive(Debug, Clone, Default)]
struct Sent {
    revision: u64,
    objects: BTreeMap<String, Option<Vec<u8>>>,
}

impl HeldObjects {
    /// What the proxy says that it has of a channel.
    pub(super) fn new(inventory: &[wire::Inventory], channel: wire::Channel) -> Self {
        let own = inventory
            .iter()
            .filter(|inventory| inventory.channel() == channel);
        Self {
            objects: own
                .flat_map(|inventory| &inventory.objects)
                .map(|object| (object.name.clone(), object.digest.clone()))
                .collect(),
            ..Self::default()
        }
    }

    /// The name and digest of each policy that is enforced.
    pub(super) fn policies(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.objects.iter().filter(|(name, _)| is_policy(name))
    }

    /// The same of everything else that is applied.
    pub(super) fn others(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.objects.iter().filter(|(name, _)| !is_policy(name))
    }

    /// By the object's name: why its newest version is not enforced.
    pub(super) fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    /// Notes a message on the channel.
    pub(super) fn sent(&mut self, message: &wire::WatchResponse) {
        let changed = message.changed.iter();
        let changed = changed.map(|object| (object.name.clone(), Some(object.digest.clone())));
        let removed = message.removed.iter().map(|name| (name.clone(), None));
        let mut sent = Sent {
            revision: message.revision,
            objects: changed.chain(removed).collect(),
        };
        // A proxy that reads and never answers costs no more than this.
        if self.sent.len() >= MAX_SENT
            && let Some(mut last) = self.sent.pop_back()
        {
            last.objects.append(&mut sent.objects);
            sent.objects = last.objects;
        }
        self.sent.push_back(sent);
    }

    /// Notes what the proxy said.
    pub(super) fn acknowledge(&mut self, ack: &wire::Ack) {
        let refusals: BTreeMap<&str, &str> = ack
            .refusals
            .iter()
            .map(|refusal| (refusal.name.as_str(), refusal.reason.as_str()))
            .collect();
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.revision <= ack.revision) {
            for (name, digest) in sent.objects {
                match (digest, refusals.get(name.as_str())) {
                    (None, _) => {
                        self.objects.remove(&name);
                        self.refused.remove(&name);
                    }
                    (Some(_), Some(reason)) => {
                        self.refused.insert(name, super::printable(reason));
                    }
                    (Some(digest), None) => {
                        self.refused.remove(&name);
                        self.objects.insert(name, digest);
                    }
                }
            }
        }
    }
}

pub(super) fn is_policy(name: &str) -> bool {
    name.starts_with("AuthorizationPolicy/") || name.starts_with("ClusterAuthorizationPolicy/")
}

const MAX_SENT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_api::wire::{Ack, Channel, Held, Inventory, Object, Refusal, WatchResponse};

    const ORDERS: &str = "AuthorizationPolicy/shop/orders";
    const ALL: &str = "ClusterAuthorizationPolicy/all";

    fn sent(revision: u64, changed: &[(&str, u8)], removed: &[&str]) -> WatchResponse {
        let object = |(name, digest): &(&str, u8)| Object {
            name: (*name).to_owned(),
            digest: vec![*digest],
            body: None,
        };
        WatchResponse {
            channel: Channel::Rules.into(),
            revision,
            base: 0,
            changed: changed.iter().map(object).collect(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn ack(revision: u64, refused: &[&str]) -> Ack {
        let refusal = |name: &&str| Refusal {
            name: (*name).to_owned(),
            reason: "too new".to_owned(),
        };
        Ack {
            channel: Channel::Rules.into(),
            revision,
            refusals: refused.iter().map(refusal).collect(),
        }
    }

    fn digests(proxy: &HeldObjects) -> Vec<(&str, u8)> {
        let each = proxy.policies();
        each.map(|(name, digest)| (name.as_str(), digest[0]))
            .collect()
    }

    #[test]
    fn what_was_sent_is_held_once_it_is_acknowledged() {
        let mut proxy = HeldObjects::default();
        proxy.sent(&sent(1, &[("self", 9), (ORDERS, 1)], &[]));
        proxy.sent(&sent(2, &[(ORDERS, 2), (ALL, 1)], &[]));
        proxy.sent(&sent(3, &[], &[ORDERS]));
        assert!(digests(&proxy).is_empty());
        proxy.acknowledge(&ack(1, &[]));
        assert_eq!(digests(&proxy), [(ORDERS, 1)]);
        // Once more: nothing new.
        proxy.acknowledge(&ack(1, &[]));
        assert_eq!(digests(&proxy), [(ORDERS, 1)]);
        proxy.acknowledge(&ack(3, &[]));
        assert_eq!(digests(&proxy), [(ALL, 1)]);
    }

    #[test]
    fn what_is_refused_is_not_held_and_what_was_held_before_still_is() {
        let mut proxy = HeldObjects::default();
        proxy.sent(&sent(1, &[(ORDERS, 1)], &[]));
        proxy.acknowledge(&ack(1, &[]));
        proxy.sent(&sent(2, &[(ORDERS, 2), (ALL, 1)], &[]));
        proxy.acknowledge(&ack(2, &[ORDERS]));
        assert_eq!(digests(&proxy), [(ORDERS, 1), (ALL, 1)]);
        assert_eq!(proxy.refused()[ORDERS], "too new");
        proxy.sent(&sent(3, &[(ORDERS, 3)], &[]));
        proxy.acknowledge(&ack(3, &[]));
        assert_eq!(digests(&proxy), [(ORDERS, 3), (ALL, 1)]);
        assert!(proxy.refused().is_empty());
    }

    #[test]
    fn a_proxy_that_comes_again_holds_what_it_says() {
        let inventory = |channel: Channel, name: &str| Inventory {
            channel: channel.into(),
            revision: 7,
            objects: vec![Held {
                name: name.to_owned(),
                digest: vec![4],
            }],
        };
        let said = [
            inventory(Channel::Rules, ORDERS),
            inventory(Channel::Bundles, ALL),
            inventory(Channel::Rules, "self"),
        ];
        let proxy = HeldObjects::new(&said, Channel::Rules);
        assert_eq!(digests(&proxy), [(ORDERS, 4)]);
        let others: Vec<_> = proxy.others().map(|(name, _)| name.as_str()).collect();
        assert_eq!(others, ["self"]);
    }

    #[test]
    fn one_that_never_answers_costs_a_bounded_memory_and_loses_nothing() {
        let mut proxy = HeldObjects::default();
        for revision in 1..=1000 {
            let digest = u8::try_from(revision % 251).unwrap();
            proxy.sent(&sent(revision, &[(ORDERS, digest)], &[]));
        }
        assert_eq!(proxy.sent.len(), MAX_SENT);
        proxy.acknowledge(&ack(1000, &[]));
        assert_eq!(
            digests(&proxy),
            [(ORDERS, u8::try_from(1000 % 251).unwrap())]
        );
    }
}
