//! A command of the cluster that runs while a test does other things.

use std::fs::{self, File};
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{BOUND, Cluster, text, wait_or_say};

/// A command that has been started; it ends with the test at the latest.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    files: TempDir,
}

impl Running {
    /// Starts a command of the cluster's script.
    pub(crate) fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let files = TempDir::new().expect("there is room for files");
        let file = |name| File::create(files.path().join(name)).expect("a file can be made");
        let child = cluster.start(arguments, file("out"), file("errors"));
        Self { child, files }
    }

    /// Waits until it has printed this, to stdout or to stderr.
    pub(crate) fn prints(&self, what: &str) {
        wait_or_say(&format!("{what:?}"), BOUND, || {
            let said = text(&self.out()) + &text(&self.errors());
            if said.contains(what) {
                Ok(())
            } else {
                Err(said)
            }
        });
    }

    /// What it has printed to stdout so far.
    pub(crate) fn out(&self) -> Vec<u8> {
        fs::read(self.files.path().join("out")).expect("the file is there")
    }

    fn errors(&self) -> Vec<u8> {
        fs::read(self.files.path().join("errors")).expect("the file is there")
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Vec<u8> {
        self.child.wait().expect("it can be waited for");
        self.out()
    }

    /// Asks it to end, and waits.
    pub(crate) fn stopped(self) -> Vec<u8> {
        self.terminate();
        self.ended()
    }

    /// `timeout`, which is what was started, passes it on to all that it started.
    fn terminate(&self) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        // It may have ended by itself.
        let _gone = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            let _ended = self.child.wait();
        }
    }
}
