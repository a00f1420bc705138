//! Records of files, and of the mesh that runs on this machine.

use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::ask::{self, LogsQuestion, Question};
use crate::policy::named;
use crate::records;

/// Takes one line, and says whether it is a record.
pub(super) type Take<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Lines that are no records.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    pub(super) lines: u64,
    pub(super) skipped: u64,
    /// Where the first of them stands.
    first: Option<String>,
    /// Files of directories in which there is no record.
    empty: Vec<String>,
}

impl Skipped {
    /// What is to be said of them.
    pub(super) fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        if let Some(first) = &self.first {
            told.push(format!(
                "{} of {} lines are no records, and were skipped; the first is {first}",
                self.skipped, self.lines
            ));
        }
        if let Some(first) = self.empty.first() {
            let others = match self.empty.len() {
                1 => String::new(),
                many => format!(", nor in {} others", many - 1),
            };
            told.push(format!("there is no record in {first}{others}"));
        }
        told
    }
}

/// Why files cannot be taken for records.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadRecordsError {
    #[error("there is no file in {0}; name the files with the records")]
    NoFile(String),
    #[error(
        "there is no record of a connection in {0}: {1}; write them with \
         `palisade logs -o json > records.json`"
    )]
    NoRecord(String, &'static str),
    #[error("cannot read {0}")]
    Read(String, #[source] std::io::Error),
}

/// Reads files one after the other; of a directory every file in it, but not what is below.
///
/// # Errors
///
/// Where one cannot be read, or has no record: of a directory, where none of its files has.
pub(super) fn files(paths: &[PathBuf], take: &mut Take<'_>) -> Result<Skipped, ReadRecordsError> {
    let mut skipped = Skipped::default();
    for path in paths {
        let shown = shown(path);
        if path.as_os_str() == "-" {
            let read = lines(std::io::stdin().lock(), "stdin", &mut skipped, take);
            some("stdin", read)?;
        } else if path.is_dir() {
            directory(path, &mut skipped, take)?;
        } else {
            some(&shown, file(path, &mut skipped, take))?;
        }
    }
    Ok(skipped)
}

fn directory(
    path: &Path,
    skipped: &mut Skipped,
    take: &mut Take<'_>,
) -> Result<(), ReadRecordsError> {
    let name = shown(path);
    let files = within(path).map_err(|error| ReadRecordsError::Read(name.clone(), error))?;
    if files.is_empty() {
        return Err(ReadRecordsError::NoFile(name));
    }
    let mut records = 0;
    for path in &files {
        let shown = shown(path);
        let read = file(path, skipped, take);
        let read = read.map_err(|error| ReadRecordsError::Read(shown.clone(), error))?;
        if read.records == 0 {
            skipped.empty.push(shown);
        }
        records += read.records;
    }
    match records {
        0 => Err(ReadRecordsError::NoRecord(
            name,
            "none of its files has one",
        )),
        _ => Ok(()),
    }
}

fn file(path: &Path, skipped: &mut Skipped, take: &mut Take<'_>) -> std::io::Result<Lines> {
    let file = named::open(path).map_err(std::io::Error::other)?;
    let reader = BufReader::with_capacity(READ_BYTES, file);
    lines(reader, &shown(path), skipped, take)
}

/// Where there is at least one record.
fn some(name: &str, read: std::io::Result<Lines>) -> Result<(), ReadRecordsError> {
    let read = read.map_err(|error| ReadRecordsError::Read(name.to_owned(), error))?;
    match read {
        Lines { records: 1.., .. } => Ok(()),
        Lines { lines: 0, .. } => Err(ReadRecordsError::NoRecord(name.to_owned(), "it is empty")),
        Lines { .. } => Err(ReadRecordsError::NoRecord(
            name.to_owned(),
            "no line is a JSON object with the keys of one",
        )),
    }
}

/// A path without what a terminal would obey.
fn shown(path: &Path) -> String {
    let name = path.display().to_string();
    name.chars().filter(|c| !c.is_control()).collect()
}

fn within(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads what the mesh that runs on this machine keeps.
pub(super) fn local(name: Option<&str>, take: &mut Take<'_>) -> anyhow::Result<Skipped> {
    let question = Question::Logs(LogsQuestion {
        workload: None,
        follow: false,
        denied: false,
    });
    let mut answers = ask::ask(name, &question)?;
    // A record may have an error too, beside much else.
    if let Ok(first) = answers.fill_buf()
        && let Ok(answer) = serde_json::from_slice::<Map<String, Value>>(first)
        && let Some(problem) = answer.get("error").filter(|_| answer.len() == 1)
    {
        bail!("{}", records::plain(problem));
    }
    let mut skipped = Skipped::default();
    lines(answers, "the mesh's records", &mut skipped, take).context("the mesh ended")?;
    Ok(skipped)
}

/// How many lines there were, but for blank ones, and how many of them are records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lines {
    lines: u64,
    records: u64,
}

/// One line is held at a time. One that is longer than any record is none, and is passed over.
pub(super) fn lines(
    mut reader: impl BufRead,
    name: &str,
    skipped: &mut Skipped,
    take: &mut Take<'_>,
) -> std::io::Result<Lines> {
    let mut read = Lines::default();
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MOST_LINE_BYTES);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(read);
        }
        number += 1;
        let is_too_long = !line.ends_with(b"\n") && bounded.limit() == 0;
        if is_too_long {
            reader.skip_until(b'\n')?;
        } else if line.trim_ascii().is_empty() {
            continue;
        }
        read.lines += 1;
        skipped.lines += 1;
        if !is_too_long && take(&line) {
            read.records += 1;
        } else {
            skipped.skipped += 1;
            let place = || format!("{name}:{number}");
            skipped.first.get_or_insert_with(place);
        }
    }
}

const READ_BYTES: usize = 1 << 18;
const MOST_LINE_BYTES: u64 = 1 << 16;
