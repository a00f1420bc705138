//! Callers without an identity, by what the sidecars that they called recorded lately.

pub(super) mod call;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use palisade_api::cluster::{DISABLED, ENABLED, INJECT};
use palisade_api::sidecar;
use palisade_control::audit::{Finding, Looked, look};

use self::call::{Call, Caller, Recorded, Verdict};
use crate::kubernetes::pod;

pub(super) use read::{MINUTES, read};

/// Each caller once for each that it called.
pub(super) fn judge(recorded: &Looked<Recorded>, pods: &Looked<Vec<Pod>>) -> Vec<Finding> {
    let seen = recorded.as_ref().map_or_else(|_why| String::new(), seen);
    let fine = format!("no caller without an identity in {seen}");
    look("callers", recorded, &fine, |recorded| {
        let pods = pods.as_deref().unwrap_or_default();
        let mut findings = told(recorded, pods);
        let more = findings.len().saturating_sub(MOST);
        findings.truncate(MOST);
        if more > 0 {
            let what = format!("{more} more callers without an identity, in {seen}");
            let remedy = "palisade logs -A --denied lists the refused ones";
            findings.push(Finding::warning("callers", "", what, remedy));
        }
        findings.extend(unread(recorded));
        findings
    })
}

fn seen(recorded: &Recorded) -> String {
    let Recorded { read, sidecars, .. } = recorded;
    format!("the last {MINUTES} minutes' records of {read} of {sidecars} sidecars")
}

/// It is no error: what is enforced does not depend on who may read what.
fn unread(recorded: &Recorded) -> Option<Finding> {
    let why = recorded.unread.first()?;
    let what = format!("only {} were read: {why}", seen(recorded));
    let remedy = "ask as somebody who may `get pods/log` there, or again when the nodes answer";
    Some(Finding::warning("callers", "", what, remedy))
}

/// The calls of one caller to the pods that one object made, together.
fn told(recorded: &Recorded, pods: &[Pod]) -> Vec<Finding> {
    let owners: BTreeMap<String, String> = pods.iter().map(owned).collect();
    let by = |key: &str| {
        let owner = owners.get(key).cloned();
        owner.unwrap_or_else(|| format!("Pod {key}"))
    };
    let opted_out: BTreeSet<_> = pods
        .iter()
        .filter(|one| pod::opts_out(one))
        .map(pod::key)
        .collect();
    let mut last: BTreeMap<_, &Call> = BTreeMap::new();
    for call in &recorded.calls {
        let caller = match &call.caller {
            Caller::Workload(key) => by(key),
            Caller::Address(ip) => ip.clone(),
        };
        let of = (by(&call.called), caller, call.port.clone());
        let held = last.entry(of).or_insert(call);
        if held.at < call.at {
            *held = call;
        }
    }
    let each = last.into_iter();
    each.map(|((called, caller, port), call)| {
        let join = |key: &str| match opted_out.contains(key) {
            true => opt_in(&caller),
            false => annotate(key),
        };
        finding(called, &caller, &port, (call, remedy(call, join)))
    })
    .collect()
}

/// `shop/web-0`, and `Deployment shop/web`.
fn owned(one: &Pod) -> (String, String) {
    let (kind, by) = pod::owner(one);
    let namespace = one.metadata.namespace.as_deref().unwrap_or_default();
    (pod::key(one), format!("{kind} {namespace}/{by}"))
}

fn finding(called: String, caller: &str, port: &str, (call, remedy): (&Call, String)) -> Finding {
    let at = call.at.time();
    let at = format!("{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second());
    let verdict = match &call.verdict {
        Verdict::LetIn(Some(rule)) => format!("let in as plaintext, by {rule}"),
        Verdict::LetIn(None) => "let in as plaintext".to_owned(),
        Verdict::Refused => "refused, as it came in plaintext".to_owned(),
    };
    let what = format!("{caller} was {verdict}, at port {port}, last at {at}");
    Finding::warning("callers", called, what, remedy)
}

/// How a pod gets a sidecar.
fn annotate(key: &str) -> String {
    let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
    format!("kubectl annotate namespace {namespace} {INJECT}={ENABLED}, and restart it")
}

/// The same of one that asks for none itself, whatever its namespace asks for.
fn opt_in(owner: &str) -> String {
    if owner.starts_with("Pod ") {
        return format!("make it again without `{INJECT}: {DISABLED}`");
    }
    format!("take `{INJECT}: {DISABLED}` out of the pod template of {owner}, which starts new pods")
}

/// What to do. `mesh` says how a pod gets a sidecar.
fn remedy(call: &Call, mesh: impl Fn(&str) -> String) -> String {
    match (&call.caller, &call.verdict) {
        (Caller::Workload(key), Verdict::Refused) => format!(
            "bring it into the mesh: {}; or let its network in by a rule with an `unauthenticated` source",
            mesh(key)
        ),
        (Caller::Workload(key), Verdict::LetIn(_)) => format!(
            "bring it into the mesh: {}; then remove the `unauthenticated` source, or the annotation {}",
            mesh(key),
            sidecar::MTLS_ANNOTATION
        ),
        (Caller::Address(ip), Verdict::Refused) => {
            let bits = if ip.contains(':') { 128 } else { 32 };
            format!(
                "it is no pod: let it in by a rule with `from: [{{unauthenticated: {{cidr: {ip}/{bits}}}}}]`, or stop it"
            )
        }
        (Caller::Address(_), Verdict::LetIn(_)) => {
            "it is no pod: see that the rule's `unauthenticated` source is no wider than it must be"
                .into()
        }
    }
}

/// Whoever has more callers than this has one cause for most of them.
const MOST: usize = 20;
