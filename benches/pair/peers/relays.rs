//! The two floors: relays in C, compiled when the bench starts.

use std::path::Path;

use anyhow::Result;

use super::Pair;
use crate::ground::HTTP;
use crate::pods::{INBOUND, OUTBOUND, PROXY_USER, Role};
use crate::program::Program;

/// The pair that multiplexes.
pub(super) async fn floor(pair: &mut Pair, program: &Path) -> Result<()> {
    pair.ground.pods.redirect(None)?;
    let server = &["server", "127.0.0.1", &HTTP.to_string()];
    let server = start(pair, program, (Role::Server, INBOUND), server).await?;
    let peer = Role::Server.address().to_string();
    let client = &["client", &peer, &INBOUND.to_string()];
    let client = start(pair, program, (Role::Client, OUTBOUND), client).await?;
    pair.proxies = vec![client, server];
    Ok(())
}

/// The pair that only copies.
pub(super) async fn plain(pair: &mut Pair, program: &Path) -> Result<()> {
    pair.ground.pods.redirect(None)?;
    for (role, port) in [(Role::Client, OUTBOUND), (Role::Server, INBOUND)] {
        let relay = start(pair, program, (role, port), &[&port.to_string()]).await?;
        pair.proxies.push(relay);
    }
    Ok(())
}

async fn start(
    pair: &Pair,
    program: &Path,
    (role, port): (Role, u16),
    arguments: &[&str],
) -> Result<Program> {
    let pods = &pair.ground.pods;
    let mut command = pods.command(role, PROXY_USER, program);
    command.args(arguments);
    let mut relay = Program::start(command, &pair.ground.path(""), role.name())?;
    relay.wait_for_port(pods, role, port).await?;
    Ok(relay)
}
