//! A cluster: its rules are objects, and what its sidecars enforce stands in their status.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use palisade_api::cluster::{CLUSTER_POLICIES, GROUP, POLICIES, VERSION};
use palisade_api::manifest;
use palisade_api::policy::AuthorizationPolicy;
use palisade_control::audit::rules::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::heard::{Heard, hearing};
use super::progress::OfPolicy;
use super::{Change, Done, Progress, Put, Unapplied, Wait, Warning};
use crate::args::MeshArgs;
use crate::kubernetes::{client, definitions, list};

/// Tries all objects without effect first, then applies them, and waits.
pub(super) async fn put(mesh: &MeshArgs, change: &Change, wait: Wait) -> anyhow::Result<Done> {
    let (client, mut heard) = hearing(client::client(&mesh.kube).await?);
    let trial = apply_all(&client, &mut heard, change, true).await;
    if let Some(refused) = trial.refused {
        bail!("{refused}; nothing was applied");
    }
    let mut warnings = trial.warnings;
    let Tried {
        applied,
        refused,
        warnings: again,
    } = apply_all(&client, &mut heard, change, false).await;
    // Most were told of the trial, too.
    let new = again.into_iter().filter(|one| !warnings.contains(one));
    let new: Vec<_> = new.collect();
    warnings.extend(new);
    let begun = Instant::now();
    let (unapplied, progress) = match (refused, wait.patience) {
        (Some(ApplyError::Refused(why)), _) if applied.is_empty() => {
            bail!("{why}; nothing was applied")
        }
        (Some(why), _) if applied.is_empty() => return Err(why.into()),
        (Some(why), _) => (left_out(change, applied.len(), &why), None),
        (None, Some(patience)) => {
            let progress = follow(&client, &applied, (begun, patience)).await;
            (Vec::new(), Some(progress))
        }
        (None, None) => (Vec::new(), None),
    };
    let put = applied.iter().map(|one| Put {
        policy: one.policy.title(),
        place: format!("generation {}", one.generation),
    });
    Ok(Done {
        put: put.collect(),
        unapplied,
        progress,
        warnings,
    })
}

/// The policies behind those that were applied, the first of them with why.
fn left_out(change: &Change, applied: usize, why: &ApplyError) -> Vec<Unapplied> {
    let left = change.policies.iter().skip(applied).enumerate();
    let left = left.map(|(index, policy)| Unapplied {
        policy: policy.title(),
        why: (index == 0).then(|| why.to_string()),
    });
    left.collect()
}

/// A policy, and its object.
#[derive(Debug)]
struct Applied<'a> {
    policy: &'a AuthorizationPolicy,
    /// Which generation of the object says it.
    generation: i64,
    /// As the API server keeps it.
    spec: Value,
}

/// What came of several, one after the other: up to the first that is refused.
#[derive(Debug, Default)]
struct Tried<'a> {
    applied: Vec<Applied<'a>>,
    refused: Option<ApplyError>,
    warnings: Vec<Warning>,
}

/// Why an object is not applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("{0}")]
    Refused(String),
    /// The answer is missing.
    #[error("{policy} may or may not be applied: {why}")]
    Unknown { policy: String, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

async fn apply_all<'a>(
    client: &Client,
    heard: &mut Heard,
    change: &'a Change,
    dry: bool,
) -> Tried<'a> {
    let mut tried = Tried::default();
    for policy in &change.policies {
        let object = match apply(client, policy, change, dry).await {
            Ok(object) => object,
            Err(why) => {
                tried.refused = Some(why);
                break;
            }
        };
        tried.applied.push(Applied {
            policy,
            generation: object.metadata.generation.unwrap_or_default(),
            spec: spec(&object),
        });
        let of_it = heard.take().into_iter().map(|message| Warning::OfObject {
            object: policy.title(),
            message,
        });
        tried.warnings.extend(of_it);
    }
    tried
}

/// The API's way to a policy.
fn api(client: &Client, policy: &AuthorizationPolicy) -> Api<DynamicObject> {
    let resource = |kind, plural| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural)
    };
    match &policy.namespace {
        Some(namespace) => {
            let resource = resource("AuthorizationPolicy", POLICIES);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        None => {
            let resource = resource("ClusterAuthorizationPolicy", CLUSTER_POLICIES);
            Api::all_with(client.clone(), &resource)
        }
    }
}

async fn apply(
    client: &Client,
    policy: &AuthorizationPolicy,
    change: &Change,
    dry: bool,
) -> Result<DynamicObject, ApplyError> {
    let text = manifest::print(policy);
    let mut object: Value =
        serde_saphyr::from_str(&text).context("the policy cannot be written")?;
    if let Some(metadata) = object.pointer_mut("/metadata") {
        if let Some(label) = change.label {
            metadata["labels"] = json!({label: "true"});
        }
        if dry {
            // Of what changes nothing the API server asks no webhook, and nobody would be warned again. It is never kept.
            metadata["annotations"] = json!({TRIAL: "true"});
        }
    }
    let params = PatchParams {
        dry_run: dry,
        force: change.force,
        ..PatchParams::apply(MANAGER)
    };
    let applied = api(client, policy)
        .patch(&policy.name, &params, &Patch::Apply(object))
        .await;
    let undefined = match &applied {
        Err(error) if list::is_undefined(error) => Some(undefined(client, policy).await),
        Ok(_) | Err(_) => None,
    };
    applied.map_err(|error| {
        let code = if let kube::Error::Api(status) = &error {
            Some(status.code)
        } else {
            None
        };
        let policy = policy.title();
        let why = undefined.unwrap_or_else(|| list::in_words(&error));
        if !dry && code.is_none_or(|code| code >= 500) {
            return ApplyError::Unknown { policy, why };
        }
        let hint = match (code, change.label) {
            (Some(409), None) => "; --force-conflicts takes these fields over",
            // What an emergency needs names no flag.
            (Some(409), Some(_)) => {
                "; somebody has edited it since: `kubectl delete` it, or edit it yourself"
            }
            _ => "",
        };
        ApplyError::Refused(format!("{policy} is refused: {why}{hint}"))
    })
}

/// Why the API server knows no such kind.
async fn undefined(client: &Client, policy: &AuthorizationPolicy) -> String {
    let plural = match policy.namespace {
        Some(_) => POLICIES,
        None => CLUSTER_POLICIES,
    };
    let missing = definitions::missing(client, &format!("{plural}.{GROUP}")).await;
    missing.unwrap_or_else(|| NO_MESH.to_owned())
}

/// Looks at the status of all until every sidecar enforces each policy as it is written, or patience ends. How long one took
/// is when that was seen: control writes the status every 5 s at most.
async fn follow(
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
                let why = list::in_words(&error);
                let why = format!("it is applied, and how far it is cannot be read: {why}");
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

fn spec(object: &DynamicObject) -> Value {
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
enum Step<'a> {
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
    fn of(status: &'a Status, generation: i64) -> Self {
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

/// Who manages the fields that are applied.
const MANAGER: &str = "palisade";
/// An annotation of what is only tried.
const TRIAL: &str = "palisade.dev/trial";
const LOOK: Duration = Duration::from_millis(250);
const NO_MESH: &str = "the cluster has no definition of such rules, as no mesh is installed there; first \
                       `palisade install --mesh-cidr PODS,SERVICES | kubectl apply -f -`";
const UNSEEN: &str = "control has not taken it up; see that it runs, and what it logs";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes;
    use crate::kubernetes::served::Server;

    fn status(observed: i64, enforcing: u64, reason: &str) -> Status {
        let status = json!({
            "observedGeneration": observed,
            "proxies": 2,
            "enforcing": enforcing,
            "conditions": [{"type": "Ready", "reason": reason, "message": "spec.rules: why"}],
        });
        let mut object = DynamicObject::new("orders", &resource());
        object.data = json!({"status": status});
        Status::of(&object)
    }

    fn resource() -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(
            GROUP,
            VERSION,
            "AuthorizationPolicy",
        ))
    }

    #[test]
    fn a_cluster_without_a_mesh_is_told_from_one_without_the_namespace() {
        let path = "/apis/palisade.dev/v1alpha1/namespaces/shop/authorizationpolicies/orders";
        let said = |server: Server| {
            let rules = "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: orders, \
                         namespace: shop}\nspec: {rules: [{name: a, effect: allow, from: [{namespace: shop}]}]}\n";
            let read = manifest::parse("orders.yaml", rules).unwrap();
            let change = Change {
                policies: read
                    .iter()
                    .filter_map(|one| one.policy().cloned())
                    .collect(),
                ..Change::default()
            };
            let mesh = server.mesh(Some("shop"));
            let wait = Wait { patience: None };
            let put = kubernetes::complete(put(&mesh, &change, wait));
            put.err().unwrap().to_string()
        };
        let control = "/apis/apps/v1/namespaces/palisade-system/deployments/palisade-control";
        let undefined = || Server::start().knows_nothing_of(path);
        let none = said(undefined().has_none_named(control, "palisade-control"));
        assert!(none.contains("no mesh is installed"), "{none}");
        assert!(none.contains("palisade install --mesh-cidr"), "{none}");
        assert!(none.ends_with("; nothing was applied"), "{none}");
        let gone = "the definition authorizationpolicies.palisade.dev is missing: rules that are in force are listed";
        let deleted = said(undefined().has(control, json!({"metadata": {}})));
        assert!(deleted.contains(gone), "{deleted}");
        assert!(!deleted.contains("no mesh"), "{deleted}");
        // Who may not see whether one is there is not told that none is.
        let unknown = said(undefined());
        assert!(
            unknown.contains("whether a mesh is installed cannot be told"),
            "{unknown}"
        );
        let elsewhere = said(Server::start().has_none_named(path, "shop"));
        assert!(!elsewhere.contains("install"), "{elsewhere}");
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_not_taken_for_it() {
        let rules = "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: orders, \
                     namespace: shop}\nspec: {rules: [{name: a, effect: allow, from: [{namespace: shop}]}]}\n";
        let read = manifest::parse("orders.yaml", rules).unwrap();
        let policy = read[0].policy().unwrap();
        let path = "/apis/palisade.dev/v1alpha1/namespaces/shop/authorizationpolicies/orders";
        let followed = |spec: Value| {
            let server = Server::start().has(
                path,
                json!({
                    "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "AuthorizationPolicy",
                    "metadata": {"name": "orders", "namespace": "shop", "generation": 6, "managedFields": [
                        {"manager": "palisade", "operation": "Apply", "time": "2026-11-22T10:00:00Z"},
                        {"manager": "control", "operation": "Update", "time": "2026-11-22T10:00:09Z", "subresource": "status"},
                        {"manager": "kubectl-patch", "operation": "Update", "time": "2026-11-22T10:00:05Z"},
                    ]},
                    "spec": spec,
                    "status": {"observedGeneration": 6, "proxies": 2, "enforcing": 2},
                }),
            );
            let applied = [Applied {
                policy,
                generation: 5,
                spec: json!({"rules": ["mine"]}),
            }];
            kubernetes::complete(async {
                let client = client::client(&server.args()).await?;
                let wait = (Instant::now(), Duration::from_secs(5));
                Ok(follow(&client, &applied, wait).await)
            })
            .unwrap()
        };
        let theirs = followed(json!({"rules": ["theirs"]}));
        assert!(!theirs.is_done());
        let told = theirs.lines().join("\n");
        let expected = "changed meanwhile (generation 6, by kubectl-patch)";
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("enforced by"), "{told}");
        // The same, written again.
        let same = followed(json!({"rules": ["mine"]}));
        assert!(same.is_done(), "{:?}", same.lines());
    }

    #[test]
    fn what_control_does_not_take_is_not_in_force_however_many_enforce_what_was_before() {
        for (observed, enforcing, reason, expected) in [
            (1, 2, "Enforced", Step::Unseen),
            // What it says of an older one is not said of this one.
            (1, 2, "Invalid", Step::Unseen),
            (2, 2, "Invalid", Step::Invalid("spec.rules: why")),
            (2, 0, "Invalid", Step::Invalid("spec.rules: why")),
            (2, 1, "Pending", Step::Pending),
            (2, 2, "Enforced", Step::Enforced),
            (3, 2, "Enforced", Step::Enforced),
        ] {
            let status = status(observed, enforcing, reason);
            assert_eq!(
                Step::of(&status, 2),
                expected,
                "{observed} {enforcing} {reason}"
            );
        }
    }
}
