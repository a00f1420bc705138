//! `palisade proxy redirect`: the redirect from the command line.

use ipnet::IpNet;

use super::{Bypass, Redirect, RedirectError};

/// Writes, removes or checks the redirect of this network namespace.
#[derive(Debug, Clone, clap::Args)]
pub struct RedirectArgs {
    /// What to do.
    #[command(flatten)]
    pub mode: Mode,
    /// How the proxy's own connections are told from the application's
    #[arg(long, value_enum, env = "PALISADE_BYPASS", default_value = "uid")]
    pub bypass: Bypass,
    /// A port of the pod that is reached without the mesh
    #[arg(
        long,
        value_name = "PORT",
        env = "PALISADE_EXCLUDE_INBOUND_PORT",
        value_delimiter = ','
    )]
    pub exclude_inbound_port: Vec<u16>,
    /// A port anywhere that is reached from the pod without the mesh
    #[arg(
        long,
        value_name = "PORT",
        env = "PALISADE_EXCLUDE_OUTBOUND_PORT",
        value_delimiter = ','
    )]
    pub exclude_outbound_port: Vec<u16>,
    /// Addresses that are reached from the pod without the mesh
    #[arg(
        long,
        value_name = "CIDR",
        env = "PALISADE_EXCLUDE_OUTBOUND_CIDR",
        value_delimiter = ','
    )]
    pub exclude_outbound_cidr: Vec<IpNet>,
    /// Drop datagrams from outside that answer nothing, but to excluded ports
    #[arg(long, env = "PALISADE_DROP_DATAGRAMS")]
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
        exclude_inbound_ports: args.exclude_inbound_port.clone(),
        exclude_outbound_ports: args.exclude_outbound_port.clone(),
        exclude_outbound: args.exclude_outbound_cidr.clone(),
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
