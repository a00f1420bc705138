//! Names of rules, made of what the rules say.

use std::collections::BTreeSet;

use palisade_api::policy::{Effect, From};

/// A name for a rule that does this to these; the same whenever it is asked for.
pub(super) fn of_rule(effect: Effect, from: &[From]) -> String {
    let is_network = |from: &From| matches!(from, From::Unauthenticated(_));
    let is_domain = |from: &From| matches!(from, From::TrustDomain(_));
    let whom = match from {
        [] => "nobody".to_owned(),
        [one] => whom(one),
        _ if from.iter().all(is_network) => "unauthenticated".to_owned(),
        _ if from.iter().any(is_network) && from.iter().any(is_domain) => "anyone".to_owned(),
        [first, ..] => format!("{}-and-others", whom(first)),
    };
    label(&format!("{}-{whom}", effect.as_str()))
}

fn whom(from: &From) -> String {
    match from {
        From::ServiceAccount { name, .. } => name.clone(),
        From::Identity(id) => match id.service_account() {
            Some((_, name)) => format!("{}-{name}", id.trust_domain()),
            None => id.as_str().trim_start_matches("spiffe://").to_owned(),
        },
        From::Namespace(namespace) => namespace.clone(),
        From::TrustDomain(domain) => domain.to_string(),
        From::Unauthenticated(network) => format!("unauthenticated-{network}"),
    }
}

/// A DNS label that is as near to a text as one can be.
pub(super) fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.ends_with('-') && !label.is_empty() {
            label.push('-');
        }
        if label.len() == MAX_LABEL_BYTES {
            break;
        }
    }
    let label = label.trim_end_matches('-');
    if label.is_empty() {
        return "rule".to_owned();
    }
    label.to_owned()
}

/// Whether it is a DNS label, as namespaces are.
pub(super) fn is_label(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= MAX_LABEL_BYTES
        && text.chars().all(|c| c == '-' || is_end(Some(c)))
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
}

/// The name, or the first of `name-2`, `name-3` that is not taken; taken from now on.
pub(super) fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    if taken.insert(name.to_owned()) {
        return name.to_owned();
    }
    let mut count = 2_u64;
    loop {
        let end = format!("-{count}");
        let kept: String = name.chars().take(MAX_LABEL_BYTES - end.len()).collect();
        let name = format!("{}{end}", kept.trim_end_matches('-'));
        if taken.insert(name.clone()) {
            return name;
        }
        count += 1;
    }
}

const MAX_LABEL_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_label() {
        for (text, expected) in [
            ("allow-Web.Shop", "allow-web-shop"),
            ("--", "rule"),
            ("", "rule"),
            ("ä/b", "b"),
            (&"x".repeat(80), &"x".repeat(63)),
        ] {
            assert_eq!(label(text), expected);
        }
    }

    #[test]
    fn labels_are_told_from_other_names() {
        for (text, expected) in [
            ("a--1", true),
            (&"x".repeat(63), true),
            (&"x".repeat(64), false),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("a.b", false),
            ("A", false),
        ] {
            assert_eq!(is_label(text), expected, "{text}");
        }
    }

    #[test]
    fn a_taken_name_is_counted_on() {
        let mut taken = BTreeSet::new();
        let long = "x".repeat(63);
        assert_eq!(unique("a", &mut taken), "a");
        assert_eq!(unique("a", &mut taken), "a-2");
        assert_eq!(unique("a", &mut taken), "a-3");
        assert_eq!(unique(&long, &mut taken), long);
        assert_eq!(unique(&long, &mut taken), format!("{}-2", "x".repeat(61)));
    }
}
