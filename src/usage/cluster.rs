//! The counts of a cluster: every replica of control is asked, through the API server.

use anyhow::{Context, bail};
use futures_util::future::join_all;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use palisade_api::cluster::{
    ASK_AUDIENCE, ASK_PORT, CONTROL, NAME_LABEL, READER, SYSTEM_NAMESPACE,
};
use palisade_api::usage::Usage;

use crate::args::MeshArgs;
use crate::kubernetes::client::{self, Scope};
use crate::kubernetes::{list, warn};
use crate::page;

/// What all replicas answer, put together.
pub(super) async fn usage(mesh: &MeshArgs) -> anyhow::Result<Usage> {
    let client = client::client(&mesh.kube).await?;
    let default = Scope::Namespace(client.default_namespace().to_owned());
    let path = match mesh.scope.or(default) {
        Scope::All => "/usage".to_owned(),
        Scope::Namespace(namespace) => format!("/usage?namespace={namespace}"),
    };
    let token = token(&client).await?;
    let pods = replicas(&client).await?;
    let asked = pods.iter().map(|pod| one(&client, pod, &path, &token));
    let mut answers = Vec::new();
    let mut failed = Vec::new();
    for (pod, answer) in pods.iter().zip(join_all(asked).await) {
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
    for (pod, error) in failed {
        warn(&format!(
            "{pod} cannot be asked, and what only it has heard is missing: {error:#}"
        ));
    }
    Ok(Usage::merge(answers))
}

/// A token of the reader, good for this question.
async fn token(client: &Client) -> anyhow::Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![ASK_AUDIENCE.to_owned()],
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let made = accounts
        .create_token_request(READER, &PostParams::default(), &request)
        .await
        .map_err(|error| refused(&error))?;
    let status = made.status.context("the API server made no token")?;
    Ok(status.token)
}

/// The names of the pods of control that run.
async fn replicas(client: &Client) -> anyhow::Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let ours = ListParams::default().labels(&format!("{NAME_LABEL}={CONTROL}"));
    let listed = pods.list(&ours).await.map_err(|error| refused(&error))?;
    let runs = |pod: &Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
    };
    let names: Vec<String> = listed
        .items
        .iter()
        .filter(|pod| runs(pod))
        .map(ResourceExt::name_any)
        .collect();
    if names.is_empty() {
        bail!("control does not run in {SYSTEM_NAMESPACE}; see `palisade check`");
    }
    Ok(names)
}

async fn one(client: &Client, pod: &str, path: &str, token: &str) -> anyhow::Result<Usage> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let forwarded = pods.portforward(pod, &[ASK_PORT]).await;
    let mut forwarded = forwarded.map_err(|error| refused(&error))?;
    let stream = forwarded
        .take_stream(ASK_PORT)
        .context("the API server forwards no port")?;
    let answer = page::get(stream, path, Some(token)).await?;
    serde_json::from_str(&answer).context("control is of another version")
}

/// The API server's refusal, and what it takes.
fn refused(error: &kube::Error) -> anyhow::Error {
    let said = list::in_words(error);
    if list::is_forbidden(error) {
        return anyhow::anyhow!(
            "{said}; ask for the Role palisade-ask in {SYSTEM_NAMESPACE}: \
             kubectl -n {SYSTEM_NAMESPACE} create rolebinding NAME --role=palisade-ask --user=YOU"
        );
    }
    anyhow::anyhow!("{said}")
}

/// The shortest that API servers give.
const TOKEN_SECONDS: i64 = 600;
