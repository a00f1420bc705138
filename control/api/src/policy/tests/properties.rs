//! What holds for `decide` whatever the rules are; and that the index agrees with a plain reading of them.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use time::Duration;

use crate::policy::*;
use crate::workload::{Closing, Mtls, NamespaceSettings};

pub(super) const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// Who asks for what, owned.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) id: Option<SpiffeId>,
    pub(super) addr: IpAddr,
    pub(super) namespace: &'static str,
    pub(super) account: &'static str,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) settings: NamespaceSettings,
    pub(super) port: u16,
}

impl Asked {
    pub(super) fn of(&self, policies: Vec<AuthorizationPolicy>) -> Decision {
        let policy = Policy::new(policies);
        self.with(|source, destination| policy.decide(source, destination, self.port, NOW))
    }

    /// As it comes to one without an identity, at whose address the one is known that it has.
    fn in_clear(&self, policies: Vec<AuthorizationPolicy>) -> Decision {
        let policy = Policy::new(policies);
        let beside = self.id.as_slice();
        self.with(|_, destination| {
            policy.decide_in_clear((self.addr, beside), destination, self.port, NOW)
        })
    }

    pub(super) fn with<T>(&self, ask: impl FnOnce(Source<'_>, &Destination<'_>) -> T) -> T {
        let source = self
            .id
            .as_ref()
            .map_or(Source::Unauthenticated(self.addr), Source::Authenticated);
        let destination = Destination {
            namespace: self.namespace,
            service_account: self.account,
            labels: &self.labels,
            trust_domain: &"one.test".parse().unwrap(),
            settings: self.settings,
        };
        ask(source, &destination)
    }
}

/// `decide` as design and types describe it, one rule after the other.
pub(super) fn plain(policies: &[AuthorizationPolicy], asked: &Asked) -> Decision {
    asked.with(|source, destination| {
        let mut rules: Vec<_> = policies
            .iter()
            .filter(|policy| is_of_namespace(policy, destination.namespace))
            .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
            .map(|(policy, rule)| Read::new(policy, rule, source, destination, asked.port))
            .collect();
        rules.sort_by(|one, other| one.name.cmp(&other.name));
        let first = |effect, mode| {
            let mut fitting = rules.iter().filter(|read| {
                (read.rule.effect, read.rule.mode) == (effect, mode)
                    && (read.expired, read.port, read.from, read.target)
                        == (false, false, false, false)
            });
            fitting.next().map(|read| read.name.clone())
        };
        let misses = rules.iter().filter_map(Read::miss).min();
        let miss = misses.map(|(differs, _, rule)| NearMiss { rule, differs });
        let permissive = asked.id.is_none() && asked.settings.mtls == Mtls::Permissive;
        let allow = first(Effect::Allow, Mode::Enforce);
        let verdict = match (
            first(Effect::Deny, Mode::Enforce),
            allow,
            asked.settings.closing,
        ) {
            (Some(deny), ..) => Verdict::Deny(DenyReason::Rule(deny)),
            (None, Some(allow), _) => Verdict::Allow(AllowReason::Rule(allow)),
            (None, None, _) if permissive => Verdict::Allow(AllowReason::Permissive),
            (None, None, Closing::Enforce) => Verdict::Deny(DenyReason::NoRule(miss)),
            (None, None, Closing::Shadow) => Verdict::Allow(AllowReason::ClosingInShadow(miss)),
        };
        let shadow_deny = first(Effect::Deny, Mode::Shadow);
        let shadow = match &verdict {
            Verdict::Allow(_) => shadow_deny.map(|name| (Effect::Deny, name)),
            Verdict::Deny(DenyReason::NoRule(_)) if shadow_deny.is_none() => {
                first(Effect::Allow, Mode::Shadow).map(|name| (Effect::Allow, name))
            }
            Verdict::Deny(_) => None,
        };
        Decision { verdict, shadow }
    })
}

/// Nearest first.
type Miss = (Difference, usize, RuleName);

/// A rule, and in which fields it differs from what was asked.
struct Read<'a> {
    name: RuleName,
    rule: &'a Rule,
    expired: bool,
    port: bool,
    from: bool,
    target: bool,
}

impl<'a> Read<'a> {
    fn new(
        policy: &AuthorizationPolicy,
        rule: &'a Rule,
        source: Source<'_>,
        destination: &Destination<'_>,
        port: u16,
    ) -> Self {
        let mut from = rule.from.iter();
        let mut ports = rule.ports.iter();
        Self {
            name: rule_name(policy, rule),
            rule,
            expired: rule.expires.is_some_and(|at| NOW >= at),
            port: !rule.ports.is_empty() && !ports.any(|range| range.contains(port)),
            from: !from.any(|from| from.fits(source, destination.trust_domain)),
            target: !protects(policy, destination),
        }
    }

    fn miss(&self) -> Option<Miss> {
        let shadow = self.rule.mode == Mode::Shadow;
        let differs = match (self.target, self.from, self.port, self.expired, shadow) {
            _ if self.rule.effect == Effect::Deny => return None,
            (true, true, ..) | (_, true, true, ..) => return None,
            (true, false, ..) => Difference::Target,
            (_, true, ..) => Difference::From,
            (_, _, true, ..) => Difference::Port,
            (.., true, _) => Difference::Expired,
            (.., true) => Difference::Mode,
            (false, false, false, false, false) => return None,
        };
        let fields = [shadow, self.expired, self.port, self.from, self.target];
        let count = fields.iter().filter(|differs| **differs).count();
        Some((differs, count, self.name.clone()))
    }
}

fn is_of_namespace(policy: &AuthorizationPolicy, namespace: &str) -> bool {
    let named = &policy.target.namespaces;
    match &policy.namespace {
        Some(own) => own == namespace,
        None => named.is_empty() || named.iter().any(|name| name == namespace),
    }
}

fn protects(policy: &AuthorizationPolicy, destination: &Destination<'_>) -> bool {
    let Target {
        service_account,
        labels,
        ..
    } = &policy.target;
    service_account
        .as_ref()
        .is_none_or(|name| name == destination.service_account)
        && labels
            .iter()
            .all(|(key, value)| destination.labels.get(key) == Some(value))
}

fn rule_name(policy: &AuthorizationPolicy, rule: &Rule) -> RuleName {
    RuleName {
        namespace: policy.namespace.clone(),
        policy: policy.name.clone(),
        rule: rule.name.clone(),
    }
}

pub(super) fn allows(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_))
}

fn word() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b"])
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let pair = (word(), word()).prop_map(|(key, value)| (key.to_owned(), value.to_owned()));
    prop::collection::vec(pair, 0..3).prop_map(BTreeMap::from_iter)
}

fn identity() -> impl Strategy<Value = SpiffeId> {
    (
        select(vec!["one.test", "two.test"]),
        word(),
        word(),
        select(vec!["ns", "vm"]),
    )
        .prop_map(|(domain, ns, sa, kind)| {
            format!("spiffe://{domain}/{kind}/{ns}/sa/{sa}")
                .parse()
                .unwrap()
        })
}

fn network() -> impl Strategy<Value = IpNet> {
    let networks = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.1/32",
        "::/0",
        "fd00::/8",
        "fd00::1/128",
    ];
    select(networks.to_vec()).prop_map(|network| network.parse().unwrap())
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        (word(), word()).prop_map(|(namespace, name)| From::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        identity().prop_map(From::Identity),
        word().prop_map(|name| From::Namespace(name.to_owned())),
        select(vec!["one.test", "two.test"])
            .prop_map(|name| From::TrustDomain(name.parse().unwrap())),
        network().prop_map(From::Unauthenticated),
    ]
}

fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    let range = select(vec![(1, 1), (2, 3), (1, 65535), (3, 4)]);
    prop::collection::vec(
        range.prop_map(|(first, last)| PortRange { first, last }),
        0..3,
    )
}

fn rule(name: usize) -> impl Strategy<Value = Rule> {
    let effect = select(vec![Effect::Allow, Effect::Deny]);
    let mode = select(vec![Mode::Enforce, Mode::Enforce, Mode::Shadow]);
    let expires = select(vec![None, None, Some(-1), Some(0), Some(1)]);
    let from = prop::collection::vec(from(), 1..3);
    (effect, from, ports(), mode, expires).prop_map(move |(effect, from, ports, mode, expires)| {
        Rule {
            name: format!("r{name}"),
            effect,
            from,
            ports,
            mode,
            expires: expires.map(|seconds| NOW + Duration::seconds(seconds)),
            reason: String::new(),
        }
    })
}

fn policy(name: usize) -> impl Strategy<Value = AuthorizationPolicy> {
    let target = (
        subsequence(vec!["a", "b"], 0..=2),
        prop::option::of(word()),
        labels(),
    );
    let rules = (rule(0), rule(1), rule(2), 0..4_usize);
    (prop::option::of(word()), target, rules).prop_map(move |(namespace, target, rules)| {
        let (namespaces, service_account, labels) = target;
        let (one, two, three, count) = rules;
        let namespaces = namespaces.into_iter().map(str::to_owned);
        AuthorizationPolicy {
            target: Target {
                namespaces: namespaces.filter(|_| namespace.is_none()).collect(),
                service_account: service_account.map(str::to_owned),
                labels,
            },
            namespace: namespace.map(str::to_owned),
            name: format!("p{name}"),
            rules: [one, two, three].into_iter().take(count).collect(),
        }
    })
}

pub(super) fn policies() -> impl Strategy<Value = Vec<AuthorizationPolicy>> {
    let all = (policy(0), policy(1), policy(2), policy(3), policy(4));
    (all, 0..6_usize)
        .prop_map(|((a, b, c, d, e), count)| [a, b, c, d, e].into_iter().take(count).collect())
}

fn asked() -> impl Strategy<Value = Asked> {
    let addrs = [
        "10.0.0.1",
        "10.1.1.1",
        "192.0.2.1",
        "fd00::1",
        "2001:db8::1",
    ];
    let addr = select(addrs.to_vec()).prop_map(|addr| addr.parse().unwrap());
    let settings = (
        select(vec![Mtls::Strict, Mtls::Strict, Mtls::Permissive]),
        select(vec![Closing::Enforce, Closing::Enforce, Closing::Shadow]),
    );
    let source = (prop::option::weighted(0.7, identity()), addr);
    let destination = (word(), word(), labels(), settings);
    (source, destination, 1..6_u16).prop_map(|((id, addr), destination, port)| {
        let (namespace, account, labels, (mtls, closing)) = destination;
        let settings = NamespaceSettings { mtls, closing };
        Asked {
            id,
            addr,
            namespace,
            account,
            labels,
            settings,
            port,
        }
    })
}

/// The same, with nothing in shadow.
fn enforced(mut policies: Vec<AuthorizationPolicy>) -> Vec<AuthorizationPolicy> {
    for rule in policies.iter_mut().flat_map(|policy| &mut policy.rules) {
        rule.mode = Mode::Enforce;
    }
    policies
}

/// A rule that is about everybody, everywhere, always.
fn baseline(effect: Effect) -> AuthorizationPolicy {
    let domains = ["one.test", "two.test"].map(|name| From::TrustDomain(name.parse().unwrap()));
    let networks = ["0.0.0.0/0", "::/0"].map(|cidr| From::Unauthenticated(cidr.parse().unwrap()));
    AuthorizationPolicy {
        namespace: None,
        name: "baseline".to_owned(),
        target: Target::default(),
        rules: vec![Rule {
            name: "everybody".to_owned(),
            effect,
            from: domains.into_iter().chain(networks).collect(),
            ports: Vec::new(),
            mode: Mode::Enforce,
            expires: None,
            reason: String::new(),
        }],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_index_agrees_with_a_plain_reading(policies in policies(), asked in asked()) {
        prop_assert_eq!(asked.of(policies.clone()), plain(&policies, &asked));
    }

    #[test]
    fn order_means_nothing(
        (policies, shuffled) in policies().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        asked in asked(),
    ) {
        let mut reversed = shuffled;
        reversed.iter_mut().for_each(|policy| policy.rules.reverse());
        prop_assert_eq!(asked.of(policies), asked.of(reversed));
    }

    #[test]
    fn a_denial_wins_whatever_else_there_is(mut policies in policies(), asked in asked()) {
        policies.push(baseline(Effect::Deny));
        let is_denied_by_rule = matches!(asked.of(policies).verdict, Verdict::Deny(DenyReason::Rule(_)));
        prop_assert!(is_denied_by_rule);
    }

    #[test]
    fn an_allowance_more_never_takes_access_away(policies in policies(), more in policy(9), asked in asked()) {
        let mut more = more;
        more.rules.iter_mut().for_each(|rule| rule.effect = Effect::Allow);
        let before = asked.of(policies.clone());
        let after = asked.of([policies, vec![more]].concat());
        prop_assert!(allows(&after) || !allows(&before));
    }

    #[test]
    fn rules_in_shadow_change_no_verdict_but_its_near_miss(policies in policies(), asked in asked()) {
        let mut enforced = policies.clone();
        enforced.iter_mut().for_each(|policy| policy.rules.retain(|rule| rule.mode == Mode::Enforce));
        prop_assert_eq!(allows(&asked.of(policies)), allows(&asked.of(enforced)));
    }

    #[test]
    fn what_shadow_says_is_what_enforcing_it_does(policies in policies(), asked in asked()) {
        let decision = asked.of(policies.clone());
        let changes = allows(&decision) != allows(&asked.of(enforced(policies)));
        prop_assert_eq!(decision.shadow.is_some(), changes);
    }

    #[test]
    fn who_comes_without_its_identity_has_two_denials_to_pass(policies in policies(), asked in asked()) {
        let without = Asked { id: None, ..asked.clone() };
        let decision = asked.in_clear(policies.clone());
        let is_denied_by_name = asked.id.is_some()
            && matches!(plain(&policies, &asked).verdict, Verdict::Deny(DenyReason::Rule(_)));
        let passes = allows(&plain(&policies, &without)) && !is_denied_by_name;
        prop_assert_eq!(allows(&decision), passes);
        let changes = passes != allows(&asked.in_clear(enforced(policies)));
        prop_assert_eq!(decision.shadow.is_some(), changes);
    }
}
