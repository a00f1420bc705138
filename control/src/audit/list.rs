//! Objects of the namespaces that are meant, as far as the user may read them.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Namespaces that are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every one that may be read.
    All,
    /// This one.
    Namespace(String),
}

/// What was found, and which namespaces could not be read.
#[derive(Debug)]
pub struct Listed<K> {
    /// What was found.
    pub items: Vec<K>,
    /// By name.
    pub unreadable: Vec<String>,
}

/// Lists one kind. A user who may not read the whole cluster is shown the namespaces that they may read.
///
/// # Errors
///
/// Where the API server does not answer, or nothing of what was asked for may be read.
pub async fn list<K>(client: &Client, scope: &Scope) -> Result<Listed<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    list_some(client, scope, &ListParams::default(), |_whole| ()).await
}

/// Lists those that `params` select, and of each what `slim` leaves.
pub(super) async fn list_some<K>(
    client: &Client,
    scope: &Scope,
    params: &ListParams,
    slim: fn(&mut K),
) -> Result<Listed<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let api = |part: &Scope| match part {
        Scope::All => Api::<K>::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    };
    list_by(client, scope, api, params, slim).await
}

/// Lists the objects of a kind that `api` leads to, in all namespaces or in one.
pub(super) async fn list_by<K>(
    client: &Client,
    scope: &Scope,
    api: impl Fn(&Scope) -> Api<K>,
    params: &ListParams,
    slim: fn(&mut K),
) -> Result<Listed<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let refused = match pages(&api(scope), params, slim).await {
        Ok(items) => {
            return Ok(Listed {
                items,
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
    let Ok(namespaces) = namespaces.list(&ListParams::default()).await else {
        return Err(refused);
    };
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    for namespace in namespaces.items.iter().map(ResourceExt::name_any) {
        let part = Scope::Namespace(namespace.clone());
        match pages(&api(&part), params, slim).await {
            Ok(found) => items.extend(found),
            Err(error) if is_forbidden(&error) => unreadable.push(namespace),
            Err(error) => return Err(error),
        }
    }
    Ok(Listed { items, unreadable })
}

/// All of a list, of which no more than one page is in memory as a whole.
pub(super) async fn pages<K>(
    api: &Api<K>,
    params: &ListParams,
    slim: fn(&mut K),
) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = params.clone().limit(PAGE);
    let mut items = Vec::new();
    loop {
        let page = api.list(&params).await?;
        items.extend(page.items.into_iter().map(|mut one| {
            slim(&mut one);
            one
        }));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(items),
        }
    }
}

/// Whether the user's rights do not suffice.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether the API server knows no such kind of object; one that it knows and has none of this name is named in its answer.
pub fn is_undefined(error: &kube::Error) -> bool {
    let is_of_none = |status: &kube::core::Status| {
        let named = status.details.as_ref().map(|details| &details.name);
        status.code == 404 && named.is_none_or(String::is_empty)
    };
    matches!(error, kube::Error::Api(status) if is_of_none(status))
}

/// An error of the API server in one sentence, without its JSON.
pub fn in_words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        let said = &status.message;
        return match status.code {
            401 => format!("{said}: {STRANGER}"),
            _ => said.clone(),
        };
    }
    let chain = anyhow::Chain::new(error).map(ToString::to_string);
    chain.collect::<Vec<_>>().join(": ")
}

/// No right that somebody grants makes up for credentials.
const STRANGER: &str = "the API server does not accept these credentials, which may have expired; log in again, or renew \
                        them in the kubeconfig";
/// Some objects have tens of kilobytes.
const PAGE: u32 = 100;
