//! What identities are called in Linkerd: `web.shop.serviceaccount.identity.linkerd.cluster.local`.

use palisade_api::policy::From;
use palisade_api::spiffe::{SpiffeId, TrustDomain};

use super::super::Settings;

/// Who is meant by an identity, or by all that end alike; the error says why it cannot be said here.
pub(super) fn identity(text: &str, settings: &Settings) -> Result<Vec<From>, String> {
    let domains = &settings.domains;
    if text == "*" {
        return Ok(domains.everyone());
    }
    if text.starts_with("spiffe://") {
        return spiffe(text, &domains.own).map(|from| vec![from]);
    }
    if let Some(end) = text.strip_prefix("*.") {
        return of_end(end, settings);
    }
    for domain in domains.each() {
        let Some(account) = before(text, &root(domain, settings)) else {
            continue;
        };
        let Some((name, namespace)) = account.rsplit_once('.') else {
            return Err("it names no service account of a namespace".to_owned());
        };
        let account = domains.account_of(domain, namespace, name);
        return account
            .map(|from| vec![from])
            .map_err(|why| why.to_string());
    }
    Err(foreign(settings))
}

/// All whose names end so: a namespace's, or all of a trust domain.
fn of_end(end: &str, settings: &Settings) -> Result<Vec<From>, String> {
    let domains = &settings.domains;
    let mut from = Vec::new();
    for domain in domains.each() {
        let root = root(domain, settings);
        if root == end || before(&root, end).is_some() {
            from.push(From::TrustDomain(domain.clone()));
        } else if let Some(namespace) = before(end, &root) {
            if *domain != domains.own {
                return Err(format!(
                    "a namespace can be named in the mesh's own trust domain only, not in {domain}"
                ));
            }
            if namespace.contains(['.', '*']) {
                return Err("it matches by a part of a service account's name".to_owned());
            }
            from.push(From::Namespace(namespace.to_owned()));
        }
    }
    if from.is_empty() {
        return Err(foreign(settings));
    }
    Ok(from)
}

fn spiffe(text: &str, own: &TrustDomain) -> Result<From, String> {
    let id: SpiffeId = text
        .parse()
        .map_err(|why: palisade_api::spiffe::SpiffeIdError| why.to_string())?;
    match id.service_account() {
        Some((namespace, name)) if id.trust_domain() == own => Ok(From::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        _ => Ok(From::Identity(id)),
    }
}

/// What the names of all service accounts of a trust domain end in.
fn root(domain: &TrustDomain, settings: &Settings) -> String {
    format!(
        "serviceaccount.identity.{}.{domain}",
        settings.mesh_namespace
    )
}

/// What stands before an end and the dot before that.
fn before<'t>(text: &'t str, end: &str) -> Option<&'t str> {
    text.strip_suffix(end)?.strip_suffix('.')
}

fn foreign(settings: &Settings) -> String {
    format!(
        "it does not end in {}, as identities of this mesh do (--trust-domain, --mesh-namespace)",
        root(&settings.domains.own, settings)
    )
}
