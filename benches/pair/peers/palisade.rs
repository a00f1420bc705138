//! Palisade as it is deployed: a redirect, control with an authority and one rule, and records in a file.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Pair;
use crate::ask;
use crate::ground::own;
use crate::pods::{PROXY_USER, Pods, ROLES, Role, succeed};
use crate::program::Program;

/// Control runs in both pods, so that neither needs a network beside the one that is measured.
pub(super) async fn start(pair: &mut Pair, program: &Path) -> Result<()> {
    own(&pair.ground.path("store"), PROXY_USER)?;
    fs::create_dir(pair.ground.path("mesh"))?;
    fs::write(
        pair.ground.path("mesh/mesh.yaml"),
        include_str!("conf/palisade.yaml"),
    )?;
    let store = pair.ground.text("store");
    once(
        pair,
        program,
        &["control", "ca", "init", "--store", &store, TRUST_DOMAIN],
    )?;
    for role in ROLES {
        let mut redirect = sidecar(&pair.ground.pods, role, 0, program);
        redirect.args(["redirect", "--apply"]);
        succeed(redirect)?;
        control(pair, program, role).await?;
    }
    for role in ROLES {
        let mut proxy = proxy(pair, program, role)?;
        let pods = &pair.ground.pods;
        proxy
            .wait_until("was ready", || Ok(is_ready(pods, role)))
            .await?;
        pair.proxies.push(proxy);
    }
    Ok(())
}

async fn control(pair: &mut Pair, program: &Path, role: Role) -> Result<()> {
    let pods = &pair.ground.pods;
    let mut command = pods.command(role, PROXY_USER, program);
    command.args(["control", "run", TRUST_DOMAIN, "--listen", CONTROL]);
    command.args(["--store", &pair.ground.text("store")]);
    command.args(["--config", &pair.ground.text("mesh")]);
    command.args(["--mesh-cidr", "10.99.0.0/24"]);
    let name = format!("control-{}", role.name());
    let mut control = Program::start(command, &pair.ground.path(""), &name)?;
    control.wait_for_port(pods, role, CONTROL_PORT).await?;
    pair.beside.push(control);
    Ok(())
}

/// The sidecar: what it prints is its records, which go to a file.
fn proxy(pair: &Pair, program: &Path, role: Role) -> Result<Program> {
    let (store, name) = (pair.ground.text("store"), role.name());
    let identity = ["--namespace", "bench", "--service-account", name];
    let token = [
        "control",
        "token",
        "create",
        "--store",
        &store,
        TRUST_DOMAIN,
    ];
    let token = once(pair, program, &[&token[..], &identity].concat())?;
    let file = pair.ground.path(&format!("{name}.token"));
    fs::write(&file, token)?;
    let mut command = sidecar(&pair.ground.pods, role, PROXY_USER, program);
    command.args(["run", "--control", CONTROL, "--join-token"]);
    command
        .arg(file)
        .args(["--workload", &format!("bench/{name}")]);
    Program::start(command, &pair.ground.path(""), name)
}

/// What the sidecar and its redirect are started by: their own program where it stands beside `palisade`.
fn sidecar(pods: &Pods, role: Role, user: u32, program: &Path) -> Command {
    let own = program.with_file_name(SIDECAR);
    if own.exists() {
        return pods.command(role, user, own);
    }
    let mut command = pods.command(role, user, program);
    command.arg("proxy");
    command
}

/// Which program the sidecar is, in words.
pub(super) fn form(program: &Path) -> &'static str {
    if program.with_file_name(SIDECAR).exists() {
        "with the sidecar's own program, as in the image"
    } else {
        "with `palisade proxy` as the sidecar"
    }
}

/// Runs `palisade` to its end, as the user of the store.
fn once(pair: &Pair, program: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = pair.ground.pods.command(Role::Server, PROXY_USER, program);
    command.args(arguments);
    succeed(command)
}

/// Whether a sidecar has its identity, its rules and a redirect that works.
fn is_ready(pods: &Pods, role: Role) -> bool {
    let answer = pods.enter(role, || {
        let mut stream = ask::connect(Ipv4Addr::LOCALHOST, READY_PORT)?;
        Ok(ask::get(&mut stream, "/ready")?)
    });
    answer.is_ok_and(|answer| answer.is_ok)
}

/// The sidecar's own program.
pub(super) const SIDECAR: &str = "palisade-proxy";
const TRUST_DOMAIN: &str = "--trust-domain=cluster.local";
const CONTROL: &str = "127.0.0.1:15012";
const CONTROL_PORT: u16 = 15012;
const READY_PORT: u16 = 15021;
