//! Questions to a running mesh, and what is printed of the answers.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cli::{LogsArgs, Output, PsArgs};
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
        workload: args.workload.clone(),
        follow: args.follow,
        denied: args.denied,
    });
    let output = Output::or_by_terminal(args.mesh.output);
    for line in ask(args.mesh.name.as_deref(), &question)?.lines() {
        let record: Map<String, Value> = serde_json::from_str(&line?)?;
        if let Some(problem) = record.get("error").filter(|_| record.len() == 1) {
            bail!("{}", records::plain(problem));
        }
        let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
        match output {
            Output::Text => writeln!(out, "{}", records::text(&record, records::columns()))?,
            Output::Json => writeln!(out, "{}", Value::Object(record))?,
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

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

fn ask(name: Option<&str>, question: &Question) -> anyhow::Result<BufReader<UnixStream>> {
    let mut connection = connect(name)?;
    writeln!(connection, "{}", serde_json::to_string(question)?)?;
    Ok(BufReader::new(connection))
}

/// The running mesh that is meant.
fn connect(name: Option<&str>) -> anyhow::Result<UnixStream> {
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
    running
        .pop()
        .map(|(_, connection)| connection)
        .context("no mesh is running")
}
