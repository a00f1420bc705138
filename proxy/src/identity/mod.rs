//! Who this proxy is and whom it trusts, as immutable snapshots that are watched.
//!
//! - [`svid`]: the own certificate and key. [`trust`]: bundles and revocations.
//! - [`rotate`]: when the SVID is renewed, and the task that does it.
//! - [`place`] and [`control`]: where control is, and a proven connection to it.
//! - [`attest`]: what proves this proxy to control: a join token ([`token`]), or a service account's token
//!   (`service_account`).
//!
//! Arrows: `tls` reads [`Snapshot`]; [`control`] alone stands above `tls` and uses its verifier.

pub mod attest;
pub mod control;
pub mod leaf;
pub mod place;
pub mod rotate;
mod service_account;
pub mod svid;
pub mod token;
pub mod trust;

use std::sync::Arc;

use palisade_api::spiffe::TrustDomain;
use time::OffsetDateTime;
use tokio::sync::watch;

pub use service_account::ServiceAccountError;
pub use svid::{Svid, SvidError};
pub use trust::{Revocations, TrustBundle, TrustBundleError, TrustBundles};

/// What is known at one moment. Cheap to clone.
///
/// `None` is "not received yet" everywhere, and never reads as "empty".
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The newest SVID, which may have expired: see [`Snapshot::live_svid`].
    pub svid: Option<Arc<Svid>>,
    /// The authorities; there once the first SVID was issued.
    pub bundles: Option<Arc<TrustBundles>>,
    /// What was revoked.
    pub revocations: Option<Arc<Revocations>>,
    /// Grows with each change of `bundles`.
    pub trust_generation: u64,
    /// Grows with each new SVID.
    pub svid_generation: u64,
}

impl Snapshot {
    /// The SVID, if it may be used at `now`.
    pub fn live_svid(&self, now: OffsetDateTime) -> Option<&Arc<Svid>> {
        self.svid.as_ref().filter(|svid| svid.is_live(now))
    }
}

/// The owner of the snapshots. Each setter has one caller.
#[derive(Debug)]
pub struct Identity {
    trust_domain: TrustDomain,
    snapshots: watch::Sender<Snapshot>,
}

impl Identity {
    /// An identity that nothing is known of yet.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            snapshots: watch::Sender::new(Snapshot::default()),
        }
    }

    /// The own trust domain, as configured.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// Follows the changes.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.snapshots.subscribe()
    }

    /// Takes a new SVID (rotation). The same one again changes nothing.
    pub fn set_svid(&self, svid: Svid) {
        self.snapshots.send_if_modified(|snapshot| {
            let same = |old: &Arc<Svid>| old.serial() == svid.serial() && old.id() == svid.id();
            if snapshot.svid.as_ref().is_some_and(same) {
                return false;
            }
            snapshot.svid = Some(Arc::new(svid));
            snapshot.svid_generation += 1;
            true
        });
    }

    /// Takes all bundles (discovery). The same ones again change nothing.
    pub fn set_bundles(&self, bundles: TrustBundles) {
        self.snapshots
            .send_if_modified(|snapshot| replace_bundles(snapshot, bundles));
    }

    /// Takes the own trust domain's bundle, which came with an SVID after control proved itself by the join
    /// token or the trust anchor (rotation); foreign bundles stay.
    pub fn set_own_bundle(&self, bundle: TrustBundle) {
        self.snapshots.send_if_modified(|snapshot| {
            let bundles = match snapshot.bundles.as_deref() {
                Some(known) => known.clone().with(self.trust_domain.clone(), bundle),
                None => TrustBundles::new(self.trust_domain.clone(), bundle),
            };
            replace_bundles(snapshot, bundles)
        });
    }

    /// Takes what is revoked (discovery). The same set again changes nothing.
    pub fn set_revocations(&self, revocations: Revocations) {
        self.snapshots.send_if_modified(|snapshot| {
            if snapshot.revocations.as_deref() == Some(&revocations) {
                return false;
            }
            snapshot.revocations = Some(Arc::new(revocations));
            true
        });
    }
}

/// An error and all that caused it, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn replace_bundles(snapshot: &mut Snapshot, bundles: TrustBundles) -> bool {
    if snapshot.bundles.as_deref() == Some(&bundles) {
        return false;
    }
    snapshot.bundles = Some(Arc::new(bundles));
    snapshot.trust_generation += 1;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::{Authority, TRUST_DOMAIN, now};
    use time::Duration;

    fn identity() -> Identity {
        Identity::new(TRUST_DOMAIN.parse().unwrap())
    }

    #[test]
    fn unchanged_content_moves_no_generation_and_wakes_nobody() {
        let (identity, authority) = (identity(), Authority::new());
        let bundles = || TrustBundles::new(TRUST_DOMAIN.parse().unwrap(), authority.bundle());
        identity.set_bundles(bundles());
        identity.set_revocations(Revocations::default());
        let mut watched = identity.subscribe();
        watched.mark_unchanged();
        identity.set_bundles(bundles());
        identity.set_own_bundle(authority.bundle());
        identity.set_revocations(Revocations::default());
        assert!(!watched.has_changed().unwrap());
        assert_eq!(identity.snapshot().trust_generation, 1);

        identity.set_own_bundle(Authority::new().bundle());
        assert!(watched.has_changed().unwrap());
        assert_eq!(identity.snapshot().trust_generation, 2);
    }

    #[test]
    fn each_svid_is_a_generation_and_an_expired_one_is_none() {
        let (identity, authority) = (identity(), Authority::new());
        identity.set_svid(authority.svid("web"));
        identity.set_svid(authority.svid("web"));
        let snapshot = identity.snapshot();
        assert_eq!(snapshot.svid_generation, 2);
        assert!(snapshot.live_svid(now()).is_some());
        assert!(snapshot.live_svid(now() + Duration::days(400)).is_none());
    }

    #[test]
    fn a_foreign_bundle_outlives_a_new_own_one() {
        let identity = identity();
        let partner: TrustDomain = "partner.example".parse().unwrap();
        let bundles = TrustBundles::new(TRUST_DOMAIN.parse().unwrap(), Authority::new().bundle());
        identity.set_bundles(bundles.with(partner.clone(), Authority::new().bundle()));
        identity.set_own_bundle(Authority::new().bundle());
        let known = identity.snapshot().bundles.unwrap();
        assert!(known.find(&partner).is_some());
    }
}
