//! One source of a rule: who is meant.

use palisade_api::policy::{Effect, From};
use palisade_api::spiffe::TrustDomain;

use super::super::read::{Field, Fields, Reasons, Unlike};
use super::principal;
use super::rule::Context;

/// Who is meant.
#[derive(Debug, Default)]
pub(super) struct Whom {
    /// Those with an identity.
    pub(super) from: Vec<From>,
    /// Whether that is every identity, whatever its trust domain.
    pub(super) is_everyone: bool,
    /// Whether those without one are meant too.
    pub(super) is_unidentified: bool,
}

impl Whom {
    pub(super) fn anyone(context: &Context<'_>) -> Self {
        Self {
            is_unidentified: true,
            ..Self::everyone(context)
        }
    }

    /// Whoever has an identity. A denial names every trust domain that is known, for an allowance may let it in.
    pub(super) fn everyone(context: &Context<'_>) -> Self {
        let mut from = context.domains.everyone();
        if context.effect == Effect::Deny {
            from.extend(context.foreign.iter().cloned().map(From::TrustDomain));
        }
        Self {
            from,
            is_everyone: true,
            is_unidentified: false,
        }
    }

    /// Those of either.
    pub(super) fn or(mut self, other: Self) -> Self {
        self.from.extend(other.from);
        Self {
            from: self.from,
            is_everyone: self.is_everyone || other.is_everyone,
            is_unidentified: self.is_unidentified || other.is_unidentified,
        }
    }
}

/// Who is meant by one value; the error says why it cannot be converted, and what to write instead.
type Meant = fn(&str, &Context<'_>) -> Result<Whom, (String, String)>;

/// The trust domain that a value names, if it names one.
type Named = fn(&str) -> Option<TrustDomain>;

/// A field of a source that says something of an identity.
#[derive(Debug)]
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) not: &'static str,
    /// What `when` calls it.
    pub(super) key: &'static str,
    value: Meant,
    /// The trust domain that a value names; none where its values name none.
    pub(super) domain: Option<Named>,
}

/// The fields of a source that can be converted.
pub(super) const LISTS: [List; 4] = [
    List {
        name: "principals",
        not: "notPrincipals",
        key: "source.principal",
        value: principal::principal,
        domain: Some(principal::domain),
    },
    List {
        name: "namespaces",
        not: "notNamespaces",
        key: "source.namespace",
        value: principal::namespace,
        domain: None,
    },
    List {
        name: "serviceAccounts",
        not: "notServiceAccounts",
        key: "source.serviceAccount",
        value: principal::service_account,
        domain: None,
    },
    List {
        name: "trustDomains",
        not: "notTrustDomains",
        key: "source.trustDomain",
        value: principal::trust_domain,
        domain: Some(|text| text.parse().ok()),
    },
];

/// Reads a source, all of whose fields must fit.
pub(super) fn read(
    reasons: &mut Reasons,
    field: &Field<'_>,
    context: &Context<'_>,
) -> Option<Whom> {
    let takes: Vec<_> = LISTS
        .iter()
        .flat_map(|list| [list.name, list.not])
        .collect();
    let before = reasons.0.len();
    let fields = reasons.fields(field, &takes, &UNLIKE)?;
    if reasons.0.len() > before {
        return None;
    }
    let is_said = |list: &&List| {
        let mut names = [list.name, list.not].into_iter();
        names.any(|name| fields.get(name).is_some())
    };
    let mut said = LISTS.iter().filter(is_said);
    let Some(list) = said.next() else {
        let reason = "an empty source may mean anyone or nobody";
        return reasons.refuse(field, reason, "leave `from` out to mean anyone");
    };
    if let Some(other) = said.next() {
        let reason = format!(
            "`{}` and `{}` must both fit the caller, and a rule here is about any one of its sources",
            list.name, other.name
        );
        return reasons.refuse(field, reason, "name the service accounts that fit both");
    }
    one(reasons, &fields, (list, [list.name, list.not]), context)
}

/// Reads one of the lists, by the two names that it has where it stands.
pub(super) fn one(
    reasons: &mut Reasons,
    fields: &Fields<'_>,
    (list, [these, not_these]): (&List, [&str; 2]),
    context: &Context<'_>,
) -> Option<Whom> {
    let listed = reasons.listed(fields, these)?;
    let except = reasons.listed(fields, not_these)?;
    match (&*listed, &*except) {
        ([], []) => reasons.refuse(&fields.of, "it names nobody", "leave it out to mean anyone"),
        ([], [(_, any)]) if any == "*" && list.not != "notServiceAccounts" => {
            without_identity(reasons, fields, not_these, context)
        }
        (_, [(field, _), ..]) => {
            let reason = "it is about everybody but these, and rules here name whom they are about";
            let remedy = match context.effect {
                Effect::Allow => "name those who may",
                Effect::Deny => {
                    "allow these instead: Palisade closes a workload to all that no rule allows"
                }
            };
            reasons.refuse(field, reason, remedy)
        }
        (listed, []) => {
            let mut whom = Some(Whom::default());
            for (field, text) in listed {
                let one = match (list.value)(text, context) {
                    Ok(one) => Some(one),
                    Err((reason, remedy)) => reasons.refuse(field, reason, remedy),
                };
                whom = whom.zip(one).map(|(whom, one)| whom.or(one));
            }
            whom
        }
    }
}

/// `notPrincipals: ["*"]`: callers of whom nothing is proven.
fn without_identity(
    reasons: &mut Reasons,
    fields: &Fields<'_>,
    name: &str,
    context: &Context<'_>,
) -> Option<Whom> {
    if context.effect == Effect::Allow {
        let field = fields.get(name).unwrap_or(&fields.of);
        let reason =
            "it allows callers without an identity only, which rules here name by their addresses";
        return reasons.refuse(
            field,
            reason,
            "write `unauthenticated: {cidr: …}` with theirs",
        );
    }
    Some(Whom {
        is_unidentified: true,
        ..Whom::default()
    })
}

/// Addresses, and why they cannot be converted.
pub(super) const ADDRESS: (&str, &str) = (
    "it is about the address of any caller, and Palisade asks for that of callers without an identity only",
    "name the callers that have an identity; write `unauthenticated: {cidr: …}` for those that have none",
);
const FORWARDED: (&str, &str) = (
    "it is about the address that a proxy before the mesh wrote into the request, which Palisade does not read",
    "keep this rule in that proxy or in the application",
);
const TOKEN: (&str, &str) = (
    "it is about tokens in HTTP requests, and Palisade authorizes connections",
    "keep this rule in the application or a gateway",
);
const UNLIKE: [Unlike; 6] = [
    ("ipBlocks", ADDRESS.0, ADDRESS.1),
    ("notIpBlocks", ADDRESS.0, ADDRESS.1),
    ("remoteIpBlocks", FORWARDED.0, FORWARDED.1),
    ("notRemoteIpBlocks", FORWARDED.0, FORWARDED.1),
    ("requestPrincipals", TOKEN.0, TOKEN.1),
    ("notRequestPrincipals", TOKEN.0, TOKEN.1),
];
