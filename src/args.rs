//! The arguments of the commands that ask a mesh, on this machine or in a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::kubernetes::client::{KubeArgs, ScopeArgs};
use crate::records::filter::Replica;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people: aligned, coloured
    Text,
    /// For programs: one JSON object a line
    Json,
}

impl Output {
    /// What was asked for, or what suits stdout.
    pub(crate) fn or_by_terminal(asked: Option<Self>) -> Self {
        use std::io::IsTerminal;
        asked.unwrap_or_else(|| {
            if std::io::stdout().is_terminal() {
                Self::Text
            } else {
                Self::Json
            }
        })
    }
}

/// A time with its unit, for arguments.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    // What the parser says of its own grammar helps nobody who is not near it.
    humantime::parse_duration(text).map_err(|_error| SPAN.to_owned())
}

const SPAN: &str = "write a time with its unit, such as 90s, 30m or 7d";

/// `palisade up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The mesh file
    pub(crate) file: PathBuf,
    /// Text or JSON lines [default: text on a terminal, else json]
    #[arg(short, long, env = "PALISADE_OUTPUT")]
    pub(crate) output: Option<Output>,
    /// The mesh's name, where another than the file's is wanted
    #[arg(long, env = "PALISADE_NAME")]
    pub(crate) name: Option<String>,
    /// How many records are kept for `palisade logs`
    #[arg(long, env = "PALISADE_KEEP_RECORDS", default_value_t = 10_000)]
    pub(crate) keep_records: usize,
    /// Prints also what the applications and the proxies write
    #[arg(long, env = "PALISADE_APP_OUTPUT")]
    pub(crate) app_output: bool,
}

/// Which mesh is meant.
#[derive(Debug, Args)]
pub(crate) struct MeshArgs {
    /// The local mesh, where several run
    #[arg(long, env = "PALISADE_NAME")]
    pub(crate) name: Option<String>,
    /// Text or JSON lines [default: text on a terminal, else json]
    #[arg(short, long, env = "PALISADE_OUTPUT")]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
}

impl MeshArgs {
    /// Whether a flag was given that only a cluster has. The name of a local mesh may come from the environment,
    /// whatever is asked.
    pub(crate) fn names_a_cluster(&self) -> bool {
        self.kube.kubeconfig.is_some()
            || self.kube.context.is_some()
            || self.scope.namespace.is_some()
            || self.scope.all_namespaces
    }
}

/// `palisade ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
}

/// `palisade exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
    /// The container, on a cluster [default: the workload's own first one]
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// `web` (its first replica), `web-1` or `shop/web`; on a cluster a pod, or what made it
    pub(crate) workload: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// `palisade logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
    /// Only this workload's: `web`, `web-1` or `shop/web`; on a cluster a pod, or what made it
    pub(crate) workload: Option<Replica>,
    /// Goes on with new records as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only refused connections
    #[arg(long)]
    pub(crate) denied: bool,
    /// Only connections from this workload or service account: `web`, `shop/web`, `shop/*`
    #[arg(long, value_name = "WORKLOAD")]
    pub(crate) from: Option<Replica>,
    /// Only connections to this workload, service account or service
    #[arg(long, value_name = "WORKLOAD")]
    pub(crate) to: Option<Replica>,
    /// Shows the two sides of a connection as one
    #[arg(long)]
    pub(crate) pair: bool,
    /// Only records that are younger, such as 90s or 2h [default on a cluster: 10m]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) since: Option<Duration>,
    /// On a cluster: all that the nodes keep, of any number of pods [default: the 50 newest]
    #[arg(long)]
    pub(crate) all: bool,
    /// Says how many lines of the sidecars' logs were no records
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
