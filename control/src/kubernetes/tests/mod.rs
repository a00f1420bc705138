//! Against a real API server, with the feature `cluster-tests`: `KUBECONFIG` names its administrator. What is made is
//! removed again, the system namespace too: not for a cluster that is used.

mod leading;
mod policies;
mod rights;
mod tokens;

use std::fmt::Debug;
use std::time::Duration;

use kube::Resource;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

const SYSTEM: &str = "palisade-system";

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

async fn create<K>(api: &Api<K>, value: Value)
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    api.create(&PostParams::default(), &object(value))
        .await
        .unwrap();
}

async fn merge<K>(api: &Api<K>, name: &str, value: Value)
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(value))
        .await
        .unwrap();
}

/// Until the object is like that; how long it took.
async fn until<K>(api: &Api<K>, name: &str, is: impl Fn(Option<&K>) -> bool) -> Duration
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let began = Instant::now();
    let looks = async {
        while !is(api.get_opt(name).await.unwrap().as_ref()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), looks)
        .await
        .unwrap_or_else(|_| panic!("{name} did not come to be as expected"));
    began.elapsed()
}
