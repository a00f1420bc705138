//! What `/proc` says.

/// CPU time that all threads of a process used, in seconds, from `/proc/PID/stat`.
pub(crate) fn cpu_seconds(stat: &str) -> Option<f64> {
    // The program's name is in brackets, and may itself have brackets and blanks.
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |place| fields.split_whitespace().nth(place)?.parse::<f64>().ok();
    Some((field(11)? + field(12)?) / TICKS_PER_SECOND)
}

/// Resident memory in MB (10^6), from `/proc/PID/status`.
pub(crate) fn resident_mb(status: &str) -> Option<f64> {
    let kib: f64 = field(status, "VmRSS:")?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Whether a thread is traced, from `/proc/PID/task/TID/status`.
pub(crate) fn is_traced(status: &str) -> bool {
    field(status, "TracerPid:").is_some_and(|tracer| tracer != "0")
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let rest = |line: &'a str| line.strip_prefix(name);
    status.lines().find_map(rest)?.split_whitespace().next()
}

/// What the machine did since it started, in seconds of one core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Machine {
    /// Not idle, and not waiting for a disk. With what was stolen.
    pub(crate) busy: f64,
    /// Wanted by this machine, and used by another on the same host.
    pub(crate) steal: f64,
}

/// Reads it from `/proc/stat`.
pub(crate) fn machine(stat: &str) -> Option<Machine> {
    let first = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = first
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let [user, nice, system, _idle, _wait, irq, softirq, steal, ..] = ticks.as_slice() else {
        return None;
    };
    Some(Machine {
        busy: (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND,
        steal: steal / TICKS_PER_SECOND,
    })
}

/// Whether somebody listens at this port, from `/proc/net/tcp` or `tcp6`.
pub(crate) fn listens(sockets: &str, port: u16) -> bool {
    let local = format!(":{port:04X}");
    sockets.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_here = words
            .next()
            .is_some_and(|address| address.ends_with(&local));
        is_here && words.nth(1) == Some(LISTEN)
    })
}

/// `USER_HZ`: on Linux the same on every machine that this runs on, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

const LISTEN: &str = "0A";
