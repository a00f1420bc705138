//! The records of one sidecar, as the API server streams them.

use std::time::Duration;

use futures_util::io::AsyncBufReadExt;
use futures_util::stream::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt};
use palisade_api::cluster::PROXY_CONTAINER;
use tokio::sync::mpsc;

use crate::kubernetes::pod;
use crate::records::filter::Timed;

/// One sidecar's log.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `shop/web-0`.
    pub(super) key: String,
    namespace: String,
    name: String,
}

/// How a log was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Lines that are no records.
    pub(super) skipped: u64,
    pub(super) error: Option<kube::Error>,
}

/// From when on, and whether for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) age: Option<Duration>,
    pub(super) follow: bool,
}

impl Source {
    pub(super) fn of(pod: &Pod) -> Self {
        Self {
            key: pod::key(pod),
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
        }
    }

    /// Sends every record, until the log ends or nobody wants more.
    pub(super) async fn read(
        &self,
        client: Client,
        span: Span,
        records: mpsc::Sender<Timed>,
    ) -> Read {
        let mut read = Read::default();
        read.error = self
            .stream(client, span, records, &mut read.skipped)
            .await
            .err();
        read
    }

    async fn stream(
        &self,
        client: Client,
        span: Span,
        records: mpsc::Sender<Timed>,
        skipped: &mut u64,
    ) -> Result<(), kube::Error> {
        let params = LogParams {
            container: Some(PROXY_CONTAINER.to_owned()),
            follow: span.follow,
            since_seconds: span.age.and_then(seconds),
            ..LogParams::default()
        };
        let pods: Api<Pod> = Api::namespaced(client, &self.namespace);
        let mut lines = pods.log_stream(&self.name, &params).await?.lines();
        while let Some(line) = lines.next().await {
            // A stream that breaks has ended: what comes next is asked for again.
            let Ok(line) = line else { break };
            let Some(mut timed) = Timed::of_line(&line) else {
                *skipped += 1;
                continue;
            };
            // Told only here: the proxy does not know that others are read too.
            timed
                .record
                .insert("workload".into(), self.key.clone().into());
            if records.send(timed).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// At least one: the API server refuses zero.
fn seconds(age: Duration) -> Option<i64> {
    let whole = i64::try_from(age.as_secs()).ok()?;
    Some(
        whole
            .saturating_add(i64::from(age.subsec_nanos() > 0))
            .max(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_up_so_that_nothing_is_missed() {
        for (age, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (600_000, 600)] {
            assert_eq!(seconds(Duration::from_millis(age)), Some(expected));
        }
        assert_eq!(seconds(Duration::MAX), None, "as old as there is");
    }
}
