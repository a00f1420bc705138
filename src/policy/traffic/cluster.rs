//! Records of a cluster's sidecars, as its nodes keep them: bounded in sidecars, bytes and time.

use std::time::Duration;

use anyhow::anyhow;
use futures_util::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt};
use palisade_api::cluster::PROXY_CONTAINER;
use tokio::time::timeout;

use super::read::{self, Skipped, Take};
use crate::args::MeshArgs;
use crate::kubernetes::{self, client, list, namespace, pod};

/// Reads the records of the youngest sidecars of the namespaces that are meant, all unless one was named; says what
/// was left out.
pub(super) fn read(
    mesh: &MeshArgs,
    since: Option<Duration>,
    take: &mut Take<'_>,
) -> anyhow::Result<Vec<String>> {
    kubernetes::complete(async {
        let client = client::client(&mesh.kube).await?;
        let scope = mesh.scope.or_all();
        namespace::is_there(&client, &scope).await?;
        let listed = list::list::<Pod>(&client, &scope).await.map_err(|error| {
            let why = namespace::refused(&client, &scope, &error);
            anyhow!("cannot list pods: {why}")
        })?;
        let mut warnings = Vec::new();
        if !listed.unreadable.is_empty() {
            let names = listed.unreadable.join(", ");
            let warning =
                format!("you may not list the pods of {names}; their records are left out");
            warnings.push(warning);
        }
        let is_meshed = |one: &Pod| pod::sidecar(one).is_some();
        let mut pods: Vec<Pod> = listed.items.into_iter().filter(is_meshed).collect();
        pods.sort_by_key(|one| std::cmp::Reverse(one.creation_timestamp()));
        let sidecars = pods.len();
        pods.truncate(MOST_SIDECARS);
        let logs = pods
            .iter()
            .map(async |one| (pod::key(one), log(&client, one, since).await));
        let logs = stream::iter(logs).buffer_unordered(AT_ONCE);
        let mut logs = std::pin::pin!(logs.take_until(tokio::time::sleep(MOST_TIME)));
        let (mut read, mut skipped) = (0_usize, Skipped::default());
        while let Some((name, log)) = logs.next().await {
            match log {
                Ok(text) => {
                    read += 1;
                    let name = format!("the log of {name}");
                    read::lines(text.as_bytes(), &name, &mut skipped, take)?;
                }
                Err(why) if !warnings.contains(&why) => warnings.push(why),
                Err(_said_already) => {}
            }
        }
        warnings.extend(skipped.told());
        if read < sidecars {
            warnings.push(format!(
                "the records of {read} of {sidecars} sidecars were read; name a namespace with -n, or collect them in \
                 files (--records)"
            ));
        }
        Ok(warnings)
    })
}

async fn log(client: &Client, one: &Pod, since: Option<Duration>) -> Result<String, String> {
    let logs: Api<Pod> = Api::namespaced(client.clone(), &one.namespace().unwrap_or_default());
    let seconds = since.unwrap_or(DEFAULT_AGE).as_secs().max(1);
    let params = LogParams {
        container: Some(PROXY_CONTAINER.to_owned()),
        since_seconds: i64::try_from(seconds).ok(),
        limit_bytes: Some(MOST_BYTES),
        ..LogParams::default()
    };
    match timeout(MOST_TIME_EACH, logs.logs(&one.name_any(), &params)).await {
        Ok(Ok(text)) => Ok(text),
        // One that is gone, or has not begun, was called by nobody.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 404) => Ok(String::new()),
        // In the same words for all pods, which are told once.
        Ok(Err(error)) if list::is_forbidden(&error) => Err(format!(
            "you may not read logs in {}; its records are left out",
            one.namespace().unwrap_or_default()
        )),
        Ok(Err(error)) => Err(format!(
            "the log of {} cannot be read: {}",
            pod::key(one),
            list::in_words(&error)
        )),
        Err(_elapsed) => Err(format!("the log of {} did not come in time", pod::key(one))),
    }
}

const DEFAULT_AGE: Duration = Duration::from_secs(3600);
const MOST_SIDECARS: usize = 200;
const MOST_BYTES: i64 = 16 << 20;
const AT_ONCE: usize = 8;
const MOST_TIME: Duration = Duration::from_secs(120);
const MOST_TIME_EACH: Duration = Duration::from_secs(20);
