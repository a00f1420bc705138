//! Pages that a pod shows to itself, read through the API server.

use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::timeout;

use super::list;
use crate::page::{self, Answer};

/// GETs a page from a port on a pod's loopback.
///
/// # Errors
///
/// Where the port cannot be reached, as one who may not forward to pods cannot, or no whole answer comes in time.
pub(crate) async fn get(
    pods: &Api<Pod>,
    name: &str,
    port: u16,
    page: &str,
) -> anyhow::Result<Answer> {
    get_as(pods, name, (port, page), None).await
}

/// The same, with a token for whoever answers.
pub(crate) async fn get_as(
    pods: &Api<Pod>,
    name: &str,
    (port, page): (u16, &str),
    token: Option<&str>,
) -> anyhow::Result<Answer> {
    let got = timeout(ANSWER_TIME, exchange(pods, name, (port, page), token)).await;
    got.map_err(|_elapsed| anyhow!("{name} did not answer in 10 seconds"))?
}

async fn exchange(
    pods: &Api<Pod>,
    name: &str,
    (port, page): (u16, &str),
    token: Option<&str>,
) -> anyhow::Result<Answer> {
    let forwarded = pods.portforward(name, &[port]).await;
    let mut forwarded = forwarded.map_err(|error| {
        anyhow!(
            "cannot forward a port to {name}: {}",
            list::in_words(&error)
        )
    })?;
    let stream = forwarded
        .take_stream(port)
        .context("no stream was opened")?;
    let answer = page::get(stream, page, token).await;
    answer.with_context(|| format!("{name} did not answer"))
}

const ANSWER_TIME: Duration = Duration::from_secs(10);
