//! Other proxies, with configurations of their own and certificates from files.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Pair;
use crate::certificates;
use crate::pods::{INBOUND, OUTBOUND, PROXY_USER, ROLES, Role};
use crate::program::Program;

/// Envoy: mutual TLS 1.3 by its defaults, which resume sessions, and one RBAC rule.
pub(super) async fn envoy(pair: &mut Pair, program: &Path) -> Result<()> {
    certificates::write(&pair.ground.path("certs"))?;
    pair.ground.pods.redirect(None)?;
    let configurations = [
        include_str!("conf/envoy-client.yaml"),
        include_str!("conf/envoy-server.yaml"),
    ];
    for (role, text) in ROLES.into_iter().zip(configurations) {
        let configuration = configure(pair, &format!("{}.yaml", role.name()), text)?;
        let mut command = pair.ground.pods.command(role, PROXY_USER, program);
        command.args(["-c", &configuration, "--concurrency", "1"]);
        command.args(["--disable-hot-restart", "-l", "warn"]);
        start(pair, (role, redirected(role)), command).await?;
    }
    Ok(())
}

/// HAProxy: mutual TLS 1.3 by its defaults, which resume sessions. It has no rule: any leaf of the authority passes.
pub(super) async fn haproxy(pair: &mut Pair, program: &Path) -> Result<()> {
    certificates::write(&pair.ground.path("certs"))?;
    pair.ground.pods.redirect(None)?;
    let configurations = [
        include_str!("conf/haproxy-client.cfg"),
        include_str!("conf/haproxy-server.cfg"),
    ];
    for (role, text) in ROLES.into_iter().zip(configurations) {
        let configuration = configure(pair, &format!("{}.cfg", role.name()), text)?;
        let mut command = pair.ground.pods.command(role, PROXY_USER, program);
        command.args(["-db", "-f", &configuration]);
        start(pair, (role, redirected(role)), command).await?;
    }
    Ok(())
}

/// Istio's ztunnel with a file in place of Istio's control plane, its authority of its own, and one rule.
pub(super) async fn ztunnel(pair: &mut Pair, program: &Path) -> Result<()> {
    pair.ground.pods.redirect(Some(TUNNEL))?;
    let state = configure(pair, "ztunnel.yaml", include_str!("conf/ztunnel.yaml"))?;
    // The client's listens for tunnels, too, but has no use for them.
    for (role, port) in [(Role::Client, OUTBOUND), (Role::Server, TUNNEL)] {
        let (name, letter) = match role {
            Role::Client => ("client", 'c'),
            Role::Server => ("server", 's'),
        };
        let mut command = pair.ground.pods.command(role, PROXY_USER, program);
        command.current_dir(pair.ground.path(name)).envs([
            ("FAKE_CA", "true"),
            ("XDS_ADDRESS", ""),
            ("LOCAL_XDS_PATH", &state),
            ("PROXY_MODE", "dedicated"),
            ("PROXY_WORKLOAD_INFO", &format!("default/{name}/{name}")),
            ("NODE_NAME", &format!("node-{letter}")),
            ("ZTUNNEL_WORKER_THREADS", "1"),
            ("ENABLE_ORIG_SRC", "false"),
            ("IPV6_ENABLED", "false"),
            ("RUST_LOG", "warn"),
        ]);
        start(pair, (role, port), command).await?;
    }
    Ok(())
}

/// Writes a configuration with the certificates' folder in it, and gives its path.
fn configure(pair: &Pair, name: &str, text: &str) -> Result<String> {
    let path = pair.ground.path(name);
    fs::write(&path, text.replace("@CERTS@", &pair.ground.text("certs")))?;
    Ok(path.display().to_string())
}

async fn start(pair: &mut Pair, (role, port): (Role, u16), command: Command) -> Result<()> {
    let mut proxy = Program::start(command, &pair.ground.path(""), role.name())?;
    proxy.wait_for_port(&pair.ground.pods, role, port).await?;
    pair.proxies.push(proxy);
    Ok(())
}

const fn redirected(role: Role) -> u16 {
    match role {
        Role::Client => OUTBOUND,
        Role::Server => INBOUND,
    }
}

/// Where ztunnels reach each other.
const TUNNEL: u16 = 15008;
