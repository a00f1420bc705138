//! What identities are called in Istio.
//!
//! A principal is a SPIFFE ID without its scheme. `cluster.local` in one that has five parts stands for the mesh's own
//! trust domain, whatever that is called; and where the mesh has aliases, each of them is meant with it.

use palisade_api::policy::From;
use palisade_api::spiffe::TrustDomain;

use super::super::who::Domains;
use super::foreign;
use super::rule::Context;
use super::source::Whom;

/// Why a value cannot be converted, and what to write instead.
type Unlike = (String, String);

/// `cluster.local/ns/shop/sa/web`, and the patterns that mean whole namespaces or trust domains.
pub(super) fn principal(text: &str, context: &Context<'_>) -> Result<Whom, Unlike> {
    let domains = context.domains;
    let parts: Vec<_> = text.split('/').collect();
    match *parts {
        ["*"] => Ok(Whom::everyone(context)),
        ["spiffe:", ..] => Err((
            "Istio adds spiffe:// itself, so this matches nobody".to_owned(),
            "leave spiffe:// out".to_owned(),
        )),
        [domain, "*"] => literal(domain).map(|domain| those(vec![From::TrustDomain(domain)])),
        [domain, "ns", name, "*"] => of_namespace(&[literal(domain)?], name, domains).map(those),
        [domain, "ns", namespace, "sa", "*"] if domain != "*" => {
            of_namespace(&meant(domain, domains)?, namespace, domains).map(those)
        }
        ["*", "ns", namespace, "sa", name] => accounts(namespace, name, context),
        [domain, "ns", namespace, "sa", name] => {
            if namespace.contains('*') || name.contains('*') {
                return Err(pattern());
            }
            let named = meant(domain, domains)?;
            let each = named.iter().map(|domain| {
                domains
                    .account_of(domain, namespace, name)
                    .map_err(|why| (why.to_string(), WHOLE.to_owned()))
            });
            each.collect::<Result<_, _>>().map(those)
        }
        [domain, _, ..] => others(domain, text, domains).map(those),
        [] | [_] => Err(pattern()),
    }
}

/// The trust domain that a principal names. `cluster.local` in one of five parts is the mesh's own.
pub(super) fn domain(text: &str) -> Option<TrustDomain> {
    let (domain, path) = text.split_once('/')?;
    let is_own = domain == "cluster.local" && path.split('/').count() == 4;
    domain.parse().ok().filter(|_| !is_own)
}

/// `shop`, in whichever trust domain.
pub(super) fn namespace(text: &str, context: &Context<'_>) -> Result<Whom, Unlike> {
    if text == "*" {
        return Ok(Whom::everyone(context));
    }
    let each: Vec<_> = context.domains.each().cloned().collect();
    let from = of_namespace(&each, text, context.domains)?;
    match foreign::objection(&format!("ns/{text}/sa/*"), context) {
        Some(why) => Err(why),
        None => Ok(those(from)),
    }
}

/// `shop/web`, or `web` of the policy's own namespace.
pub(super) fn service_account(text: &str, context: &Context<'_>) -> Result<Whom, Unlike> {
    let (namespace, name) = text.split_once('/').unwrap_or((context.namespace, text));
    accounts(namespace, name, context)
}

/// `partner.example`; the mesh's own means also its aliases.
pub(super) fn trust_domain(text: &str, context: &Context<'_>) -> Result<Whom, Unlike> {
    if text == "*" {
        return Ok(Whom::everyone(context));
    }
    let domain = literal(text)?;
    if context.domains.each().any(|known| *known == domain) {
        return Ok(those(context.domains.everyone()));
    }
    Ok(those(vec![From::TrustDomain(domain)]))
}

/// An identity of another form. Only those of five parts have a trust domain that Istio takes for another.
fn others(domain: &str, text: &str, domains: &Domains) -> Result<Vec<From>, Unlike> {
    let is_five = text.split('/').count() == 5;
    let named = match is_five {
        true => meant(domain, domains)?,
        false => vec![literal(domain)?],
    };
    let path = text.split_once('/').map_or("", |(_, path)| path);
    let identity = |domain: &TrustDomain| {
        let id = format!("spiffe://{domain}/{path}");
        match id.parse() {
            Ok(id) => Ok(From::Identity(id)),
            Err(_) if path.contains('*') => Err(pattern()),
            Err(why) => Err((why.to_string(), WHOLE.to_owned())),
        }
    };
    named.iter().map(identity).collect()
}

/// The trust domains that one in a principal of five parts means.
fn meant(domain: &str, domains: &Domains) -> Result<Vec<TrustDomain>, Unlike> {
    let named = literal(domain)?;
    if domain == "cluster.local" || domains.each().any(|known| *known == named) {
        return Ok(domains.each().cloned().collect());
    }
    Ok(vec![named])
}

fn of_namespace(
    named: &[TrustDomain],
    namespace: &str,
    domains: &Domains,
) -> Result<Vec<From>, Unlike> {
    if namespace.contains('*') {
        return Err(pattern());
    }
    if let Some(foreign) = named.iter().find(|domain| **domain != domains.own) {
        return Err((
            format!(
                "a namespace can be named in the mesh's own trust domain only, not in {foreign}"
            ),
            "name the service accounts, or `DOMAIN/*` for the whole trust domain".to_owned(),
        ));
    }
    Ok(vec![From::Namespace(namespace.to_owned())])
}

/// A service account, whichever trust domain vouches for it.
fn accounts(namespace: &str, name: &str, context: &Context<'_>) -> Result<Whom, Unlike> {
    if namespace.contains('*') || name.contains('*') {
        return Err(pattern());
    }
    let accounts = context.domains.account(namespace, name);
    let from = accounts.map_err(|why| (why.to_string(), WHOLE.to_owned()))?;
    match foreign::objection(&format!("ns/{namespace}/sa/{name}"), context) {
        Some(why) => Err(why),
        None => Ok(those(from)),
    }
}

fn literal(domain: &str) -> Result<TrustDomain, Unlike> {
    match domain.parse() {
        Ok(domain) => Ok(domain),
        Err(_) if domain.contains('*') => Err(pattern()),
        Err(why) => Err((
            format!("{why}"),
            "write a trust domain such as cluster.local".to_owned(),
        )),
    }
}

fn those(from: Vec<From>) -> Whom {
    Whom {
        from,
        ..Whom::default()
    }
}

fn pattern() -> Unlike {
    (
        "it matches by a part of a name, and rules here name a whole one: a service account, a namespace or a trust domain"
            .to_owned(),
        WHOLE.to_owned(),
    )
}

const WHOLE: &str = "write each whole name";
