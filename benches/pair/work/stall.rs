//! Connections whose reader stops, and others to the same pod.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::requests::wrk;
use super::{Reuse, memory};
use crate::ask;
use crate::figures::results::{BLOCKED, Figures, named};
use crate::ground::STALLED;
use crate::peers::Pair;
use crate::pods::{Role, SERVER};

/// Small requests alone, and then beside connections that are full from end to end.
pub(super) async fn measure(pair: &Pair, seconds: u32) -> Result<Figures> {
    let small = (1, Reuse::KeepAlive);
    let alone = wrk(pair, seconds, small).await?;
    let mut figures = named([
        ("alone_p50_us", alone.p50_us),
        ("alone_p99_us", alone.p99_us),
    ]);
    memory::note(&mut figures, pair, "before")?;
    let mut stalled = Stalled::open(pair)?;
    let taken = stalled.fill().await?;
    memory::note(&mut figures, pair, "after")?;
    let beside = wrk(pair, seconds, small).await?;
    figures.extend(named([
        ("taken_mb", taken as f64 / 1e6),
        ("stalled_requests", beside.requests as f64),
    ]));
    if beside.requests > 0 {
        figures.extend(named([
            ("stalled_p50_us", beside.p50_us),
            ("stalled_p99_us", beside.p99_us),
            ("p50_ratio", beside.p50_us / alone.p50_us),
            ("p99_ratio", beside.p99_us / alone.p99_us),
        ]));
    } else {
        figures.extend(named([("p50_ratio", BLOCKED), ("p99_ratio", BLOCKED)]));
    }
    let grown = |role: Role| {
        let mb = |when| figures.get(&format!("{when}_{}_mb", role.name()));
        Some(mb("after")? - mb("before")?)
    };
    let most = pair
        .roles()
        .filter_map(|(role, _)| grown(role))
        .max_by(f64::total_cmp);
    figures.extend(most.map(|most| ("grown_mb".to_owned(), most)));
    Ok(figures)
}

/// The connections, and both of their ends.
#[derive(Debug)]
struct Stalled {
    writers: Vec<TcpStream>,
    _readers: Vec<TcpStream>,
}

impl Stalled {
    fn open(pair: &Pair) -> Result<Self> {
        let pods = &pair.ground.pods;
        let listener = pods.enter(Role::Server, || Ok(TcpListener::bind((SERVER, STALLED))?))?;
        let writers = pods.enter(Role::Client, || {
            let writer = |_| -> Result<TcpStream> {
                let mut stream = ask::connect(SERVER, STALLED)?;
                stream.write_all(b"first")?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            };
            (0..DEEP).map(writer).collect()
        })?;
        listener.set_nonblocking(true)?;
        let readers = accept_all(&listener);
        Ok(Self {
            writers,
            _readers: readers.context("a connection did not come through the pair")?,
        })
    }

    /// Writes until nothing more is taken, and says how many bytes were. A pair that takes without end is
    /// stopped at [`MOST_BYTES`]: its memory shows it.
    async fn fill(&mut self) -> Result<u64> {
        let (mut taken, mut last) = (0, Instant::now());
        while last.elapsed() < QUIET && taken < MOST_BYTES {
            let mut now = 0;
            for writer in &mut self.writers {
                now += write_some(writer)?;
            }
            if now == 0 {
                sleep(STEP).await;
            } else {
                (taken, last) = (taken + now, Instant::now());
            }
        }
        Ok(taken)
    }
}

fn accept_all(listener: &TcpListener) -> Result<Vec<TcpStream>> {
    let (mut readers, end) = (Vec::new(), Instant::now() + ACCEPT_LIMIT);
    while readers.len() < DEEP {
        match listener.accept() {
            Ok((reader, _)) => readers.push(reader),
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(STEP);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(readers)
}

fn write_some(writer: &mut TcpStream) -> Result<u64> {
    match writer.write(&[0; 64 << 10]) {
        Ok(count) => Ok(u64::try_from(count)?),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error).context("a connection with a stopped reader was ended"),
    }
}

/// How many connections have a reader that stopped.
const DEEP: usize = 8;
/// Nothing more is taken once nothing was for so long.
const QUIET: Duration = Duration::from_millis(500);
const MOST_BYTES: u64 = 1 << 30;
const ACCEPT_LIMIT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(5);
