//! System calls, counted by `strace`: what no other load on the machine moves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::requests::wrk;
use super::{Reuse, Way, bulk};
use crate::figures::results::Figures;
use crate::figures::{proc, strace};
use crate::peers::Pair;
use crate::pods::Role;
use crate::program::Program;

/// Per request, or per connection where each has one.
pub(super) async fn requests(pair: &Pair, seconds: u32, how: (u32, Reuse)) -> Result<Figures> {
    let traces = attach(pair).await?;
    let report = wrk(pair, seconds, how).await?;
    ensure!(report.requests > 0, "no request was answered");
    detach(traces, report.requests as f64).await
}

/// Per MB (10^6) of upload.
pub(super) async fn bulk(pair: &Pair, seconds: u32) -> Result<Figures> {
    let traces = attach(pair).await?;
    let report = bulk::iperf(pair, seconds, (1, Way::Up)).await?;
    detach(traces, report.gigabytes * 1000.0).await
}

/// A trace of one proxy that goes on.
#[derive(Debug)]
struct Trace {
    role: Role,
    strace: Program,
    summary: PathBuf,
}

async fn attach(pair: &Pair) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    for (role, proxy) in pair.roles() {
        let name = format!("strace-{}", role.name());
        let summary = pair.ground.path(&format!("{name}.summary"));
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-qq", "-p", &proxy.pid().to_string(), "-o"]);
        command.arg(&summary);
        let mut strace = Program::start(command, &pair.ground.path(""), &name)?;
        let pid = proxy.pid();
        strace
            .wait_until("traced every thread", || all_traced(pid))
            .await?;
        traces.push(Trace {
            role,
            strace,
            summary,
        });
    }
    Ok(traces)
}

fn all_traced(pid: u32) -> Result<bool> {
    let threads = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))?;
    for thread in threads {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        if !proc::is_traced(&status) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Ends the traces, and gives all calls and each kind of them, per `units` of work.
async fn detach(traces: Vec<Trace>, units: f64) -> Result<Figures> {
    let mut figures = Figures::new();
    for trace in traces {
        trace.strace.interrupt().await.context("strace")?;
        let calls = strace::parse(&fs::read_to_string(&trace.summary)?);
        let role = trace.role.name();
        let all: u64 = calls.values().sum();
        figures.insert(format!("calls_{role}"), all as f64 / units);
        for (call, count) in calls {
            figures.insert(format!("{role} {call}"), count as f64 / units);
        }
    }
    Ok(figures)
}
