//! Records on their way to stdout.

use std::io::{self, Write};

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::filter::{Filter, Timed};
use super::pair::Pairs;
use super::{columns, text};
use crate::args::{LogsArgs, Output};

/// Joins, chooses and prints records.
#[derive(Debug)]
pub(crate) struct Printer {
    output: Output,
    filter: Filter,
    pairs: Option<Pairs>,
}

impl Printer {
    /// What was asked for. `since` is the earliest moment that is shown.
    pub(crate) fn new(args: &LogsArgs, since: Option<OffsetDateTime>) -> Self {
        Self {
            output: Output::or_by_terminal(args.mesh.output),
            filter: Filter {
                denied: args.denied,
                from: args.from.clone(),
                to: args.to.clone(),
                // Of one side alone, the records of one workload are chosen where they are kept.
                of: args.workload.clone().filter(|_| args.pair),
                since,
            },
            pairs: args.pair.then(Pairs::default),
        }
    }

    /// Takes the next record in time.
    pub(crate) fn take(&mut self, timed: Timed) -> io::Result<()> {
        // Chosen only when joined: one side alone may not know what is asked for.
        match &mut self.pairs {
            Some(pairs) => {
                let due = pairs.push(timed);
                self.show(due)
            }
            None => self.show([timed]),
        }
    }

    /// Shows what has waited long enough for its other side.
    pub(crate) fn pass_time(&mut self, now: OffsetDateTime) -> io::Result<()> {
        let due = self.pairs.as_mut().map(|pairs| pairs.due(now));
        self.show(due.into_iter().flatten())
    }

    /// Whether a record waits for its other side.
    pub(crate) fn is_waiting(&self) -> bool {
        self.pairs.as_ref().is_some_and(|pairs| !pairs.is_empty())
    }

    /// Shows all that is left.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let rest = self.pairs.take();
        self.show(rest.into_iter().flat_map(Pairs::finish))
    }

    /// Shows a message that is no record of a connection.
    pub(crate) fn say(&self, message: Map<String, Value>) -> io::Result<()> {
        let mut out = anstream::AutoStream::auto(io::stdout()).lock();
        match self.output {
            Output::Text => writeln!(out, "{}", text(&message, columns()))?,
            Output::Json => writeln!(out, "{}", Value::Object(message))?,
        }
        out.flush()
    }

    fn show(&self, records: impl IntoIterator<Item = Timed>) -> io::Result<()> {
        let mut records = records.into_iter();
        records.try_for_each(|timed| {
            if self.filter.wants(&timed) {
                self.say(timed.record)
            } else {
                Ok(())
            }
        })
    }
}
