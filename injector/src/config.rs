//! What was written on the command line, and what is true.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

use palisade_api::cluster;
use palisade_api::spiffe::TrustDomain;

use crate::inject::{Resources, Settings};
use crate::limits::Quantity;

/// `palisade injector run`, as written.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the API server asks for reviews.
    #[arg(
        long,
        env = "PALISADE_LISTEN",
        value_name = "IP:PORT",
        default_value = "[::]:15017"
    )]
    listen: String,
    /// Where /metrics, /ready and /live are served.
    #[arg(
        long,
        env = "PALISADE_TELEMETRY",
        value_name = "IP:PORT",
        default_value = "[::]:15020"
    )]
    telemetry: String,
    /// The namespace of the mesh itself.
    #[arg(long, env = "PALISADE_NAMESPACE", value_name = "NAME", default_value = cluster::SYSTEM_NAMESPACE)]
    system_namespace: String,
    /// The image of the sidecar.
    #[arg(long, env = "PALISADE_IMAGE")]
    image: String,
    /// When a node pulls that image; the cluster decides if not given.
    #[arg(long, env = "PALISADE_IMAGE_PULL_POLICY", value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// The trust domain of the mesh.
    #[arg(long, env = "PALISADE_TRUST_DOMAIN", value_name = "NAME")]
    trust_domain: String,
    /// The port of control's Service.
    #[arg(long, env = "PALISADE_CONTROL_PORT", value_name = "PORT", default_value_t = palisade_api::sidecar::CONTROL_PORT)]
    control_port: u16,
    /// What a sidecar requests of a CPU. Too little slows its pod's connections on a full node; too much is kept free for nothing.
    #[arg(
        long,
        env = "PALISADE_CPU_REQUEST",
        value_name = "QUANTITY",
        default_value = "10m"
    )]
    cpu_request: String,
    /// What a sidecar requests of memory. Too little has it evicted first on a full node; too much is kept free for nothing.
    #[arg(
        long,
        env = "PALISADE_MEMORY_REQUEST",
        value_name = "QUANTITY",
        default_value = "32Mi"
    )]
    memory_request: String,
}

/// How the injector runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where reviews are answered; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where telemetry is served.
    pub telemetry: SocketAddr,
    /// The namespace of the mesh itself.
    pub system_namespace: String,
    /// The image of the sidecar.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; the cluster decides if none.
    pub image_pull_policy: Option<String>,
    /// The trust domain of the mesh.
    pub trust_domain: TrustDomain,
    /// The port of control's Service.
    pub control_port: u16,
    /// What a sidecar requests of a CPU.
    pub cpu_request: Quantity,
    /// What a sidecar requests of memory.
    pub memory_request: Quantity,
}

impl TryFrom<RunArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let listen = parsed("--listen", &args.listen, ADDRESS, &mut mistakes);
        let telemetry = parsed("--telemetry", &args.telemetry, ADDRESS, &mut mistakes);
        let trust_domain = parsed("--trust-domain", &args.trust_domain, DOMAIN, &mut mistakes);
        let cpu_request = parsed("--cpu-request", &args.cpu_request, CPU, &mut mistakes);
        let memory_request = parsed(
            "--memory-request",
            &args.memory_request,
            MEMORY,
            &mut mistakes,
        );
        if args.control_port == 0 {
            mistakes.push("--control-port: 0 is no port; write one like 15012".to_owned());
        }
        if args.image.trim().is_empty() {
            mistakes.push("--image: it is empty; write the image of this version".to_owned());
        }
        if args.system_namespace.is_empty() {
            mistakes.push("--system-namespace: it is empty; write palisade-system".to_owned());
        }
        if let Some(policy) = &args.image_pull_policy
            && !PULL_POLICIES.contains(&policy.as_str())
        {
            let known = PULL_POLICIES.join(", ");
            mistakes.push(format!(
                "--image-pull-policy: {policy:?} is none; write one of {known}"
            ));
        }
        let addresses = listen.zip(telemetry);
        let requests = cpu_request.zip(memory_request);
        match (addresses, requests, trust_domain) {
            (
                Some((listen, telemetry)),
                Some((cpu_request, memory_request)),
                Some(trust_domain),
            ) if mistakes.is_empty() => Ok(Self {
                listen,
                telemetry,
                system_namespace: args.system_namespace,
                image: args.image,
                image_pull_policy: args.image_pull_policy,
                trust_domain,
                control_port: args.control_port,
                cpu_request,
                memory_request,
            }),
            _ => Err(ConfigError { mistakes }),
        }
    }
}

impl Config {
    /// What sidecars are made of, but for control's addresses, which the cluster knows.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            image: self.image.clone(),
            image_pull_policy: self.image_pull_policy.clone(),
            trust_domain: self.trust_domain.to_string(),
            control: Vec::new(),
            resources: Resources {
                cpu_request: self.cpu_request.clone(),
                memory_request: self.memory_request.clone(),
            },
        }
    }
}

fn parsed<T: FromStr>(
    flag: &str,
    text: &str,
    (what, example): (&str, &str),
    mistakes: &mut Vec<String>,
) -> Option<T> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        mistakes.push(format!(
            "{flag}: {text:?} is not {what}; write it like {example}"
        ));
    }
    parsed
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

const ADDRESS: (&str, &str) = ("IP:PORT", "[::]:15017");
const DOMAIN: (&str, &str) = ("a trust domain", "cluster.local");
const CPU: (&str, &str) = ("a quantity", "10m");
const MEMORY: (&str, &str) = ("a quantity", "32Mi");
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(rest: &[&str]) -> RunArgs {
        let whole = ["palisade-injector", "run", "--trust-domain=a", "--image=i"];
        let cli = Cli::try_parse_from(whole.iter().chain(rest)).unwrap();
        let Command::Run(args) = cli.command;
        *args
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mut args = args(&[
            "--listen=here",
            "--telemetry=there",
            "--image-pull-policy=always",
            "--control-port=0",
            "--cpu-request=ten",
            "--memory-request=-1",
            "--system-namespace=",
        ]);
        args.trust_domain = "A".to_owned();
        args.image = " ".to_owned();
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
                "--trust-domain",
                "--cpu-request",
                "--memory-request",
                "--control-port",
                "--image",
                "--system-namespace",
                "--image-pull-policy",
            ]
        );
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = Config::try_from(args(&[])).unwrap();
        assert_eq!(config.listen, "[::]:15017".parse().unwrap());
        assert_eq!(config.telemetry, "[::]:15020".parse().unwrap());
        assert_eq!(config.system_namespace, "palisade-system");
        assert_eq!(config.control_port, 15012);
        assert_eq!(config.cpu_request.to_string(), "10m");
        assert_eq!(config.memory_request.to_string(), "32Mi");
        assert_eq!(config.image_pull_policy, None);
    }
}
