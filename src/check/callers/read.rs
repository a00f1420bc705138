//! Reads the last records of some sidecars: bounded in sidecars, lines, bytes and time.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt};
use palisade_api::cluster::PROXY_CONTAINER;
use palisade_control::audit::Looked;
use tokio::time::timeout;

use super::call::{Call, Recorded};
use crate::kubernetes::list::in_words;
use crate::kubernetes::pod;
use crate::records::filter::Timed;

/// The calls that the youngest sidecars recorded, and why some of their logs could not be read.
pub(in crate::check) async fn read(client: &Client, pods: &Looked<Vec<Pod>>) -> Looked<Recorded> {
    let pods = pods.as_ref().map_err(Clone::clone)?;
    let mut meshed: Vec<&Pod> = pods
        .iter()
        .filter(|one| pod::sidecar(one).is_some())
        .collect();
    let sidecars = meshed.len();
    meshed.sort_by_key(|one| std::cmp::Reverse(one.creation_timestamp()));
    meshed.truncate(MOST_SIDECARS);
    let calls = meshed.into_iter().map(|one| calls(client, one));
    let looked: Vec<Looked<Vec<Call>>> = stream::iter(calls)
        .buffer_unordered(AT_ONCE)
        .take_until(tokio::time::sleep(MOST_TIME))
        .collect()
        .await;
    let mut recorded = Recorded {
        sidecars,
        ..Recorded::default()
    };
    for calls in looked {
        match calls {
            Ok(calls) => {
                recorded.read += 1;
                recorded.calls.extend(calls);
            }
            Err(why) => {
                recorded.unread.insert(why);
            }
        }
    }
    Ok(recorded)
}

async fn calls(client: &Client, one: &Pod) -> Looked<Vec<Call>> {
    let logs: Api<Pod> = Api::namespaced(client.clone(), &one.namespace().unwrap_or_default());
    let params = LogParams {
        container: Some(PROXY_CONTAINER.to_owned()),
        since_seconds: Some(MINUTES * 60),
        tail_lines: Some(MOST_LINES),
        limit_bytes: Some(MOST_BYTES),
        ..LogParams::default()
    };
    let name = one.name_any();
    let text = match timeout(MOST_TIME_EACH, logs.logs(&name, &params)).await {
        Ok(Ok(text)) => text,
        // One that is gone, or has not begun, was called by nobody.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 404) => String::new(),
        Ok(Err(error)) => return Err(in_words(&error)),
        Err(_elapsed) => return Err(format!("the log of {} did not come in time", pod::key(one))),
    };
    let called = pod::key(one);
    let records = text.lines().filter_map(Timed::of_line);
    Ok(records
        .filter_map(|record| Call::of(&called, &record))
        .collect())
}

/// How long ago a record may be from.
pub(in crate::check) const MINUTES: i64 = 10;
const MOST_SIDECARS: usize = 50;
/// The last ones: a caller that is refused again and again is among them.
const MOST_LINES: i64 = 1000;
const MOST_BYTES: i64 = 1 << 20;
const AT_ONCE: usize = 8;
const MOST_TIME: Duration = Duration::from_secs(15);
const MOST_TIME_EACH: Duration = Duration::from_secs(5);
