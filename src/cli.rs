//! What people type.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{ask, demo, exec, inject, install, up};

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
    /// Lists the workloads of the running mesh: who they are and how they are
    Ps(PsArgs),
    /// Runs a command inside a workload's pod, as its application would
    Exec(ExecArgs),
    /// Prints the records of the running mesh's connections
    Logs(LogsArgs),
    /// Puts the sidecar into the pods of YAML files, as the webhook does it, and prints them
    Inject(inject::InjectArgs),
    /// Takes the sidecar out of the pods of YAML files again, and prints them
    Uninject(inject::UninjectArgs),
    /// Prints what the mesh needs in a cluster: palisade install | kubectl apply -f -
    Install(install::InstallArgs),
    /// Takes the mesh out of the cluster of the current kubeconfig
    Uninstall(install::uninstall::UninstallArgs),
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

/// Which of the running meshes is meant.
#[derive(Debug, Args)]
pub(crate) struct MeshArgs {
    /// The mesh, where several run
    #[arg(long, env = "PALISADE_NAME")]
    pub(crate) name: Option<String>,
    /// Text or JSON lines [default: text on a terminal, else json]
    #[arg(short, long, env = "PALISADE_OUTPUT")]
    pub(crate) output: Option<Output>,
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
    /// `web` (its first replica), `web-1` or `shop/web`
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
    /// Only this workload's: `web`, `web-1` or `shop/web`
    pub(crate) workload: Option<String>,
    /// Goes on with new records as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only refused connections
    #[arg(long)]
    pub(crate) denied: bool,
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
        Command::Ps(args) => ask::ps(&args),
        Command::Exec(args) => exec::run(&args),
        Command::Logs(args) => ask::logs(&args),
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
