//! Small requests beside bulk to the same pod.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::bulk::iperf;
use super::requests::wrk;
use super::{Reuse, Way};
use crate::figures::results::{Figures, named};
use crate::meter::Meter;
use crate::peers::Pair;

/// Small requests on one connection, alone and then beside one upload.
pub(super) async fn measure(pair: &Pair, seconds: u32) -> Result<Figures> {
    let small = (1, Reuse::KeepAlive);
    let alone = wrk(pair, seconds, small).await?;
    let meter = Meter::start(pair)?;
    let beside = async {
        sleep(HEAD_START).await;
        wrk(pair, seconds, small).await
    };
    // The upload goes on until the requests have ended.
    let (bulk, beside) = tokio::join!(iperf(pair, seconds + 2, (1, Way::Up)), beside);
    let (bulk, beside) = (bulk?, beside?);
    ensure!(beside.requests > 0, "no request was answered beside bulk");
    let mut figures = named([
        ("alone_p50_us", alone.p50_us),
        ("alone_p99_us", alone.p99_us),
        ("mixed_p50_us", beside.p50_us),
        ("mixed_p99_us", beside.p99_us),
        ("p99_ratio", beside.p99_us / alone.p99_us),
        ("gbit_per_s", bulk.gigabits_per_second),
    ]);
    figures.extend(meter.read(pair)?.disturbance());
    Ok(figures)
}

/// How long bulk is alone.
const HEAD_START: Duration = Duration::from_millis(500);
