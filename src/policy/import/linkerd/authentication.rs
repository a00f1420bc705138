//! `MeshTLSAuthentication` and `NetworkAuthentication`: who is meant, by a name that authorizations refer to.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_api::policy::From;

use super::super::read::{Field, Fields, Object, Reasons};
use super::super::{Converted, Origin, Settings};
use super::identity::identity;

/// One of them.
#[derive(Debug)]
pub(super) struct Authentication {
    origin: Origin,
    key: Key,
    from: Vec<From>,
    reasons: Reasons,
}

/// What one is referred to by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Whether it is a `NetworkAuthentication`.
    pub(super) is_network: bool,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Authentications(BTreeMap<Key, Authentication>);

impl Authentication {
    pub(super) fn read(object: &Object<'_>, settings: &Settings) -> Self {
        let mut reasons = Reasons::default();
        let is_network = object.kind == "NetworkAuthentication";
        let spec = object.spec(&mut reasons, &["v1alpha1"]);
        let from = spec.and_then(|spec| match is_network {
            true => {
                let fields = reasons.fields(&spec, &["networks"], &[])?;
                networks(&mut reasons, &fields)?;
                Some(Vec::new())
            }
            false => mesh(&mut reasons, &spec, (object, settings)),
        });
        Self {
            origin: object.origin.clone(),
            key: Key {
                is_network,
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            },
            from: from.unwrap_or_default(),
            reasons,
        }
    }
}

impl Authentications {
    /// Of two of one name only the one that was applied last counts, which the files do not say.
    pub(super) fn add(&mut self, mut one: Authentication) {
        if let Some(other) = self.0.remove(&one.key) {
            let reason = "another object has its namespace and name";
            let origin = format!("{}:{}", other.origin.file, other.origin.line);
            let reason = super::of_object(
                &one.origin,
                format!("{reason} ({origin})"),
                "keep one of them",
            );
            one.reasons.0.push(reason);
        }
        self.0.insert(one.key.clone(), one);
    }

    /// Whom one means; the error says why that is not known. Networks mean nobody: they are all of them.
    pub(super) fn get(&self, key: &Key) -> Result<&[From], String> {
        match self.0.get(key) {
            None => Err("it is not in these files".to_owned()),
            Some(found) if !found.reasons.0.is_empty() => Err(format!(
                "it is refused itself ({}:{})",
                found.origin.file, found.origin.line
            )),
            Some(found) => Ok(&found.from),
        }
    }

    pub(super) fn refuse(&mut self, into: &mut Converted) {
        for found in std::mem::take(&mut self.0).into_values() {
            into.refuse(&found.origin, found.reasons);
        }
    }
}

fn mesh(
    reasons: &mut Reasons,
    spec: &Field<'_>,
    (object, settings): (&Object<'_>, &Settings),
) -> Option<Vec<From>> {
    let fields = reasons.fields(spec, &["identities", "identityRefs"], &[])?;
    let mut from = identities(reasons, &fields, settings)?;
    if let Some(found) = fields.get("identityRefs") {
        for reference in reasons.items(found)? {
            from.extend(self::reference(reasons, &reference, (object, settings))?);
        }
    }
    if from.is_empty() {
        return reasons.refuse(spec, "it names nobody", "name identities, or remove it");
    }
    Some(from)
}

/// A service account, or all of a namespace.
fn reference(
    reasons: &mut Reasons,
    field: &Field<'_>,
    (object, settings): (&Object<'_>, &Settings),
) -> Option<Vec<From>> {
    let fields = reasons.fields(field, &["group", "kind", "name", "namespace"], &[])?;
    let name = reasons.required(&fields, "name")?;
    let namespace = match fields.get("namespace") {
        Some(found) => reasons.text(found)?,
        None => object.namespace.clone()?,
    };
    let group = match fields.get("group") {
        Some(found) => reasons.text(found)?,
        None => String::new(),
    };
    match (group.as_str(), reasons.required(&fields, "kind")?.as_str()) {
        ("" | "core", "ServiceAccount") => account(reasons, field, (&namespace, &name, settings)),
        ("" | "core", "Namespace") if settings.domains.others.is_empty() => {
            Some(vec![From::Namespace(name)])
        }
        _ => reasons.refuse(
            field,
            "this is neither a ServiceAccount nor a Namespace",
            "refer to one of them",
        ),
    }
}

/// A service account of the mesh's own trust domain, which is the only one that Linkerd gives them.
pub(super) fn account(
    reasons: &mut Reasons,
    field: &Field<'_>,
    (namespace, name, settings): (&str, &str, &Settings),
) -> Option<Vec<From>> {
    let domains = &settings.domains;
    match domains.account_of(&domains.own, namespace, name) {
        Ok(account) => Some(vec![account]),
        Err(why) => reasons.refuse(field, why.to_string(), "write a service account's name"),
    }
}

/// The list of that name.
pub(super) fn identities(
    reasons: &mut Reasons,
    fields: &Fields<'_>,
    settings: &Settings,
) -> Option<Vec<From>> {
    let mut from = Some(Vec::new());
    for (field, text) in reasons.listed(fields, "identities")? {
        let found = match identity(&text, settings) {
            Ok(found) => Some(found),
            Err(why) => reasons.refuse(
                &field,
                why,
                "name service accounts, as in web.shop.serviceaccount.identity.linkerd.cluster.local",
            ),
        };
        from = from.zip(found).map(|(mut from, found)| {
            from.extend(found);
            from
        });
    }
    from
}

/// Takes networks that are all there are, and refuses others; none are all.
pub(super) fn networks(reasons: &mut Reasons, fields: &Fields<'_>) -> Option<()> {
    let Some(found) = fields.get("networks") else {
        return Some(());
    };
    let mut named = Vec::new();
    for network in reasons.items(found)? {
        let fields = reasons.fields(&network, &["cidr"], &[EXCEPT])?;
        let text = reasons.required(&fields, "cidr")?;
        match text.parse::<IpNet>() {
            Ok(network) => named.push(network),
            Err(_) if text.parse::<std::net::IpAddr>().is_ok() => {}
            Err(_) => {
                let remedy = "write a network such as 10.2.0.0/16";
                return reasons.refuse(&network, "this is no network", remedy);
            }
        }
    }
    let all = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    if all.iter().all(|network| named.contains(network)) {
        return Some(());
    }
    let reason = "it is about the addresses of callers, and Palisade asks for those of callers without an identity only";
    let remedy = "name the callers that have an identity, and write `unauthenticated: {cidr: …}` for those that have none; \
                  0.0.0.0/0 and ::/0 together are everybody, and convert";
    reasons.refuse(found, reason, remedy)
}

const EXCEPT: super::super::read::Unlike = (
    "except",
    "rules here have no exceptions from a network",
    "name the networks that are left",
);
