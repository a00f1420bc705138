//! A real cluster, and a namespace in it for each test.
//!
//! Everything waits for what it needs, in steps of 100 ms and with a bound, and sleeps for nothing else.

mod cluster;
mod mesh;
mod namespace;
mod process;
mod running;

use std::fmt::Display;
use std::process::Output;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use cluster::Cluster;
pub(crate) use mesh::{MESH_CIDRS, Mesh};
pub(crate) use namespace::Namespace;
pub(crate) use process::Process;
pub(crate) use running::Running;

/// Longest wait for anything but the cluster itself.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// Waits for `find` to find something.
pub(crate) fn wait_for<T>(what: &str, bound: Duration, mut find: impl FnMut() -> Option<T>) -> T {
    wait_or_say(what, bound, || find().ok_or(""))
}

/// The same, where `find` says what it found instead: that is what the test fails with.
pub(crate) fn wait_or_say<T, W: Display>(
    what: &str,
    bound: Duration,
    mut find: impl FnMut() -> Result<T, W>,
) -> T {
    let start = Instant::now();
    loop {
        match find() {
            Ok(found) => return found,
            Err(instead) => assert!(
                start.elapsed() < bound,
                "waited {bound:?} for {what}\n{instead}"
            ),
        }
        thread::sleep(STEP);
    }
}

/// A command's standard output, where it succeeded.
pub(crate) fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const STEP: Duration = Duration::from_millis(100);
