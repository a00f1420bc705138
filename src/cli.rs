//! What people type.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::check::CheckArgs;
use crate::kubernetes::client::{KubeArgs, ScopeArgs};
use crate::kubernetes::meant::{Meant, meant};
use crate::netpol::NetworkPoliciesArgs;
use crate::records::filter::Replica;
use crate::{ask, check, demo, exec, inject, install, kubernetes, netpol, up};

/// A minimal service mesh: mutual TLS, authorization and one record for every connection.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole mesh on this machine, from one file, until Ctrl-C
    Up(UpArgs),
    /// Lists the workloads of a mesh: who they are and how they are
    #[command(after_help = WHICH_MESH)]
    Ps(PsArgs),
    /// Runs a command inside a workload's pod, as its application would
    #[command(after_help = WHICH_MESH)]
    Exec(ExecArgs),
    /// Prints the records of a mesh's connections
    #[command(after_help = WHICH_MESH)]
    Logs(LogsArgs),
    /// Puts the sidecar into the pods of YAML files, as the webhook does it, and prints them
    Inject(inject::InjectArgs),
    /// Takes the sidecar out of the pods of YAML files again, and prints them
    Uninject(inject::UninjectArgs),
    /// Prints what the mesh needs in a cluster: palisade install | kubectl apply -f -
    Install(install::InstallArgs),
    /// Takes the mesh out of the cluster of the current kubeconfig
    Uninstall(install::uninstall::UninstallArgs),
    /// Says what is wrong with the mesh of a cluster, or with the cluster before it has one, and what to do
    #[command(after_help = check::AFTER_HELP)]
    Check(CheckArgs),
    /// Rules, in other forms
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The sidecar
    #[command(subcommand)]
    Proxy(palisade_proxy::cli::Command),
    /// The control service
    #[command(subcommand)]
    Control(palisade_control::Command),
    /// The admission webhook
    #[command(subcommand)]
    Injector(palisade_injector::Command),
    /// The small programs of the example shop
    #[command(hide = true, subcommand)]
    Demo(demo::Demo),
    /// A stage of `up` or `exec`, started by them alone
    #[command(hide = true)]
    Stage {
        /// What is shown by `ps`; what is done is said in the environment
        #[arg(trailing_var_arg = true)]
        title: Vec<String>,
    },
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people: aligned, coloured
    Text,
    /// For programs: one JSON object a line
    Json,
}

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

/// What is done with rules.
#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Prints NetworkPolicies that match the rules, for a cluster whose network enforces them
    #[command(name = "networkpolicies", after_help = netpol::AFTER_HELP)]
    NetworkPolicies(NetworkPoliciesArgs),
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

/// How `palisade ps`, `logs` and `exec` know which mesh is meant.
const WHICH_MESH: &str = "\
Which mesh is meant: with --kubeconfig, --context, -n or -A that of a cluster; else the one that `palisade up` runs on
this machine (--name, where several run); else that of the cluster of the current kubeconfig. On a cluster, the namespace
is the context's, unless -n, -A or a name such as `shop/web` says otherwise.";

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
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) since: Option<Duration>,
    /// On a cluster: all that the nodes keep, of any number of pods [default: the 50 newest]
    #[arg(long)]
    pub(crate) all: bool,
    /// Says how many lines of the sidecars' logs were no records
    #[arg(short, long)]
    pub(crate) verbose: bool,
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

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(&args),
        Command::Ps(args) => match meant(&args.mesh)? {
            Meant::Local => ask::ps(&args),
            Meant::Cluster => kubernetes::run(kubernetes::ps::run(&args)),
        },
        Command::Exec(args) => match meant(&args.mesh)? {
            Meant::Local => exec::run(&args),
            Meant::Cluster => kubernetes::run(kubernetes::exec::run(&args)),
        },
        Command::Logs(args) => match meant(&args.mesh)? {
            Meant::Local => ask::logs(&args),
            Meant::Cluster => kubernetes::run(kubernetes::logs::run(&args)),
        },
        Command::Check(args) => check::run(&args),
        Command::Policy(PolicyCommand::NetworkPolicies(args)) => netpol::run(&args),
        Command::Inject(args) => inject::inject(&args),
        Command::Uninject(args) => inject::uninject(&args),
        Command::Install(args) => install::run(&args),
        Command::Uninstall(args) => install::uninstall::run(&args),
        Command::Demo(demo) => demo::run(demo),
        Command::Stage { .. } => up::stage::run(),
        Command::Proxy(command) => palisade_proxy::cli::main(command).map(|()| ExitCode::SUCCESS),
        Command::Control(command) => {
            palisade_control::run(palisade_control::Cli { command })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Injector(command) => {
            palisade_injector::main(command)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
