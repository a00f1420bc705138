//! One rule: whom it is about, which ports, and until when.

use std::net::IpAddr;

use ipnet::IpNet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Position;
use super::name::Form;
use super::node::{Entry, Node, Value};
use super::read::{Fields, Left, Reader, describe, instead, listed, quoted};
use crate::policy::{Effect, From, Mode, PortRange, Rule};
use crate::spiffe::{SpiffeId, TrustDomain};

/// A rule, and where its name stands.
pub(super) fn rule(reader: &mut Reader<'_>, node: &Node) -> Option<(Rule, Position)> {
    let fields = reader.fields(node, "rules", &FIELDS)?;
    let (name, named_at) = required_name(reader, &fields);
    let effect = effect(reader, &fields);
    let remedy = "say whom the rule is about, as in `- serviceAccount: shop/web`";
    let from = reader
        .required(&fields, "from", remedy)
        .and_then(|node| reader.list(node, "from", remedy))
        .and_then(|nodes| reader.each(nodes, from));
    let ports = reader.optional(&fields, "ports", |reader, node| {
        let nodes = reader.list(node, "ports", "leave `ports` out to mean all")?;
        reader.each(nodes, port_range)
    });
    let mode = reader.optional(&fields, "mode", |reader, node| {
        reader.word(
            node,
            "mode",
            &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)],
        )
    });
    let reason = reader.optional(&fields, "reason", |reader, node| {
        reader.text(node, "reason").map(str::to_owned)
    });
    let expires = expires(reader, &fields);
    let mode = mode?.unwrap_or(Mode::Enforce);
    // Of a rule without an effect that can be told, the rest is read as that of one that decides nothing.
    let (effect, mode) = effect.map_or((Effect::Deny, Mode::Shadow), |effect| (effect, mode));
    let rule = Rule {
        name,
        effect,
        from: from?,
        ports: ports?.unwrap_or_default(),
        mode,
        expires: expires?,
        reason: reason?.unwrap_or_default(),
    };
    Some((rule, named_at))
}

/// What a rule does, also where it was refused and what was most likely meant is known.
fn effect(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Effect> {
    let Some(entry) = fields.find("effect") else {
        let remedy = "write `effect: allow` or `effect: deny`";
        reader.note(fields.at, "`effect` is missing", remedy, Left::All);
        return None;
    };
    reader.word_or_meant(&entry.value, "effect", &EFFECTS)
}

/// A rule's name and its place. Where it is none, the rest is read as that of a rule without one.
fn required_name(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (String, Position) {
    let nameless = || NAMELESS.to_owned();
    let Some(entry) = fields.find("name") else {
        let remedy = "give the rule a name that says what it is for";
        reader.note(fields.at, "`name` is missing", remedy, Left::All);
        return (nameless(), fields.at);
    };
    let node = &entry.value;
    let name = reader.name(node, "name", Form::Label);
    (name.unwrap_or_else(nameless), node.at)
}

/// The name of a rule if it is one, whatever else is wrong with it, and where it stands.
pub(super) fn name(node: &Node) -> Option<(&str, Position)> {
    let Value::Map(fields) = &node.value else {
        return None;
    };
    let node = &fields.iter().find(|field| field.key == "name")?.value;
    let Value::Text(name) = &node.value else {
        return None;
    };
    Form::Label.fits(name).then_some((name, node.at))
}

fn from(reader: &mut Reader<'_>, node: &Node) -> Option<From> {
    let Value::Map(entries) = &node.value else {
        let message = format!(
            "a source is {}, which does not say what it names",
            describe(&node.value)
        );
        let remedy = format!("write {} and whom", listed(&SOURCES, ":"));
        return reader.refuse(node.at, message, remedy);
    };
    match &**entries {
        [] => reader.refuse(
            node.at,
            "a source names nobody",
            format!("write {} and whom", listed(&SOURCES, ":")),
        ),
        [source] => one_source(reader, source),
        [first, second, ..] => {
            let message = format!(
                "a source has exactly one key, not also {}",
                quoted(&second.key)
            );
            let remedy = format!(
                "begin a new entry with `- {}:`; a rule is about any one of its entries, never about two at once",
                if SOURCES.contains(&second.key.as_str()) {
                    &second.key
                } else {
                    &first.key
                },
            );
            reader.refuse(second.key_at, message, remedy)
        }
    }
}

fn one_source(reader: &mut Reader<'_>, source: &Entry) -> Option<From> {
    let node = &source.value;
    match source.key.as_str() {
        "serviceAccount" => service_account(reader, node),
        "identity" => identity(reader, node, "identity").map(From::Identity),
        "namespace" => {
            let remedy = "name each namespace, or write `trustDomain: …` for every identity of a trust domain";
            refuse_patterns(reader, node, "namespace", remedy)?;
            reader
                .name(node, "namespace", Form::Label)
                .map(From::Namespace)
        }
        "trustDomain" => trust_domain(reader, node).map(From::TrustDomain),
        "unauthenticated" => {
            let remedy = "write `unauthenticated: {cidr: 10.2.0.0/16}`";
            let fields = reader.fields(node, "unauthenticated", &["cidr"])?;
            let node = reader.required(&fields, "cidr", remedy)?;
            network(reader, node).map(From::Unauthenticated)
        }
        unknown => {
            let message = format!("there is no source {}", quoted(unknown));
            reader.refuse(source.key_at, message, instead(unknown, &SOURCES, ":"))
        }
    }
}

fn service_account(reader: &mut Reader<'_>, node: &Node) -> Option<From> {
    let remedy = "name each one as NAMESPACE/NAME, or write `namespace: …` for all of a namespace";
    let text = refuse_patterns(reader, node, "serviceAccount", remedy)?;
    let named = text
        .split_once('/')
        .filter(|(namespace, name)| Form::Label.fits(namespace) && Form::Subdomain.fits(name));
    let Some((namespace, name)) = named else {
        let message = format!("{} is no service account of a namespace", quoted(text));
        return reader.refuse(
            node.at,
            message,
            "write NAMESPACE/NAME, as in `serviceAccount: shop/web`",
        );
    };
    Some(From::ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// One whole SPIFFE ID.
pub(super) fn identity(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<SpiffeId> {
    let remedy = "name each identity, or write `namespace: …` for all of a namespace or `trustDomain: …` for all of a trust domain";
    let text = refuse_patterns(reader, node, what, remedy)?;
    match text.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            let message = format!("{} is no SPIFFE ID: {error}", quoted(text));
            reader.refuse(
                node.at,
                message,
                "write it like spiffe://cluster.local/ns/shop/sa/web",
            )
        }
    }
}

/// One trust domain.
pub(super) fn trust_domain(reader: &mut Reader<'_>, node: &Node) -> Option<TrustDomain> {
    let text = refuse_patterns(reader, node, "trustDomain", "name each trust domain")?;
    match text.parse() {
        Ok(domain) => Some(domain),
        Err(error) => {
            let message = format!("{} is no trust domain: {error}", quoted(text));
            reader.refuse(
                node.at,
                message,
                "write it like cluster.local, without spiffe://",
            )
        }
    }
}

/// The text, unless it looks like a pattern: who writes one expects it to match, and it never would.
fn refuse_patterns<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
    what: &str,
    remedy: &str,
) -> Option<&'n str> {
    let text = reader.text(node, what)?;
    if text.contains('*') && !text.contains(".*") {
        let message = format!("`{what}` takes no wildcards, as in {}", quoted(text));
        return reader.refuse(node.at, message, remedy);
    }
    if text.contains(PATTERN) {
        let message = format!(
            "`{what}` takes no regular expressions, as in {}",
            quoted(text)
        );
        return reader.refuse(node.at, message, remedy);
    }
    Some(text)
}

fn network(reader: &mut Reader<'_>, node: &Node) -> Option<IpNet> {
    let text = reader.text(node, "cidr")?;
    let Ok(network) = text.parse::<IpNet>() else {
        let message = format!("{} is no network", quoted(text));
        let remedy = match text.parse::<IpAddr>() {
            Ok(addr) => format!("write {} for this one address", IpNet::from(addr)),
            Err(_) => "write one like 10.2.0.0/16 or fd70::/64".to_owned(),
        };
        return reader.refuse(node.at, message, remedy);
    };
    if network.trunc() != network {
        let message = format!("{} has bits set after its prefix", quoted(text));
        let one = IpNet::from(network.addr());
        let remedy = format!(
            "write {} for the network or {one} for the address",
            network.trunc()
        );
        return reader.refuse(node.at, message, remedy);
    }
    if matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some()) {
        let message = format!(
            "{} is an IPv4 network in IPv6's form, which no source has",
            quoted(text)
        );
        return reader.refuse(node.at, message, "write it as IPv4");
    }
    Some(network)
}

pub(super) fn port_range(reader: &mut Reader<'_>, node: &Node) -> Option<PortRange> {
    let Some((first, last)) = range_text(node) else {
        let port = port(reader, node)?;
        return Some(PortRange {
            first: port,
            last: port,
        });
    };
    let (Some(first), Some(last)) = (port_number(first), port_number(last)) else {
        let message = format!(
            "{} is no range of ports",
            quoted(&format!("{first}-{last}"))
        );
        return reader.refuse(
            node.at,
            message,
            "write one like 9000-9010, with ports from 1 to 65535",
        );
    };
    if first > last {
        let message = format!("the range {first}-{last} ends before it begins");
        return reader.refuse(node.at, message, format!("write {last}-{first}"));
    }
    Some(PortRange { first, last })
}

fn range_text(node: &Node) -> Option<(&str, &str)> {
    match &node.value {
        Value::Text(text) => text.split_once('-'),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::OtherNumber
        | Value::List(_)
        | Value::Map(_) => None,
    }
}

/// One port.
pub(super) fn port(reader: &mut Reader<'_>, node: &Node) -> Option<u16> {
    let port = match &node.value {
        Value::Int(port) => u16::try_from(*port).ok().filter(|port| *port > 0),
        Value::Text(text) => port_number(text),
        Value::Null | Value::Bool(_) | Value::OtherNumber | Value::List(_) | Value::Map(_) => None,
    };
    let written = match &node.value {
        Value::Int(port) => port.to_string(),
        Value::Text(text) => quoted(text),
        Value::OtherNumber => "this number".to_owned(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
            format!("what is {}", describe(&node.value))
        }
    };
    if port.is_none() {
        let message = format!("{written} is no port");
        return reader.refuse(node.at, message, "write a number from 1 to 65535");
    }
    port
}

/// Digits only, without a zero at their front: `u16::from_str` would take a plus sign too.
fn port_number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

fn expires(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Option<OffsetDateTime>> {
    let Some(Entry { value: node, .. }) = fields.find("expires") else {
        return Some(None);
    };
    if fields.find("reason").is_none() {
        let message = "a rule that expires says why it exists";
        reader.refuse::<()>(
            node.at,
            message,
            "write `reason: …` beside it, as in `reason: INC-1234`",
        );
    }
    let text = reader.text(node, "expires")?;
    let remedy = "write it like 2026-12-01T00:00:00Z";
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(at) if at.nanosecond() == 0 => Some(Some(at)),
        Ok(_) => reader.refuse(node.at, "`expires` is given in whole seconds", remedy),
        Err(_) if OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).is_ok() => {
            let message = format!("{} has no time zone", quoted(text));
            reader.refuse(
                node.at,
                message,
                format!("write {text}Z, or an offset such as {text}+02:00"),
            )
        }
        Err(_) => {
            let message = format!("{} is no moment", quoted(text));
            reader.refuse(node.at, message, remedy)
        }
    }
}

const EFFECTS: [(&str, Effect); 2] = [("allow", Effect::Allow), ("deny", Effect::Deny)];
/// Stands for the name of a rule that has none.
const NAMELESS: &str = "…";
const FIELDS: [&str; 7] = [
    "name", "effect", "from", "ports", "mode", "expires", "reason",
];
const SOURCES: [&str; 5] = [
    "serviceAccount",
    "identity",
    "namespace",
    "trustDomain",
    "unauthenticated",
];
/// What no name has and regular expressions are made of.
const PATTERN: [char; 12] = ['*', '^', '$', '(', ')', '[', ']', '{', '}', '|', '\\', '+'];
