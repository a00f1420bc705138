//! The applications at both ends of the streams, at work in the background of a test.
//!
//! A stream is a talk: the client announces it, is greeted and begins, then question and answer follow each other, and when
//! the server has read all, up to the end, it says that all was as it must be. A client that hears this and has read all
//! answers knows that no byte was lost in either direction.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::content::Content;
use super::talk::{ANNOUNCEMENT, Talk};
use crate::adversary::spot::{Application, Spot};
use crate::harness::{BOUND, wait_until};

/// The applications of a test. They end when it is dropped.
pub(super) struct Apps {
    handle: Handle,
    shared: Arc<Shared>,
    _until_dropped: oneshot::Sender<()>,
}

/// What all talks have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether those that wait for others may begin.
    begins: watch::Sender<bool>,
    /// Whether readers that stopped may go on.
    goes_on: watch::Sender<bool>,
    /// Bytes that were read and were right, by the talk's number.
    arrived: Vec<AtomicU64>,
    /// Clients that were greeted.
    greeted: AtomicU32,
    /// How many begin at once.
    beginning: Semaphore,
    /// Numbers for those that are talked again and again.
    next: AtomicU32,
    /// What became of those that were not talked to the end.
    lost: Mutex<Vec<String>>,
}

/// What was begun in the background.
#[must_use]
pub(super) struct Pending<T>(mpsc::Receiver<T>);

impl<T> Pending<T> {
    /// Its result, within a bound that is generous even where the machine is busy.
    pub(super) fn result(self, what: &str) -> T {
        let result = self.0.recv_timeout(2 * BOUND);
        result.unwrap_or_else(|error| panic!("waited for {what}: {error}"))
    }
}

impl Apps {
    /// Clients in this pod.
    pub(super) fn calling_from(client: Spot) -> Self {
        let shared = Arc::new(Shared {
            begins: watch::Sender::new(false),
            goes_on: watch::Sender::new(false),
            arrived: std::iter::repeat_with(AtomicU64::default)
                .take(MOST_NUMBERS)
                .collect(),
            greeted: AtomicU32::new(0),
            beginning: Semaphore::new(AT_ONCE),
            next: AtomicU32::new(FIRST_OF_MANY),
            lost: Mutex::default(),
        });
        let (until_dropped, dropped) = oneshot::channel();
        let (tells, told) = mpsc::channel();
        thread::spawn(move || {
            // Sockets that are made here are the client's. Servers bring theirs.
            client.enter();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            tells
                .send(runtime.handle().clone())
                .expect("it is waited for");
            let _dropped = runtime.block_on(dropped);
        });
        Self {
            handle: told.recv().expect("the thread began"),
            shared,
            _until_dropped: until_dropped,
        }
    }

    /// Answers all who come.
    pub(super) fn serve(&self, application: Application) {
        let shared = Arc::clone(&self.shared);
        self.handle.spawn(async move {
            let listener = TcpListener::from_std(application.into_listener());
            let listener = listener.expect("it does not block");
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // The client knows better how it ended.
                    let _ended = shared.answer(stream).await;
                });
            }
        });
    }

    /// Does something in the background, where [`Shared`] can talk.
    pub(super) fn run<T, F>(&self, act: impl FnOnce(Arc<Shared>) -> F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (tells, told) = mpsc::channel();
        let acting = act(Arc::clone(&self.shared));
        self.handle.spawn(async move {
            // A test that has failed meanwhile waits no longer.
            let _waits = tells.send(acting.await);
        });
        Pending(told)
    }

    /// Talks all at once; what failed.
    pub(super) fn all(&self, to: SocketAddr, talks: Vec<Talk>) -> Pending<Vec<String>> {
        self.run(move |shared| async move {
            let mut talking = JoinSet::new();
            for talk in talks {
                talking.spawn(Arc::clone(&shared).talk(to, talk));
            }
            let ended = talking.join_all().await;
            ended.into_iter().filter_map(Result::err).collect()
        })
    }

    /// One talk after the other, each with a number of its own, until `enough`; how many there were.
    pub(super) fn again_and_again(
        &self,
        to: SocketAddr,
        talk: Talk,
        mut enough: watch::Receiver<bool>,
    ) -> Pending<usize> {
        self.run(move |shared| async move {
            let mut talks = 0;
            while !*enough.borrow_and_update() {
                let number = shared.next.fetch_add(1, Ordering::Relaxed);
                let talked = Arc::clone(&shared).talk(to, talk.numbered(number));
                if let Err(lost) = talked.await {
                    shared.lost.lock().expect("nobody panicked").push(lost);
                }
                talks += 1;
            }
            talks
        })
    }

    /// Bytes of a talk that were read so far.
    pub(super) fn arrived(&self, number: u32) -> u64 {
        self.shared.arrived(number)
    }

    /// That none was lost of those that are talked again and again.
    pub(super) fn assert_none_lost(&self) {
        let lost = self.shared.lost.lock().expect("nobody panicked").clone();
        assert!(lost.is_empty(), "{lost:?}");
    }

    /// Clients that were greeted so far.
    pub(super) fn greeted(&self) -> u32 {
        self.shared.greeted()
    }

    /// Waits until so many clients were greeted, and lets begin all that wait for others.
    pub(super) fn begin(&self, greeted: u32) {
        wait_until("all to be greeted", || {
            (self.greeted() >= greeted).then_some(())
        });
        self.shared.begin();
    }

    /// Lets readers that stopped go on.
    pub(super) fn go_on(&self) {
        self.shared.go_on();
    }
}

impl Shared {
    /// Bytes of a talk that were read so far.
    pub(super) fn arrived(&self, number: u32) -> u64 {
        self.counter(number).load(Ordering::Relaxed)
    }

    /// Talks that have begun so far.
    pub(super) fn greeted(&self) -> u32 {
        self.greeted.load(Ordering::Relaxed)
    }

    fn counter(&self, number: u32) -> &AtomicU64 {
        &self.arrived[number as usize % MOST_NUMBERS]
    }

    /// Lets begin all that wait for others.
    pub(super) fn begin(&self) {
        self.begins.send_replace(true);
    }

    /// Lets readers that stopped go on.
    pub(super) fn go_on(&self) {
        self.goes_on.send_replace(true);
    }

    /// The client's side of a talk, on a connection of its own.
    pub(super) async fn talk(self: Arc<Self>, to: SocketAddr, talk: Talk) -> Result<(), String> {
        let said = self.ask(to, talk).await;
        said.map_err(|error| format!("talk {}: {error}", talk.number))
    }

    async fn ask(&self, to: SocketAddr, talk: Talk) -> io::Result<()> {
        let beginning = self.beginning.acquire().await.map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(&talk.announced()).await?;
        let mut greeting = [0];
        stream.read_exact(&mut greeting).await?;
        drop(beginning);
        self.greeted.fetch_add(1, Ordering::Relaxed);
        if talk.begins_with_others {
            opened(&self.begins).await;
        }
        stream.write_all(BEGINNING).await?;
        let mut questions = Content::of(talk.number);
        let mut answers = Content::of_answers(talk.number);
        for _ in 0..talk.rounds {
            questions.write(&stream, talk.question).await?;
            self.read(&stream, &talk, &mut answers, talk.answer).await?;
            tokio::time::sleep(talk.pause).await;
        }
        stream.shutdown().await?;
        let mut verdict = String::new();
        stream.read_to_string(&mut verdict).await?;
        match verdict.as_str() {
            ALL_CAME => Ok(()),
            _ => Err(io::Error::other(format!("the server says {verdict:?}"))),
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut announced = [0; ANNOUNCEMENT];
        stream.read_exact(&mut announced).await?;
        let talk = Talk::of(&announced);
        stream.write_all(GREETING).await?;
        stream.read_exact(&mut [0]).await?;
        let verdict = match self.answer_all(&stream, &talk).await {
            Ok(()) => ALL_CAME.to_owned(),
            Err(error) => error.to_string(),
        };
        stream.write_all(verdict.as_bytes()).await?;
        stream.shutdown().await
    }

    async fn answer_all(&self, stream: &TcpStream, talk: &Talk) -> io::Result<()> {
        let mut questions = Content::of(talk.number);
        let mut answers = Content::of_answers(talk.number);
        for _ in 0..talk.rounds {
            self.read(stream, talk, &mut questions, talk.question)
                .await?;
            answers.write(stream, talk.answer).await?;
        }
        match stream.peek(&mut [0]).await? {
            0 => Ok(()),
            _ => Err(io::Error::other("more came than was sent")),
        }
    }

    async fn read(
        &self,
        stream: &TcpStream,
        talk: &Talk,
        content: &mut Content,
        length: u32,
    ) -> io::Result<()> {
        let end = content.at + u64::from(length);
        while content.at < end {
            let before_stop = talk.stops_after.saturating_sub(content.at);
            let most = match before_stop {
                0 => {
                    opened(&self.goes_on).await;
                    end - content.at
                }
                some => some.min(end - content.at),
            };
            let read = content.read_some(stream, most).await?;
            self.counter(talk.number).fetch_add(read, Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn opened(valve: &watch::Sender<bool>) {
    let mut valve = valve.subscribe();
    // Nobody takes it away while a test runs.
    let _open = valve.wait_for(|open| *open).await;
}

/// Talks that begin at once: more would wait for the applications, not for the mesh.
const AT_ONCE: usize = 64;
const MOST_NUMBERS: usize = 4096;
const FIRST_OF_MANY: u32 = 2048;
const GREETING: &[u8] = b"+";
const BEGINNING: &[u8] = b"!";
const ALL_CAME: &str = "all came";
