//! A pod's application: started once its proxy is ready, and again when it ends.

use std::cell::RefCell;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::sleep;

use super::event::{Event, State, tell};
use super::mesh_file::Restart;
use super::pod::{PodPlan, Reporter};
use super::stage::{self, Stage};
use super::state::part;
use super::supervise::{Backoff, LineFile, Stop, each_line, end, stopped};

const GRACE: Duration = Duration::from_secs(3);
const LOG_BYTES: usize = 4 << 20;

/// Runs the application as its workload wants it, until told to stop.
pub(crate) async fn keep(
    plan: Rc<PodPlan>,
    reporter: Reporter,
    mut ready: watch::Receiver<bool>,
    mut stop: Stop,
) {
    tokio::select! {
        _ = ready.wait_for(|ready| *ready) => {}
        () = stopped(&mut stop) => return,
    }
    let mut log = Log::open(&plan, ".log");
    let mut backoff = Backoff::new();
    loop {
        backoff.started();
        let outcome = run_once(&plan, &reporter, &mut log, &mut stop).await;
        if *stop.borrow() {
            return;
        }
        let reason = match outcome {
            Ok(status) => status,
            Err(error) => format!("{error:#}"),
        };
        if plan.pod.restart == Restart::Never {
            reporter.app(State::Ended(reason), None);
            return stopped(&mut stop).await;
        }
        reporter.app(State::Restarting(reason), None);
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn run_once(
    plan: &PodPlan,
    reporter: &Reporter,
    log: &mut Log,
    stop: &mut Stop,
) -> anyhow::Result<String> {
    let stage = Stage::Sandbox(plan.sandbox());
    let mut command = Command::from(stage::command(&stage, &["sandbox", &plan.pod.key()])?);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("cannot start the application")?;
    reporter.app(State::Ready, child.id());
    let out = tokio::task::spawn_local(each_line(child.stdout.take(), log.writer()));
    let err = tokio::task::spawn_local(each_line(child.stderr.take(), log.writer()));
    let status = tokio::select! {
        ended = child.wait() => Some(ended.context("cannot wait for the application")?),
        () = stopped(stop) => None,
    };
    if status.is_none() {
        end(&mut child, GRACE).await;
    }
    for lines in [out, err] {
        let _panicked = lines.await;
    }
    let last = log.last_line();
    Ok(match status {
        Some(status) if status.success() || last.is_empty() => status.to_string(),
        Some(status) => format!("{status}: {last}"),
        None => "stopped".to_owned(),
    })
}

/// Where lines of an application or a proxy go: to a file, and to the terminal where that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Log(Rc<RefCell<Lines>>);

#[derive(Debug)]
struct Lines {
    file: Option<LineFile>,
    last: String,
    shown_as: Option<String>,
}

impl Log {
    /// Opens a pod's log. One that cannot be written is left out: the pod matters more.
    pub(crate) fn open(plan: &PodPlan, suffix: &str) -> Self {
        Self(Rc::new(RefCell::new(Lines {
            file: LineFile::create(&plan.file(part::LOG, suffix), LOG_BYTES).ok(),
            last: String::new(),
            shown_as: plan.app_output.then(|| plan.pod.key()),
        })))
    }

    /// Takes lines.
    pub(crate) fn writer(&self) -> impl FnMut(&str) + use<> {
        let lines = self.0.clone();
        move |line| {
            let mut lines = lines.borrow_mut();
            if let Some(file) = &mut lines.file
                && file.append(line).is_err()
            {
                lines.file = None;
            }
            if let Some(source) = lines.shown_as.clone() {
                let line = line.to_owned();
                tell(&Event::Output { source, line });
            }
            lines.last = line.chars().take(200).collect();
        }
    }

    /// What was said last.
    pub(crate) fn last_line(&self) -> String {
        self.0.borrow().last.clone()
    }
}
