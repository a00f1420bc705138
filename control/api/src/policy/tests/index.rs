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

#[test]
fn rules_for_others_or_about_others_are_not_looked_at() {
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
    for (source, count) in [("web", 1), ("web7", 1), ("web8", 0), ("stranger", 0)] {
        let id = format!("spiffe://a/{source}").parse().unwrap();
        let candidates = index.candidates(Source::Authenticated(&id), &destination);
        assert_eq!(candidates.len(), count, "{source}");
    }
}
