//! The objects that proxies hold: a name, what it says, and the digest by which both sides compare.

use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;
use rustls_pki_types::CertificateDer;

use palisade_api::convert;
use palisade_api::policy::AuthorizationPolicy;
use palisade_api::spiffe::TrustDomain;
use palisade_api::wire::{self, Object, object::Body};
use palisade_api::workload::{AtAddress, NamespaceSettings, Workload};

use super::Revoked;
use crate::digest::{hex, sha256};

pub(super) fn bundle(
    trust_domain: &TrustDomain,
    authorities: &[CertificateDer<'_>],
) -> Arc<Object> {
    let bundle = wire::Bundle {
        trust_domain: trust_domain.to_string(),
        authorities: authorities.iter().map(|der| der.to_vec()).collect(),
    };
    let digest = digest(&bundle);
    object(trust_domain.to_string(), digest, Body::Bundle(bundle))
}

pub(super) fn revocations(revoked: &Revoked) -> Arc<Object> {
    let (identities, serials) = revoked.listed();
    let revocations = convert::revocations_to_wire(&identities, &serials);
    let digest = digest(&revocations);
    object("revocations".into(), digest, Body::Revocations(revocations))
}

pub(super) fn own(workload: &Workload, settings: NamespaceSettings) -> Arc<Object> {
    let own = convert::self_to_wire(workload, settings);
    let digest = digest(&own);
    object("self".into(), digest, Body::Self_(own))
}

pub(super) fn policy(policy: &AuthorizationPolicy) -> Arc<Object> {
    let name = policy_name(policy.namespace.as_deref(), &policy.name);
    let policy = convert::policy_to_wire(policy);
    let digest = digest(&policy);
    object(name, digest, Body::Policy(policy))
}

/// How proxies know this version of a policy: the name of its object, and its digest in lower-case hexadecimal.
pub fn policy_digest(policy: &AuthorizationPolicy) -> (String, String) {
    let object = self::policy(policy);
    (object.name.clone(), hex(&object.digest))
}

/// What the object of a policy is called.
pub(crate) fn policy_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("AuthorizationPolicy/{namespace}/{name}"),
        None => format!("ClusterAuthorizationPolicy/{name}"),
    }
}

pub(super) fn address(ip: IpAddr, at: &AtAddress) -> Arc<Object> {
    let address = convert::address_to_wire(ip, at);
    let digest = digest(&address);
    object(ip.to_string(), digest, Body::Address(address))
}

fn object(name: String, digest: Vec<u8>, body: Body) -> Arc<Object> {
    Arc::new(Object {
        name,
        digest,
        body: Some(body),
    })
}

/// Labels are ordered maps, so equal content has equal bytes.
fn digest(message: &impl Message) -> Vec<u8> {
    sha256(&message.encode_to_vec()).to_vec()
}
