//! One channel to one proxy: what it holds, and the difference to what it should. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;

use palisade_api::wire::{self, Object, WatchResponse};

/// What a proxy holds on one channel, as far as control sent it or the proxy said so.
#[derive(Debug)]
pub(super) struct Channel {
    channel: wire::Channel,
    revision: u64,
    /// Digests by name.
    held: BTreeMap<String, Vec<u8>>,
    /// Whether the proxy was told on this stream that it is in step.
    answered: bool,
}

impl Channel {
    /// As the proxy's inventory says; nothing, where it has none.
    pub(super) fn new(channel: wire::Channel, inventory: &[wire::Inventory]) -> Self {
        let mut fresh = Self {
            channel,
            revision: 0,
            held: BTreeMap::new(),
            answered: false,
        };
        for inventory in inventory.iter().filter(|i| i.channel() == channel) {
            fresh.revision = fresh.revision.max(inventory.revision);
            for object in &inventory.objects {
                fresh
                    .held
                    .insert(object.name.clone(), object.digest.clone());
            }
        }
        fresh
    }

    /// The revision that the proxy is at once it has applied all that was sent.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The names of what the proxy holds.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.held.keys().map(String::as_str)
    }

    /// What the proxy let go of by itself.
    pub(super) fn forget(&mut self, name: &str) {
        self.held.remove(name);
    }

    /// What brings the proxy to exactly `wanted`. The first answer of a stream is sent even if it changes nothing,
    /// because it tells the proxy that it is in step; after it, no change is no message.
    ///
    /// Long differences are cut. Objects go in the order given and removals last, so that no cut is a state in which
    /// a denial is already gone and an allowance still there.
    pub(super) fn difference(&mut self, wanted: &[Arc<Object>], now_ms: u64) -> Vec<WatchResponse> {
        let names: BTreeSet<&str> = wanted.iter().map(|object| object.name.as_str()).collect();
        let removed: Vec<String> = self
            .held
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect();
        self.bring(wanted, removed, now_ms)
    }

    /// What brings the proxy these objects too, beside what it holds.
    pub(super) fn addition(&mut self, wanted: &[Arc<Object>], now_ms: u64) -> Vec<WatchResponse> {
        self.bring(wanted, Vec::new(), now_ms)
    }

    fn bring(
        &mut self,
        wanted: &[Arc<Object>],
        removed: Vec<String>,
        now_ms: u64,
    ) -> Vec<WatchResponse> {
        let changed: Vec<&Arc<Object>> = wanted
            .iter()
            .filter(|object| self.held.get(&object.name) != Some(&object.digest))
            .collect();
        if changed.is_empty() && removed.is_empty() && self.answered {
            return Vec::new();
        }
        for object in &changed {
            self.held.insert(object.name.clone(), object.digest.clone());
        }
        for name in &removed {
            self.held.remove(name);
        }
        self.answered = true;
        self.cut(&changed, removed, now_ms)
    }

    fn cut(
        &mut self,
        changed: &[&Arc<Object>],
        removed: Vec<String>,
        now_ms: u64,
    ) -> Vec<WatchResponse> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        let mut bytes = 0;
        for object in changed {
            let more = object.encoded_len();
            if bytes + more > MAX_PIECE_BYTES && !piece.is_empty() {
                pieces.push(self.piece(std::mem::take(&mut piece), Vec::new(), now_ms));
                bytes = 0;
            }
            bytes += more;
            piece.push(Object::clone(object));
        }
        for names in removed.chunks(MAX_PIECE_NAMES) {
            pieces.push(self.piece(std::mem::take(&mut piece), names.to_vec(), now_ms));
        }
        if !piece.is_empty() || pieces.is_empty() {
            pieces.push(self.piece(piece, Vec::new(), now_ms));
        }
        pieces
    }

    fn piece(&mut self, changed: Vec<Object>, removed: Vec<String>, now_ms: u64) -> WatchResponse {
        let base = self.revision;
        // By the clock, so that they grow across restarts and replicas too.
        self.revision = now_ms.max(base.saturating_add(1));
        WatchResponse {
            channel: self.channel.into(),
            revision: self.revision,
            base,
            changed,
            removed,
        }
    }
}

/// A receiver takes at most 4 MiB by default.
const MAX_PIECE_BYTES: usize = 1024 * 1024;
/// Names have at most some 500 bytes.
const MAX_PIECE_NAMES: usize = 2048;

#[cfg(test)]
mod tests;
