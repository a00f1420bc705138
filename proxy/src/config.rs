//! What was asked for on the command line, and what is true after it was checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use palisade_api::sidecar;
use palisade_api::spiffe::{SpiffeIdError, TrustDomain};

use crate::identity::attest::Credential;
use crate::identity::place::ControlPlace;
use crate::list::List;
use crate::probe::{Probes, ProbesError};
use crate::redirect::Bypass;

/// How the sidecar runs. Every flag can be given in the environment too.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The workload that this sidecar answers for: namespace/name
    #[arg(long, env = "PALISADE_WORKLOAD", value_name = "NAMESPACE/NAME")]
    pub workload: String,
    /// The trust domain that control issues for
    #[arg(long, env = "PALISADE_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Where control serves: addresses or names, with commas between them, tried in turn
    #[arg(
        long,
        env = "PALISADE_CONTROL",
        value_name = "HOST:PORT",
        required = true
    )]
    pub control: Vec<List<ControlPlace>>,
    /// A file with a join token, or a Unix socket that answers each connection with a fresh one
    #[arg(long, env = "PALISADE_JOIN_TOKEN", value_name = "PATH")]
    pub join_token: Option<PathBuf>,
    /// A file with a service account's token, in place of a join token. Read anew whenever it is needed
    #[arg(long, env = "PALISADE_SERVICE_ACCOUNT_TOKEN", value_name = "PATH")]
    pub service_account_token: Option<PathBuf>,
    /// A PEM file with the authorities that control's certificate may come from, with --service-account-token
    #[arg(long, env = "PALISADE_TRUST_ANCHOR", value_name = "PATH")]
    pub trust_anchor: Option<PathBuf>,
    /// What is asked of the applications at /probe/… on port 15020: an object of path to probe
    #[arg(long, env = palisade_api::cluster::PROBES_VARIABLE, value_name = "JSON")]
    pub probes: Option<String>,
    /// A port of the pod that the redirect leaves alone, for the status page
    #[arg(long, env = "PALISADE_EXCLUDE_INBOUND_PORT", value_name = "PORT")]
    pub exclude_inbound_port: Vec<List<u16>>,
    /// How the redirect knows the proxy's own connections
    #[arg(long, env = "PALISADE_BYPASS", value_enum, default_value = "uid")]
    pub bypass: BypassArg,
    /// Outside of the mesh while control cannot be asked: passed in clear and recorded
    #[arg(long, env = "PALISADE_OUTSIDE_CIDR", value_name = "CIDR")]
    pub outside_cidr: Vec<List<IpNet>>,
    /// Longest wait for a handshake, and for the first bytes of an inbound connection
    #[arg(long, env = "PALISADE_HANDSHAKE_TIMEOUT", value_parser = humantime::parse_duration, default_value = "10s")]
    pub handshake_timeout: Duration,
    /// Longest wait for a TCP connection to an endpoint or to the application
    #[arg(long, env = "PALISADE_CONNECT_TIMEOUT", value_parser = humantime::parse_duration, default_value = "3s")]
    pub connect_timeout: Duration,
    /// Longest wait for control to say what is at an address
    #[arg(long, env = "PALISADE_LOOKUP_TIMEOUT", value_parser = humantime::parse_duration, default_value = "3s")]
    pub lookup_timeout: Duration,
    /// How long live connections may take to end after SIGTERM
    #[arg(long, env = "PALISADE_DRAIN_TIMEOUT", value_parser = humantime::parse_duration, default_value = "30s")]
    pub drain_timeout: Duration,
    /// Most connections at once, each direction
    #[arg(
        long,
        env = "PALISADE_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "16384"
    )]
    pub max_connections: usize,
    /// Most inbound handshakes at once from one address
    #[arg(
        long,
        env = "PALISADE_MAX_HANDSHAKES_PER_SOURCE",
        value_name = "N",
        default_value = "1024"
    )]
    pub max_handshakes_per_source: usize,
    /// Memory for the data that streams receive, all together
    #[arg(
        long,
        env = "PALISADE_STREAM_BUDGET_BYTES",
        value_name = "BYTES",
        default_value = "67108864"
    )]
    pub stream_budget_bytes: usize,
    /// A connection's `open` record is written once it has lasted this long; 0s: at once
    #[arg(long, env = "PALISADE_RECORD_OPEN_AFTER", value_parser = humantime::parse_duration, default_value = "1s")]
    pub record_open_after: Duration,
    /// How often a long connection writes a `progress` record; 0s: never
    #[arg(long, env = "PALISADE_RECORD_PROGRESS", value_parser = humantime::parse_duration, default_value = "60s")]
    pub record_progress: Duration,
    /// How records are written to standard output
    #[arg(
        long,
        env = "PALISADE_RECORD_FORMAT",
        value_enum,
        default_value = "json"
    )]
    pub record_format: RecordFormat,
}

/// How the redirect knows the proxy's own connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BypassArg {
    /// By its user id.
    Uid,
    /// By a mark on its sockets, where the user namespace has one id only. Needs CAP_NET_ADMIN.
    Mark,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordFormat {
    /// One JSON object a line.
    Json,
    /// One line for people.
    Text,
}

/// A checked configuration. Durations and limits are as in [`RunArgs`].
#[derive(Debug, Clone)]
pub struct Config {
    /// `namespace/name` of the workload.
    pub workload: String,
    /// The own trust domain.
    pub trust_domain: TrustDomain,
    /// Where control serves: at least one.
    pub control: Vec<ControlPlace>,
    /// What proves this proxy while it has no SVID.
    pub credential: Credential,
    /// What is asked of the applications for the kubelet.
    pub probes: Probes,
    /// How the redirect knows the proxy's own connections.
    pub bypass: Bypass,
    /// The rest needs no checking beyond its type.
    pub args: RunArgs,
}

impl Config {
    /// The mark of the proxy's own sockets, where it needs one.
    pub fn mark(&self) -> Option<u32> {
        match self.bypass {
            Bypass::Uid => None,
            Bypass::Mark => Some(sidecar::PROXY_MARK),
        }
    }
}

impl TryFrom<RunArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let trust_domain = args
            .trust_domain
            .parse::<TrustDomain>()
            .map_err(|error| mistakes.push(Mistake::TrustDomain(error)));
        if !matches!(args.workload.split_once('/'), Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
        {
            mistakes.push(Mistake::Workload(args.workload.clone()));
        }
        let control = List::all(&args.control);
        if control.is_empty() {
            mistakes.push(Mistake::NoControl);
        }
        let credential = credential(&args).map_err(|mistake| mistakes.push(mistake));
        let probes = Probes::parse(args.probes.as_deref().unwrap_or_default())
            .map_err(|error| mistakes.push(Mistake::Probes(error)));
        mistakes.extend(zeros(&args));
        if args.stream_budget_bytes < MIN_STREAM_BUDGET_BYTES {
            mistakes.push(Mistake::Budget(args.stream_budget_bytes));
        }
        let bypass = match args.bypass {
            BypassArg::Uid => Bypass::Uid,
            BypassArg::Mark => Bypass::Mark,
        };
        match (trust_domain, credential, probes) {
            (Ok(trust_domain), Ok(credential), Ok(probes)) if mistakes.is_empty() => Ok(Self {
                workload: args.workload.clone(),
                trust_domain,
                control,
                credential,
                probes,
                bypass,
                args,
            }),
            _ => Err(ConfigError { mistakes }),
        }
    }
}

/// Exactly one way to prove oneself, and what belongs to it.
fn credential(args: &RunArgs) -> Result<Credential, Mistake> {
    match (
        &args.join_token,
        &args.service_account_token,
        &args.trust_anchor,
    ) {
        (Some(token), None, None) => Ok(Credential::JoinToken(token.clone())),
        (None, Some(token), Some(anchor)) => Ok(Credential::ServiceAccount {
            token: token.clone(),
            anchor: anchor.clone(),
        }),
        (None, Some(_), None) => Err(Mistake::NoTrustAnchor),
        (Some(_), None, Some(_)) => Err(Mistake::TrustAnchorWithJoinToken),
        (Some(_), Some(_), _) => Err(Mistake::TwoTokens),
        (None, None, _) => Err(Mistake::NoToken),
    }
}

/// What is zero and must not be.
fn zeros(args: &RunArgs) -> impl Iterator<Item = Mistake> {
    [
        ("--handshake-timeout", args.handshake_timeout.is_zero()),
        ("--connect-timeout", args.connect_timeout.is_zero()),
        ("--lookup-timeout", args.lookup_timeout.is_zero()),
        ("--max-connections", args.max_connections == 0),
        (
            "--max-handshakes-per-source",
            args.max_handshakes_per_source == 0,
        ),
    ]
    .into_iter()
    .filter_map(|(flag, is_zero)| is_zero.then_some(Mistake::Zero(flag)))
}

/// Everything that is wrong with the flags, at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// One each.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong with the flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Not a trust domain.
    #[error("--trust-domain: {0}")]
    TrustDomain(SpiffeIdError),
    /// Not `namespace/name`.
    #[error("--workload: {0:?} is not namespace/name, such as shop/orders-0")]
    Workload(String),
    /// An empty list.
    #[error("--control: name at least one HOST:PORT")]
    NoControl,
    /// Nothing proves this proxy.
    #[error(
        "give one of --join-token and --service-account-token: control issues to nobody without proof"
    )]
    NoToken,
    /// Which of the two is meant cannot be told.
    #[error("--join-token and --service-account-token exclude each other; give one of them")]
    TwoTokens,
    /// A service account's token would be told to anyone who answers.
    #[error(
        "--service-account-token needs --trust-anchor: the PEM file with control's authorities"
    )]
    NoTrustAnchor,
    /// It would not be used.
    #[error(
        "--trust-anchor belongs to --service-account-token; a join token names control's root itself"
    )]
    TrustAnchorWithJoinToken,
    /// Not the probes that the injector writes.
    #[error("--probes: {0}")]
    Probes(ProbesError),
    /// Zero, where that would refuse everything.
    #[error("{0}: zero would refuse every connection; give at least 1")]
    Zero(&'static str),
    /// Too small for one stream.
    #[error("--stream-budget-bytes: {0} is too small; give at least {MIN_STREAM_BUDGET_BYTES}")]
    Budget(usize),
}

/// Enough for some streams each way.
const MIN_STREAM_BUDGET_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn config(more: &[&str]) -> Result<Config, ConfigError> {
        let line = ["proxy", "--control", "10.0.0.1:15012", "--join-token", "/t"];
        Line::parse_from(line.iter().chain(more)).run.try_into()
    }

    fn in_pod(more: &[&str]) -> Result<Config, ConfigError> {
        let line = [
            "proxy",
            "--workload",
            "shop/orders-0",
            "--control",
            "control.system.svc:15012,10.96.0.9:15012,[fd96::9]:15012",
        ];
        Line::parse_from(line.iter().chain(more)).run.try_into()
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let mistakes = config(&[
            "--workload",
            "orders",
            "--trust-domain",
            "A",
            "--connect-timeout",
            "0s",
            "--stream-budget-bytes",
            "1",
        ])
        .unwrap_err()
        .mistakes;
        assert_eq!(
            mistakes,
            [
                Mistake::TrustDomain(SpiffeIdError::TrustDomainCharacter),
                Mistake::Workload("orders".into()),
                Mistake::Zero("--connect-timeout"),
                Mistake::Budget(1),
            ]
        );
    }

    #[test]
    fn there_is_exactly_one_proof_and_an_anchor_with_a_service_account() {
        let (join, token) = ("--join-token=/j", "--service-account-token=/t");
        let anchor = "--trust-anchor=/a";
        for (flags, mistake) in [
            (&[][..], Mistake::NoToken),
            (&[anchor], Mistake::NoToken),
            (&[token], Mistake::NoTrustAnchor),
            (&[join, anchor], Mistake::TrustAnchorWithJoinToken),
            (&[join, token], Mistake::TwoTokens),
            (&[join, token, anchor], Mistake::TwoTokens),
        ] {
            assert_eq!(in_pod(flags).unwrap_err().mistakes, [mistake], "{flags:?}");
        }
        let config = in_pod(&[token, anchor]).unwrap();
        let service_account = Credential::ServiceAccount {
            token: "/t".into(),
            anchor: "/a".into(),
        };
        assert_eq!(config.credential, service_account);
        let places = config.control.iter().map(ToString::to_string);
        assert_eq!(
            places.collect::<Vec<_>>(),
            [
                "control.system.svc:15012",
                "10.96.0.9:15012",
                "[fd96::9]:15012"
            ]
        );
    }

    #[test]
    fn empty_lists_and_probes_are_none_and_an_empty_control_is_a_mistake() {
        let empty = [
            "--join-token=/t",
            "--outside-cidr=",
            "--exclude-inbound-port=",
            "--probes=",
        ];
        let config = in_pod(&empty).unwrap();
        assert!(List::all(&config.args.outside_cidr).is_empty());
        assert!(List::all(&config.args.exclude_inbound_port).is_empty());
        let line = ["p", "--workload=a/b", "--join-token=/t", "--control="];
        let config: Result<Config, _> = Line::parse_from(line).run.try_into();
        assert_eq!(config.unwrap_err().mistakes, [Mistake::NoControl]);
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let config = config(&["--workload", "shop/orders-0", "--bypass", "mark"]).unwrap();
        assert_eq!(config.mark(), Some(sidecar::PROXY_MARK));
        assert_eq!(config.trust_domain.as_str(), "cluster.local");
    }
}
