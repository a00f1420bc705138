//! What sidecars hold a caller without an identity to.

use std::net::IpAddr;

use palisade_api::policy::{Decision, Destination, Policy};
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use time::OffsetDateTime;

use super::rules::{Rules, Workload};
use super::subject::Caller;

/// The identities that are known at an address: those of the workloads there.
pub(crate) fn identities<'a>(
    workloads: impl IntoIterator<Item = &'a Workload>,
    addr: IpAddr,
    trust_domain: &TrustDomain,
) -> Vec<SpiffeId> {
    let at = workloads
        .into_iter()
        .filter(|one| one.addresses.contains(&addr));
    let names = at.map(|one| (&one.namespace, &one.service_account));
    let identities = names
        .map(|(namespace, account)| SpiffeId::of_service_account(trust_domain, namespace, account));
    identities.filter_map(Result::ok).collect()
}

/// Those that are known at a caller's address; none of one that proves who it is.
pub(crate) fn of(rules: &Rules, caller: &Caller) -> Vec<SpiffeId> {
    match caller {
        Caller::Address(addr) => identities(&rules.known.workloads, *addr, &rules.trust_domain),
        Caller::Identity(_) => Vec::new(),
    }
}

/// Decides, as sidecars do: nobody sheds a denied identity, of those that are known `beside` its address, by coming
/// without it.
pub(crate) fn decide(
    policy: &Policy,
    (caller, beside): (&Caller, &[SpiffeId]),
    destination: &Destination<'_>,
    port: u16,
    now: OffsetDateTime,
) -> Decision {
    match caller {
        Caller::Identity(_) => policy.decide(caller.source(), destination, port, now),
        Caller::Address(addr) => policy.decide_in_clear((*addr, beside), destination, port, now),
    }
}
