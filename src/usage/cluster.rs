//! The counts of a cluster: every replica of control is asked, through the API server.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use futures_util::future::join_all;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use palisade_api::cluster::{
    ASK_AUDIENCE, ASK_PORT, CONTROL, NAME_LABEL, READER, SYSTEM_NAMESPACE, VIEWER,
};
use palisade_api::usage::Usage;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::Heard;
use crate::args::MeshArgs;
use crate::kubernetes::client::{self, Scope};
use crate::kubernetes::{list, namespace, pod};
use crate::page;

/// What all replicas answer, put together, and what may be missing.
pub(super) async fn heard(mesh: &MeshArgs) -> anyhow::Result<Heard> {
    let client = client::client(&mesh.kube).await?;
    let scope = mesh.scope.or_all();
    namespace::is_there(&client, &scope).await?;
    let path = path(&scope);
    let token = token(&client, &scope).await?;
    let Replicas { names, missing } = replicas(&pods(&client, &scope).await?)?;
    let asked = names
        .iter()
        .map(|pod| one(&client, pod, (&path, &token), &scope));
    let mut answers = Vec::new();
    let mut failed = Vec::new();
    for (pod, answer) in names.iter().zip(join_all(asked).await) {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(error) => failed.push((pod, error)),
        }
    }
    if answers.is_empty()
        && let Some((pod, error)) = failed.pop()
    {
        return Err(error).with_context(|| format!("{pod} cannot be asked"));
    }
    let mut doubts = missing;
    doubts.extend(failed.iter().map(|(pod, error)| {
        format!("{pod} cannot be asked, and what only it has heard is missing: {error:#}")
    }));
    let usage = Usage::merge(answers);
    doubts.extend(young(&usage, OffsetDateTime::now_utc()));
    Ok(Heard { usage, doubts })
}

/// Of all namespaces, or of one.
fn path(scope: &Scope) -> String {
    match scope {
        Scope::All => "/usage".to_owned(),
        Scope::Namespace(namespace) => format!("/usage?namespace={namespace}"),
    }
}

/// Sidecars tell a replica that began to hear lately what they counted, but not all at once.
fn young(usage: &Usage, now: OffsetDateTime) -> Option<String> {
    let age = now.unix_timestamp().saturating_sub(usage.since);
    (0..YOUNG_SECONDS).contains(&age).then(|| {
        format!(
            "a replica of control began {age}s ago: what sidecars have not told it yet is missing"
        )
    })
}

/// A token that is good for this question: of the reader, who may know all, or, for whoever may not ask as that, of the
/// account of the one namespace that is asked about.
async fn token(client: &Client, scope: &Scope) -> anyhow::Result<String> {
    let refusal = match token_of(client, SYSTEM_NAMESPACE, READER).await {
        Ok(token) => return Ok(token),
        Err(refusal) => refusal,
    };
    let Scope::Namespace(own) = scope else {
        return Err(refused(&refusal, scope));
    };
    if !list::is_forbidden(&refusal) {
        return Err(refused(&refusal, scope));
    }
    let error = match token_of(client, own, VIEWER).await {
        Ok(token) => return Ok(token),
        Err(error) => error,
    };
    let said = list::in_words(&error);
    let is_missing = matches!(&error, kube::Error::Api(status) if status.code == 404);
    ensure!(
        !is_missing,
        "{said}: who may view {own} may know its counts by that account, which whoever administers it makes:\n  \
         kubectl -n {own} create serviceaccount {VIEWER}\n  \
         kubectl -n {own} create rolebinding {VIEWER} --clusterrole={VIEWER} --serviceaccount={own}:{VIEWER}"
    );
    ensure!(
        !list::is_forbidden(&error),
        "{said}; ask for the role `view` in {own}: \
         kubectl -n {own} create rolebinding NAME --clusterrole=view --user=YOU; or for the Role palisade-ask in \
         {SYSTEM_NAMESPACE}, to know of all"
    );
    bail!("{said}")
}

/// By a request to the API server, which asks for the right to make tokens of this one account.
async fn token_of(client: &Client, namespace: &str, account: &str) -> kube::Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![ASK_AUDIENCE.to_owned()],
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let made = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await?;
    // One that was made is there; an empty one proves nothing, and control says so.
    Ok(made.status.map(|status| status.token).unwrap_or_default())
}

/// The pods of control.
async fn pods(client: &Client, scope: &Scope) -> anyhow::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let ours = ListParams::default().labels(&format!("{NAME_LABEL}={CONTROL}"));
    let listed = pods.list(&ours).await;
    Ok(listed.map_err(|error| refused(&error, scope))?.items)
}

/// Those that can be asked, by name.
#[derive(Debug, PartialEq, Eq)]
struct Replicas {
    names: Vec<String>,
    /// What may be missing with the others, or because these begin or end.
    missing: Vec<String>,
}

fn replicas(pods: &[Pod]) -> anyhow::Result<Replicas> {
    let (mut names, mut missing) = (Vec::new(), Vec::new());
    for one in pods.iter().filter(|one| !pod::is_finished(one)) {
        let (name, status) = (one.name_any(), one.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let is_ready = conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let runs = status.and_then(|status| status.phase.as_deref()) == Some("Running");
        let how = match (one.metadata.deletion_timestamp.is_some(), runs, is_ready) {
            (true, _, _) => Some("is ending"),
            (false, false, _) => Some("has not started"),
            (false, true, false) => Some("is not ready"),
            (false, true, true) => None,
        };
        missing.extend(how.map(|how| {
            format!("{name} {how}: what sidecars have told no other replica is missing")
        }));
        // One that ends has told whoever watched it to go elsewhere.
        if runs && one.metadata.deletion_timestamp.is_none() {
            names.push(name);
        }
    }
    if names.is_empty() {
        bail!("control does not run in {SYSTEM_NAMESPACE}; see `palisade check`");
    }
    Ok(Replicas { names, missing })
}

async fn one(
    client: &Client,
    pod: &str,
    (path, token): (&str, &str),
    scope: &Scope,
) -> anyhow::Result<Usage> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let forwarded = pods.portforward(pod, &[ASK_PORT]).await;
    let mut forwarded = forwarded.map_err(|error| refused(&error, scope))?;
    let stream = forwarded
        .take_stream(ASK_PORT)
        .context("the API server forwards no port")?;
    let answer = timeout(ANSWER_TIME, page::get(stream, path, Some(token))).await;
    let answer = answer.map_err(|_elapsed| anyhow!("it did not answer in 30 seconds"))??;
    serde_json::from_str(&answer).context("control is of another version")
}

/// The API server's refusal, and what it takes.
fn refused(error: &kube::Error, scope: &Scope) -> anyhow::Error {
    let said = list::in_words(error);
    let role = match scope {
        Scope::All => "palisade-ask",
        // To know of one namespace takes no more than to reach control.
        Scope::Namespace(_) => "palisade-reach",
    };
    if list::is_forbidden(error) {
        return anyhow!(
            "{said}; ask for the Role {role} in {SYSTEM_NAMESPACE}: \
             kubectl -n {SYSTEM_NAMESPACE} create rolebinding NAME --role={role} --user=YOU"
        );
    }
    if matches!(error, kube::Error::Api(status) if status.code == 404) {
        return anyhow!("{said}: no mesh is installed, or not all of it; see `palisade check`");
    }
    anyhow!("{said}")
}

/// The shortest that API servers give.
const TOKEN_SECONDS: i64 = 600;
/// All that control keeps is some megabytes.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Sidecars tell what they counted some ten seconds after it changed, and find another replica in less.
const YOUNG_SECONDS: i64 = 30;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::served::Server;

    #[test]
    fn counts_are_of_the_whole_mesh_unless_a_namespace_is_named() {
        let server = Server::start();
        // Whatever the kubeconfig's namespace is: rules are read so, too.
        assert_eq!(path(&server.mesh(None).scope.or_all()), "/usage");
        let one = server.mesh(Some("shop")).scope.or_all();
        assert_eq!(path(&one), "/usage?namespace=shop");
    }

    fn pod(name: &str, phase: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn replicas_that_begin_or_end_are_said_to_be_missing() {
        let good = pod("a", "Running", "True");
        let mut ending = pod("b", "Running", "True");
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-11-22T00:00:00Z")).unwrap();
        let found = replicas(&[
            good.clone(),
            ending.clone(),
            pod("c", "Pending", "False"),
            pod("d", "Running", "False"),
            pod("e", "Failed", "False"),
        ]);
        let Replicas { names, missing } = found.unwrap();
        assert_eq!(names, ["a", "d"]);
        let said = missing.join("\n");
        for how in ["b is ending: ", "c has not started: ", "d is not ready: "] {
            assert!(said.contains(how), "{said}");
        }
        assert_eq!(missing.len(), 3, "{said}");
        assert!(replicas(&[good]).unwrap().missing.is_empty());
        let error = replicas(&[ending]).unwrap_err().to_string();
        assert!(error.contains("palisade check"), "{error}");
    }

    #[test]
    fn a_replica_that_began_lately_has_not_heard_of_all() {
        let now = OffsetDateTime::from_unix_timestamp(1000).unwrap();
        let since = |since| Usage {
            since,
            ..Usage::default()
        };
        assert!(young(&since(990), now).unwrap().contains("began 10s ago"));
        assert_eq!(young(&since(900), now), None);
        // By a clock that goes ahead.
        assert_eq!(young(&since(1100), now), None);
    }

    #[test]
    fn a_namespace_that_is_not_there_has_no_counts() {
        let server = Server::start().has_none("/api/v1/namespaces/shpo");
        let asked = crate::kubernetes::complete(heard(&server.mesh(Some("shpo"))));
        let error = asked.unwrap_err().to_string();
        assert!(error.contains("there is no namespace shpo"), "{error}");
    }

    const READER_TOKEN: &str =
        "/api/v1/namespaces/palisade-system/serviceaccounts/palisade-reader/token";
    const VIEWER_TOKEN: &str = "/api/v1/namespaces/shop/serviceaccounts/palisade-viewer/token";

    fn made(token: &str) -> serde_json::Value {
        json!({"kind": "TokenRequest", "metadata": {}, "spec": {"audiences": [ASK_AUDIENCE]},
            "status": {"token": token, "expirationTimestamp": "2026-11-22T00:00:00Z"}})
    }

    fn token_for(server: &Server, namespace: Option<&str>) -> Result<String, String> {
        let mesh = server.mesh(namespace);
        let asked = crate::kubernetes::complete(async {
            let client = client::client(&mesh.kube).await?;
            token(&client, &mesh.scope.or_all()).await
        });
        asked.map_err(|error| error.to_string())
    }

    #[test]
    fn who_may_not_ask_about_all_asks_as_the_namespaces_own_account() {
        let all = Server::start()
            .has(READER_TOKEN, made("all"))
            .has(VIEWER_TOKEN, made("own"));
        assert_eq!(token_for(&all, None).unwrap(), "all");
        assert_eq!(token_for(&all, Some("shop")).unwrap(), "all");
        let own = Server::start().has(VIEWER_TOKEN, made("own"));
        assert_eq!(token_for(&own, Some("shop")).unwrap(), "own");
        // About all, or another namespace, that account is not asked for.
        let refused = token_for(&own, None).unwrap_err();
        assert!(refused.contains("--role=palisade-ask"), "{refused}");
        let refused = token_for(&own, Some("elsewhere")).unwrap_err();
        assert!(refused.contains("`view` in elsewhere"), "{refused}");
    }

    #[test]
    fn a_cluster_without_a_mesh_is_said_to_be_one() {
        let server = Server::start().has_none(READER_TOKEN);
        let told = token_for(&server, Some("shop")).unwrap_err();
        assert!(told.contains("no mesh is installed"), "{told}");
    }

    #[test]
    fn whoever_administers_a_namespace_is_told_what_to_type() {
        let server = Server::start().has_none(VIEWER_TOKEN);
        let told = token_for(&server, Some("shop")).unwrap_err();
        assert!(
            told.contains("kubectl -n shop create serviceaccount palisade-viewer"),
            "{told}"
        );
        assert!(
            told.contains("--serviceaccount=shop:palisade-viewer"),
            "{told}"
        );
    }
}
