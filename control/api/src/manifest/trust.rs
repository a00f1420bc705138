//! Whom to trust, and whom no longer.

use super::node::Node;
use super::read::{Fields, Reader, quoted};
use super::{Manifest, RevocationsSpec, rule};
use crate::spiffe::TrustDomain;

/// `Revocations`.
pub(super) fn revocations(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<Manifest> {
    let node = reader.required(
        document,
        "spec",
        "write `spec: {identities: […], serials: […]}`",
    )?;
    let spec = reader.fields(node, "spec", &["identities", "serials"])?;
    if spec
        .find("identities")
        .or_else(|| spec.find("serials"))
        .is_none()
    {
        return reader.refuse(
            spec.at,
            "nothing is revoked",
            "name identities or serials, or remove the document",
        );
    }
    let if_none = "name at least one, or leave the field out";
    let identities = reader.optional(&spec, "identities", |reader, node| {
        let nodes = reader.list(node, "identities", if_none)?;
        reader.each(nodes, |reader, node| {
            rule::identity(reader, node, "identities")
        })
    });
    let serials = reader.optional(&spec, "serials", |reader, node| {
        let nodes = reader.list(node, "serials", if_none)?;
        reader.each(nodes, serial)
    });
    Some(Manifest::Revocations(RevocationsSpec {
        identities: identities?.unwrap_or_default(),
        serials: serials?.unwrap_or_default(),
    }))
}

fn serial(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "serials")?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.bytes().all(is_digit) && text.len().is_multiple_of(2) && text.len() <= MAX_SERIAL_DIGITS
    {
        return Some(text.to_owned());
    }
    let message = format!("{} is no serial number", quoted(text));
    let remedy = "write lower-case hex, two digits a byte, at most 20 bytes, as `peer_serial` in the records";
    reader.refuse(node.at, message, remedy)
}

/// `TrustBundle`.
pub(super) fn trust_bundle(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<Manifest> {
    let node = reader.required(
        document,
        "spec",
        "write `spec: {trustDomain: …, authorities: …}`",
    )?;
    let spec = reader.fields(node, "spec", &["trustDomain", "authorities"])?;
    let trust_domain: Option<TrustDomain> = reader
        .required(&spec, "trustDomain", "write the foreign trust domain")
        .and_then(|node| rule::trust_domain(reader, node));
    let remedy = "write the certificates of its authorities, PEM, after `authorities: |`";
    let authorities = reader.required(&spec, "authorities", remedy)?;
    let pem = reader.text(authorities, "authorities")?;
    if pem.contains("PRIVATE KEY-----") {
        let message = "`authorities` holds a private key";
        return reader.refuse(
            authorities.at,
            message,
            "remove it, and take it for known to others from now on",
        );
    }
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return reader.refuse(authorities.at, "`authorities` holds no certificate", remedy);
    }
    Some(Manifest::TrustBundle {
        trust_domain: trust_domain?,
        authorities_pem: pem.to_owned(),
    })
}

const MAX_SERIAL_DIGITS: usize = 40;
