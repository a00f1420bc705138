//! Programs that run beside the bench, and end with what they belong to.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::pods::{Pods, Role};

/// A program that runs. Dropped, it is killed, with all that it started.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it. What it prints goes to `NAME.out` and `NAME.log` in this folder.
    pub(crate) fn start(mut command: Command, folder: &Path, name: &str) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(folder.join(format!("{name}.out")))?)
            .stderr(File::create(&log)?)
            // A ctrl-C at the terminal is for the bench, which ends its programs in order.
            .process_group(0);
        let child = command.spawn();
        let child = child.with_context(|| format!("{command:?} cannot be run"))?;
        Ok(Self { child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until somebody in its pod listens at this port: the program, as the pod is new.
    pub(crate) async fn wait_for_port(&mut self, pods: &Pods, role: Role, port: u16) -> Result<()> {
        self.wait_until(&format!("listens at {port}"), || pods.listens(role, port))
            .await
    }

    /// Waits until something holds, for as long as the program runs, and no longer than [`START_LIMIT`].
    pub(crate) async fn wait_until(
        &mut self,
        what: &str,
        mut holds: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        while !holds()? {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "ended with {status} before it {what}: {}",
                    self.last_words()
                );
            }
            if Instant::now() > end {
                bail!("never {what}: {}", self.last_words());
            }
            sleep(STEP).await;
        }
        Ok(())
    }

    /// Asks it to end, as ctrl-C does, and waits until it has.
    pub(crate) async fn interrupt(mut self) -> Result<()> {
        kill(process(self.pid())?, Signal::SIGINT)?;
        let end = Instant::now() + START_LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("did not end when interrupted: {}", self.last_words());
            }
            sleep(STEP).await;
        }
        Ok(())
    }

    /// The end of what it logged.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().rev().take(LAST_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nobody to kill, and it has been waited for.
        if let Ok(None) = self.child.try_wait() {
            let killed = process(self.pid()).and_then(|group| Ok(killpg(group, Signal::SIGKILL)?));
            let ended = killed.and_then(|()| Ok(self.child.wait()?));
            if let Err(error) = ended {
                eprintln!("a program may still run: {error:#}");
            }
        }
    }
}

fn process(pid: u32) -> Result<Pid> {
    Ok(Pid::from_raw(pid.try_into()?))
}

/// Longest wait for a program to be ready, or to end.
const START_LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);
const LAST_LINES: usize = 12;
