//! Keeping programs running, and ending them well.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long to wait before a start, growing with each failure and forgiving after a long run.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    started: Instant,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A program that ran for so long is taken as sound.
const SOUND: Duration = Duration::from_secs(10);

impl Backoff {
    /// For a program that is started now.
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST_PAUSE,
            started: Instant::now(),
        }
    }

    /// The program starts.
    pub(crate) fn started(&mut self) {
        self.started = Instant::now();
    }

    /// The program ended: how long to wait before it starts again.
    pub(crate) fn pause(&mut self) -> Duration {
        if self.started.elapsed() >= SOUND {
            self.next = FIRST_PAUSE;
        }
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(LONGEST_PAUSE);
        pause
    }
}

/// Whether and when to end: set once, seen by all that hold a copy.
pub(crate) type Stop = watch::Receiver<bool>;

/// Waits until it is time to end.
pub(crate) async fn stopped(stop: &mut Stop) {
    // An owner that is gone wants the end too.
    let _gone = stop.wait_for(|stop| *stop).await;
}

/// Asks a program to end, and kills it when it takes longer than the grace.
pub(crate) async fn end(child: &mut Child, grace: Duration) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else {
        return;
    };
    let asked = kill(Pid::from_raw(pid), Signal::SIGTERM);
    if asked.is_err() || timeout(grace, child.wait()).await.is_err() {
        let _ended_meanwhile = child.kill().await;
    }
}

/// Passes each line on, cut where it is longer than a record may be.
pub(crate) async fn each_line<R>(source: Option<R>, mut take: impl FnMut(&str))
where
    R: AsyncRead + Unpin,
{
    let Some(source) = source else { return };
    let mut reader = BufReader::new(source);
    let mut line: Vec<u8> = Vec::new();
    loop {
        let Ok(available) = reader.fill_buf().await else {
            return;
        };
        if available.is_empty() {
            break;
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        let room = LONGEST_LINE.saturating_sub(line.len());
        line.extend(available.iter().take(taken.min(room)));
        let consumed = taken + usize::from(end.is_some());
        reader.consume(consumed);
        if end.is_some() {
            take(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    if !line.is_empty() {
        take(&String::from_utf8_lossy(&line));
    }
}

const LONGEST_LINE: usize = 64 * 1024;

/// A file of lines that never takes more than twice its bound: the older half is `NAME.1`.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    file: File,
    size_bytes: usize,
    bound_bytes: usize,
}

impl LineFile {
    /// Opens it, empty.
    pub(crate) fn create(path: &Path, bound_bytes: usize) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: truncated(path)?,
            size_bytes: 0,
            bound_bytes,
        })
    }

    /// Appends a line.
    pub(crate) fn append(&mut self, line: &str) -> io::Result<()> {
        if self.size_bytes + line.len() > self.bound_bytes && self.size_bytes > 0 {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            self.file = truncated(&self.path)?;
            self.size_bytes = 0;
        }
        self.size_bytes += line.len() + 1;
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

fn truncated(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_forgiven() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        backoff.started();
        tokio::time::advance(SOUND).await;
        assert_eq!(backoff.pause(), FIRST_PAUSE);
    }

    #[tokio::test]
    async fn lines_are_cut_and_the_last_needs_no_end() {
        let long = "x".repeat(LONGEST_LINE + 5);
        let text = format!("a\n\n{long}\nlast");
        let mut lines = Vec::new();
        each_line(Some(text.as_bytes()), |line| lines.push(line.to_owned())).await;
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1], "");
        assert_eq!(lines[2].len(), LONGEST_LINE);
        assert_eq!(lines[3], "last");
    }

    #[test]
    fn a_file_of_lines_stays_within_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = LineFile::create(&path, 10).unwrap();
        for line in ["aaaa", "bbbb", "cccc"] {
            file.append(line).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "cccc\n");
        let older = std::fs::read_to_string(directory.path().join("log.1")).unwrap();
        assert_eq!(older, "aaaa\nbbbb\n");
    }
}
