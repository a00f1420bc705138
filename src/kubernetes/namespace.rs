//! Namespaces that people name, and the rights to ask about them.

use anyhow::bail;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::client::Scope;
use super::list;
use crate::near::near;

/// Says that a namespace which was named is not there: of nobody, everything can be said.
///
/// # Errors
///
/// Where it is known not to be there. Where it may not be looked at, it may be.
pub(crate) async fn is_there(client: &Client, scope: &Scope) -> anyhow::Result<()> {
    let Scope::Namespace(name) = scope else {
        return Ok(());
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if !matches!(namespaces.get_opt(name).await, Ok(None)) {
        return Ok(());
    }
    let all = namespaces.list(&ListParams::default()).await;
    let all = all.map(|all| all.items).unwrap_or_default();
    let shown: String = name.chars().filter(|c| !c.is_control()).collect();
    match near(name, all.iter().map(ResourceExt::name_any)) {
        Some(near) => bail!("there is no namespace {shown}; did you mean {near}?"),
        None => {
            bail!("there is no namespace {shown}; `kubectl get namespaces` lists those there are")
        }
    }
}

/// What the API server refused, in words. Who may list no namespaces must say which they may read.
pub(crate) fn refused(client: &Client, scope: &Scope, error: &kube::Error) -> String {
    let said = list::in_words(error);
    if *scope != Scope::All || !list::is_forbidden(error) {
        return said;
    }
    let own = match client.default_namespace() {
        "default" => "NAMESPACE",
        own => own,
    };
    format!(
        "{said}; which namespaces you may read cannot be told without `list` on namespaces: name one with -n {own}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::served::Server;
    use super::*;

    fn named(name: &str) -> Scope {
        Scope::Namespace(name.to_owned())
    }

    async fn said(server: &Server, name: &str) -> Option<String> {
        let client = super::super::client::client(&server.args()).await.unwrap();
        let found = is_there(&client, &named(name)).await;
        found.err().map(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_namespace_that_is_not_there_is_told_with_those_that_are_near() {
        let shop = json!({"metadata": {"name": "shop"}});
        let server = Server::start()
            .has("/api/v1/namespaces", json!({"items": [shop.clone()]}))
            .has("/api/v1/namespaces/shop", shop)
            .has_none("/api/v1/namespaces/shpo")
            .has_none("/api/v1/namespaces/other");
        assert_eq!(said(&server, "shop").await, None);
        let near = said(&server, "shpo").await.unwrap();
        assert_eq!(near, "there is no namespace shpo; did you mean shop?");
        let far = said(&server, "other").await.unwrap();
        assert!(far.starts_with("there is no namespace other; "), "{far}");
        // All else is forbidden: it may be there.
        assert_eq!(said(&server, "secret").await, None);
    }

    #[tokio::test]
    async fn who_may_not_list_namespaces_is_told_to_name_one() {
        let server = Server::start();
        let client = super::super::client::client(&server.args()).await.unwrap();
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(client.clone());
        let error = pods.list(&ListParams::default()).await.unwrap_err();
        let told = refused(&client, &Scope::All, &error);
        assert!(told.ends_with("name one with -n shop"), "{told}");
        assert!(!refused(&client, &named("shop"), &error).contains("-n"));
    }
}
