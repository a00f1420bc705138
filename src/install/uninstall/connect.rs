//! Which cluster, and the connection to its API server.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Which cluster is meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KubeArgs {
    /// The kubeconfig file [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
}

/// A client for the cluster that is meant.
pub(super) async fn client(args: &KubeArgs) -> anyhow::Result<Client> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = match &args.kubeconfig {
        Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await,
        None => Config::from_kubeconfig(&options).await,
    };
    let config = config.context("no kubeconfig can be used; point --kubeconfig at one")?;
    Client::try_from(config).context("the kubeconfig's credentials cannot be used")
}
