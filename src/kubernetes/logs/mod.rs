//! `palisade logs` on a cluster: the records of all sidecars that are meant, merged in time.

mod follow;
mod merge;
mod read;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use time::OffsetDateTime;

use super::client::{self, Scope};
use super::{list, namespace, pod, warn};
use crate::args::LogsArgs;
use crate::records::filter::Replica;
use crate::records::print::Printer;

/// Prints the records.
pub(crate) async fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let client = client::client(&args.mesh.kube).await?;
    let asked = Asked::new(args, client.default_namespace());
    let mut warned = Warned::default();
    let pods = pods(&client, &asked, &mut warned).await?;
    let printer = Printer::new(args, asked.since());
    let skipped = if args.follow {
        follow::follow(&client, &asked, pods, printer, warned).await?
    } else {
        merge::merge(&client, &asked, &pods, printer, &mut warned).await?
    };
    if args.verbose {
        warn(&format!(
            "{skipped} lines of the sidecars are no records, and were left out"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose records are asked for, and from when on.
#[derive(Debug)]
struct Asked {
    scope: Scope,
    workload: Option<Replica>,
    age: Option<Duration>,
    most_pods: Option<usize>,
}

impl Asked {
    fn new(args: &LogsArgs, default_namespace: &str) -> Self {
        let mut scope = args
            .mesh
            .scope
            .or(Scope::Namespace(default_namespace.to_owned()));
        // A workload that is named with its namespace is looked for there.
        if let Some(namespace) = args
            .workload
            .as_ref()
            .and_then(|named| named.namespace.clone())
        {
            scope = Scope::Namespace(namespace);
        }
        Self {
            scope,
            // The other side of a connection is another workload's.
            workload: args.workload.clone().filter(|_| !args.pair),
            age: args.since.or_else(|| (!args.all).then_some(DEFAULT_AGE)),
            most_pods: (!args.all).then_some(MOST_PODS),
        }
    }

    fn since(&self) -> Option<OffsetDateTime> {
        let age = time::Duration::try_from(self.age?).ok()?;
        OffsetDateTime::now_utc().checked_sub(age)
    }
}

/// The meshed pods that are meant; those that started last, where there are too many.
async fn pods(client: &Client, asked: &Asked, warned: &mut Warned) -> anyhow::Result<Vec<Pod>> {
    let listed = list::list::<Pod>(client, &asked.scope).await;
    let listed = listed.map_err(|error| {
        let why = namespace::refused(client, &asked.scope, &error);
        anyhow::anyhow!("cannot list pods: {why}")
    })?;
    for namespace in &listed.unreadable {
        warned.once(&format!(
            "you may not list the pods of {namespace}; it is left out"
        ));
    }
    let (mut pods, left_out) = choose(listed.items, asked);
    if pods.is_empty() {
        let whose = match (&asked.workload, &asked.scope) {
            (Some(named), _) => format!("{} has", named.name),
            (None, Scope::Namespace(namespace)) => format!("the namespace {namespace} has"),
            (None, Scope::All) => "the namespaces that you may read have".into(),
        };
        bail!("{whose} no meshed pod; see `palisade ps`, or look elsewhere with -n or -A");
    }
    if left_out > 0 {
        warned.once(&format!(
            "{left_out} more pods are not read; name a workload, or add --all"
        ));
    }
    pods.sort_by_key(pod::key);
    Ok(pods)
}

fn choose(pods: Vec<Pod>, asked: &Asked) -> (Vec<Pod>, usize) {
    let mut pods: Vec<Pod> = pods
        .into_iter()
        .filter(|one| pod::sidecar(one).is_some())
        .filter(|one| {
            asked
                .workload
                .as_ref()
                .is_none_or(|named| pod::is_named(one, named))
        })
        .collect();
    let most = asked.most_pods.unwrap_or(usize::MAX);
    let left_out = pods.len().saturating_sub(most);
    pods.sort_by_key(|one| std::cmp::Reverse(one.creation_timestamp()));
    pods.truncate(most);
    (pods, left_out)
}

/// Warnings that are said once only, however often their cause is met.
#[derive(Debug, Default)]
struct Warned(BTreeSet<String>);

impl Warned {
    fn once(&mut self, text: &str) {
        if self.0.insert(text.to_owned()) {
            warn(text);
        }
    }

    /// A pod's log that cannot be read costs its records: those of its namespace where rights are missing.
    fn unreadable(&mut self, key: &str, error: &kube::Error) {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        if list::is_forbidden(error) {
            self.once(&format!(
                "you may not read the logs of {namespace}; it is left out"
            ));
        } else {
            self.once(&format!(
                "cannot read the log of {key}: {}",
                list::in_words(error)
            ));
        }
    }
}

const DEFAULT_AGE: Duration = Duration::from_secs(600);
const MOST_PODS: usize = 50;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(number: usize, meshed: bool) -> Pod {
        let sidecar = json!({"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"});
        let sidecars = if meshed { json!([sidecar]) } else { json!([]) };
        serde_json::from_value(json!({
            "metadata": {
                "namespace": "shop", "name": format!("web-{number}"),
                "creationTimestamp": format!("2026-11-21T12:{number:02}:00Z"),
            },
            "spec": {"containers": [], "initContainers": sidecars},
        }))
        .unwrap()
    }

    #[test]
    fn the_newest_meshed_pods_are_read_and_the_others_counted() {
        let pods: Vec<Pod> = (0..6).map(|number| pod(number, number != 5)).collect();
        let mut asked = Asked {
            scope: Scope::All,
            workload: None,
            age: None,
            most_pods: Some(3),
        };
        let names = |pods: &[Pod]| pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        let (chosen, left_out) = choose(pods.clone(), &asked);
        assert_eq!(names(&chosen), ["web-4", "web-3", "web-2"]);
        assert_eq!(left_out, 2);
        asked.most_pods = None;
        assert_eq!(choose(pods.clone(), &asked).0.len(), 5);
        asked.workload = "shop/web-1".parse().ok();
        assert_eq!(names(&choose(pods, &asked).0), ["web-1"]);
    }
}
