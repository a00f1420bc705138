//! Istio's `AuthorizationPolicy` and `PeerAuthentication`.
//!
//! What a policy means depends on three things beside it: on whether its workloads take callers without an identity
//! ([`peer`]), on the trust domains that other policies let in ([`foreign`]), and on whether all the denials over its
//! workloads could be converted too.

mod foreign;
mod peer;
mod policy;
mod principal;
mod rule;
mod source;

use std::collections::BTreeMap;

use palisade_api::policy::Effect;

use super::read::{self, Object, Reasons};
use super::{Converted, File, Reason, Refusal, Settings, passed_over};
use peer::Peers;
use policy::Policy;

/// Converts what the files hold.
pub(crate) fn convert(files: &[File], settings: &Settings) -> Converted {
    let mut converted = Converted::default();
    let mut kinds = BTreeMap::new();
    let (mut policies, mut peers) = (Vec::new(), Vec::new());
    let objects = files
        .iter()
        .flat_map(|file| read::objects(&file.name, &file.documents, settings.namespace.as_deref()));
    let objects: Vec<_> = objects.map(|one| one.or_of(GROUP, &KINDS)).collect();
    let rules = objects.iter().filter(|object| is_policy(object));
    let foreign = foreign::named(rules, &settings.domains);
    for object in &objects {
        if is_policy(object) {
            policies.push(Policy::read(object, settings, &foreign));
        } else if object.is(GROUP, "PeerAuthentication") {
            peers.push(peer::Peer::read(object));
        } else if object.group == GROUP {
            converted.refused.push(of_requests(object));
        } else {
            *kinds.entry(object.shown_kind()).or_insert(0_usize) += 1;
        }
    }
    refuse_twice(&mut policies);
    refuse_uncovered(&mut policies);
    let peers = Peers::new(peers, &settings.mesh_namespace);
    peers.convert(&policies, &mut converted);
    let mut is_everyone = false;
    for policy in policies {
        is_everyone |= policy.convert(&peers, &mut converted);
    }
    if is_everyone {
        converted.note_everyone(settings);
    }
    if !converted.policies.is_empty() && !foreign.is_empty() {
        converted.note_all(&foreign::note(&foreign));
    }
    if !converted.policies.is_empty() {
        let text = "Istio leaves a workload open to all that no ALLOW policy selects; Palisade closes every workload of \
                    the mesh to what no rule allows. Until rules are written for the others, the annotation \
                    palisade.dev/authorization: shadow keeps a namespace open";
        converted.note_all(text);
    }
    converted.notes.extend(passed_over(&kinds));
    converted.in_order()
}

fn is_policy(object: &Object<'_>) -> bool {
    object.is(GROUP, "AuthorizationPolicy")
}

/// `RequestAuthentication`, and whatever else the group comes to hold.
fn of_requests(object: &Object<'_>) -> Refusal {
    let mut reasons = Reasons::default();
    let (reason, remedy) = match object.kind.as_str() {
        "RequestAuthentication" => (
            "it is about tokens in HTTP requests, and Palisade authorizes connections",
            "keep it in the application or a gateway",
        ),
        _ => ("this kind is not known", "write its rules by hand"),
    };
    reasons.refuse::<()>(object.root(), reason, remedy);
    Refusal {
        of: object.origin.clone(),
        reasons: reasons.0,
    }
}

/// Of two objects of one name only the one that was applied last counts, which the files do not say.
fn refuse_twice(policies: &mut [Policy]) {
    let mut seen: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, policy) in policies.iter().enumerate() {
        if let Some(name) = &policy.name {
            let place = (policy.scope.namespace.clone(), name.clone());
            seen.entry(place).or_default().push(index);
        }
    }
    for indices in seen.into_values().filter(|indices| indices.len() > 1) {
        for index in indices {
            if let Some(policy) = policies.get_mut(index) {
                policy.refuse(
                    "another object has its namespace and name",
                    "keep one of them",
                );
            }
        }
    }
}

/// An allowance would let in what a denial keeps out, if that one is not converted.
fn refuse_uncovered(policies: &mut [Policy]) {
    let refused: Vec<_> = policies
        .iter()
        .filter(|policy| policy.can_deny && !policy.reasons.0.is_empty())
        .map(|policy| (policy.scope.clone(), policy.origin.clone()))
        .collect();
    for policy in policies
        .iter_mut()
        .filter(|policy| policy.acts(Effect::Allow) && policy.reasons.0.is_empty())
    {
        let over = refused.iter().find(|(scope, _)| scope.meets(&policy.scope));
        if let Some((_, denial)) = over {
            let reason = format!(
                "it allows what {} ({}:{}) denies, which was refused",
                denial.object, denial.file, denial.line
            );
            policy.refuse(
                &reason,
                "convert the two by hand, or remove the denial from the files if it is enforced elsewhere",
            );
        }
    }
}

impl Policy {
    /// Refuses the object as a whole.
    fn refuse(&mut self, reason: &str, remedy: &str) {
        self.reasons.0.push(Reason {
            line: self.origin.line,
            field: String::new(),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

pub(super) const GROUP: &str = "security.istio.io";
/// Those that say who may reach whom.
const KINDS: [&str; 2] = ["AuthorizationPolicy", "PeerAuthentication"];
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
