//! CPU time of the proxies, and what else used the machine meanwhile. All from `/proc`.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::resource::{Usage as Used, UsageWho, getrusage};
use tokio::time::Instant;

use crate::figures::proc::{self, Machine};
use crate::figures::results::{Figures, named};
use crate::peers::Pair;
use crate::pods::Role;
use crate::program::Program;

/// A measurement that has begun.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    before: Reading,
}

/// What the proxies, the bench and the machine had used so far, in seconds of one core.
#[derive(Debug)]
struct Reading {
    client: f64,
    server: f64,
    /// The bench's own: proxies, what runs beside them, applications, and the programs that make the load.
    own: f64,
    machine: Machine,
}

/// What a measurement found.
#[derive(Debug)]
pub(crate) struct Usage {
    /// CPU time of each proxy, in seconds.
    client: f64,
    server: f64,
    has_proxies: bool,
    foreign_cores: f64,
    steal_cores: f64,
}

impl Meter {
    pub(crate) fn start(pair: &Pair) -> Result<Self> {
        Ok(Self {
            began: Instant::now(),
            before: Reading::take(pair)?,
        })
    }

    pub(crate) fn read(&self, pair: &Pair) -> Result<Usage> {
        let (before, after) = (&self.before, Reading::take(pair)?);
        let seconds = self.began.elapsed().as_secs_f64();
        let steal = after.machine.steal - before.machine.steal;
        let busy = after.machine.busy - before.machine.busy - steal;
        let foreign = (busy - (after.own - before.own)).max(0.0);
        Ok(Usage {
            client: after.client - before.client,
            server: after.server - before.server,
            has_proxies: !pair.proxies.is_empty(),
            foreign_cores: foreign / seconds,
            steal_cores: steal / seconds,
        })
    }
}

impl Usage {
    /// What a unit of the work cost, where there are proxies, and how much the measurement was disturbed.
    /// `names` are for both proxies, the client's and the server's.
    pub(crate) fn figures(&self, names: [&str; 3], units: f64) -> Figures {
        let mut figures = self.disturbance();
        if self.has_proxies {
            let costs = [self.client + self.server, self.client, self.server];
            let costs = names.into_iter().zip(costs);
            figures.extend(costs.map(|(name, cost)| (name.to_owned(), cost / units)));
        }
        figures
    }

    /// How much the measurement was disturbed.
    pub(crate) fn disturbance(&self) -> Figures {
        named([
            ("foreign_cores", self.foreign_cores),
            ("steal_cores", self.steal_cores),
        ])
    }
}

impl Reading {
    fn take(pair: &Pair) -> Result<Self> {
        let of = |wanted| {
            let mut roles = pair.roles().filter(|(role, _)| *role == wanted);
            roles.try_fold(0.0, |sum, (_, proxy)| Ok(sum + cpu_seconds(proxy)?))
        };
        let sum = |programs: &[Program]| {
            let mut programs = programs.iter();
            programs.try_fold(0.0, |sum, program| anyhow::Ok(sum + cpu_seconds(program)?))
        };
        let (client, server): (Result<f64>, Result<f64>) = (of(Role::Client), of(Role::Server));
        let (client, server) = (client?, server?);
        let beside = sum(&pair.beside)? + sum(&pair.ground.apps)?;
        let ended = seconds(&getrusage(UsageWho::RUSAGE_CHILDREN)?);
        let itself = seconds(&getrusage(UsageWho::RUSAGE_SELF)?);
        let stat = fs::read_to_string("/proc/stat")?;
        Ok(Self {
            client,
            server,
            own: client + server + beside + ended + itself,
            machine: proc::machine(&stat).context("/proc/stat has no first line")?,
        })
    }
}

/// User and system time.
pub(crate) fn seconds(used: &Used) -> f64 {
    let times = [used.user_time(), used.system_time()];
    let seconds = times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
    seconds.iter().sum()
}

fn cpu_seconds(program: &Program) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid()));
    let stat = stat.with_context(|| format!("it has ended: {}", program.last_words()))?;
    proc::cpu_seconds(&stat).context("it has ended")
}

/// Resident memory in MB (10^6).
pub(crate) fn resident_mb(program: &Program) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid()))?;
    proc::resident_mb(&status).with_context(|| format!("it has ended: {}", program.last_words()))
}
