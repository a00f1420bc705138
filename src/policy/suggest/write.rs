//! Rules of what was seen.

use std::collections::BTreeSet;

use ipnet::IpNet;
use palisade_api::policy::{self, AuthorizationPolicy, Effect, Rule};
use palisade_api::spiffe::TrustDomain;

use super::gather::{Calls, From, Seen, account};
use super::target::of_account;
use super::{Barred, Denied, Evidence, ForTarget, InShadow, Unanswered, Wanted};
use crate::policy::ports;
use crate::policy::rules::{Known, Rules};
use crate::policy::subject::Caller;
use crate::policy::traffic::counted;

/// The names of policies that are taken, with their namespaces.
#[derive(Debug)]
pub(super) struct Names(BTreeSet<(String, String)>);

impl Names {
    pub(super) fn of(rules: &Rules) -> Self {
        let taken = rules.policies.iter().filter_map(|policy| {
            let namespace = policy.namespace.clone()?;
            Some((namespace, policy.name.clone()))
        });
        Self(taken.collect())
    }

    fn take(&mut self, namespace: &str, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1;
        while !self.0.insert((namespace.to_owned(), free.clone())) {
            free = match number {
                1 => format!("{name}-suggested"),
                _ => format!("{name}-suggested-{number}"),
            };
            number += 1;
        }
        free
    }
}

/// The policy of one called workload.
pub(super) fn for_target(
    rules: &Rules,
    seen: Seen,
    wanted: Wanted,
    names: &mut Names,
) -> ForTarget {
    let known = &rules.known;
    let namespace = &seen.selected.namespace;
    let mut taken = BTreeSet::new();
    let (mut written, mut evidence) = (Vec::new(), Vec::new());
    for (from, calls) in &seen.callers {
        let name = rule_name(from, namespace, &seen.trust_domain, &mut taken);
        evidence.push(Evidence {
            rule: name.clone(),
            count: calls.count(),
            first: calls.first,
            last: calls.last,
            conn: calls.conn.clone(),
            unsure: unsure(known, from, calls, &seen),
        });
        written.push(Rule {
            name,
            effect: Effect::Allow,
            from: vec![source(from, &seen.trust_domain)],
            ports: ports::ranges(&calls.ports),
            mode: wanted.mode,
            expires: None,
            reason: String::new(),
        });
    }
    let policy = (!written.is_empty()).then(|| AuthorizationPolicy {
        namespace: Some(namespace.clone()),
        name: names.take(namespace, &seen.selected.name),
        target: seen.selected.target(),
        rules: written,
    });
    let denied = seen.denied.iter().map(|((caller, port), calls)| Denied {
        from: caller.short(&seen.trust_domain),
        port: *port,
        count: calls.count(),
        last: calls.last,
        answered: seen.answered.contains(port),
    });
    ForTarget {
        to: format!("{namespace}/{}", seen.selected.name),
        policy,
        evidence,
        unsure: seen.selected.unsure(known).into_iter().collect(),
        denied: denied.collect(),
        is_admitted: seen.is_admitted,
        unanswered: unanswered(&seen),
        in_shadow: in_shadow(known, &seen),
        revoked: barred(rules, &seen),
    }
}

/// Calls that reached nobody, each caller once.
fn unanswered(seen: &Seen) -> Vec<Unanswered> {
    let mut told: Vec<Unanswered> = Vec::new();
    for ((caller, port), calls) in &seen.unanswered {
        let from = caller.short(&seen.trust_domain);
        match told.last_mut().filter(|held| held.from == from) {
            Some(held) => {
                held.ports.insert(*port);
                held.count = held.count.saturating_add(calls.count());
                held.last = held.last.max(calls.last);
            }
            None => told.push(Unanswered {
                from,
                ports: BTreeSet::from([*port]),
                count: calls.count(),
                last: calls.last,
            }),
        }
    }
    told
}

/// What is there in shadow already, and what to look at twice before that is enforced.
fn in_shadow(known: &Known, seen: &Seen) -> Vec<InShadow> {
    let each = seen.in_shadow.iter();
    let told = each.map(|((caller, rules), calls)| InShadow {
        from: caller.short(&seen.trust_domain),
        ports: calls.ports.iter().copied().collect(),
        count: calls.count(),
        last: calls.last,
        rules: rules.iter().cloned().collect(),
        unsure: unsure(known, &From::Caller(caller.clone()), calls, seen),
    });
    told.collect()
}

/// What no rule would admit, and which of both is revoked.
fn barred(rules: &Rules, seen: &Seen) -> Vec<Barred> {
    let each = seen.revoked.iter();
    let told = each.map(|((caller, id), calls)| Barred {
        from: caller.short(&seen.trust_domain),
        ports: calls.ports.clone(),
        count: calls.count(),
        last: calls.last,
        revoked: rules.revoked.refused(id),
    });
    told.collect()
}

fn source(from: &From, trust_domain: &TrustDomain) -> policy::From {
    match from {
        From::Namespace(namespace, _) => policy::From::Namespace(namespace.clone()),
        From::Caller(Caller::Address(addr)) => policy::From::Unauthenticated(IpNet::from(*addr)),
        From::Caller(Caller::Identity(id)) => match account(id, trust_domain) {
            Some((namespace, name)) => policy::From::ServiceAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            None => policy::From::Identity(id.clone()),
        },
    }
}

/// Who it is from, as a label: `from-web`, `from-batch-worker` for one of another namespace.
fn rule_name(
    from: &From,
    own: &str,
    trust_domain: &TrustDomain,
    taken: &mut BTreeSet<String>,
) -> String {
    let who = match from {
        From::Namespace(namespace, _) => format!("namespace-{namespace}"),
        From::Caller(Caller::Address(addr)) => addr.to_string(),
        From::Caller(Caller::Identity(id)) => match account(id, trust_domain) {
            Some((namespace, name)) if namespace == own => name.to_owned(),
            Some((namespace, name)) => format!("{namespace}-{name}"),
            None => format!("{}{}", id.trust_domain(), id.path()),
        },
    };
    let mut name = String::from("from-");
    for c in who.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(MOST_NAME_BYTES);
    let name = name.trim_end_matches('-');
    let mut free = name.to_owned();
    let mut number = 2;
    while !taken.insert(free.clone()) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

/// What to look at twice.
fn unsure(known: &Known, from: &From, calls: &Calls, seen: &Seen) -> Vec<String> {
    let trust_domain = &seen.trust_domain;
    let mut unsure = Vec::new();
    if calls.count() == 1 {
        unsure.push("seen once".to_owned());
    }
    unsure.extend(otherwise(calls));
    match from {
        From::Namespace(_, accounts) => {
            unsure.push(format!(
                "every account of the namespace, of which {accounts} were seen"
            ));
            unsure.extend(calls.widened.iter().map(|((caller, port), count)| {
                let (who, count) = (caller.short(trust_domain), times(*count));
                format!("{who} too, who was denied {count} at port {port}")
            }));
        }
        From::Caller(Caller::Address(addr)) => {
            let mut workloads = known.workloads.iter();
            let at = workloads.find(|one| one.addresses.contains(addr));
            let at = at.map(|one| {
                let around = if one.meshed {
                    ", around its sidecar"
                } else {
                    ""
                };
                format!(", that of {}/{}{around}", one.namespace, one.name)
            });
            unsure.push(format!(
                "caller without an identity, at an address{}",
                at.unwrap_or_default()
            ));
        }
        From::Caller(Caller::Identity(id)) => {
            if let Some((namespace, name)) = account(id, trust_domain) {
                unsure.extend(shared(known, namespace, name));
            }
        }
    }
    let denials = calls.denied_by.iter();
    unsure.extend(denials.map(|rule| format!("{rule} denies it, whatever is allowed")));
    let denials = calls.may_be_denied_by.iter();
    unsure.extend(denials.map(|rule| {
        format!("{rule} may deny it, whatever is allowed: the account at its address is not known")
    }));
    unsure.extend(silent(calls, &seen.answered));
    unsure
}

/// Ports where nobody was there: for this caller, or for anybody.
fn silent(calls: &Calls, answered: &BTreeSet<u16>) -> Vec<String> {
    let at_all: BTreeSet<u16> = calls.ports.difference(answered).copied().collect();
    let mut silent = Vec::new();
    if !calls.unanswered.is_empty() {
        let at = ports::shown(&calls.unanswered);
        silent.push(format!("nothing answered this caller at {at}"));
    }
    if !at_all.is_empty() {
        let at = ports::shown(&at_all);
        silent.push(format!("nobody was seen to be answered at {at}"));
    }
    silent
}

/// What was decided otherwise at another time, and what is allowed only for a while.
fn otherwise(calls: &Calls) -> Vec<String> {
    let listed = |rules: &BTreeSet<String>| {
        let rules: Vec<_> = rules.iter().map(String::as_str).collect();
        rules.join(", ")
    };
    let by = match listed(&calls.refused_by) {
        rules if rules.is_empty() => rules,
        rules => format!(", by {rules}"),
    };
    let mut otherwise = Vec::new();
    if calls.allowed == 0 {
        otherwise.push(format!("denied {}, never allowed{by}", times(calls.denied)));
    } else if calls.denied > 0 {
        otherwise.push(format!("denied {} of these{by}", times(calls.denied)));
    } else if calls.refused > 0 {
        let by = if by.is_empty() {
            ", as no rule allowed it"
        } else {
            &by
        };
        otherwise.push(format!("also denied {}{by}", times(calls.refused)));
    }
    if calls.passing > 0 {
        let rules = listed(&calls.passing_by);
        otherwise.push(if calls.passing < calls.allowed {
            let all = times(calls.allowed);
            format!(
                "allowed {} of {all} by a rule that ends: {rules}",
                calls.passing
            )
        } else {
            let all = times(calls.passing);
            format!("allowed only by a rule that ends, {all}: {rules}")
        });
    }
    // A caller does not know by which rule it came in: it may be one that ends.
    let one_sided: BTreeSet<u16> = calls
        .one_sided
        .difference(&calls.lasting)
        .copied()
        .collect();
    if !one_sided.is_empty() {
        let at = ports::shown(&one_sided);
        otherwise.push(format!(
            "only the caller's records tell of it at {at}: by which rule it was let in is not known"
        ));
    }
    otherwise
}

fn shared(known: &Known, namespace: &str, account: &str) -> Option<String> {
    let count = of_account(known, namespace, account).len();
    match (account, count) {
        ("default", 0 | 1) => Some(
            "caller is the service account default, which every workload has that names no other"
                .to_owned(),
        ),
        (_, 0 | 1) => None,
        (_, count) => Some(format!(
            "caller is the service account {account}, shared by {count} workloads"
        )),
    }
}

fn times(count: u64) -> String {
    counted(count, "time")
}

/// With a number behind it, it is still a label.
const MOST_NAME_BYTES: usize = 55;
