//! Records of files, and of the mesh that runs on this machine.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use super::edges::Edges;
use crate::ask::{self, LogsQuestion, Question};
use crate::records;

/// Reads files one after the other; of a directory every file in it, but not what is below.
pub(super) fn files(paths: &[PathBuf], edges: &mut Edges) -> anyhow::Result<()> {
    for path in paths {
        if path.as_os_str() == "-" {
            lines(std::io::stdin().lock(), edges).context("cannot read stdin")?;
            continue;
        }
        let shown = path.display();
        let paths = if path.is_dir() {
            within(path).with_context(|| format!("cannot read {shown}"))?
        } else {
            vec![path.clone()]
        };
        if paths.is_empty() {
            bail!("there is no file in {shown}; name the files with the records");
        }
        for path in paths {
            let what = || format!("cannot read {}", path.display());
            let file = File::open(&path).with_context(what)?;
            let reader = BufReader::with_capacity(READ_BYTES, file);
            lines(reader, edges).with_context(what)?;
        }
    }
    Ok(())
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
pub(super) fn local(name: Option<&str>, edges: &mut Edges) -> anyhow::Result<()> {
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
    lines(answers, edges).context("the mesh ended")
}

/// One line is held at a time. What is longer than any record is read in pieces, which are no records.
pub(super) fn lines(mut reader: impl BufRead, edges: &mut Edges) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MOST_LINE_BYTES);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if !line.trim_ascii().is_empty() {
            edges.take(&line);
        }
    }
}

const READ_BYTES: usize = 1 << 18;
const MOST_LINE_BYTES: u64 = 1 << 16;
