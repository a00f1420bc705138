//! What is allowed, and may not be what was meant.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::manifest::{self, Document};
use palisade_api::policy::{AuthorizationPolicy, Effect, Mode, RuleName, Why, unreachable};
use palisade_api::workload::Mtls;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::super::counted::few;
use super::super::rules::Rules;
use super::super::subject;
use super::finding::{Code, Finding, Placed};
use super::seen::Seen;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) rules: &'a Rules,
    pub(super) documents: &'a [Document],
    pub(super) now: OffsetDateTime,
    /// Rules that expire within this time are told of.
    pub(super) soon: Duration,
    pub(super) seen: Option<&'a Seen>,
}

impl<'a> Asked<'a> {
    /// Every rule of a file, or object, that is good.
    pub(super) fn each(&self) -> impl Iterator<Item = Placed<'a>> + use<'a> {
        rules_of(self.documents)
    }
}

/// Every rule of some documents.
pub(super) fn rules_of(documents: &[Document]) -> impl Iterator<Item = Placed<'_>> {
    let policies = documents
        .iter()
        .filter_map(|document| Some((document, document.manifest.policy()?)));
    policies.flat_map(|(document, policy)| {
        let rules = policy.rules.iter().zip(&document.rules);
        rules.map(move |(rule, place)| Placed {
            document,
            policy,
            rule,
            place,
        })
    })
}

/// All of it but what needs records.
pub(super) fn lints(asked: &Asked<'_>) -> Vec<Finding> {
    let mut found = made_up_for(asked);
    let shared = shared_accounts(asked.rules);
    let permissive = permissive(asked.rules);
    // What is wrong with a file hides nothing of what else is to be said of it.
    for placed in asked.each().chain(rules_of(&asked.rules.doubtful)) {
        found.extend(expires_soon(asked, &placed));
        found.extend(permissive_denial(&placed, &permissive));
        found.extend(without_sidecar(asked.rules, &placed));
        found.extend(accounts(asked, &placed, &shared));
    }
    found
}

/// Rules that change nothing, because of others.
fn made_up_for(asked: &Asked<'_>) -> Vec<Finding> {
    let others: BTreeMap<RuleName, (RuleName, Why)> = unreachable(&asked.rules.policies)
        .into_iter()
        .map(|(rule, other, why)| (rule, (other, why)))
        .collect();
    let found = asked.each().filter_map(|placed| {
        // Of one that has expired, that is told.
        if placed.rule.has_expired(asked.now) {
            return None;
        }
        let (other, why) = others.get(&placed.name())?;
        let own = &placed.rule.name;
        let place = asked.rules.place(other);
        let (code, message) = match why {
            Why::Denied => (
                Code::Unreachable,
                format!("the rule `{own}` can never allow anything: `{other}` denies all of it"),
            ),
            Why::Repeated => (
                Code::Repeated,
                format!("the rule `{own}` changes nothing: `{other}` says all of it already"),
            ),
        };
        let remedy = format!("remove it, or narrow the other, at {place}");
        Some(placed.warning(code, placed.place.name, message, remedy))
    });
    found.collect()
}

fn expires_soon(asked: &Asked<'_>, placed: &Placed<'_>) -> Option<Finding> {
    let expires = placed.rule.expires?;
    let left = expires - asked.now;
    if left <= Duration::ZERO || left > asked.soon {
        return None;
    }
    let own = &placed.rule.name;
    let on = expires.format(&Rfc3339).unwrap_or_default();
    let message = format!("the rule `{own}` expires in {}, on {on}", in_words(left));
    let remedy = "see that nothing needs it any more and remove it, or write a later `expires`";
    Some(placed.warning(Code::ExpiresSoon, placed.place.expires, message, remedy))
}

/// In its greatest unit.
fn in_words(left: Duration) -> String {
    let (count, unit) = match left {
        left if left >= Duration::DAY => (left.whole_days(), "day"),
        left if left >= Duration::HOUR => (left.whole_hours(), "hour"),
        left => (left.whole_minutes(), "minute"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

fn permissive(rules: &Rules) -> Vec<&str> {
    let namespaces = rules.known.namespaces.iter();
    let open = namespaces.filter(|(_, settings)| settings.mtls == Mtls::Permissive);
    open.map(|(name, _)| name.as_str()).collect()
}

/// By the validator's own warning, of one rule at a time, so that it can be placed.
fn permissive_denial(placed: &Placed<'_>, permissive: &[&str]) -> Option<Finding> {
    let policy = placed.policy;
    let alone = AuthorizationPolicy {
        namespace: policy.namespace.clone(),
        name: policy.name.clone(),
        target: policy.target.clone(),
        rules: vec![placed.rule.clone()],
    };
    let said = manifest::warnings(&alone, permissive).pop()?;
    let (message, remedy) = said.split_once("; ").unwrap_or((&said, ""));
    let at = placed.place.name;
    Some(placed.warning(Code::PermissiveDenial, at, message, remedy))
}

/// A policy that nothing enforces, told of at its first rule.
fn without_sidecar(rules: &Rules, placed: &Placed<'_>) -> Option<Finding> {
    let policy = placed.policy;
    if policy.rules.first() != Some(placed.rule) {
        return None;
    }
    let known = rules.known.workloads.iter();
    let selected = known
        .filter(|one| policy.selects(&one.namespace, &one.service_account, &one.labels))
        .collect::<Vec<_>>();
    if selected.is_empty() || selected.iter().any(|one| one.meshed) {
        return None;
    }
    let names = few(&subject::without_sidecar(&selected));
    let message =
        format!("nothing enforces these rules: whom they protect has no sidecar ({names})");
    let remedy = "bring them into the mesh, or remove the rules";
    let at = placed.place.name;
    Some(placed.warning(Code::SelectsNothing, at, message, remedy))
}

/// The workloads of each account that more than one has.
fn shared_accounts(rules: &Rules) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
    let mut accounts: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for workload in rules.known.workloads.iter().filter(|one| one.meshed) {
        let account = (
            workload.namespace.as_str(),
            workload.service_account.as_str(),
        );
        accounts
            .entry(account)
            .or_default()
            .insert(workload.name.as_str());
    }
    accounts.retain(|_, workloads| workloads.len() > 1);
    accounts
}

/// Allowances of accounts that say little about who comes.
fn accounts(
    asked: &Asked<'_>,
    placed: &Placed<'_>,
    shared: &BTreeMap<(&str, &str), BTreeSet<&str>>,
) -> Vec<Finding> {
    if (placed.rule.effect, placed.rule.mode) != (Effect::Allow, Mode::Enforce) {
        return Vec::new();
    }
    let sources = placed.rule.from.iter().zip(&placed.place.from);
    let found = sources.filter_map(|(from, at)| {
        let (namespace, Some(name)) = from.in_mesh(Some(&asked.rules.trust_domain))? else {
            return None;
        };
        if name == DEFAULT {
            let message = format!(
                "`{namespace}/{name}` is the account of every workload of `{namespace}` that names none"
            );
            let remedy = "give the caller a service account of its own, and name that";
            return Some(placed.warning(Code::DefaultAccount, *at, message, remedy));
        }
        let workloads = shared.get(&(namespace, name))?;
        let workloads: Vec<_> = workloads.iter().copied().collect();
        let message = format!(
            "`{namespace}/{name}` is the account of {} workloads, and the rule admits all of them: {}",
            workloads.len(),
            some(&workloads)
        );
        let remedy = "give each a service account of its own, and name the one that calls";
        Some(placed.warning(Code::SharedAccount, *at, message, remedy))
    });
    found.collect()
}

/// The first few of them.
pub(super) fn some<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<_> = names.iter().take(MOST_NAMED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

const DEFAULT: &str = "default";
const MOST_NAMED: usize = 5;
