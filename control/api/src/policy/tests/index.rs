//! What the index spares.

use crate::policy::index::Index;
use crate::policy::*;
use crate::workload::NamespaceSettings;

/// Web may reach the app of this number in this namespace.
fn policy(namespace: &str, number: usize) -> AuthorizationPolicy {
    let from = |name: String| From::Identity(format!("spiffe://a/{name}").parse().unwrap());
    let rule = |name: String| Rule {
        name: name.clone(),
        effect: Effect::Allow,
        from: vec![from(name)],
        ports: Vec::new(),
        mode: Mode::Enforce,
        expires: None,
        reason: String::new(),
    };
    let labels = [("app", format!("app{number}")), ("all", "same".to_owned())];
    AuthorizationPolicy {
        namespace: Some(namespace.to_owned()),
        name: format!("p{number}"),
        target: Target {
            labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
            ..Target::default()
        },
        rules: vec![rule("web".to_owned()), rule(format!("web{number}"))],
    }
}

/// Asks for app 7 of namespace `shop`, among 1000 there and 1000 elsewhere.
fn ask<T>(source: &str, ask: impl FnOnce(&Index, Source<'_>, &Destination<'_>) -> T) -> T {
    let objects = (0..1000).flat_map(|number| [policy("shop", number), policy("other", number)]);
    let index = Index::new(objects.collect());
    let labels = [("app", "app7"), ("all", "same")];
    let destination = Destination {
        namespace: "shop",
        service_account: "orders",
        labels: &labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        trust_domain: &"a".parse().unwrap(),
        settings: NamespaceSettings::default(),
    };
    let id = format!("spiffe://a/{source}").parse().unwrap();
    ask(&index, Source::Authenticated(&id), &destination)
}

#[test]
fn rules_for_others_or_about_others_are_not_looked_at() {
    for (source, expected) in [("web", 1), ("web7", 1), ("web8", 0), ("stranger", 0)] {
        let count = ask(source, |index, source, destination| {
            index.candidates(source, destination).count()
        });
        assert_eq!(count, expected, "{source}");
    }
}

#[test]
fn of_many_rules_about_a_source_no_more_are_taken_than_wanted() {
    for (source, expected) in [("web", 64), ("web7", 1), ("stranger", 0)] {
        let count = ask(source, |index, source, destination| {
            index.elsewhere(source, destination, 64).count()
        });
        assert_eq!(count, expected, "{source}");
    }
}
