//! Removes rules that were made for a while (`palisade policy allow`), once all that they say has expired.
//!
//! They say nothing by then. It is tidiness, not enforcement: each proxy knows the end of each rule.

use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Preconditions};
use kube::{Client, ResourceExt};
use time::OffsetDateTime;
use tokio::time::sleep;

use palisade_api::cluster::BREAK_GLASS_LABEL;

use super::Cluster;
use crate::audit::rules;
use crate::kubernetes::policies::Kind;

/// Until it is dropped.
pub(super) async fn keep(cluster: &Cluster) {
    loop {
        match remove(&cluster.client, OffsetDateTime::now_utc()).await {
            Ok(()) => {}
            // Without their definition there are none.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => tracing::warn!(%error, "rules that have expired were not removed"),
        }
        sleep(INTERVAL).await;
    }
}

async fn remove(client: &Client, now: OffsetDateTime) -> Result<(), kube::Error> {
    let resource = Kind::Namespaced.resource();
    let everywhere: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let made = ListParams::default().labels(&format!("{BREAK_GLASS_LABEL}=true"));
    for mut object in everywhere.list(&made).await? {
        // Lists leave the kind of their items out.
        object.types.get_or_insert_with(|| kube::core::TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
        if !has_expired(&object, now) {
            continue;
        }
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let one: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        // What was prolonged since is another version.
        let as_read = DeleteParams::default().preconditions(Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        });
        match one.delete(&name, &as_read).await {
            Ok(_removed) => tracing::info!(namespace, name, "a rule that has expired was removed"),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether all of its rules have; one that is not understood is left to people.
fn has_expired(object: &DynamicObject, now: OffsetDateTime) -> bool {
    let policy = rules::parse(object);
    policy.is_ok_and(|policy| policy.has_expired(now))
}

const INTERVAL: Duration = Duration::from_secs(10);
