//! Pages that a pod shows to itself, read through the API server.

use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::timeout;

use super::list;
use crate::page;

/// GETs a page from a port on a pod's loopback.
///
/// # Errors
///
/// Where the port cannot be reached, as one who may not forward to pods cannot, or no whole answer comes in time.
pub(crate) async fn get(
    pods: &Api<Pod>,
    name: &str,
    port: u16,
    path: &str,
) -> anyhow::Result<String> {
    let got = timeout(ANSWER_TIME, exchange(pods, name, (port, path))).await;
    got.map_err(|_elapsed| anyhow!("{name} did not answer in 10 seconds"))?
}

async fn exchange(
    pods: &Api<Pod>,
    name: &str,
    (port, path): (u16, &str),
) -> anyhow::Result<String> {
    let forwarded = pods.portforward(name, &[port]).await;
    let mut forwarded = forwarded.map_err(|error| {
        let why = list::in_words(&error);
        let remedy = match pods.namespace() {
            Some(namespace) if list::is_forbidden(&error) => {
                format!("; ask for `get` and `create` on pods/portforward in {namespace}")
            }
            _ => String::new(),
        };
        anyhow!("cannot forward a port to {name}: {why}{remedy}")
    })?;
    let stream = forwarded.take_stream(port);
    let stream = stream.context("the API server forwards no port")?;
    let page = page::get(stream, path, None).await;
    page.with_context(|| format!("{name} says nothing"))
}

const ANSWER_TIME: Duration = Duration::from_secs(10);
