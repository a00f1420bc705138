//! Rules in words.

use ipnet::IpNet;
use time::OffsetDateTime;

use super::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};

/// A rule as one English sentence, without control characters.
///
/// As in "`shop/web` may reach workloads of `shop` labelled app=orders on ports 8080 and 9000 to 9010."
pub fn sentence(policy: &AuthorizationPolicy, rule: &Rule) -> String {
    let object = format!("{}{}", target(policy), ports(&rule.ports));
    let until = rule.expires.map(until).unwrap_or_default();
    let said = match (rule.effect, rule.mode) {
        (Effect::Allow, Mode::Enforce) => {
            let subject = joined(&rule.from, anyone, "and");
            format!("{subject} may reach {object}{until}")
        }
        (Effect::Deny, Mode::Enforce) => {
            let subject = denied(&rule.from);
            format!("{subject} reach {object}{until}, whatever else is allowed")
        }
        (Effect::Allow, Mode::Shadow) => {
            let subject = joined(&rule.from, anyone, "and");
            format!(
                "{subject} would be allowed to reach {object}{until}; in shadow, so only counted"
            )
        }
        (Effect::Deny, Mode::Shadow) => {
            let subject = joined(&rule.from, anyone, "and");
            format!(
                "{subject} would be denied access to {object}{until}; in shadow, so only counted"
            )
        }
    };
    let reason = match rule.reason.as_str() {
        "" => String::new(),
        reason => format!(" (\"{}\")", reason.escape_debug()),
    };
    capitalized(&format!("{said}{reason}."))
}

/// Who may not, up to the verb.
fn denied(from: &[From]) -> String {
    match from {
        [one @ (From::ServiceAccount { .. } | From::Identity(_))] => {
            format!("{} may not", anyone(one))
        }
        [one] => format!("nobody {} may", of(one)),
        several => format!("neither {} may", joined(several, anyone, "nor")),
    }
}

/// A source as a subject.
fn anyone(from: &From) -> String {
    match from {
        From::ServiceAccount { namespace, name } => format!("`{namespace}/{name}`"),
        From::Identity(id) => format!("`{id}`"),
        From::Namespace(_) | From::TrustDomain(_) | From::Unauthenticated(_) => {
            format!("anyone {}", of(from))
        }
    }
}

/// What those have in common whom a source means.
fn of(from: &From) -> String {
    match from {
        From::ServiceAccount { .. } | From::Identity(_) => format!("who is {}", anyone(from)),
        From::Namespace(namespace) => format!("of the namespace `{namespace}`"),
        From::TrustDomain(domain) => format!("of the trust domain `{domain}`"),
        From::Unauthenticated(network) => match (network, network.prefix_len()) {
            (IpNet::V4(_), 0) => "without an identity from any IPv4 address".to_owned(),
            (IpNet::V6(_), 0) => "without an identity from any IPv6 address".to_owned(),
            _ => format!("without an identity from {network}"),
        },
    }
}

fn target(policy: &AuthorizationPolicy) -> String {
    let Target {
        namespaces,
        service_account,
        labels,
    } = &policy.target;
    let place = match &policy.namespace {
        Some(own) => format!("`{own}`"),
        None if namespaces.is_empty() => "any namespace".to_owned(),
        None => joined(namespaces, |name| format!("`{name}`"), "and"),
    };
    if service_account.is_none() && labels.is_empty() {
        return format!("any workload of {place}");
    }
    let account = service_account
        .as_ref()
        .map(|name| format!(" with the service account `{name}`"));
    let labels: Vec<_> = labels.iter().collect();
    let labelled = match labels.as_slice() {
        [] => String::new(),
        labels => format!(" labelled {}", joined(labels, text_of, "and")),
    };
    format!(
        "workloads of {place}{}{labelled}",
        account.unwrap_or_default()
    )
}

fn text_of((key, value): &(&String, &String)) -> String {
    match value.as_str() {
        "" => format!("{key}=\"\""),
        value => format!("{key}={value}"),
    }
}

fn ports(ports: &[PortRange]) -> String {
    let text = |range: &PortRange| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{} to {}", range.first, range.last),
    };
    match ports {
        [] => " on any port".to_owned(),
        [one] if one.first == one.last => format!(" on port {}", text(one)),
        several => format!(" on ports {}", joined(several, text, "and")),
    }
}

fn until(at: OffsetDateTime) -> String {
    // There are moments of the last year that UTC puts into the one after.
    let Some(at) = at.checked_to_utc() else {
        return format!(" until {at}");
    };
    let (date, (hour, minute, second)) = (at.date(), at.as_hms());
    match second {
        0 => format!(" until {date} {hour:02}:{minute:02} UTC"),
        second => format!(" until {date} {hour:02}:{minute:02}:{second:02} UTC"),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn joined<T>(all: &[T], text: impl Fn(&T) -> String, word: &str) -> String {
    let texts: Vec<_> = all.iter().map(text).collect();
    match texts.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
        None => "nobody".to_owned(),
    }
}

fn capitalized(sentence: &str) -> String {
    let mut rest = sentence.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}
