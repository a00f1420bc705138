//! The way of records to their consumer, which never makes the data path wait.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

/// Takes lines at once, and writes them from a thread of its own.
///
/// At most 1 MiB waits; a line that does not fit is dropped and counted. A consumer that stalls
/// or goes away costs lines, never a connection.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or an end.
    work: Condvar,
    /// The thread has written everything and ended.
    done: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    at: At,
    closing: bool,
    done: bool,
}

/// What the thread does: only who it waits for wakes it, as each time is a system call of the data path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// It starts or writes, and looks for lines by itself.
    #[default]
    Work,
    /// It waits for the first line.
    Rest,
    /// It waits for more lines, for a time or until a large write is full.
    Gathering,
}

impl Writer {
    /// Starts the thread. `dropped` counts the lines that do not reach `sink`.
    ///
    /// # Errors
    ///
    /// Where the system starts no thread.
    pub fn start(sink: impl Write + Send + 'static, dropped: Counter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            dropped,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("records".into())
            .spawn(move || write_until_closed(&of_thread, sink))?;
        Ok(Self { shared })
    }

    /// Takes one line, its line feed included. Never waits for the consumer.
    pub fn submit(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        let before = state.pending.len();
        let after = before + line.len();
        if state.closing || after > MAX_PENDING_BYTES {
            drop(state);
            self.shared.dropped.inc();
            return;
        }
        state.pending.extend_from_slice(line);
        let is_waited_for = match state.at {
            At::Work => false,
            At::Rest => {
                state.at = At::Gathering;
                true
            }
            At::Gathering => before < LARGE_WRITE_BYTES && after >= LARGE_WRITE_BYTES,
        };
        drop(state);
        if is_waited_for {
            self.shared.work.notify_one();
        }
    }

    /// Ends the thread after it has written what waits, and says whether it did so within the time. Blocks
    /// that long; lines that come later are dropped and counted.
    pub fn close(&self, within: Duration) -> bool {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.work.notify_one();
        let waited = self
            .shared
            .done
            .wait_timeout_while(state, within, |state| !state.done)
            .unwrap_or_else(PoisonError::into_inner);
        waited.0.done
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// Nothing that can panic runs under the lock, so a poisoned one holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines, and a little longer for more of them. False at the end.
    ///
    /// Who was just written to is likely to be written to again: lines that follow closely are gathered for longer, and
    /// nobody has to wake the thread for them.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let state = self.gather(self.lock(), MORE_GATHERING);
        let mut state = match state.pending.is_empty() && !state.closing {
            true => self.gather(self.rest(state), GATHERING),
            false => state,
        };
        if state.pending.is_empty() {
            state.done = true;
            self.done.notify_all();
            return false;
        }
        state.at = At::Work;
        std::mem::swap(&mut state.pending, batch);
        true
    }

    /// Waits for the first line.
    fn rest<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.at = At::Rest;
        self.work
            .wait_while(state, |state| state.at == At::Rest && !state.closing)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long, or until a large write is full.
    fn gather<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        time: Duration,
    ) -> MutexGuard<'a, State> {
        state.at = At::Gathering;
        let few = |state: &mut State| state.pending.len() < LARGE_WRITE_BYTES && !state.closing;
        let waited = self.work.wait_timeout_while(state, time, few);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn write_until_closed(shared: &Shared, mut sink: impl Write) {
    let mut batch = Vec::new();
    while shared.take(&mut batch) {
        let unwritten = write_batch(&mut sink, &batch);
        if unwritten > 0 {
            shared.dropped.inc_by(unwritten);
        }
        batch.clear();
        batch.shrink_to(2 * LARGE_WRITE_BYTES);
    }
}

/// Writes whole batches, and counts the lines that did not get out.
fn write_batch(sink: &mut impl Write, batch: &[u8]) -> u64 {
    let mut rest = batch;
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => break,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares our stdout may have made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(GATHERING),
            Err(_) => break,
        }
    }
    rest.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// What waits at most; some thousand lines.
const MAX_PENDING_BYTES: usize = 1 << 20;
const LARGE_WRITE_BYTES: usize = 64 << 10;
/// How much later a lone line comes, for the sake of fewer writes.
const GATHERING: Duration = Duration::from_millis(10);
/// The same for a line that follows others.
const MORE_GATHERING: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const LINE: &[u8] = b"0123456789012345678901234567890123456789012345678901234567890\n";

    #[test]
    fn every_line_arrives_whole_and_in_order() {
        let (mut read, write) = io::pipe().unwrap();
        let dropped = Counter::default();
        let writer = Writer::start(write, dropped.clone()).unwrap();
        let lines: Vec<String> = (0..5000).map(|n| format!("line {n}\n")).collect();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text)
        });
        for line in &lines {
            writer.submit(line.as_bytes());
        }
        assert!(writer.close(Duration::from_secs(10)));
        assert_eq!(reader.join().unwrap().unwrap(), lines.concat());
        assert_eq!(dropped.get(), 0);
    }

    #[test]
    fn lines_arrive_whatever_the_thread_does_when_they_come() {
        let (mut read, write) = io::pipe().unwrap();
        let writer = Writer::start(write, Counter::default()).unwrap();
        for at in [At::Rest, At::Gathering, At::Rest] {
            while writer.shared.lock().at != at {
                thread::yield_now();
            }
            writer.submit(LINE);
            let mut line = [0; LINE.len()];
            read.read_exact(&mut line).unwrap();
            assert_eq!(line, LINE);
        }
    }

    #[test]
    fn a_consumer_that_stalls_costs_counted_lines_and_no_wait() {
        let (mut read, write) = io::pipe().unwrap();
        let dropped = Counter::default();
        let writer = Writer::start(write, dropped.clone()).unwrap();
        let submitted = 100_000;
        for _ in 0..submitted {
            writer.submit(LINE);
        }
        assert!(dropped.get() > 0, "6 MB do not fit");
        assert!(!writer.close(Duration::from_millis(10)), "nobody reads");
        let mut text = Vec::new();
        read.read_to_end(&mut text).unwrap();
        let arrived = text.chunks(LINE.len()).filter(|line| *line == LINE).count();
        assert_eq!(arrived as u64 + dropped.get(), submitted);
        assert_eq!(text.len() % LINE.len(), 0, "only whole lines are dropped");
    }

    #[test]
    fn a_closed_consumer_costs_counted_lines_and_the_thread_goes_on() {
        let (read, write) = io::pipe().unwrap();
        drop(read);
        let dropped = Counter::default();
        let writer = Writer::start(write, dropped.clone()).unwrap();
        for _ in 0..100 {
            writer.submit(LINE);
        }
        assert!(writer.close(Duration::from_secs(10)));
        assert_eq!(dropped.get(), 100);
        writer.submit(LINE);
        assert_eq!(dropped.get(), 101, "after the end, too");
    }
}
