//! Rules as clusters have them, in any number, and who asks under them.

use std::collections::BTreeMap;

use palisade_api::policy::{
    AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Source, Target,
};
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::{Place, Workload};
use time::{Duration, OffsetDateTime};

/// When is asked; rules that expire do so later.
pub(crate) const NOW: OffsetDateTime = time::macros::datetime!(2026-11-21 12:00 UTC);

/// The port that is asked for.
pub(crate) const PORT: u16 = 8080;

/// Where the rules stand. In each shape few of them can match: what differs is how many there are to tell apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// What control holds: namespaces of 100 rules, five to a policy, nearly every policy for another application.
    Cluster,
    /// What the sidecar of a popular workload holds: every rule protects the one destination, from other callers.
    Workload,
    /// One namespace in which the same monitor may read the figures of every application, each by a rule of its own.
    Namespace,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Cluster, Self::Workload, Self::Namespace];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Workload => "workload",
            Self::Namespace => "namespace",
        }
    }

    /// So many rules, the few that can match among them.
    pub(crate) fn policies(self, rules: usize) -> Vec<AuthorizationPolicy> {
        let numbers: Vec<usize> = (0..rules).collect();
        let of_policy = |(policy, numbers): (usize, &[usize])| AuthorizationPolicy {
            namespace: Some(self.namespace(policy)),
            name: format!("policy-{policy}"),
            target: self.target(policy),
            rules: numbers.iter().map(|number| self.rule(*number)).collect(),
        };
        numbers
            .chunks(RULES_A_POLICY)
            .enumerate()
            .map(of_policy)
            .collect()
    }

    fn namespace(self, policy: usize) -> String {
        match self {
            Self::Cluster => format!("shop-{}", policy / POLICIES_A_NAMESPACE),
            Self::Workload | Self::Namespace => "shop-0".to_owned(),
        }
    }

    fn target(self, policy: usize) -> Target {
        let app = match self {
            Self::Cluster | Self::Namespace => policy,
            Self::Workload => 0,
        };
        let labels = |pairs: &[(&str, String)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect()
        };
        let (service_account, labels) = match policy % POLICIES_A_NAMESPACE {
            1 => (Some(format!("app-{app}")), BTreeMap::new()),
            2 => (
                None,
                labels(&[("app", format!("app-{app}")), ("tier", "back".to_owned())]),
            ),
            // One policy of each hundred rules is for the whole namespace, but not where there is one namespace only.
            3 if !matches!(self, Self::Namespace) => (None, BTreeMap::new()),
            _ => (None, labels(&[("app", format!("app-{app}"))])),
        };
        Target {
            namespaces: Vec::new(),
            service_account,
            labels,
        }
    }

    fn rule(self, number: usize) -> Rule {
        let (effect, from, ports) = match number {
            0 => (Effect::Allow, service_account(WEB), vec![PORT]),
            1 => (Effect::Deny, service_account(BATCH), Vec::new()),
            _ if matches!(self, Self::Namespace) => {
                (Effect::Allow, service_account(MONITOR), vec![9090])
            }
            _ => other(number),
        };
        let is_later = number % 16 == 5;
        Rule {
            name: format!("rule-{number}"),
            effect,
            from: vec![from],
            ports: ports
                .into_iter()
                .map(|port| PortRange {
                    first: port,
                    last: port,
                })
                .collect(),
            mode: match number % 32 {
                9 => Mode::Shadow,
                _ => Mode::Enforce,
            },
            expires: is_later.then(|| NOW + Duration::seconds(1 + number as i64)),
            reason: String::new(),
        }
    }
}

/// About callers of its own, in every way in which a rule names callers.
fn other(number: usize) -> (Effect, From, Vec<u16>) {
    let effect = match number % 16 {
        15 => Effect::Deny,
        _ => Effect::Allow,
    };
    let [_, _, high, low] = (number as u32).to_be_bytes();
    let from = match number % 8 {
        5 => From::Identity(id(&format!("/vm/client-{number}"))),
        6 => From::Namespace(format!("clients-of-{number}")),
        7 => From::Unauthenticated(
            format!("10.{}.{high}.{low}/32", number >> 16)
                .parse()
                .unwrap(),
        ),
        _ => service_account(&caller(number)),
    };
    let ports = match number % 3 {
        0 => vec![PORT, 9090],
        1 => vec![PORT],
        _ => Vec::new(),
    };
    (effect, from, ports)
}

/// Every caller whom [`Shape::Workload`] lets in, by a rule of its own, at [`PORT`].
pub(crate) fn callers(rules: usize) -> impl Iterator<Item = SpiffeId> {
    (8..rules.max(9))
        .step_by(8)
        .map(|number| id_of(&caller(number)))
}

/// Whom the rule of this number is about, where that is a service account.
fn caller(number: usize) -> String {
    format!("clients-{}/client-{number}", number / 50)
}

fn service_account(account: &str) -> From {
    let (namespace, name) = account.split_once('/').unwrap();
    From::ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn id(path: &str) -> SpiffeId {
    format!("spiffe://cluster.local{path}").parse().unwrap()
}

fn id_of(account: &str) -> SpiffeId {
    let (namespace, name) = account.split_once('/').unwrap();
    id(&format!("/ns/{namespace}/sa/{name}"))
}

/// Who asks, and what rules say of them.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) what: &'static str,
    id: Option<SpiffeId>,
}

impl Caller {
    pub(crate) fn all() -> [Self; 5] {
        let named = |what, account| Self {
            what,
            id: Some(id_of(account)),
        };
        [
            named("allowed", WEB),
            named("denied by a rule", BATCH),
            named("no rule", "elsewhere/stranger"),
            named("no rule but for others", MONITOR),
            Self {
                what: "no identity",
                id: None,
            },
        ]
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match &self.id {
            Some(id) => Source::Authenticated(id),
            None => Source::Unauthenticated([192, 0, 2, 1].into()),
        }
    }
}

/// The workload that is asked for, with as many labels as a chart and a Deployment give it.
pub(crate) fn asked() -> Workload {
    let labels = [
        ("app", "app-0"),
        ("app.kubernetes.io/name", "app-0"),
        ("app.kubernetes.io/version", "1.2.3"),
        ("pod-template-hash", "6d4cf56db6"),
        ("tier", "back"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Workload {
        namespace: "shop-0".to_owned(),
        name: "app-0-6d4cf56db6-x7k2p".to_owned(),
        service_account: "app-0".to_owned(),
        labels: labels.into(),
        addresses: vec![[10, 244, 3, 17].into()],
        meshed: true,
        identity: id_of("shop-0/app-0"),
        place: Place::default(),
        excluded_ports: Vec::new(),
    }
}

const RULES_A_POLICY: usize = 5;
const POLICIES_A_NAMESPACE: usize = 20;
const WEB: &str = "shop-0/web";
const BATCH: &str = "shop-0/batch";
const MONITOR: &str = "monitoring/monitor";
