//! What `decide` says: what the tables are written in.

mod cover;
mod index;
mod laws;
mod narrowing;
mod near_miss;
mod plain;
mod properties;
mod sentence;
mod shadow;
mod verdict;

use time::macros::datetime;

use super::*;
use crate::workload::{Closing, Mtls, NamespaceSettings};

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);
const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

/// What is asked; each test changes what it is about.
struct Asked {
    source: &'static str,
    namespace: &'static str,
    account: &'static str,
    port: u16,
    settings: NamespaceSettings,
}

const ASKED: Asked = Asked {
    source: WEB,
    namespace: "shop",
    account: "orders",
    port: 8080,
    settings: NamespaceSettings {
        mtls: Mtls::Strict,
        closing: Closing::Enforce,
    },
};

impl Asked {
    fn of(&self, policies: &[AuthorizationPolicy]) -> Decision {
        let labels = BTreeMap::from([
            ("app".to_owned(), "orders".to_owned()),
            ("tier".to_owned(), "back".to_owned()),
        ]);
        let destination = Destination {
            namespace: self.namespace,
            service_account: self.account,
            labels: &labels,
            trust_domain: &"cluster.local".parse().unwrap(),
            settings: self.settings,
        };
        let policy = Policy::new(policies.to_vec());
        match self.source.parse::<SpiffeId>() {
            Ok(id) => policy.decide(Source::Authenticated(&id), &destination, self.port, NOW),
            Err(_) => {
                let source = Source::Unauthenticated(self.source.parse().unwrap());
                policy.decide(source, &destination, self.port, NOW)
            }
        }
    }

    fn verdict(&self, policies: &[AuthorizationPolicy]) -> Verdict {
        self.of(policies).verdict
    }
}

fn account(namespace: &str, name: &str) -> From {
    From::ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn network(cidr: &str) -> From {
    From::Unauthenticated(cidr.parse().unwrap())
}

fn allow(name: &str, from: From) -> Rule {
    Rule {
        name: name.to_owned(),
        effect: Effect::Allow,
        from: vec![from],
        ports: Vec::new(),
        mode: Mode::Enforce,
        expires: None,
        reason: String::new(),
    }
}

fn deny(name: &str, from: From) -> Rule {
    Rule {
        effect: Effect::Deny,
        ..allow(name, from)
    }
}

fn shadow(rule: Rule) -> Rule {
    Rule {
        mode: Mode::Shadow,
        ..rule
    }
}

fn on(ports: &[(u16, u16)], rule: Rule) -> Rule {
    let ports = ports.iter();
    Rule {
        ports: ports
            .map(|&(first, last)| PortRange { first, last })
            .collect(),
        ..rule
    }
}

fn until(expires: OffsetDateTime, rule: Rule) -> Rule {
    Rule {
        expires: Some(expires),
        ..rule
    }
}

fn labels(pairs: &[(&str, &str)]) -> Target {
    let pairs = pairs.iter();
    Target {
        labels: pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..Target::default()
    }
}

fn policy(rules: Vec<Rule>) -> AuthorizationPolicy {
    AuthorizationPolicy {
        namespace: Some("shop".to_owned()),
        name: "orders".to_owned(),
        target: Target::default(),
        rules,
    }
}

fn targeted(target: Target, rules: Vec<Rule>) -> AuthorizationPolicy {
    AuthorizationPolicy {
        target,
        ..policy(rules)
    }
}

fn cluster(namespaces: &[&str], rules: Vec<Rule>) -> AuthorizationPolicy {
    let target = Target {
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        ..Target::default()
    };
    AuthorizationPolicy {
        namespace: None,
        name: "baseline".to_owned(),
        ..targeted(target, rules)
    }
}

fn name(rule: &str) -> RuleName {
    RuleName {
        namespace: Some("shop".to_owned()),
        policy: "orders".to_owned(),
        rule: rule.to_owned(),
    }
}

fn cluster_name(rule: &str) -> RuleName {
    RuleName {
        namespace: None,
        policy: "baseline".to_owned(),
        rule: rule.to_owned(),
    }
}

fn allowed(rule: &str) -> Verdict {
    Verdict::Allow(AllowReason::Rule(name(rule)))
}

fn denied(rule: &str) -> Verdict {
    Verdict::Deny(DenyReason::Rule(name(rule)))
}

fn closed(miss: Option<(&str, Difference)>) -> Verdict {
    Verdict::Deny(DenyReason::NoRule(near(miss)))
}

fn near(miss: Option<(&str, Difference)>) -> Option<NearMiss> {
    miss.map(|(rule, differs)| NearMiss {
        rule: name(rule),
        differs,
    })
}
