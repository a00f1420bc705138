//! Objects of the namespaces that are meant, as far as the user may read them.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::client::Scope;

/// What was found, and which namespaces could not be read.
#[derive(Debug)]
pub(crate) struct Listed<K> {
    pub(crate) items: Vec<K>,
    pub(crate) unreadable: Vec<String>,
}

/// Lists one kind. A user who may not read the whole cluster is shown the namespaces that they may read.
pub(crate) async fn list<K>(client: &Client, scope: &Scope) -> Result<Listed<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let everything = ListParams::default();
    let api = match scope {
        Scope::All => Api::<K>::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let refused = match api.list(&everything).await {
        Ok(found) => {
            return Ok(Listed {
                items: found.items,
                unreadable: Vec::new(),
            });
        }
        Err(error) => error,
    };
    if *scope != Scope::All || !is_forbidden(&refused) {
        return Err(refused);
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    // Who may read neither is told about what they asked for.
    let Ok(namespaces) = namespaces.list(&everything).await else {
        return Err(refused);
    };
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    for namespace in namespaces.items.iter().map(ResourceExt::name_any) {
        match Api::<K>::namespaced(client.clone(), &namespace)
            .list(&everything)
            .await
        {
            Ok(found) => items.extend(found.items),
            Err(error) if is_forbidden(&error) => unreadable.push(namespace),
            Err(error) => return Err(error),
        }
    }
    Ok(Listed { items, unreadable })
}

/// Whether the user's rights do not suffice.
pub(crate) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// An error of the API server in one sentence, without its JSON.
pub(crate) fn in_words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    let chain = anyhow::Chain::new(error).map(ToString::to_string);
    chain.collect::<Vec<_>>().join(": ")
}
