//! Small requests, made by `wrk`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::Reuse;
use crate::figures::results::{Figures, named};
use crate::figures::wrk::{self, Report};
use crate::ground::HTTP;
use crate::meter::Meter;
use crate::peers::Pair;
use crate::pods::{APP_USER, Role, SERVER};

/// So many connections at a time: what a request, or a connection, costs and how long it takes.
pub(super) async fn measure(
    pair: &Pair,
    seconds: u32,
    (connections, reuse): (u32, Reuse),
) -> Result<Figures> {
    let meter = Meter::start(pair)?;
    let report = wrk(pair, seconds, (connections, reuse)).await?;
    let usage = meter.read(pair)?;
    ensure!(report.requests > 0, "no request was answered");
    let mut figures = named([
        ("requests", report.requests as f64),
        ("per_second", report.per_second),
        ("p50_us", report.p50_us),
        ("p99_us", report.p99_us),
        ("errors", report.errors as f64),
    ]);
    let names = ["cpu_us", "cpu_client_us", "cpu_server_us"];
    figures.extend(usage.figures(names, report.requests as f64 / 1e6));
    Ok(figures)
}

/// Runs `wrk` in the client pod.
///
/// # Errors
///
/// It fails, or more than one in a hundred requests does.
pub(super) async fn wrk(
    pair: &Pair,
    seconds: u32,
    (connections, reuse): (u32, Reuse),
) -> Result<Report> {
    let mut command = pair.ground.pods.command(Role::Client, APP_USER, "wrk");
    command.args(["--threads", "1", "--latency", "--timeout", "5s"]);
    command.args(["--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{seconds}s")]);
    if reuse == Reuse::None {
        command.args(["--header", "Connection: close"]);
    }
    command.arg(format!("http://{SERVER}:{HTTP}/1k"));
    let text = load(command, seconds).await?;
    let report = wrk::parse(&text).with_context(|| format!("wrk gave no report: {text}"))?;
    if report.errors * 100 > report.requests.max(100) {
        bail!("{} errors in {} requests", report.errors, report.requests);
    }
    Ok(report)
}

/// Runs a program that makes load for so many seconds. Dropped, the program is killed.
pub(super) async fn load(command: std::process::Command, seconds: u32) -> Result<String> {
    let mut command = Command::from(command);
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    let limit = Duration::from_secs(u64::from(seconds)) + GRACE;
    let output = timeout(limit, command.output())
        .await
        .with_context(|| format!("{command:?} does not end"))??;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        said(&output.stdout),
        said(&output.stderr)
    );
    Ok(said(&output.stdout))
}

/// How much longer than asked for load may take.
const GRACE: Duration = Duration::from_secs(20);
