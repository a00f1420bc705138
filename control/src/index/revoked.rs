//! Who is refused from now on.

use std::collections::BTreeSet;

use palisade_api::spiffe::SpiffeId;

/// Names and certificate serial numbers that are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    identities: BTreeSet<SpiffeId>,
    serials: BTreeSet<String>,
}

impl Revoked {
    /// Whether a name is refused, whatever its certificate.
    pub fn identity(&self, id: &SpiffeId) -> bool {
        self.identities.contains(id)
    }

    /// Whether a certificate is refused, for its name or for its serial number in lower-case hex.
    pub fn refuses(&self, id: &SpiffeId, serial: &str) -> bool {
        self.identity(id) || self.serials.contains(serial)
    }

    pub(super) fn extend(&mut self, identities: &[SpiffeId], serials: &[String]) {
        self.identities.extend(identities.iter().cloned());
        self.serials.extend(serials.iter().cloned());
    }

    pub(super) fn listed(&self) -> (Vec<SpiffeId>, Vec<String>) {
        (
            self.identities.iter().cloned().collect(),
            self.serials.iter().cloned().collect(),
        )
    }
}
