//! `palisade install` prints what the mesh needs in a cluster; `palisade uninstall` takes it away again.
//!
//! The manifests are the templates of the Helm chart in `injector/chart/`, rendered here with the same values, so
//! that there is one place where they are written.

mod chart;
mod render;
pub(crate) mod uninstall;
mod values;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use palisade_api::cluster;
use palisade_api::spiffe::TrustDomain;

use self::values::Setting;

/// `palisade install`.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Where control and the injector run
    #[arg(short, long, default_value = cluster::SYSTEM_NAMESPACE, value_parser = namespace)]
    namespace: String,
    /// The image of control, of the injector and of the sidecars [default: palisade:VERSION]
    #[arg(long)]
    image: Option<String>,
    /// The trust domain of the mesh [default: cluster.local]
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    /// The ranges of Pods and Services: an address there that nothing is known of is refused, not passed on in clear
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    mesh_cidr: Vec<IpNet>,
    /// Exceptions from --mesh-cidr
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    outside_cidr: Vec<IpNet>,
    /// How many of control, and how many of the injector [default: 2]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    replicas: Option<u16>,
    /// Whether a proxy that asks for an SVID must come from its pod's own address [default: on]
    #[arg(long)]
    attest_address: Option<Switch>,
    /// How long an SVID lives, from 1s to 24h [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = svid_ttl)]
    svid_ttl: Option<String>,
    /// Any other value of the chart, as in priorityClassName= or controlResources.requests.cpu=200m
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Prints the manifests.
pub(crate) fn run(args: &InstallArgs) -> anyhow::Result<ExitCode> {
    let values = values::of(args)?;
    let manifests = chart::manifests(&args.namespace, &values)?;
    if args.mesh_cidr.is_empty() {
        anstream::eprintln!(
            "note: without --mesh-cidr, what goes to an address that nothing is known of leaves the mesh in clear; \
             give it the ranges of Pods and Services"
        );
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "# Palisade {}, as `palisade install` prints it for the namespace {}: pipe it into `kubectl apply -f -`.",
        env!("CARGO_PKG_VERSION"),
        args.namespace,
    )?;
    out.write_all(manifests.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A namespace in which the mesh can live.
fn namespace(text: &str) -> Result<String, &'static str> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let has_dash_at_end = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > 63 || has_dash_at_end || !text.bytes().all(inside) {
        return Err("a namespace has at most 63 of a-z, 0-9 and -, and no dash at its ends");
    }
    if SHARED.contains(&text) {
        return Err("the mesh needs a namespace of its own");
    }
    Ok(text.to_owned())
}

/// What control takes, so that a mistake is said here and not in a pod's log.
fn svid_ttl(text: &str) -> Result<String, String> {
    let ttl = crate::args::span(text)?;
    if (1..=24 * 3600).contains(&ttl.as_secs()) && ttl.as_secs_f64() <= 24.0 * 3600.0 {
        Ok(text.to_owned())
    } else {
        Err("an SVID lives from 1s to 24h".to_owned())
    }
}

/// Namespaces that belong to the cluster or to everybody.
const SHARED: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

#[cfg(test)]
mod tests;
