//! Policies as people write them: what [`parse`](super::parse) reads, written.

use ipnet::IpNet;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::read::is_hidden;
use super::resource::VERSION;
use crate::policy::{AuthorizationPolicy, From, Mode, Rule, Target};

/// One document, without the `---` that parts it from others, and with a line break at its end.
///
/// What may be left out is left out. Of a policy that [`parse`](super::parse) read, it gives a text that reads as the same
/// policy, by other readers of YAML too.
pub fn print(policy: &AuthorizationPolicy) -> String {
    let kind = match policy.namespace {
        Some(_) => "AuthorizationPolicy",
        None => "ClusterAuthorizationPolicy",
    };
    let name = Some(("name", scalar(&policy.name)));
    let namespace = policy.namespace.as_deref().map(scalar);
    let metadata = mapping(
        name.into_iter()
            .chain(namespace.map(|own| ("namespace", own))),
    );
    let mut text = format!("apiVersion: {VERSION}\nkind: {kind}\nmetadata: {metadata}\nspec:\n");
    if let Some(target) = target(&policy.target) {
        text.push_str(&format!("  target: {target}\n"));
    }
    text.push_str("  rules:\n");
    policy
        .rules
        .iter()
        .for_each(|one| text.push_str(&rule(one)));
    text
}

fn target(target: &Target) -> Option<String> {
    let is_named = !target.namespaces.is_empty();
    let namespaces = is_named.then(|| list(target.namespaces.iter().map(|name| scalar(name))));
    let account = target.service_account.as_deref().map(scalar);
    let is_labelled = !target.labels.is_empty();
    let labels = target.labels.iter();
    let labels =
        is_labelled.then(|| mapping(labels.map(|(key, value)| (scalar(key), scalar(value)))));
    let fields = [
        ("namespaces", namespaces),
        ("serviceAccount", account),
        ("labels", labels),
    ];
    let mut given = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .peekable();
    given.peek()?;
    Some(mapping(given))
}

fn rule(rule: &Rule) -> String {
    let mut lines = vec![
        format!("  - name: {}", scalar(&rule.name)),
        format!("    effect: {}", rule.effect.as_str()),
        "    from:".to_owned(),
    ];
    lines.extend(
        rule.from
            .iter()
            .map(|from| format!("    - {}", source(from))),
    );
    if !rule.ports.is_empty() {
        let ports = list(rule.ports.iter().map(ToString::to_string));
        lines.push(format!("    ports: {ports}"));
    }
    if rule.mode == Mode::Shadow {
        lines.push(format!("    mode: {}", rule.mode.as_str()));
    }
    lines.extend(
        rule.expires
            .map(|at| format!("    expires: {}", moment(at))),
    );
    if !rule.reason.is_empty() {
        lines.push(format!("    reason: {}", scalar(&rule.reason)));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn source(from: &From) -> String {
    match from {
        From::ServiceAccount { namespace, name } => {
            format!("serviceAccount: {}", scalar(&format!("{namespace}/{name}")))
        }
        From::Identity(id) => format!("identity: {}", scalar(&id.to_string())),
        From::Namespace(namespace) => format!("namespace: {}", scalar(namespace)),
        From::TrustDomain(domain) => format!("trustDomain: {}", scalar(&domain.to_string())),
        From::Unauthenticated(IpNet::V4(network)) => {
            format!("unauthenticated: {{cidr: {network}}}")
        }
        // With its colons it would be a number to some readers.
        From::Unauthenticated(IpNet::V6(network)) => {
            format!("unauthenticated: {{cidr: \"{network}\"}}")
        }
    }
}

/// In UTC, but for a moment of a year that UTC cannot name.
fn moment(at: OffsetDateTime) -> String {
    let at = at.checked_to_offset(UtcOffset::UTC).unwrap_or(at);
    at.format(&Rfc3339)
        .unwrap_or_else(|_no_such_form| at.to_string())
}

fn mapping<K: AsRef<str>>(fields: impl Iterator<Item = (K, String)>) -> String {
    let fields = fields.map(|(key, value)| format!("{}: {value}", key.as_ref()));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

fn list(entries: impl Iterator<Item = String>) -> String {
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

/// Text as it is where every reader of YAML takes it for that text, within a line and within brackets; else in quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    text.chars().for_each(|c| quote(&mut quoted, c));
    quoted.push('"');
    quoted
}

fn is_plain(text: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || " _./:-".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_inside)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !MEANINGFUL
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

fn quote(quoted: &mut String, c: char) {
    match c {
        '"' | '\\' => quoted.extend(['\\', c]),
        '\n' => quoted.push_str("\\n"),
        '\t' => quoted.push_str("\\t"),
        c if is_hidden(c) || is_unprintable(c) => {
            let code = u32::from(c);
            quoted.push_str(&match code {
                0..=0xff => format!("\\x{code:02x}"),
                0x100..=0xffff => format!("\\u{code:04x}"),
                _ => format!("\\U{code:08x}"),
            });
        }
        c => quoted.push(c),
    }
}

/// What YAML allows as an escape only.
fn is_unprintable(c: char) -> bool {
    matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Words that are no text to some readers of YAML.
const MEANINGFUL: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
