//! What was written on the command line, and what is true.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use palisade_api::cluster::SYSTEM_NAMESPACE;
use palisade_api::spiffe::TrustDomain;

use parse::{address, ask, cidrs, host_name, ttl};

/// Issues SVIDs, serves workloads and rules to proxies.
#[derive(Debug, Parser)]
#[command(name = "palisade-control", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What control can be told to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve proxies until told to stop.
    Run(RunArgs),
    /// Join tokens, by which a proxy proves who it is.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The certificate authority.
    #[command(subcommand)]
    Ca(CaCommand),
}

/// What can be done with join tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print one token. Works while control runs.
    Create(TokenArgs),
}

/// What can be done with the authority.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Create the authority if the store has none.
    Init(CaArgs),
}

/// `palisade control run`, as written.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The trust domain of the mesh.
    #[arg(long, env = "PALISADE_TRUST_DOMAIN", value_name = "NAME")]
    trust_domain: TrustDomain,
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Where proxies connect; with --kubernetes `[::]:15012` if not given.
    #[arg(long, env = "PALISADE_LISTEN", value_name = "IP:PORT")]
    listen: Option<String>,
    /// How long an SVID lives: from 1s to 24h, which it is with --kubernetes if not given, and 1h otherwise. Shorter
    /// means more renewals; longer, that a stolen one is worth more.
    #[arg(long, env = "PALISADE_SVID_TTL", value_name = "DURATION")]
    svid_ttl: Option<String>,
    /// Where an address that nothing is known about is waited for, and refused, instead of passed. In a cluster, the
    /// ranges of pods and services.
    #[arg(
        long,
        env = "PALISADE_MESH_CIDR",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    mesh_cidr: Vec<String>,
    /// Exceptions from --mesh-cidr: what is passed there in clear.
    #[arg(
        long,
        env = "PALISADE_OUTSIDE_CIDR",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    outside_cidr: Vec<String>,
    /// Where /metrics, /ready and /live are served, and without --kubernetes /proxies and /usage; nowhere if not given,
    /// but with --kubernetes `[::]:15020`.
    #[arg(long, env = "PALISADE_TELEMETRY", value_name = "IP:PORT")]
    telemetry: Option<String>,
}

/// A mesh that is described by files.
#[derive(Debug, Args)]
struct FilesArgs {
    /// The directory of the authority and its tokens; not with --kubernetes.
    #[arg(long, env = "PALISADE_STORE", value_name = "DIR")]
    store: Option<PathBuf>,
    /// A directory of *.yaml files that is watched; may be given several times; not with --kubernetes.
    #[arg(
        long,
        env = "PALISADE_CONFIG",
        value_name = "DIR",
        value_delimiter = ','
    )]
    config: Vec<PathBuf>,
    /// A socket to make where telemetry is served too, to this user alone; not with --kubernetes.
    #[arg(long, env = "PALISADE_TELEMETRY_SOCKET", value_name = "FILE")]
    telemetry_socket: Option<PathBuf>,
}

/// A mesh that is a cluster's.
#[derive(Debug, Args)]
struct ClusterArgs {
    /// Serve the cluster that control runs in, whose API server is the only store.
    #[arg(long, env = "PALISADE_KUBERNETES")]
    kubernetes: bool,
    /// Where control and the injector run.
    #[arg(
        long,
        env = "PALISADE_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = SYSTEM_NAMESPACE
    )]
    system_namespace: String,
    /// What this replica is called: its pod's name; the host's if not given.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    replica: Option<String>,
    /// Whether a caller must come from an address of the pod that its token is bound to. Off only where the network
    /// hides the addresses of pods.
    #[arg(
        long,
        env = "PALISADE_ATTEST_ADDRESS",
        value_name = "on|off",
        default_value = "on"
    )]
    attest_address: Switch,
    /// Where /usage is served to whoever may know; on loopback, to which the API server forwards. 127.0.0.1:15013 if
    /// not given.
    #[arg(long, env = "PALISADE_ASK", value_name = "IP:PORT")]
    ask: Option<String>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Which authority.
#[derive(Debug, Args)]
pub struct CaArgs {
    /// The directory of the authority and its tokens.
    #[arg(long, env = "PALISADE_STORE", value_name = "DIR")]
    pub store: PathBuf,
    /// The trust domain of the mesh.
    #[arg(long, env = "PALISADE_TRUST_DOMAIN", value_name = "NAME")]
    pub trust_domain: TrustDomain,
}

/// `palisade control token create`, as written.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(flatten)]
    pub(crate) store: CaArgs,
    /// The namespace of the service account.
    #[arg(long, env = "PALISADE_NAMESPACE")]
    pub(crate) namespace: String,
    /// The service account that the token is for.
    #[arg(long, env = "PALISADE_SERVICE_ACCOUNT")]
    pub(crate) service_account: String,
    /// How long the token can be redeemed.
    #[arg(long, env = "PALISADE_TTL", value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
}

/// How control runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The trust domain of the mesh.
    pub trust_domain: TrustDomain,
    /// Where the mesh is described.
    pub mode: Mode,
    /// Where proxies connect; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// How long an SVID lives.
    pub svid_ttl: Duration,
    /// Where an address that nothing is known about is unknown, not outside.
    pub mesh_cidrs: Vec<IpNet>,
    /// Exceptions from those.
    pub outside_cidrs: Vec<IpNet>,
    /// Where telemetry is served; nowhere if none.
    pub telemetry: Option<SocketAddr>,
}

/// Where the mesh is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// In files.
    Files(Files),
    /// In the API server of a cluster.
    Kubernetes(Replica),
}

/// What control serves files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The directory of the authority and its tokens.
    pub store: PathBuf,
    /// The directories of YAML files.
    pub directories: Vec<PathBuf>,
    /// Where else telemetry is served, to the same user alone.
    pub telemetry_socket: Option<PathBuf>,
}

/// One of the replicas that serve a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Where control and the injector run.
    pub system_namespace: String,
    /// Whether a caller must come from an address of its own pod.
    pub attest_address: bool,
    /// Where `/usage` is served, on loopback.
    pub ask: SocketAddr,
}

impl TryFrom<RunArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let defaults = if args.cluster.kubernetes {
            IN_CLUSTER
        } else {
            WITH_FILES
        };
        let mode = mode(args.files, args.cluster, &mut mistakes);
        let given = args.listen.as_deref().or(defaults.listen);
        let listen = match given {
            Some(text) => address("--listen", text, &mut mistakes),
            None => {
                mistakes.push("--listen: where do proxies connect? write IP:PORT".to_owned());
                None
            }
        };
        let given = args.telemetry.as_deref().or(defaults.telemetry);
        let telemetry = given.and_then(|text| address("--telemetry", text, &mut mistakes));
        let given = args.svid_ttl.as_deref().unwrap_or(defaults.svid_ttl);
        let svid_ttl = ttl(given, &mut mistakes);
        let mesh_cidrs = cidrs("--mesh-cidr", &args.mesh_cidr, &mut mistakes);
        let outside_cidrs = cidrs("--outside-cidr", &args.outside_cidr, &mut mistakes);
        match (mode, listen, svid_ttl) {
            (Some(mode), Some(listen), Some(svid_ttl)) if mistakes.is_empty() => Ok(Self {
                trust_domain: args.trust_domain,
                mode,
                listen,
                svid_ttl,
                mesh_cidrs,
                outside_cidrs,
                telemetry,
            }),
            _ => Err(ConfigError { mistakes }),
        }
    }
}

/// What is taken where nothing is said.
struct Defaults {
    listen: Option<&'static str>,
    telemetry: Option<&'static str>,
    svid_ttl: &'static str,
}

fn mode(files: FilesArgs, cluster: ClusterArgs, mistakes: &mut Vec<String>) -> Option<Mode> {
    if cluster.kubernetes {
        for (flag, is_given) in [
            ("--store", files.store.is_some()),
            ("--config", !files.config.is_empty()),
            ("--telemetry-socket", files.telemetry_socket.is_some()),
        ] {
            if is_given {
                mistakes.push(format!(
                    "{flag}: not with --kubernetes, where the API server is the only store; remove one of them"
                ));
            }
        }
        let ask = ask(cluster.ask.as_deref(), mistakes)?;
        return Some(Mode::Kubernetes(Replica {
            name: cluster.replica.unwrap_or_else(host_name),
            system_namespace: cluster.system_namespace,
            attest_address: cluster.attest_address == Switch::On,
            ask,
        }));
    }
    if cluster.ask.is_some() {
        mistakes.push(
            "--ask: only with --kubernetes; elsewhere /usage is where telemetry is (--telemetry)"
                .to_owned(),
        );
    }
    for directory in &files.config {
        if !directory.is_dir() {
            let directory = directory.display();
            mistakes.push(format!(
                "--config: {directory} is not a directory; create it"
            ));
        }
    }
    match (files.store, files.config) {
        (Some(store), directories) if !directories.is_empty() => Some(Mode::Files(Files {
            store,
            directories,
            telemetry_socket: files.telemetry_socket,
        })),
        _ => {
            mistakes.push(
                "--kubernetes: where is the mesh described? write --kubernetes in a cluster, or both --store and \
                 --config"
                    .to_owned(),
            );
            None
        }
    }
}

/// Every mistake of a command line at once.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

const WITH_FILES: Defaults = Defaults {
    listen: None,
    telemetry: None,
    svid_ttl: "1h",
};
const IN_CLUSTER: Defaults = Defaults {
    listen: Some("[::]:15012"),
    telemetry: Some("[::]:15020"),
    svid_ttl: "24h",
};
