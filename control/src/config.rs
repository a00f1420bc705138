//! What was written on the command line, and what is true.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use palisade_api::spiffe::TrustDomain;

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
    #[command(flatten)]
    store: CaArgs,
    /// A directory of *.yaml files that is watched; may be given several times.
    #[arg(
        long,
        env = "PALISADE_CONFIG",
        value_name = "DIR",
        required = true,
        value_delimiter = ','
    )]
    config: Vec<PathBuf>,
    /// Where proxies connect.
    #[arg(long, env = "PALISADE_LISTEN", value_name = "IP:PORT")]
    listen: String,
    /// How long an SVID lives: from 1s to 24h. Shorter means more renewals; longer, that a stolen one is worth more.
    #[arg(
        long,
        env = "PALISADE_SVID_TTL",
        value_name = "DURATION",
        default_value = "1h"
    )]
    svid_ttl: String,
    /// Where an address that nothing is known about is waited for, and refused, instead of passed.
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
    /// Where /metrics, /ready and /proxies are served; nowhere if not given.
    #[arg(long, env = "PALISADE_TELEMETRY", value_name = "IP:PORT")]
    telemetry: Option<String>,
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
    /// The directory of the authority and its tokens.
    pub store: PathBuf,
    /// The directories of YAML files.
    pub directories: Vec<PathBuf>,
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

impl TryFrom<RunArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let listen = address("--listen", &args.listen, &mut mistakes);
        let telemetry = args
            .telemetry
            .as_deref()
            .and_then(|text| address("--telemetry", text, &mut mistakes));
        let svid_ttl = ttl(&args.svid_ttl, &mut mistakes);
        let mesh_cidrs = cidrs("--mesh-cidr", &args.mesh_cidr, &mut mistakes);
        let outside_cidrs = cidrs("--outside-cidr", &args.outside_cidr, &mut mistakes);
        for directory in &args.config {
            if !directory.is_dir() {
                let directory = directory.display();
                mistakes.push(format!(
                    "--config: {directory} is not a directory; create it"
                ));
            }
        }
        match (listen, svid_ttl) {
            (Some(listen), Some(svid_ttl)) if mistakes.is_empty() => Ok(Self {
                trust_domain: args.store.trust_domain,
                store: args.store.store,
                directories: args.config,
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

fn address(flag: &str, text: &str, mistakes: &mut Vec<String>) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        mistakes.push(format!(
            "{flag}: {text:?} is not IP:PORT; write it like 127.0.0.1:15012"
        ));
    }
    parsed
}

fn ttl(text: &str, mistakes: &mut Vec<String>) -> Option<Duration> {
    let parsed = humantime::parse_duration(text)
        .ok()
        .filter(|ttl| (MIN_TTL..=MAX_TTL).contains(ttl));
    if parsed.is_none() {
        mistakes.push(format!(
            "--svid-ttl: {text:?} is not a duration from 1s to 24h"
        ));
    }
    parsed
}

fn cidrs(flag: &str, texts: &[String], mistakes: &mut Vec<String>) -> Vec<IpNet> {
    let parse = |text: &String| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            mistakes.push(format!(
                "{flag}: {text:?} is not a CIDR; write it like 10.0.0.0/8"
            ));
        }
        parsed
    };
    texts.iter().filter_map(parse).collect()
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

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn args(rest: &[&str]) -> RunArgs {
        let whole = [
            "palisade-control",
            "run",
            "--trust-domain",
            "a",
            "--store",
            "s",
        ];
        let cli = Cli::try_parse_from(whole.iter().chain(rest)).unwrap();
        match cli.command {
            Command::Run(args) => args,
            Command::Token(_) | Command::Ca(_) => panic!("not run"),
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let args = args(&[
            "--config=/nowhere/at/all",
            "--listen=here",
            "--telemetry=there",
            "--svid-ttl=25h",
            "--mesh-cidr=10.0.0.0/8,ten",
            "--outside-cidr=nine",
        ]);
        let mistakes = Config::try_from(args).unwrap_err().mistakes;
        let flags: Vec<_> = mistakes
            .iter()
            .map(|m| m.split(':').next().unwrap())
            .collect();
        assert_eq!(
            flags,
            [
                "--listen",
                "--telemetry",
                "--svid-ttl",
                "--mesh-cidr",
                "--outside-cidr",
                "--config"
            ]
        );
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = Config::try_from(args(&["--config=/", "--listen=[::1]:0"])).unwrap();
        assert_eq!(config.svid_ttl, Duration::from_secs(3600));
        assert_eq!(config.telemetry, None);
        assert!(config.mesh_cidrs.is_empty());
    }
}
