//! Rules that are not enforced everywhere, and rules that let callers in without an identity.

use kube::ResourceExt;
use kube::api::DynamicObject;
use palisade_api::cluster;
use palisade_api::policy::{AuthorizationPolicy, Effect, From, Target};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::finding::{Finding, Severity};
use super::snapshot::Snapshot;
use crate::kubernetes;

/// Every rule's status, and its sources.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "every proxy enforces the rules as they stand";
    let status = each(snapshot, "rules", fine, |object| status(object, snapshot));
    let fine = "no rule lets a caller in that has no identity";
    let plaintext = each(snapshot, "plaintext", fine, |object| {
        plaintext(object, snapshot).into_iter().collect()
    });
    [status, plaintext].concat()
}

/// Judges the rules that may be read: who may read those of a namespace may not read the cluster's.
pub(super) fn each(
    snapshot: &Snapshot,
    check: &'static str,
    fine: &str,
    judge: impl Fn(&DynamicObject) -> Vec<Finding>,
) -> Vec<Finding> {
    let kinds = [&snapshot.policies, &snapshot.cluster_policies];
    let read = kinds.iter().filter_map(|looked| looked.as_ref().ok());
    let mut findings: Vec<Finding> = read.flatten().flat_map(judge).collect();
    let mut unread: Vec<&String> = kinds
        .iter()
        .filter_map(|looked| looked.as_ref().err())
        .collect();
    if findings.is_empty() && unread.len() < kinds.len() {
        let among = if unread.is_empty() {
            ""
        } else {
            ", among those that you may read"
        };
        findings.push(Finding::ok(check, format!("{fine}{among}")));
    }
    unread.dedup();
    findings.extend(unread.into_iter().map(|why| Finding::unknown(check, why)));
    findings
}

/// What control says of a rule.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The generation that it is about.
    pub observed_generation: Option<i64>,
    /// The newest good one, which proxies are sent; none where control knows of none.
    pub enforced_generation: Option<i64>,
    /// How many proxies it concerns.
    pub proxies: u64,
    /// How many of them enforce it.
    pub enforcing: u64,
    /// How many pods it concerns beside, whose proxies do not run.
    pub not_running: u64,
    /// The first of those that do not yet.
    pub pending: Vec<String>,
    /// The first of those that refuse it.
    pub refusing: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    reason: String,
    message: String,
    last_transition_time: Option<String>,
}

impl Status {
    /// No status at all is one that says nothing, as is one of another version.
    pub fn of(object: &DynamicObject) -> Self {
        let status = object.data.get("status").cloned().unwrap_or_default();
        serde_json::from_value(status).unwrap_or_default()
    }

    /// What is wrong with the rule, where control says that something is.
    pub fn invalid(&self) -> Option<&str> {
        let mut conditions = self.conditions.iter();
        let invalid = conditions.find(|one| one.reason == cluster::INVALID)?;
        Some(&invalid.message)
    }
}

fn status(object: &DynamicObject, snapshot: &Snapshot) -> Vec<Finding> {
    let place = place(object);
    let status = Status::of(object);
    let mut findings: Vec<Finding> = mistaken(object, &status).into_iter().collect();
    if status.observed_generation != object.metadata.generation {
        findings.push(Finding::warning(
            "rules",
            place.clone(),
            "control has not taken up its last change",
            "see that control runs, and what it logs about it",
        ));
    }
    if !status.refusing.is_empty() {
        findings.push(Finding::error(
            "rules",
            place.clone(),
            format!(
                "proxies do not understand it, and close what it protects: {}",
                names(&status.refusing)
            ),
            "restart these pods, so that they get the sidecar of this version",
        ));
    }
    findings.extend(behind(place, &status, snapshot.now));
    findings
}

/// Proxies that do not enforce it yet. Where not one does, and for longer than they need, it protects nothing.
fn behind(place: String, status: &Status, now: OffsetDateTime) -> Option<Finding> {
    let finding = Finding::warning(
        "rules",
        place,
        format!(
            "{} of {} proxies enforce it; behind are {}",
            status.enforcing,
            status.proxies,
            names(&status.pending)
        ),
        "new ones take it up when they are ready, those of a node that is lost when it is back; of those without control \
         the check `sidecars` says what to do",
    );
    let is_new = status.conditions.iter().any(|condition| {
        let since = condition.last_transition_time.as_deref();
        let since = since.and_then(|since| OffsetDateTime::parse(since, &Rfc3339).ok());
        since.is_some_and(|since| now - since < TO_TAKE_UP)
    });
    let severity = if status.enforcing == 0 && !is_new {
        Severity::Error
    } else {
        Severity::Warning
    };
    (!status.pending.is_empty()).then_some(Finding {
        severity,
        ..finding
    })
}

/// Control's word counts; of a version that it has not looked at, the validator's here.
fn mistaken(object: &DynamicObject, status: &Status) -> Option<Finding> {
    let is_newest = status.observed_generation == object.metadata.generation;
    let mut conditions = status.conditions.iter();
    let said = conditions.find(|condition| is_newest && condition.reason == cluster::INVALID);
    let and = match said {
        Some(condition) => condition.message.clone(),
        None => format!(
            "control stays with what it said before: {}",
            parse(object).err()?
        ),
    };
    Some(Finding::error(
        "rules",
        place(object),
        format!("it has mistakes, and {and}"),
        "put it right, and apply it again",
    ))
}

fn names(names: &[String]) -> String {
    names.join(", ")
}

fn plaintext(object: &DynamicObject, snapshot: &Snapshot) -> Option<Finding> {
    // One that has mistakes is told of by its status.
    let policy = parse(object).ok()?;
    let rules = policy.rules.iter();
    let rules = rules.filter(|rule| rule.acts(Effect::Allow, snapshot.now));
    let sources = rules
        .flat_map(|rule| &rule.from)
        .filter_map(|from| match from {
            From::Unauthenticated(network) => Some(network.to_string()),
            From::ServiceAccount { .. }
            | From::Identity(_)
            | From::Namespace(_)
            | From::TrustDomain(_) => None,
        });
    let mut sources: Vec<String> = sources.collect();
    sources.sort();
    sources.dedup();
    (!sources.is_empty()).then(|| {
        Finding::warning(
            "plaintext",
            place(object),
            format!(
                "callers without an identity are let in, as plaintext, from {}",
                sources.join(", ")
            ),
            "bring these callers into the mesh, then remove the source",
        )
    })
}

/// The rule that an object is, by the mesh's validator.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse(object: &DynamicObject) -> Result<AuthorizationPolicy, String> {
    kubernetes::policy(&document(object)).map_err(|mistakes| mistakes.join("; "))
}

/// About whom an object with mistakes is: about everybody where that cannot be read.
pub fn target(object: &DynamicObject) -> Target {
    kubernetes::target(document(object))
}

fn document(object: &DynamicObject) -> Value {
    let kind = object.types.as_ref().map(|types| types.kind.as_str());
    let mut metadata = Map::new();
    metadata.insert("name".into(), object.name_any().into());
    if let Some(namespace) = object.namespace() {
        metadata.insert("namespace".into(), namespace.into());
    }
    json!({
        "apiVersion": palisade_api::sidecar::API_VERSION,
        "kind": kind.unwrap_or_default(),
        "metadata": metadata,
        "spec": object.data.get("spec"),
    })
}

/// `AuthorizationPolicy shop/orders`.
pub fn place(object: &DynamicObject) -> String {
    let kind = object
        .types
        .as_ref()
        .map_or("", |types| types.kind.as_str());
    match object.namespace() {
        Some(namespace) => format!("{kind} {namespace}/{}", object.name_any()),
        None => format!("{kind} {}", object.name_any()),
    }
}

/// A proxy acknowledges within a second, and control writes that within some more.
const TO_TAKE_UP: Duration = Duration::seconds(30);
