//! The memory that a process took at most.

use std::fs;

/// The most memory that a process takes from now on.
pub(super) struct Peak {
    pid: u32,
    before: u64,
}

impl Peak {
    /// From now on.
    pub(super) fn of(pid: u32) -> Self {
        // The kernel's own mark of the most memory so far begins anew.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("root may reset the mark");
        let before = status(pid, "VmRSS:");
        Self { pid, before }
    }

    /// By how many bytes it grew, at most.
    pub(super) fn grown(&self) -> u64 {
        status(self.pid, "VmHWM:").saturating_sub(self.before)
    }
}

/// Bytes, from a process's status.
fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("the kernel tells it")
        * 1024
}
