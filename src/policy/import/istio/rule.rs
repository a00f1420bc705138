//! One rule of an `AuthorizationPolicy`: from whom, to which ports, when.

use std::collections::{BTreeSet, HashSet};

use palisade_api::policy::{Effect, Mode, Rule};
use palisade_api::spiffe::TrustDomain;

use super::super::name;
use super::super::ports::Ports;
use super::super::read::{Field, Fields, Reasons, Unlike};
use super::super::who::{Domains, unidentified};
use super::peer::Plaintext;
use super::source::{self, Whom};

/// What a rule is read in.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) domains: &'a Domains,
    /// The trust domains that any of the policies names beside these.
    pub(super) foreign: &'a BTreeSet<TrustDomain>,
    /// That of the policy.
    pub(super) namespace: &'a str,
    pub(super) effect: Effect,
}

/// What a rule says, before it is known whether callers without an identity get as far.
#[derive(Debug)]
pub(super) struct Sentence {
    whom: Whom,
    /// Whether it is about every identity, whatever its trust domain.
    pub(super) is_everyone: bool,
    /// Whether it is also about callers without an identity.
    pub(super) is_unidentified: bool,
    ports: Ports,
}

/// Reads a rule; nothing where it was refused.
pub(super) fn read(
    reasons: &mut Reasons,
    field: &Field<'_>,
    context: &Context<'_>,
) -> Option<Sentence> {
    let fields = reasons.fields(field, &["from", "to", "when"], &[])?;
    let from = fields
        .get("from")
        .map(|found| sources(reasons, found, context));
    let to = match fields.get("to") {
        Some(found) => operations(reasons, found),
        None => Some(Ports::all()),
    };
    let mut conditions = Conditions {
        ports: Ports::all(),
        whom: None,
        is_good: true,
    };
    if let Some(found) = fields.get("when") {
        conditions.read(reasons, found, (context, from.is_some()));
    }
    let whom = match (from, conditions.whom) {
        (Some(whom), _) => whom?,
        (None, Some(whom)) => whom,
        (None, None) => Whom::anyone(context),
    };
    let ports = to.map(|ports| ports.and(&conditions.ports))?;
    if ports.is_empty() && conditions.is_good {
        return reasons.refuse(field, "it is about no port at all", "remove the rule");
    }
    conditions.is_good.then_some(Sentence {
        is_everyone: whom.is_everyone,
        is_unidentified: whom.is_unidentified,
        whom,
        ports,
    })
}

impl Sentence {
    /// The rule; nothing where nobody can come whom it allows.
    pub(super) fn rule(&self, effect: Effect, mode: Mode, plaintext: Plaintext) -> Option<Rule> {
        let mut from = self.whom.from.clone();
        if self.is_unidentified && (effect == Effect::Deny || plaintext == Plaintext::Allowed) {
            from.extend(unidentified());
        }
        let mut seen = HashSet::new();
        from.retain(|one| seen.insert(one.clone()));
        (!from.is_empty()).then(|| Rule {
            name: name::of_rule(effect, &from),
            effect,
            from,
            ports: self.ports.clone().into_ranges(),
            mode,
            expires: None,
            reason: String::new(),
        })
    }
}

/// Any one of several sources.
fn sources(reasons: &mut Reasons, field: &Field<'_>, context: &Context<'_>) -> Option<Whom> {
    let mut all = Some(Whom::default());
    let items = reasons.items(field)?;
    if items.is_empty() {
        return reasons.refuse(
            field,
            "an empty list names nobody",
            "leave `from` out to mean anyone",
        );
    }
    for item in items {
        let source = reasons.fields(&item, &["source"], &[]).and_then(|fields| {
            let found = fields.get("source").unwrap_or(&fields.of);
            source::read(reasons, found, context)
        });
        all = all.zip(source).map(|(all, source)| all.or(source));
    }
    all
}

/// The ports of any one of several operations.
fn operations(reasons: &mut Reasons, field: &Field<'_>) -> Option<Ports> {
    let mut all = Some(Ports::of([]));
    let items = reasons.items(field)?;
    if items.is_empty() {
        return reasons.refuse(
            field,
            "an empty list names nothing",
            "leave `to` out to mean all",
        );
    }
    for item in items {
        let ports = reasons
            .fields(&item, &["operation"], &[])
            .and_then(|fields| {
                let found = fields.get("operation").unwrap_or(&fields.of);
                let fields = reasons.fields(found, &["ports", "notPorts"], &OF_HTTP)?;
                if fields.is_empty() {
                    let reason = "an empty operation may mean all or nothing";
                    return reasons.refuse(found, reason, "leave `to` out to mean all");
                }
                ports(reasons, &fields, ("ports", "notPorts"))
            });
        all = all.zip(ports).map(|(all, ports)| all.or(ports));
    }
    all
}

/// Those of one list, all if it is empty, without those of another.
fn ports(
    reasons: &mut Reasons,
    fields: &Fields<'_>,
    (these, not_these): (&str, &str),
) -> Option<Ports> {
    let listed = reasons.listed(fields, these);
    let except = reasons.listed(fields, not_these);
    let (listed, except) = listed.zip(except)?;
    let is_any = listed.is_empty();
    let listed = numbers(reasons, &listed);
    let except = numbers(reasons, &except);
    let (listed, except) = listed.zip(except)?;
    let listed = if is_any { Ports::all() } else { listed };
    Some(listed.and(&except.others()))
}

fn numbers(reasons: &mut Reasons, written: &[(Field<'_>, String)]) -> Option<Ports> {
    let mut numbers = Some(Vec::new());
    for (field, text) in written {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u16>().ok();
        let number = match number.filter(|number| is_plain && *number > 0) {
            Some(number) => Some(number),
            None => reasons.refuse(field, "this is no port", "write a number from 1 to 65535"),
        };
        numbers = numbers.zip(number).map(|(mut numbers, number)| {
            numbers.push(number);
            numbers
        });
    }
    numbers.map(Ports::of)
}

/// What `when` asks for beside the rest.
#[derive(Debug)]
struct Conditions {
    ports: Ports,
    whom: Option<Whom>,
    is_good: bool,
}

impl Conditions {
    fn read(
        &mut self,
        reasons: &mut Reasons,
        field: &Field<'_>,
        (context, has_from): (&Context<'_>, bool),
    ) {
        let Some(items) = reasons.items(field) else {
            self.is_good = false;
            return;
        };
        for item in items {
            let read = self.condition(reasons, &item, (context, has_from));
            self.is_good &= read.is_some();
        }
    }

    fn condition(
        &mut self,
        reasons: &mut Reasons,
        field: &Field<'_>,
        (context, has_from): (&Context<'_>, bool),
    ) -> Option<()> {
        let fields = reasons.fields(field, &["key", "values", "notValues"], &[])?;
        let key = reasons.required(&fields, "key")?;
        let says_nothing = reasons.listed(&fields, "values")?.is_empty()
            && reasons.listed(&fields, "notValues")?.is_empty();
        if says_nothing {
            return reasons.refuse(field, "a condition without values", "remove it");
        }
        if key == "destination.port" {
            let ports = ports(reasons, &fields, ("values", "notValues"))?;
            self.ports = self.ports.and(&ports);
            return Some(());
        }
        let Some(list) = source::LISTS.iter().find(|list| list.key == key) else {
            let (reason, remedy) = unlike(&key);
            return reasons.refuse(field, reason, remedy);
        };
        if has_from || self.whom.is_some() {
            let reason = "it and another field must both fit the caller, and a rule here is about any one of its sources";
            return reasons.refuse(field, reason, "name the callers that fit both");
        }
        self.whom = Some(source::one(
            reasons,
            &fields,
            (list, ["values", "notValues"]),
            context,
        )?);
        Some(())
    }
}

/// Why a condition cannot be converted, and what to do instead.
fn unlike(key: &str) -> (&'static str, &'static str) {
    match key {
        "source.ip" | "remote.ip" => source::ADDRESS,
        "destination.ip" => (
            "rules here choose workloads, and never by address",
            "select the workloads by `selector.matchLabels`",
        ),
        "connection.sni" => (
            "it is about TLS that the application speaks, which Palisade does not look into",
            "keep it in a gateway",
        ),
        _ if key.starts_with("request.") || key.starts_with("experimental.") => (
            "it is of HTTP requests, and Palisade authorizes connections",
            KEEP,
        ),
        _ => ("this condition is not known", "remove it"),
    }
}

const OF_HTTP: [Unlike; 6] = [
    (
        "hosts",
        "hosts are of HTTP requests, and Palisade authorizes connections",
        KEEP,
    ),
    (
        "notHosts",
        "hosts are of HTTP requests, and Palisade authorizes connections",
        KEEP,
    ),
    (
        "methods",
        "methods are of HTTP requests, and Palisade authorizes connections",
        KEEP,
    ),
    (
        "notMethods",
        "methods are of HTTP requests, and Palisade authorizes connections",
        KEEP,
    ),
    (
        "paths",
        "paths are of HTTP requests, and Palisade authorizes connections",
        KEEP,
    ),
    (
        "notPaths",
        "paths are of HTTP requests, and Palisade authorizes connections",
        KEEP,
    ),
];
const KEEP: &str =
    "keep this rule in the application or a gateway, and write one here about who may connect";
