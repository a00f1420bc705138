//! Questions to a running mesh, and what is printed of the answers.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::args::{LogsArgs, Output, PsArgs};
use crate::records::filter::Timed;
use crate::records::print::Printer;
use crate::records::{self, table};
use crate::up::event::PodStatus;
use crate::up::state::{self, part};

/// A question, as one JSON line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    Ps,
    Logs(LogsQuestion),
    Exec { workload: String },
    Usage,
}

/// Which records are wanted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogsQuestion {
    pub(crate) workload: Option<String>,
    pub(crate) follow: bool,
    pub(crate) denied: bool,
}

/// The answer to a question that cannot be answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) error: String,
}

/// Prints the workloads.
pub(crate) fn ps(args: &PsArgs) -> anyhow::Result<ExitCode> {
    let statuses: Vec<PodStatus> = one(args.mesh.name.as_deref(), &Question::Ps)?;
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => write!(out, "{}", table::of_workloads(&statuses))?,
        Output::Json => {
            for status in &statuses {
                writeln!(out, "{}", serde_json::to_string(status)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the records.
pub(crate) fn logs(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let question = Question::Logs(LogsQuestion {
        // Joined before they are chosen: the other side is another workload's, and may not know of a refusal.
        workload: args
            .workload
            .as_ref()
            .filter(|_| !args.pair)
            .map(ToString::to_string),
        follow: args.follow,
        denied: args.denied && !args.pair,
    });
    let since = args.since.map(|age| OffsetDateTime::now_utc() - age);
    let mut printer = Printer::new(args, since);
    let lines = lines(ask(args.mesh.name.as_deref(), &question)?);
    loop {
        let line = if printer.is_waiting() {
            lines.recv_timeout(OTHER_SIDE)
        } else {
            lines
                .recv()
                .map_err(|_ended| RecvTimeoutError::Disconnected)
        };
        match line {
            Ok(line) => take(&mut printer, &line?)?,
            Err(RecvTimeoutError::Timeout) => printer.pass_time(OffsetDateTime::now_utc())?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    printer.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn take(printer: &mut Printer, line: &str) -> anyhow::Result<()> {
    let record: Map<String, Value> = serde_json::from_str(line)?;
    if let Some(problem) = record.get("error").filter(|_| record.len() == 1) {
        bail!("{}", records::plain(problem));
    }
    match Timed::of(record.clone()) {
        Some(timed) => printer.take(timed)?,
        // Such as how many records were missed.
        None => printer.say(record)?,
    }
    Ok(())
}

/// Lines from a thread of their own, so that waiting for one can end.
fn lines(answers: BufReader<UnixStream>) -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::sync_channel(AHEAD);
    std::thread::spawn(move || {
        for line in answers.lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// How often records that wait for their other side are looked at.
const OTHER_SIDE: Duration = Duration::from_secs(1);
/// How many lines are read ahead.
const AHEAD: usize = 256;

/// Asks for one answer.
pub(crate) fn one<T: DeserializeOwned>(
    name: Option<&str>,
    question: &Question,
) -> anyhow::Result<T> {
    let mut line = String::new();
    ask(name, question)?.read_line(&mut line)?;
    if let Ok(problem) = serde_json::from_str::<Problem>(&line) {
        bail!("{}", problem.error);
    }
    serde_json::from_str(&line).context("the mesh ended, or is of another version")
}

pub(crate) fn ask(
    name: Option<&str>,
    question: &Question,
) -> anyhow::Result<BufReader<UnixStream>> {
    let mut connection = connect(name)?;
    writeln!(connection, "{}", serde_json::to_string(question)?)?;
    Ok(BufReader::new(connection))
}

/// Whether a mesh of this user runs on this machine.
pub(crate) fn is_running() -> bool {
    !running(None).is_empty()
}

/// The state directory of the running mesh that is meant.
pub(crate) fn state_of(name: Option<&str>) -> anyhow::Result<PathBuf> {
    let (name, _) = meant(name)?;
    Ok(state::base().join(name))
}

fn connect(name: Option<&str>) -> anyhow::Result<UnixStream> {
    meant(name).map(|(_, connection)| connection)
}

/// The running mesh that is meant, and its name.
fn meant(name: Option<&str>) -> anyhow::Result<(String, UnixStream)> {
    let mut running = running(name);
    let names: Vec<&str> = running.iter().map(|(name, _)| name.as_str()).collect();
    match (names.as_slice(), name) {
        ([], Some(name)) => bail!("no mesh named \"{name}\" of this user is running"),
        ([], None) => {
            bail!("no mesh of this user is running; start one with `palisade up FILE`")
        }
        ([_], _) => {}
        (several, _) => bail!(
            "several meshes run; choose one with --name: {}",
            several.join(", ")
        ),
    }
    running.pop().context("no mesh is running")
}

/// Every mesh of this user that runs, or the one of this name.
fn running(name: Option<&str>) -> Vec<(String, UnixStream)> {
    let base = state::base();
    let mut running = Vec::new();
    for entry in std::fs::read_dir(&base).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        if name.is_some_and(|name| name != found) {
            continue;
        }
        // The directory of a mesh that was killed has a socket too, but nobody there.
        if let Ok(connection) = UnixStream::connect(entry.path().join(part::SOCKET)) {
            running.push((found, connection));
        }
    }
    running
}
