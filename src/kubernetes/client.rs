//! Which cluster, and the connection to its API server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tokio::time::timeout;

pub(crate) use palisade_control::audit::Scope;

/// Which cluster is meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KubeArgs {
    /// The kubeconfig file [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "CONTEXT", help_heading = CLUSTER)]
    pub(crate) context: Option<String>,
}

/// Which namespaces are meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ScopeArgs {
    /// Only this namespace
    #[arg(short, long, help_heading = CLUSTER, conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,
    /// Every namespace that you may read
    #[arg(short = 'A', long, help_heading = CLUSTER)]
    pub(crate) all_namespaces: bool,
}

impl ScopeArgs {
    /// What was asked for, or else every namespace: what rules decide, and what was counted of it, is asked of the whole
    /// mesh unless -n names a part of it.
    pub(crate) fn or_all(&self) -> Scope {
        self.or(Scope::All)
    }

    /// What was asked for, or else `default`.
    pub(crate) fn or(&self, default: Scope) -> Scope {
        match &self.namespace {
            _ if self.all_namespaces => Scope::All,
            Some(namespace) => Scope::Namespace(namespace.clone()),
            None => default,
        }
    }
}

/// Why there is no connection to a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(
        "there is no kubeconfig that can be used; point --kubeconfig or KUBECONFIG at one, \
         or choose one of its contexts with --context"
    )]
    Kubeconfig(#[source] KubeconfigError),
    #[error("the kubeconfig's credentials cannot be used")]
    Credentials(#[source] kube::Error),
    #[error("the cluster at {url} does not answer; is it the one that is meant (--context)?")]
    Unreachable {
        url: String,
        #[source]
        error: kube::Error,
    },
    #[error(
        "the cluster at {0} did not answer in 10 seconds; is it the one that is meant (--context)?"
    )]
    Silent(String),
}

/// A client for the cluster that is meant, which has answered once.
pub(crate) async fn client(args: &KubeArgs) -> Result<Client, ConnectError> {
    let mut config = config(args).await.map_err(ConnectError::Kubeconfig)?;
    // People are told at once what was answered; and a sidecar's 503, which comes through the API server, is an answer.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(ConnectError::Credentials)?;
    match timeout(ANSWER_TIME, client.apiserver_version()).await {
        // Who is refused has reached it; what it was refused is said where it matters.
        Ok(Ok(_) | Err(kube::Error::Api(_))) => Ok(client),
        Ok(Err(error)) => Err(ConnectError::Unreachable { url, error }),
        Err(_elapsed) => Err(ConnectError::Silent(url)),
    }
}

/// Whether there is a kubeconfig, or this is a pod of a cluster.
pub(crate) fn exists() -> bool {
    let in_file = Kubeconfig::read().is_ok_and(|found| found.current_context.is_some());
    in_file || Config::incluster().is_ok()
}

async fn config(args: &KubeArgs) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    match &args.kubeconfig {
        Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await,
        None => match Config::from_kubeconfig(&options).await {
            // In a pod there is no kubeconfig, and none is needed.
            Err(error) if args.context.is_none() => Config::incluster().map_err(|_outside| error),
            found => found,
        },
    }
}

/// Where `--help` lists these flags.
const CLUSTER: &str = "Cluster";
const ANSWER_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_namespaces_are_asked_for_or_one() {
        let asked = |namespace: Option<&str>, all_namespaces| ScopeArgs {
            namespace: namespace.map(str::to_owned),
            all_namespaces,
        };
        let one = |name: &str| Scope::Namespace(name.into());
        for (args, expected) in [
            (asked(None, false), one("default")),
            (asked(Some("shop"), false), one("shop")),
            (asked(None, true), Scope::All),
        ] {
            assert_eq!(args.or(one("default")), expected, "{args:?}");
        }
        for (args, expected) in [
            (asked(None, false), Scope::All),
            (asked(Some("shop"), false), one("shop")),
            (asked(None, true), Scope::All),
        ] {
            assert_eq!(args.or_all(), expected, "{args:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_said_with_the_remedy() {
        let args = KubeArgs {
            kubeconfig: Some("/nowhere/kubeconfig".into()),
            context: None,
        };
        let error = client(&args).await.err().unwrap();
        let text = format!("{:#}", anyhow::Error::from(error));
        assert!(text.contains("--kubeconfig"), "{text}");
        assert!(text.contains("/nowhere/kubeconfig"), "{text}");
    }
}
