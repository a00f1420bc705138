//! The trust domains that policies name beside those of the mesh.
//!
//! Istio looks for a namespace, or for everybody, in any trust domain; a rule here looks where it says. So a denial
//! must say each trust domain that an allowance, of whichever object, may let in.

use std::collections::BTreeSet;

use palisade_api::policy::Effect;
use palisade_api::spiffe::TrustDomain;

use super::super::read::{Fields, Object, Reasons};
use super::super::who::Domains;
use super::rule::Context;
use super::source::{LISTS, List};

/// Those that any of the policies names, also one that is going to be refused: its rules may be written by hand.
pub(super) fn named<'o, 'n: 'o>(
    policies: impl IntoIterator<Item = &'o Object<'n>>,
    domains: &Domains,
) -> BTreeSet<TrustDomain> {
    let mut named = BTreeSet::new();
    for policy in policies {
        let root = Reasons::default().mapping(policy.root());
        let spec = root.and_then(|root| mapping(&root, "spec"));
        for rule in spec.iter().flat_map(|spec| mappings(spec, "rules")) {
            named.extend(of_rule(&rule));
        }
    }
    named.retain(|name| !domains.each().any(|known| known == name));
    named
}

fn of_rule(rule: &Fields<'_>) -> Vec<TrustDomain> {
    let mut named = Vec::new();
    for from in mappings(rule, "from") {
        let source = mapping(&from, "source");
        for (source, list) in source
            .iter()
            .flat_map(|one| LISTS.iter().map(move |list| (one, list)))
        {
            named.extend(of_list(source, list, [list.name, list.not]));
        }
    }
    for condition in mappings(rule, "when") {
        let key = Reasons::default().required(&condition, "key");
        if let Some(list) = LISTS.iter().find(|list| key.as_deref() == Some(list.key)) {
            named.extend(of_list(&condition, list, ["values", "notValues"]));
        }
    }
    named
}

/// Those in a list, by the two names that it has where it stands.
fn of_list(fields: &Fields<'_>, list: &List, names: [&str; 2]) -> Vec<TrustDomain> {
    let Some(domain) = list.domain else {
        return Vec::new();
    };
    let listed = names.map(|name| Reasons::default().listed(fields, name));
    let values = listed.into_iter().flatten().flatten();
    values.filter_map(|(_, text)| domain(&text)).collect()
}

/// Why a denial cannot be converted whose callers Istio looks for in any trust domain, and what to write instead. Nothing
/// where no trust domain beside those of the mesh is named: no rule lets their callers in then. `path` is what follows
/// the trust domain in the principals that are meant.
pub(super) fn objection(path: &str, context: &Context<'_>) -> Option<(String, String)> {
    if context.effect != Effect::Deny || context.foreign.is_empty() {
        return None;
    }
    let foreign = shown(context.foreign);
    let reason = format!(
        "Istio matches it in any trust domain, and a rule here in the mesh's own: it would miss the callers of {foreign}, \
         which these files name"
    );
    let remedy = format!(
        "deny `principals` of each trust domain: `{}/{path}` for this mesh's own; whole names, or `DOMAIN/*`, for those of \
         {foreign}",
        context.domains.own
    );
    Some((reason, remedy))
}

/// What becomes of the callers of those trust domains.
pub(super) fn note(foreign: &BTreeSet<TrustDomain>) -> String {
    format!(
        "these files name {}, which this mesh does not take for its own: a denial of everybody holds there too, and what \
         Istio allows in any trust domain (`*`, `namespaces`, `serviceAccounts`) is allowed to callers of this mesh only; name \
         the others who may come, as in `principals: [\"DOMAIN/ns/shop/sa/web\"]`",
        shown(foreign)
    )
}

fn shown(domains: &BTreeSet<TrustDomain>) -> String {
    let names = domains.iter().map(TrustDomain::as_str);
    let shown = names.take(MOST_SHOWN).collect::<Vec<_>>().join(", ");
    match domains.len().saturating_sub(MOST_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A field that is a mapping; nothing where it is none, which is refused where the policy is read.
fn mapping<'n>(fields: &Fields<'n>, name: &str) -> Option<Fields<'n>> {
    Reasons::default().mapping(fields.get(name)?)
}

/// The mappings in a list.
fn mappings<'n>(fields: &Fields<'n>, name: &str) -> Vec<Fields<'n>> {
    let mut unread = Reasons::default();
    let items = fields.get(name).and_then(|found| unread.items(found));
    let items = items.unwrap_or_default().into_iter();
    items.filter_map(|item| unread.mapping(&item)).collect()
}

/// How many trust domains a message names.
const MOST_SHOWN: usize = 5;
