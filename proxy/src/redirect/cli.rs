//! `palisade proxy redirect`: the redirect from the command line.

use ipnet::IpNet;

use super::{Bypass, Redirect, RedirectError};
use crate::list::List;

/// Writes, removes or checks the redirect of this network namespace.
#[derive(Debug, Clone, clap::Args)]
pub struct RedirectArgs {
    /// What to do.
    #[command(flatten)]
    pub mode: Mode,
    /// How the proxy's own connections are told from the application's
    #[arg(long, value_enum, env = "PALISADE_BYPASS", default_value = "uid")]
    pub bypass: Bypass,
    /// Ports of the pod that are reached without the mesh, with commas between them
    #[arg(long, value_name = "PORT", env = "PALISADE_EXCLUDE_INBOUND_PORT")]
    pub exclude_inbound_port: Vec<List<u16>>,
    /// Ports anywhere that are reached from the pod without the mesh
    #[arg(long, value_name = "PORT", env = "PALISADE_EXCLUDE_OUTBOUND_PORT")]
    pub exclude_outbound_port: Vec<List<u16>>,
    /// Addresses that are reached from the pod without the mesh
    #[arg(long, value_name = "CIDR", env = "PALISADE_EXCLUDE_OUTBOUND_CIDR")]
    pub exclude_outbound_cidr: Vec<List<IpNet>>,
    /// Drop datagrams from outside that answer nothing, but to excluded ports
    #[arg(
        long,
        env = "PALISADE_DROP_DATAGRAMS",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub drop_datagrams: bool,
}

/// What to do: exactly one of these.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Mode {
    /// Write the redirect, in place of an older one
    #[arg(long)]
    pub apply: bool,
    /// Remove the redirect
    #[arg(long)]
    pub remove: bool,
    /// Fail unless the kernel holds the redirect as `--apply` writes it
    #[arg(long)]
    pub check: bool,
}

/// Does what the command line asks for.
///
/// # Errors
/// As [`Redirect::apply`], [`Redirect::remove`] and [`Redirect::check`].
pub fn run(args: &RedirectArgs) -> Result<(), RedirectError> {
    let redirect = Redirect {
        bypass: args.bypass,
        exclude_inbound_ports: List::all(&args.exclude_inbound_port),
        exclude_outbound_ports: List::all(&args.exclude_outbound_port),
        exclude_outbound: List::all(&args.exclude_outbound_cidr),
        drop_datagrams: args.drop_datagrams,
    };
    if args.mode.remove {
        return Redirect::remove();
    }
    if args.mode.check {
        return redirect.check();
    }
    redirect.apply()
}
