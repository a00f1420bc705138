//! Much data, made by `iperf3`.

use anyhow::{Result, anyhow};

use super::Way;
use super::requests::load;
use crate::figures::iperf::{self, Report};
use crate::figures::results::{Figures, named};
use crate::ground::BULK;
use crate::meter::Meter;
use crate::peers::Pair;
use crate::pods::{APP_USER, Role, SERVER};

/// So many connections at once: what a gigabyte (10^9) costs.
pub(super) async fn measure(
    pair: &Pair,
    seconds: u32,
    (streams, way): (u32, Way),
) -> Result<Figures> {
    let meter = Meter::start(pair)?;
    let report = iperf(pair, seconds, (streams, way)).await?;
    let usage = meter.read(pair)?;
    let mut figures = named([
        ("gb", report.gigabytes),
        ("gbit_per_s", report.gigabits_per_second),
    ]);
    let names = ["cpu_s_per_gb", "cpu_client_s_per_gb", "cpu_server_s_per_gb"];
    figures.extend(usage.figures(names, report.gigabytes));
    Ok(figures)
}

/// Runs `iperf3` in the client pod.
pub(super) async fn iperf(pair: &Pair, seconds: u32, (streams, way): (u32, Way)) -> Result<Report> {
    let mut command = pair.ground.pods.command(Role::Client, APP_USER, "iperf3");
    command.args(["--json", "--client", &SERVER.to_string()]);
    command.args(["--port", &BULK.to_string(), "--time", &seconds.to_string()]);
    command.args(["--parallel", &streams.to_string()]);
    if way == Way::Down {
        command.arg("--reverse");
    }
    let text = load(command, seconds).await?;
    iperf::parse(&text).map_err(|error| anyhow!("iperf3: {error}"))
}
