//! What `palisade up` prints, from a thread of its own: a terminal that stands still stops no mesh.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde_json::{Map, Value};

use super::event::PodStatus;
use crate::args::Output;
use crate::records::{self, table};

/// A thing to print.
#[derive(Debug)]
pub(crate) enum Line {
    /// The workloads, and what this table says: `up` or `waiting`.
    Table(&'static str, String, Vec<PodStatus>),
    /// A record, with the workload whose proxy wrote it.
    Record(Map<String, Value>),
    /// A line of control or of an application, for stderr.
    Output { source: String, line: String },
    /// A remark of our own, for stderr.
    Remark(String),
}

/// The thread that prints.
#[derive(Debug)]
pub(crate) struct Printer {
    lines: Option<SyncSender<Line>>,
    thread: Option<JoinHandle<()>>,
    dropped: std::cell::Cell<u64>,
}

/// Lines that wait for a slow terminal; further ones are dropped and counted.
const WAITING: usize = 10_000;

/// Starts the thread.
pub(crate) fn start(output: Output) -> io::Result<Printer> {
    let (lines, queue) = sync_channel(WAITING);
    let thread = std::thread::Builder::new()
        .name("print".to_owned())
        .spawn(move || print_all(output, &queue))?;
    Ok(Printer {
        lines: Some(lines),
        thread: Some(thread),
        dropped: std::cell::Cell::new(0),
    })
}

impl Printer {
    /// Prints it, soon.
    pub(crate) fn print(&self, line: Line) {
        let Some(lines) = &self.lines else { return };
        if self.dropped.get() > 0 {
            let remark = Line::Remark(format!("{} lines were not printed", self.dropped.get()));
            if lines.try_send(remark).is_ok() {
                self.dropped.set(0);
            }
        }
        if lines.try_send(line).is_err() {
            self.dropped.set(self.dropped.get().saturating_add(1));
        }
    }

    /// Prints what waits, and ends.
    pub(crate) fn close(&mut self) {
        drop(self.lines.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn print_all(output: Output, queue: &Receiver<Line>) {
    while let Ok(line) = queue.recv() {
        // Whoever no longer reads may still want the mesh.
        let _unread = print_one(output, line);
    }
}

fn print_one(output: Output, line: Line) -> io::Result<()> {
    let mut out = anstream::AutoStream::auto(io::stdout()).lock();
    match (output, line) {
        (Output::Json, Line::Table(event, mesh, workloads)) => {
            let json = serde_json::json!({"event": event, "mesh": mesh, "workloads": workloads});
            writeln!(out, "{json}")
        }
        (Output::Text, Line::Table(event, mesh, workloads)) => {
            writeln!(out, "{}", table::heading(event, &mesh, workloads.len()))?;
            write!(out, "{}", table::of_workloads(&workloads))
        }
        (Output::Json, Line::Record(record)) => writeln!(out, "{}", Value::Object(record)),
        (Output::Text, Line::Record(record)) => {
            writeln!(out, "{}", records::text(&record, records::columns()))
        }
        (_, Line::Output { source, line }) => {
            let (dim, plain) = (records::DIM.render(), records::DIM.render_reset());
            let mut err = anstream::AutoStream::auto(io::stderr()).lock();
            writeln!(err, "{dim}{source}:{plain} {line}")
        }
        (_, Line::Remark(remark)) => writeln!(anstream::AutoStream::auto(io::stderr()), "{remark}"),
    }
}
