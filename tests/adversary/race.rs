//! Streams that race against the revision that forbids them.
//!
//! The criterion: once the proxy shows a revision that forbids, what was decided by an older one has ended, and nothing
//! that is opened from then on is delivered, until the test itself writes rules that allow again. Delivered is what the
//! application read, and not what a record says; the records must agree.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{Authority, Certified};
use super::frame::{
    CANCELLED, DATA, DENIED, FIN, Heard, OPEN, OPENED, POLICY_CHANGED, REFUSED, RESET, frame,
};
use super::spot::{Application, Spot};
use super::{Scene, tls};
use crate::harness::{BOUND, allow, wait_until};

/// How often the rules are flipped, each time from allowing to forbidding and back.
const FLIPS: usize = 25;
/// Streams that are opened while a revision is seen to be in force.
const WITHIN: u32 = 100;
/// Streams that are open at once.
const AT_ONCE: usize = 64;

#[test]
#[ignore = "needs root"]
fn no_stream_is_delivered_by_a_revision_older_than_one_that_forbids_it() {
    let scene = Scene::usual();
    let (permitted, forbidden) = (allow("orders", "web"), allow("orders", "nobody"));
    let application = Delivered::to(scene.orders.application(8080));
    let svid = Authority::stolen_from(&scene.mesh).svid("web");
    let race = Race::start(scene.outlaw, scene.orders, svid);
    let mut revision = revision(&scene);
    let mut windows = Vec::new();
    for _ in 0..FLIPS {
        race.opens(WITHIN);
        scene.mesh.write_rules(&forbidden);
        revision = next_revision(&scene, revision);
        // One more than the newest may have been on its way already.
        let first = race.opens(2);
        let last = race.opens(WITHIN);
        // Everything that was open when the revision came is over by the time that the next one may come.
        race.settles(first);
        windows.push((first, last, revision));
        scene.mesh.write_rules(&permitted);
        revision = next_revision(&scene, revision);
    }
    let last = race.opens(WITHIN);
    let ends = race.finish(last);
    assert_sound(&scene, &windows, &ends, &application.numbers());
}

/// A window is the streams that were opened while a forbidding revision was in force: (first, last, revision).
#[expect(clippy::print_stdout, reason = "a figure, shown on request")]
fn assert_sound(
    scene: &Scene,
    windows: &[(u32, u32, u64)],
    ends: &HashMap<u32, End>,
    delivered: &HashSet<u32>,
) {
    for &(first, last, revision) in windows {
        for stream in first..=last {
            assert_eq!(
                ends[&stream],
                End::Refused,
                "stream {stream} of revision {revision}"
            );
            assert!(
                !delivered.contains(&stream),
                "stream {stream} of revision {revision}"
            );
        }
    }
    let count = |end| ends.values().filter(|it| **it == end).count();
    let (refused, taken, closed) = (count(End::Refused), count(End::Whole), count(End::ByPolicy));
    println!("{refused} streams refused, {taken} ended whole, {closed} closed by policy");
    for stream in delivered {
        assert_ne!(ends[stream], End::Refused, "what was refused was delivered");
    }
    assert!(refused > 1000 && taken > 1000, "the race was run");
    assert!(closed > 0, "the forbidding revisions met live streams");
    let forbidding: HashSet<u64> = windows.iter().map(|(_, _, revision)| *revision).collect();
    // The records say the same: none by a forbidding revision, and one by it for each stream that it ended.
    wait_until("a record of each stream that the policy ended", || {
        let records = scene.mesh.records();
        let inbound = records.iter().filter(|r| r["direction"] == "inbound");
        let mut by_policy = 0;
        for record in inbound {
            let revision = record["policy.revision"].as_u64();
            let is_forbidding = revision.is_some_and(|it| forbidding.contains(&it));
            if record["policy.decision"] == "allow" {
                assert!(
                    !is_forbidding,
                    "allowed by a revision that forbids: {record}"
                );
            } else if record["close.by"] == "policy" && record["event"] == "close" {
                assert!(is_forbidding, "ended by a revision that allows: {record}");
                by_policy += 1;
            }
        }
        (by_policy == closed).then_some(())
    });
}

/// How a stream ended, for who opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// REFUSED, as denied.
    Refused,
    /// Taken, and answered to its end.
    Whole,
    /// Taken, and reset because the policy changed.
    ByPolicy,
}

/// One connection of the mesh on which streams are opened as fast as they end.
struct Race {
    shared: Arc<Shared>,
    runner: thread::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// The newest stream that was opened.
    opened: AtomicU32,
    stop: AtomicBool,
    ends: Mutex<HashMap<u32, End>>,
    changed: Condvar,
}

impl Race {
    fn start(from: Spot, to: Spot, own: Certified) -> Self {
        let tcp = from.connect(to.at(8080));
        tcp.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared::default());
        let runner = thread::spawn({
            let shared = Arc::clone(&shared);
            move || block_on(run(tcp, own, &shared))
        });
        Self { shared, runner }
    }

    /// Waits until so many more streams were opened: the newest.
    fn opens(&self, more: u32) -> u32 {
        let goal = self.shared.opened.load(Ordering::SeqCst) + more;
        self.waits(|_| self.shared.opened.load(Ordering::SeqCst) >= goal);
        goal
    }

    /// Waits until all streams before this one ended.
    fn settles(&self, before: u32) {
        self.waits(|ends| (1..before).all(|stream| ends.contains_key(&stream)));
    }

    fn finish(self, last: u32) -> HashMap<u32, End> {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.settles(last + 1);
        self.runner.join().expect("the race went well");
        let ends = self.shared.ends.lock().unwrap();
        ends.clone()
    }

    fn waits(&self, until: impl Fn(&HashMap<u32, End>) -> bool) {
        let ends = self.shared.ends.lock().unwrap();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(ends, BOUND, |ends| !until(ends));
        let (ends, waited) = waited.unwrap();
        assert!(
            !waited.timed_out(),
            "the race stands still after {} streams",
            ends.len()
        );
    }
}

/// Opens streams, each with its number as data, until it is told to stop and all have ended. The newest that
/// were taken are kept until the policy ends them, or newer ones take their place.
async fn run(tcp: std::net::TcpStream, own: Certified, shared: &Shared) {
    let tcp = TcpStream::from_std(tcp).unwrap();
    let connector = TlsConnector::from(tls::client_config(Some(own), tls::MESH));
    let tls = connector.connect(tls::no_name(), tcp).await.unwrap();
    let (mut from, mut to) = tokio::io::split(tls);
    to.write_all(&super::frame::good_hello()).await.unwrap();
    let (mut opened, mut live) = (0_u32, HashSet::new());
    let mut kept = VecDeque::new();
    loop {
        let is_stopped = shared.stop.load(Ordering::SeqCst);
        while live.len() < AT_ONCE && !is_stopped {
            opened += 1;
            live.insert(opened);
            open(&mut to, opened).await;
            shared.opened.store(opened, Ordering::SeqCst);
        }
        while kept.len() > if is_stopped { 0 } else { KEPT } {
            let oldest = kept.pop_front().unwrap();
            to.write_all(&frame(FIN, oldest, &[])).await.unwrap();
        }
        if live.is_empty() {
            return;
        }
        let heard = hear(&mut from).await;
        let end = match (heard.kind, heard.payload.as_slice()) {
            (REFUSED, [DENIED, ..]) => Some(End::Refused),
            (FIN, _) => Some(End::Whole),
            (RESET, [POLICY_CHANGED]) => Some(End::ByPolicy),
            (REFUSED | RESET, _) => panic!("{heard:?}"),
            (OPENED, _) => {
                kept.push_back(heard.stream);
                None
            }
            _ => None,
        };
        let Some(end) = end else { continue };
        // Each side says the end of each stream once.
        let is_open_here = end == End::Refused || kept.contains(&heard.stream);
        kept.retain(|stream| *stream != heard.stream);
        if is_open_here {
            let reset = frame(RESET, heard.stream, &[CANCELLED]);
            to.write_all(&reset).await.unwrap();
        }
        assert!(live.remove(&heard.stream), "{heard:?} twice");
        shared.ends.lock().unwrap().insert(heard.stream, end);
        shared.changed.notify_all();
    }
}

async fn open(to: &mut WriteHalf<TlsStream<TcpStream>>, stream: u32) {
    let number = stream.to_be_bytes();
    let opening = [frame(OPEN, stream, &[]), frame(DATA, stream, &number)];
    to.write_all(&opening.concat()).await.unwrap();
}

async fn hear(from: &mut ReadHalf<TlsStream<TcpStream>>) -> Heard {
    let mut head = [0; 8];
    from.read_exact(&mut head)
        .await
        .expect("the connection lives");
    let [kind, _, high, low, a, b, c, d] = head;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    from.read_exact(&mut payload).await.unwrap();
    let stream = u32::from_be_bytes([a, b, c, d]);
    Heard {
        kind,
        stream,
        payload,
    }
}

/// The application: notes every number that reaches it, and ends when its client does.
struct Delivered(Arc<Mutex<HashSet<u32>>>);

impl Delivered {
    fn to(application: Application) -> Self {
        let numbers = Arc::default();
        let noted = Arc::clone(&numbers);
        thread::spawn(move || {
            block_on(async move {
                let listener = TcpListener::from_std(application.into_listener()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(note(stream, Arc::clone(&noted)));
                }
            });
        });
        Self(numbers)
    }

    fn numbers(&self) -> HashSet<u32> {
        self.0.lock().unwrap().clone()
    }
}

async fn note(mut stream: TcpStream, noted: Arc<Mutex<HashSet<u32>>>) {
    if let Ok(number) = stream.read_u32().await {
        assert!(noted.lock().unwrap().insert(number), "{number} came twice");
        let _until_its_client_ends = stream.read_u8().await;
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// The revision that orders' proxy shows.
fn revision(scene: &Scene) -> u64 {
    let page = scene
        .outlaw
        .page(scene.orders.at(15020), "/metrics")
        .unwrap();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("palisade_policy_revision "));
    line.expect("the metric is there").parse().unwrap()
}

fn next_revision(scene: &Scene, before: u64) -> u64 {
    wait_until("the next revision", || {
        let now = revision(scene);
        (now > before).then_some(now)
    })
}

const KEPT: usize = 16;
