//! What becomes of objects that were applied: what control says of them, until every sidecar enforces them.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use kube::api::DynamicObject;
use palisade_control::audit::rules::Status;
use serde_json::Value;
use tokio::time::Instant;

use super::super::Progress;
use super::super::progress::OfPolicy;
use super::{Applied, api};
use crate::kubernetes::list;

/// Looks at the status of all until every sidecar enforces each policy as it is written, or patience ends. How long one took
/// is when that was seen: control writes the status every 5 s at most.
pub(super) async fn follow(
    client: &Client,
    applied: &[Applied<'_>],
    (begun, patience): (Instant, Duration),
) -> Progress {
    let mut progress = Progress::default();
    let mut followed: Vec<_> = applied.iter().map(Followed::of).collect();
    while followed.iter().any(|one| !one.is_over) {
        let is_last = begun.elapsed() >= patience;
        for one in followed.iter_mut().filter(|one| !one.is_over) {
            one.look(client, begun, &mut progress).await;
        }
        if is_last {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let (mut stragglers, mut unnamed) = (BTreeMap::new(), 0);
    for one in followed.iter().filter(|one| !one.is_over) {
        match &one.status {
            Some(status) => unnamed += left(status, &mut stragglers),
            None => progress.unsettled(one.applied.policy.title(), UNSEEN.to_owned()),
        }
    }
    progress.left(stragglers, unnamed);
    progress.of_policies(followed.iter().map(Followed::counted).collect());
    progress
}

/// A policy on its way into force.
struct Followed<'a> {
    applied: &'a Applied<'a>,
    /// The newest that says the same.
    generation: i64,
    /// Sidecars that were seen to enforce it.
    enforcing: u64,
    /// What control says of it as it is written; none before it does.
    status: Option<Status>,
    /// Nothing more is waited for.
    is_over: bool,
}

impl<'a> Followed<'a> {
    fn of(applied: &'a Applied<'a>) -> Self {
        Self {
            applied,
            generation: applied.generation,
            enforcing: 0,
            status: None,
            is_over: false,
        }
    }

    /// The whole object is read: whoever may apply rules may read them, and seldom their status alone.
    async fn look(&mut self, client: &Client, begun: Instant, progress: &mut Progress) {
        let policy = self.applied.policy;
        let object = match api(client, policy).get(&policy.name).await {
            Ok(object) => object,
            Err(error) => {
                let is_gone = matches!(&error, kube::Error::Api(status) if status.code == 404);
                let why = match (is_gone, list::is_undefined(&error)) {
                    (true, false) => "it was deleted meanwhile: it is not in force".to_owned(),
                    (_, _) => {
                        let why = list::in_words(&error);
                        format!("it is applied, and how far it is cannot be read: {why}")
                    }
                };
                progress.unsettled(policy.title(), why);
                self.is_over = true;
                return;
            }
        };
        if spec(&object) != self.applied.spec {
            progress.unsettled(policy.title(), changed(&object));
            self.is_over = true;
            return;
        }
        // Whoever wrote the same again changed nothing.
        self.generation = object.metadata.generation.unwrap_or(self.generation);
        let status = Status::of(&object);
        match Step::of(&status, self.generation) {
            Step::Unseen => return,
            Step::Invalid(wrong) => {
                let why = format!("it is not in force as it was applied: {wrong}");
                progress.unsettled(policy.title(), why);
                self.is_over = true;
            }
            step @ (Step::Pending | Step::Enforced) => {
                let new = self.enforcing..status.enforcing;
                new.for_each(|_| progress.enforces(begun.elapsed()));
                self.enforcing = self.enforcing.max(status.enforcing);
                self.is_over = step == Step::Enforced;
            }
        }
        self.status = Some(status);
    }

    fn counted(&self) -> OfPolicy {
        let of_status = |field: fn(&Status) -> u64| count(self.status.as_ref().map_or(0, field));
        OfPolicy {
            policy: self.applied.policy.title(),
            proxies: of_status(|status| status.proxies),
            enforcing: count(self.enforcing),
            not_running: of_status(|status| status.not_running),
        }
    }
}

/// What an object says.
pub(super) fn spec(object: &DynamicObject) -> Value {
    object.data.get("spec").cloned().unwrap_or_default()
}

/// What is to be said of an object that says something else by now.
fn changed(object: &DynamicObject) -> String {
    let managers = object.metadata.managed_fields.iter().flatten();
    let of_spec = managers.filter(|one| one.subresource.is_none());
    let last = of_spec.max_by_key(|one| one.time.as_ref().map(|time| time.0));
    let by = last.and_then(|one| one.manager.as_deref());
    format!(
        "it was changed meanwhile (generation {}, by {}): what is in force is not what was applied",
        object.metadata.generation.unwrap_or_default(),
        by.unwrap_or("somebody")
    )
}

/// How far an object is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Control has not looked at it as it is now.
    Unseen,
    /// Control has, and does not take it, for this reason: what sidecars enforce is an older one, or that nobody comes in.
    Invalid(&'a str),
    /// Some sidecars do not enforce it yet.
    Pending,
    /// All do.
    Enforced,
}

impl<'a> Step<'a> {
    pub(super) fn of(status: &'a Status, generation: i64) -> Self {
        if status.observed_generation < Some(generation) {
            return Self::Unseen;
        }
        match status.invalid() {
            Some(wrong) => Self::Invalid(wrong),
            None if status.enforcing >= status.proxies => Self::Enforced,
            None => Self::Pending,
        }
    }
}

fn count(proxies: u64) -> usize {
    usize::try_from(proxies).unwrap_or(usize::MAX)
}

/// Names those who do not enforce it; how many more there are.
fn left(status: &Status, stragglers: &mut BTreeMap<String, String>) -> usize {
    let refusing = status.refusing.iter().map(|name| (name, "it refuses it"));
    let pending = status
        .pending
        .iter()
        .map(|name| (name, "it has not taken it up yet"));
    let named: Vec<_> = refusing.chain(pending).collect();
    let missing = status.proxies.saturating_sub(status.enforcing);
    let unnamed = count(missing).saturating_sub(named.len());
    stragglers.extend(
        named
            .into_iter()
            .map(|(name, why)| (name.clone(), why.to_owned())),
    );
    unnamed
}

const LOOK: Duration = Duration::from_millis(250);
const UNSEEN: &str = "control has not taken it up; see that it runs, and what it logs";
