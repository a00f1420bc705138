//! What one sidecar enforces, asked on its own page `/decide`: on this machine from inside its pod, on a cluster through
//! the API server.

use std::process::Stdio;

use anyhow::{Context, bail};
use kube::Api;
use palisade_api::policy::{Effect, RuleName};
use palisade_api::sidecar::ADMIN_PORT;
use palisade_api::spiffe::SpiffeId;
use serde::Deserialize;
use time::OffsetDateTime;

use super::{AsWritten, Explained, InShadow, Near, Placed, placed};
use crate::args::MeshArgs;
use crate::kubernetes::meant::{Meant, meant};
use crate::kubernetes::{self, forward};
use crate::near::near;
use crate::policy::revoked::REVOKED;
use crate::policy::rules::{Rules, Workload};
use crate::policy::subject::{self, Caller};
use crate::records::filter::Replica;
use crate::up::stage;

/// What the page says.
#[derive(Debug, Deserialize)]
struct Decided {
    revision: u64,
    decision: String,
    reason: String,
    rule: Option<String>,
    near_miss: Option<Missed>,
    shadow: Option<Shadowed>,
}

#[derive(Debug, Deserialize)]
struct Missed {
    rule: String,
    differs: String,
}

#[derive(Debug, Deserialize)]
struct Shadowed {
    would: String,
    rule: String,
}

/// Whose sidecar is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    replica: Replica,
    /// Of how many it is one, where their workload was named.
    of: Option<usize>,
}

/// The replica of that name, or the first of the workload of that name; of what is not known, what was asked for.
///
/// # Errors
///
/// Where it has no sidecar, is in several namespaces, or is known not to be there.
pub(super) fn choose(rules: &Rules, mesh: &MeshArgs, asked: &Replica) -> anyhow::Result<Chosen> {
    let namespace = asked.namespace.as_ref().or(mesh.scope.namespace.as_ref());
    let of = |one: &&Workload| namespace.is_none_or(|it| *it == one.namespace);
    let known: Vec<_> = rules.known.workloads.iter().filter(of).collect();
    let by_replica = known
        .iter()
        .filter(|one| one.replicas.contains(&asked.name));
    let exact: Vec<_> = by_replica.map(|one| (*one, &asked.name)).collect();
    let is_exact = !exact.is_empty();
    let named = known.iter().filter(|one| one.name == asked.name);
    let mut found = match is_exact {
        true => exact,
        false => named
            .flat_map(|one| one.replicas.iter().map(|name| (*one, name)))
            .collect(),
    };
    if let Some((one, _)) = found.first()
        && found.iter().all(|(one, _)| !one.meshed)
    {
        bail!(
            "{}/{} has no sidecar: nothing enforces rules there",
            one.namespace,
            asked.name
        );
    }
    found.retain(|(one, _)| one.meshed);
    found.sort_by_key(|(one, name)| (&one.namespace, *name));
    let Some((first, name)) = found.first() else {
        if rules.known.has_all_pods(namespace.map(String::as_str)) {
            bail!(nobody(asked, &known));
        }
        return Ok(Chosen {
            replica: asked.clone(),
            of: None,
        });
    };
    if let Some((other, _)) = found
        .iter()
        .find(|(one, _)| one.namespace != first.namespace)
    {
        let (one, other, name) = (&first.namespace, &other.namespace, &asked.name);
        bail!("{name} is in {one} and in {other}; write {one}/{name}");
    }
    Ok(Chosen {
        replica: Replica {
            namespace: Some(first.namespace.clone()),
            name: (*name).clone(),
        },
        of: (!is_exact).then_some(found.len()),
    })
}

/// That it is not there, and who is near by name.
fn nobody(asked: &Replica, known: &[&Workload]) -> String {
    let names = known.iter().flat_map(|one| {
        let names = one.replicas.iter().chain([&one.name]);
        names.map(|name| match asked.namespace {
            Some(_) => format!("{}/{name}", one.namespace),
            None => name.clone(),
        })
    });
    let asked = asked.to_string();
    match near(&asked, names) {
        Some(near) => format!("there is no workload or replica {asked}; did you mean {near}?"),
        None => {
            format!("there is no workload or replica {asked}; `palisade ps` lists who there is")
        }
    }
}

/// Asks the sidecar of a replica. `rules` say where a rule is written that it names.
pub(super) fn ask(
    rules: &Rules,
    mesh: &MeshArgs,
    chosen: &Chosen,
    (caller, port): (&Caller, u16),
    now: OffsetDateTime,
) -> anyhow::Result<Explained> {
    let replica = &chosen.replica;
    let source = match caller {
        Caller::Identity(id) => id.to_string(),
        Caller::Address(addr) => addr.to_string(),
    };
    let page = format!("/decide?source={source}&port={port}");
    let text = match meant(mesh)? {
        Meant::Local => local(mesh.name.as_deref(), replica, &page)?,
        Meant::Cluster => kubernetes::complete(cluster(mesh, replica, &page))?,
    };
    let decided = serde_json::from_str(&text);
    let decided: Decided = decided.context("the sidecar's answer is of another version")?;
    let explained = explained(rules, decided, chosen, (caller, port));
    let explained = refused(rules, explained, replica, caller);
    Ok(held_to_the_written(
        rules,
        explained,
        (caller, replica, port),
        now,
    ))
}

/// Where the sidecar decides otherwise than the rules as they are written, or by other rules, it enforces what they were, or
/// are to be: then their sentences are none of what it enforces.
fn held_to_the_written(
    rules: &Rules,
    mut answer: Explained,
    (caller, replica, port): (&Caller, &Replica, u16),
    now: OffsetDateTime,
) -> Explained {
    let Some(workload) = workload(rules, replica) else {
        return answer;
    };
    let called = subject::of(workload, &subject::selected_labels(rules));
    let written = super::explain(rules, &rules.compiled(), (caller, &called, port), now);
    let is_of_rules = |one: &Explained| one.reason != REVOKED && !one.excluded;
    let is_known = rules.reach(&called.namespace).is_ok();
    if !is_known
        || !is_of_rules(&answer)
        || !is_of_rules(&written)
        || meaning(&answer) == meaning(&written)
    {
        return answer;
    }
    let said = [
        answer.rule.as_mut(),
        answer.near_miss.as_mut().map(|near| &mut near.rule),
        answer.shadow.as_mut().map(|shadow| &mut shadow.rule),
    ];
    for rule in said.into_iter().flatten() {
        rule.says.clear();
    }
    answer.as_written = Some(AsWritten {
        decision: written.decision,
        reason: written.reason,
        rule: written.rule.map(|rule| rule.name),
    });
    answer
}

/// What two answers have in common that say the same: decision, rule, nearest rule, and rule in shadow.
fn meaning(answer: &Explained) -> [Option<&str>; 6] {
    let (rule, near, shadow) = (&answer.rule, &answer.near_miss, &answer.shadow);
    [
        Some(&answer.decision),
        rule.as_ref().map(|rule| &*rule.name),
        near.as_ref().map(|near| &*near.rule.name),
        near.as_ref().map(|near| &*near.differs),
        shadow.as_ref().map(|shadow| &*shadow.rule.name),
        shadow.as_ref().map(|shadow| &*shadow.would),
    ]
}

/// The workload of a replica, where it is known.
fn workload<'a>(rules: &'a Rules, replica: &Replica) -> Option<&'a Workload> {
    let mut known = rules.known.workloads.iter();
    known.find(|one| {
        Some(&one.namespace) == replica.namespace.as_ref() && one.replicas.contains(&replica.name)
    })
}

/// Says who is revoked, where that is why. The called one's own revocation it is not asked about: that is held to by its
/// callers' sidecars, and it is not told of it.
fn refused(rules: &Rules, explained: Explained, replica: &Replica, caller: &Caller) -> Explained {
    let Caller::Identity(from) = caller else {
        return explained;
    };
    let is_revoked = |id: &SpiffeId| rules.revoked.has(id);
    // Where only what is written revokes the caller, that is not in force there yet.
    let from = Some(from.clone()).filter(|_| explained.reason == REVOKED);
    let ends = [identity(rules, replica), from].into_iter().flatten();
    let Some(id) = { ends }.find(is_revoked) else {
        return explained;
    };
    Explained {
        revision: None,
        decision: Effect::Deny.as_str().to_owned(),
        reason: REVOKED.to_owned(),
        revoked: Some(rules.revoked.refused(&id)),
        rule: None,
        near_miss: None,
        shadow: None,
        ..explained
    }
}

/// Whom the callers of a replica expect there, where it is known.
fn identity(rules: &Rules, replica: &Replica) -> Option<SpiffeId> {
    let workload = workload(rules, replica)?;
    let (namespace, account) = (&workload.namespace, &workload.service_account);
    SpiffeId::of_service_account(&rules.trust_domain, namespace, account).ok()
}

fn explained(
    rules: &Rules,
    decided: Decided,
    chosen: &Chosen,
    (caller, port): (&Caller, u16),
) -> Explained {
    let place = |name: &str| match name_of(rules, name) {
        Some(known) => placed(rules, known),
        // Written no more, and still enforced.
        None => Placed {
            name: name.to_owned(),
            place: match rules.unknown.iter().any(|one| one.may_have(name)) {
                true => "of an earlier version: as it is written now, it has mistakes",
                false => "no longer in the rules as they are written",
            }
            .to_owned(),
            says: String::new(),
        },
    };
    let excluded =
        workload(rules, &chosen.replica).is_some_and(|one| one.excluded_ports.contains(&port));
    Explained {
        from: caller.to_string(),
        source: caller.kind(),
        presumed: false,
        to: chosen.replica.to_string(),
        labels: Default::default(),
        port,
        proxy: Some(chosen.replica.to_string()),
        replicas: chosen.of,
        // Where no rule was asked, there is none.
        revision: Some(decided.revision).filter(|revision| *revision > 0),
        enforced: Some(!excluded),
        without_sidecar: Vec::new(),
        excluded,
        decision: decided.decision,
        reason: decided.reason,
        // The page says no more of it than the reason.
        revoked: None,
        rule: decided.rule.as_deref().map(place),
        near_miss: decided.near_miss.map(|near| Near {
            rule: place(&near.rule),
            differs: near.differs,
        }),
        shadow: decided.shadow.map(|shadow| InShadow {
            rule: place(&shadow.rule),
            would: shadow.would,
        }),
        as_written: None,
        recorded: None,
    }
}

fn name_of<'a>(rules: &'a Rules, name: &str) -> Option<&'a RuleName> {
    rules.places.keys().find(|known| known.to_string() == name)
}

/// By this program again, inside of the pod.
fn local(name: Option<&str>, replica: &Replica, page: &str) -> anyhow::Result<String> {
    let url = format!("http://127.0.0.1:{ADMIN_PORT}{page}");
    let replica = replica.to_string();
    let mut arguments = vec!["exec", &replica];
    if let Some(name) = name {
        arguments.extend(["--name", name]);
    }
    // There, this is still the file of this program, wherever the pod sees its own files.
    arguments.extend(["--", "/proc/self/exe", "demo", "get", &url]);
    let asked = stage::program(&arguments).stdin(Stdio::null()).output()?;
    if !asked.status.success() {
        let why = String::from_utf8_lossy(&asked.stderr);
        bail!(
            "the sidecar of {replica} does not answer: {}",
            why.trim().trim_start_matches("error: ")
        );
    }
    String::from_utf8(asked.stdout).context("the sidecar's answer is no text")
}

async fn cluster(mesh: &MeshArgs, replica: &Replica, page: &str) -> anyhow::Result<String> {
    let client = kubernetes::client::client(&mesh.kube).await?;
    let namespace = match (&replica.namespace, &mesh.scope.namespace) {
        (Some(namespace), _) | (None, Some(namespace)) => namespace.clone(),
        (None, None) => client.default_namespace().to_owned(),
    };
    let pods = Api::namespaced(client, &namespace);
    forward::get(&pods, &replica.name, ADMIN_PORT, page).await
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::policy::explain::print;
    use crate::policy::rules::sample;

    const WRITTEN: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules: [{name: web, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080, 8093]}]
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-0, namespace: shop}
spec: {serviceAccount: orders, addresses: [10.0.0.1]}
";

    /// What a sidecar's answer is held to.
    fn held(decided: serde_json::Value, port: u16) -> Explained {
        let rules = sample::rules(WRITTEN);
        let caller = Caller::Identity("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap());
        let chosen = Chosen {
            replica: "shop/orders-0".parse().unwrap(),
            of: None,
        };
        let decided = serde_json::from_value(decided).unwrap();
        let answer = explained(&rules, decided, &chosen, (&caller, port));
        let now = datetime!(2026-11-22 03:00 UTC);
        held_to_the_written(&rules, answer, (&caller, &chosen.replica, port), now)
    }

    #[test]
    fn a_rule_that_was_changed_since_is_not_told_by_the_sentence_of_the_new_one() {
        let behind = serde_json::json!({"revision": 3, "decision": "deny", "reason": "no_rule",
            "near_miss": {"rule": "shop/orders/web", "differs": "ports"}});
        let answer = held(behind.clone(), 8093);
        let text = anstream::adapter::strip_str(&print::answers(&[answer])).to_string();
        assert!(text.contains("nearest: shop/orders/web"), "{text}");
        assert!(!text.contains("8080 and 8093"), "{text}");
        let told = "as the rules are written it would be allowed, by shop/orders/web: the sidecar does not enforce that";
        assert!(text.contains(told), "{text}");
        // What is enforced as it is written is told as ever.
        let same = held(behind, 9000);
        assert_eq!(same.as_written, None);
        assert!(!same.near_miss.unwrap().rule.says.is_empty());
    }

    #[test]
    fn what_no_rule_decides_is_held_to_none() {
        let revoked = serde_json::json!({"revision": 3, "decision": "deny", "reason": "revoked"});
        assert_eq!(held(revoked, 8080).as_written, None);
    }
}
