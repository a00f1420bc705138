//! Any rules out of a few words, and who asks for what: what is decided.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use time::Duration;

#[path = "../../control/api/src/policy/tests/laws.rs"]
mod laws;
#[path = "../../control/api/src/policy/tests/plain.rs"]
mod plain;

use plain::{Asked, NOW};
// As the modules name them.
use palisade_api::{policy, spiffe, workload};

use policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};
use spiffe::SpiffeId;
use workload::{Closing, Mtls, NamespaceSettings};

fuzz_target!(|input: Input| {
    let Input {
        policies,
        order,
        more,
        asked,
    } = input;
    let mut shuffled = policies.clone();
    let count = shuffled.len();
    for (at, with) in order.into_iter().enumerate().take(count) {
        shuffled.swap(at, usize::from(with) % count);
    }
    laws::the_index_agrees_with_a_plain_reading(&policies, &asked);
    laws::order_means_nothing(&policies, shuffled, &asked);
    laws::a_denial_wins_whatever_else_there_is(&policies, &asked);
    laws::an_allowance_more_never_takes_access_away(&policies, more, &asked);
    laws::rules_in_shadow_change_no_verdict_but_its_near_miss(&policies, &asked);
    laws::what_shadow_says_is_what_enforcing_it_does(&policies, &asked);
    laws::who_comes_without_its_identity_has_two_denials_to_pass(&policies, &asked);
});

#[derive(Debug)]
struct Input {
    policies: Vec<AuthorizationPolicy>,
    /// With which other each policy changes places.
    order: [u8; MOST_POLICIES],
    more: AuthorizationPolicy,
    asked: Asked,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        // First, so that what follows in the bytes changes nothing of it.
        let asked = asked(bytes)?;
        let more = policy("more".to_owned(), bytes)?;
        let order = bytes.arbitrary()?;
        let count = bytes.int_in_range(0..=MOST_POLICIES)?;
        let policies = (0..count).map(|number| policy(format!("p{number}"), bytes));
        Ok(Self {
            policies: policies.collect::<Result<_>>()?,
            order,
            more,
            asked,
        })
    }
}

fn asked(bytes: &mut Unstructured<'_>) -> Result<Asked> {
    let addrs = [
        "10.0.0.1",
        "10.1.1.1",
        "192.0.2.1",
        "fd00::1",
        "2001:db8::1",
    ];
    Ok(Asked {
        id: option(bytes, identity)?,
        addr: bytes.choose(&addrs)?.parse().unwrap(),
        namespace: word(bytes)?,
        account: word(bytes)?,
        labels: labels(bytes)?,
        settings: NamespaceSettings {
            mtls: *bytes.choose(&[Mtls::Strict, Mtls::Permissive])?,
            closing: *bytes.choose(&[Closing::Enforce, Closing::Shadow])?,
        },
        port: bytes.int_in_range(1..=6)?,
    })
}

fn policy(name: String, bytes: &mut Unstructured<'_>) -> Result<AuthorizationPolicy> {
    let namespace = option(bytes, word)?.map(str::to_owned);
    let named = match namespace {
        Some(_) => Vec::new(),
        None => list(bytes, 2, |bytes| Ok(word(bytes)?.to_owned()))?,
    };
    let target = Target {
        namespaces: named,
        service_account: option(bytes, word)?.map(str::to_owned),
        labels: labels(bytes)?,
    };
    let mut rules = list(bytes, MOST_RULES, rule)?;
    for (number, rule) in rules.iter_mut().enumerate() {
        rule.name = format!("r{number}");
    }
    Ok(AuthorizationPolicy {
        namespace,
        name,
        target,
        rules,
    })
}

fn rule(bytes: &mut Unstructured<'_>) -> Result<Rule> {
    let first = from(bytes)?;
    let mut all = list(bytes, 2, from)?;
    all.push(first);
    let expires = [None, Some(-1), Some(0), Some(1)];
    Ok(Rule {
        name: String::new(),
        effect: *bytes.choose(&[Effect::Allow, Effect::Deny])?,
        from: all,
        ports: list(bytes, 2, |bytes| {
            let range = bytes.choose(&[(1, 1), (2, 3), (1, u16::MAX), (3, 4)])?;
            let &(first, last) = range;
            Ok(PortRange { first, last })
        })?,
        mode: *bytes.choose(&[Mode::Enforce, Mode::Shadow])?,
        expires: bytes
            .choose(&expires)?
            .map(|seconds| NOW + Duration::seconds(seconds)),
        reason: String::new(),
    })
}

fn from(bytes: &mut Unstructured<'_>) -> Result<From> {
    let networks = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.1/32",
        "::/0",
        "fd00::/8",
        "fd00::1/128",
    ];
    Ok(match bytes.int_in_range(0..=4)? {
        0 => From::ServiceAccount {
            namespace: word(bytes)?.to_owned(),
            name: word(bytes)?.to_owned(),
        },
        1 => From::Identity(identity(bytes)?),
        2 => From::Namespace(word(bytes)?.to_owned()),
        3 => From::TrustDomain(bytes.choose(&DOMAINS)?.parse().unwrap()),
        _ => From::Unauthenticated(bytes.choose(&networks)?.parse().unwrap()),
    })
}

fn identity(bytes: &mut Unstructured<'_>) -> Result<SpiffeId> {
    let (domain, kind) = (bytes.choose(&DOMAINS)?, bytes.choose(&["ns", "vm"])?);
    let (namespace, account) = (word(bytes)?, word(bytes)?);
    let id = format!("spiffe://{domain}/{kind}/{namespace}/sa/{account}");
    Ok(id.parse().unwrap())
}

fn labels(bytes: &mut Unstructured<'_>) -> Result<BTreeMap<String, String>> {
    let pair =
        |bytes: &mut Unstructured<'_>| Ok((word(bytes)?.to_owned(), word(bytes)?.to_owned()));
    Ok(list(bytes, 2, pair)?.into_iter().collect())
}

fn word(bytes: &mut Unstructured<'_>) -> Result<&'static str> {
    bytes.choose(&["a", "b"]).copied()
}

fn option<T>(
    bytes: &mut Unstructured<'_>,
    one: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    bytes.arbitrary::<bool>()?.then(|| one(bytes)).transpose()
}

fn list<T>(
    bytes: &mut Unstructured<'_>,
    most: usize,
    one: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = bytes.int_in_range(0..=most)?;
    (0..count).map(|_| one(bytes)).collect()
}

const DOMAINS: [&str; 2] = ["one.test", "two.test"];
/// All rules together are fewer than those that a near miss is looked for in.
const MOST_POLICIES: usize = 12;
const MOST_RULES: usize = 5;
