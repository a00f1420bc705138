//! The stream from control, and what it makes of it: rules, addresses, bundles, revocations.
//!
//! [`held`] keeps what was sent; this module gives it meaning. Where control is lost, the last good state
//! stays, and the stream is opened anew with an inventory of what is held.

pub mod addresses;
pub mod held;
mod watch_stream;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_api::convert;
use palisade_api::policy::{AuthorizationPolicy, Policy};
use palisade_api::spiffe::{SpiffeIdError, TrustDomain};
use palisade_api::wire::{self, Channel, object::Body};
use palisade_api::workload::{AtAddress, NamespaceSettings, Workload};
use tokio::sync::watch;

use crate::authorize::{PolicyState, Rules};
use crate::identity::{Identity, Revocations, TrustBundle, TrustBundleError, TrustBundles};
use addresses::AddressBook;
use held::{ApplyError, Held};

pub use watch_stream::{Control, run};

/// What the proxy makes of what control sends. One owner writes, all others read snapshots.
#[derive(Debug)]
pub struct Discovery {
    held: Held,
    /// The last version of each policy object that was understood.
    understood: HashMap<String, AuthorizationPolicy>,
    own: Option<(Workload, NamespaceSettings)>,
    refused: Vec<wire::Refusal>,
    rules: watch::Sender<PolicyState>,
    book: AddressBook,
    identity: Arc<Identity>,
    /// Passed in clear where control does not say what is there.
    outside: Vec<IpNet>,
    /// Why there is no stream from control, while there is none.
    trouble: watch::Sender<Option<String>>,
}

impl Discovery {
    /// Nothing is known yet.
    pub fn new(identity: Arc<Identity>, book: AddressBook, outside: Vec<IpNet>) -> Self {
        Self {
            held: Held::default(),
            understood: HashMap::new(),
            own: None,
            refused: Vec::new(),
            rules: watch::Sender::new(PolicyState::Waiting),
            book,
            identity,
            outside,
            trouble: watch::Sender::new(None),
        }
    }

    /// Why there is no stream from control, while there is none.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// The rules in force, now and as they change.
    pub fn rules(&self) -> watch::Receiver<PolicyState> {
        self.rules.subscribe()
    }

    /// Applies a difference and says what to acknowledge.
    ///
    /// # Errors
    ///
    /// Where it does not continue what is held; nothing is applied then.
    pub fn apply(&mut self, update: wire::WatchResponse) -> Result<wire::Ack, ApplyError> {
        let channel = self.held.apply(update)?;
        let refusals = match channel {
            Channel::Bundles => self.apply_bundles(),
            Channel::Revocations => self.apply_revocations(),
            Channel::Rules => self.apply_rules(),
            Channel::Addresses => self.apply_addresses(),
            Channel::Unspecified => Vec::new(),
        };
        for refusal in &refusals {
            tracing::warn!(
                object = refusal.name,
                reason = refusal.reason,
                "an object was refused"
            );
        }
        let revision = self.held.revision(channel);
        Ok(wire::Ack {
            channel: channel.into(),
            revision,
            refusals,
        })
    }

    fn apply_bundles(&self) -> Vec<wire::Refusal> {
        let mut refusals = Vec::new();
        let bundles: Vec<_> = self
            .held
            .objects(Channel::Bundles)
            .filter_map(|object| match &object.body {
                Some(Body::Bundle(bundle)) => Some((object.name.clone(), bundle.clone())),
                Some(_) | None => {
                    refusals.push(not_understood(object, "not a bundle"));
                    None
                }
            })
            .collect();
        let mut own = None;
        let mut foreign = Vec::new();
        for (name, bundle) in bundles {
            match bundle_from_wire(bundle) {
                Ok((domain, bundle)) if domain == *self.identity.trust_domain() => {
                    own = Some(bundle)
                }
                Ok(found) => foreign.push(found),
                Err(error) => refusals.push(wire::Refusal {
                    name,
                    reason: error.to_string(),
                }),
            }
        }
        // Without the own authorities nothing else means anything: what is held stays.
        if let Some(own) = own {
            let own = TrustBundles::new(self.identity.trust_domain().clone(), own);
            let all = foreign
                .into_iter()
                .fold(own, |all, (domain, bundle)| all.with(domain, bundle));
            self.identity.set_bundles(all);
        }
        refusals
    }

    fn apply_revocations(&self) -> Vec<wire::Refusal> {
        let mut refusals = Vec::new();
        let (mut identities, mut serials) = (Vec::new(), Vec::new());
        for object in self.held.objects(Channel::Revocations) {
            let found = match &object.body {
                Some(Body::Revocations(revocations)) => {
                    convert::revocations_from_wire(revocations.clone())
                }
                Some(_) | None => Err(convert::ConvertError::Unknown("revocations")),
            };
            match found {
                Ok((revoked, numbers)) => {
                    identities.extend(revoked);
                    serials.extend(numbers);
                }
                Err(error) => refusals.push(not_understood(object, &error.to_string())),
            }
        }
        // A set that is not understood whole is not put in force in parts: the last good one stays.
        if refusals.is_empty() {
            self.identity
                .set_revocations(Revocations::new(identities, serials));
        }
        refusals
    }

    fn apply_rules(&mut self) -> Vec<wire::Refusal> {
        let mut refusals = Vec::new();
        let mut understood = HashMap::new();
        let mut closed_by = None;
        for object in self.held.objects(Channel::Rules) {
            match meaning(object) {
                Ok(Meaning::Own(own, settings)) => self.own = Some((own, settings)),
                Ok(Meaning::Policy(policy)) => {
                    understood.insert(object.name.clone(), policy);
                }
                Err(error) => {
                    refusals.push(not_understood(object, &error.to_string()));
                    match self.understood.get(&object.name) {
                        Some(last_good) => {
                            understood.insert(object.name.clone(), last_good.clone());
                        }
                        None => closed_by = Some(object.name.clone()),
                    }
                }
            }
        }
        self.understood = understood;
        self.refused.clone_from(&refusals);
        if let Some((own, settings)) = &self.own {
            self.rules
                .send_replace(PolicyState::Current(Arc::new(Rules {
                    revision: self.held.revision(Channel::Rules),
                    own: own.clone(),
                    settings: *settings,
                    names: self
                        .understood
                        .values()
                        .flat_map(AuthorizationPolicy::rule_names)
                        .collect(),
                    policy: Policy::new(self.understood.values().cloned().collect()),
                    closed_by,
                })));
        }
        refusals
    }

    fn apply_addresses(&self) -> Vec<wire::Refusal> {
        let mut refusals = Vec::new();
        let mut known = HashMap::new();
        for object in self.held.objects(Channel::Addresses) {
            let found = match &object.body {
                Some(Body::Address(address)) => convert::address_from_wire(address.clone()),
                Some(_) | None => Err(convert::ConvertError::Unknown("address")),
            };
            match found {
                Ok((ip, at)) => {
                    known.insert(ip, at);
                }
                Err(error) => refusals.push(not_understood(object, &error.to_string())),
            }
        }
        self.book.replace(known);
        refusals
    }

    fn inventory(&self) -> Vec<wire::Inventory> {
        self.held.inventory()
    }

    /// An address that is no longer of interest.
    fn forget(&mut self, ip: IpAddr) {
        self.held.forget(Channel::Addresses, &ip.to_string());
    }

    /// Control cannot be asked now: addresses that an operator listed as outside are so, others stay unknown.
    fn answer_without_control(&self) {
        let mut known: HashMap<_, _> = self
            .held
            .objects(Channel::Addresses)
            .filter_map(|object| match &object.body {
                Some(Body::Address(address)) => convert::address_from_wire(address.clone()).ok(),
                Some(_) | None => None,
            })
            .collect();
        for ip in self.book.asked() {
            if self.outside.iter().any(|cidr| cidr.contains(&ip)) {
                known.entry(ip).or_insert(AtAddress::Outside);
            }
        }
        self.book.replace(known);
    }
}

enum Meaning {
    Own(Workload, NamespaceSettings),
    Policy(AuthorizationPolicy),
}

fn meaning(object: &wire::Object) -> convert::Converted<Meaning> {
    match object.body.clone() {
        Some(Body::Self_(own)) => {
            let (own, settings) = convert::self_from_wire(own)?;
            Ok(Meaning::Own(own, settings))
        }
        Some(Body::Policy(policy)) => Ok(Meaning::Policy(convert::policy_from_wire(policy)?)),
        Some(Body::Bundle(_) | Body::Revocations(_) | Body::Address(_)) | None => {
            Err(convert::ConvertError::Unknown("object"))
        }
    }
}

/// Why a bundle is not taken.
#[derive(Debug, thiserror::Error)]
enum BundleError {
    #[error("not a trust domain: {0}")]
    TrustDomain(#[from] SpiffeIdError),
    #[error("{0}")]
    Authorities(#[from] TrustBundleError),
}

fn bundle_from_wire(bundle: wire::Bundle) -> Result<(TrustDomain, TrustBundle), BundleError> {
    let authorities = bundle.authorities.into_iter().map(Into::into).collect();
    Ok((bundle.trust_domain.parse()?, TrustBundle::new(authorities)?))
}

fn not_understood(object: &wire::Object, reason: &str) -> wire::Refusal {
    wire::Refusal {
        name: object.name.clone(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
