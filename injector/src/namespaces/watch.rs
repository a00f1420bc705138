//! The watches behind the store.

use std::fmt::Debug;
use std::pin::pin;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{Key, Marks, Store, Table};

/// Keeps the store current, until it is dropped.
pub(crate) async fn follow(client: Client, store: &Store) {
    let namespaces = Api::<Namespace>::all(client.clone());
    let ranges = Api::<LimitRange>::all(client.clone());
    let quotas = Api::<ResourceQuota>::all(client);
    tokio::join!(
        keep(namespaces, &store.namespaces, |namespace| Marks::of(
            &namespace
        )),
        keep(ranges, &store.limit_ranges, |range| LimitRange {
            spec: range.spec,
            ..LimitRange::default()
        }),
        keep(quotas, &store.quotas, |quota| ResourceQuota {
            spec: quota.spec,
            ..ResourceQuota::default()
        }),
    );
}

/// Keeps of each object what is used: the rest, `managedFields` above all, is many times that.
async fn keep<K, V: Clone>(objects: Api<K>, table: &Table<V>, used: impl Fn(K) -> V)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let entry = |object: K| {
        let key = Key::new(&object.namespace().unwrap_or_default(), &object.name_any());
        (key, used(object))
    };
    let mut events = pin!(watcher(objects, Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => table.take(Event::Init),
            Ok(Event::InitApply(object)) => table.take(Event::InitApply(entry(object))),
            Ok(Event::InitDone) => table.take(Event::InitDone),
            Ok(Event::Apply(object)) => table.take(Event::Apply(entry(object))),
            Ok(Event::Delete(object)) => table.take(Event::Delete(entry(object))),
            Err(error) => {
                let kind = K::plural(&());
                tracing::warn!(%kind, %error, "a watch failed; what is known stays");
            }
        }
    }
}
