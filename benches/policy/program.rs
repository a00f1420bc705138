//! The command as its users run it, and what one run of it took.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::time::Instant;

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// User and system time.
    pub(crate) cpu: f64,
    /// The most that was resident.
    pub(crate) megabytes: u64,
}

impl Cost {
    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            seconds: self.seconds.min(other.seconds),
            cpu: self.cpu.min(other.cpu),
            megabytes: self.megabytes.min(other.megabytes),
        }
    }
}

/// Runs `palisade policy` with these arguments, for programs: what it took, how it ended, and what it said.
pub(crate) fn run(arguments: &[&str]) -> Result<(Cost, Option<i32>, String)> {
    let before = cpu()?;
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .arg("policy")
        .args(arguments)
        .args(["-o", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdout = child.stdout.take().context("stdout is piped")?;
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        stdout.read_to_string(&mut said).map(|_bytes| said)
    });
    // The kernel keeps the peak as long as the process lives: what is read last is all but the very end.
    let mut kilobytes = 0;
    let status = loop {
        kilobytes = peak(child.id()).unwrap_or(kilobytes);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    let seconds = begun.elapsed().as_secs_f64();
    let said = said.join().ok().context("what it said was not read")??;
    let cost = Cost {
        seconds,
        cpu: cpu()? - before,
        megabytes: kilobytes / 1000,
    };
    Ok((cost, status.code(), said))
}

/// In kilobytes.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Of all children that have ended.
fn cpu() -> Result<f64> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let times = [used.user_time(), used.system_time()];
    let seconds = times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
    Ok(seconds.iter().sum())
}

const LOOK: Duration = Duration::from_millis(5);
