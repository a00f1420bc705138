//! Sessions on in-memory connections, with paused time.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout};

use crate::transport::{
    Budget, Code, Incoming, Kind, OpenError, Opener, Opening, PIECE_BYTES, SessionEnd, Settings,
    Stream, StreamError, client, server,
};

struct Ends {
    opener: Opener<&'static str>,
    incoming: Incoming<&'static str>,
    client: JoinHandle<SessionEnd>,
    server: JoinHandle<SessionEnd>,
    budget: Budget,
}

fn connect() -> Ends {
    connect_over(64 * 1024)
}

/// The connection holds so much in each direction.
fn connect_over(bytes: usize) -> Ends {
    let (near, far) = duplex(bytes);
    let budget = Budget::default();
    let (opener, driver) = client(
        BufReader::new(near),
        Arc::new("server"),
        Settings::default(),
        budget.clone(),
    );
    let client = tokio::spawn(driver);
    let (incoming, driver) = server(
        BufReader::new(far),
        Arc::new("client"),
        Settings::default(),
        budget.clone(),
    );
    let server = tokio::spawn(driver);
    Ends {
        opener,
        incoming,
        client,
        server,
        budget,
    }
}

fn opening(first: &'static [u8], first_is_all: bool) -> Opening {
    Opening {
        first: Bytes::from_static(first),
        first_is_all,
        ..Opening::default()
    }
}

impl Ends {
    async fn stream(&mut self) -> (Stream<&'static str>, Stream<&'static str>) {
        let accept = async { self.incoming.next().await.unwrap().accept() };
        let (near, far) = tokio::join!(self.opener.open(opening(b"", false)), accept);
        (near.unwrap(), far)
    }
}

async fn read_all(stream: &Stream<&'static str>) -> Result<Vec<u8>, StreamError> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.read().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test(start_paused = true)]
async fn both_orders_of_half_close_deliver_everything() {
    let mut ends = connect();
    for client_first in [true, false] {
        let (near, far) = ends.stream().await;
        assert_eq!((*near.facts().as_ref(), near.id()), ("server", far.id()));
        let (first, second) = if client_first {
            (&near, &far)
        } else {
            (&far, &near)
        };
        first.write(Bytes::from_static(b"question")).await.unwrap();
        first.finish();
        assert_eq!(read_all(second).await.unwrap(), b"question");
        second.write(Bytes::from_static(b"answer")).await.unwrap();
        second.finish();
        assert_eq!(read_all(first).await.unwrap(), b"answer");
        assert!(matches!(
            first.write(Bytes::from_static(b"x")).await,
            Err(StreamError::Finished)
        ));
    }
    drop(ends.opener);
    assert!(matches!(ends.client.await.unwrap(), SessionEnd::Clean));
    assert!(matches!(ends.server.await.unwrap(), SessionEnd::Clean));
    assert!(ends.incoming.next().await.is_none());
    assert_eq!(ends.budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_short_streams_are_all_served() {
    let Ends {
        opener,
        mut incoming,
        budget,
        ..
    } = connect();
    let server = tokio::spawn(async move {
        while let Some(offered) = incoming.next().await {
            tokio::spawn(async move {
                let stream = offered.accept();
                let question = read_all(&stream).await.unwrap();
                stream.write(Bytes::from(question)).await.unwrap();
                stream.finish();
            });
        }
    });
    let opener = Arc::new(opener);
    let clients = (0..16).map(|_| {
        let opener = Arc::clone(&opener);
        tokio::spawn(async move {
            for _ in 0..625 {
                let stream = opener.open(opening(b"question", true)).await.unwrap();
                assert_eq!(read_all(&stream).await.unwrap(), b"question");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    drop(opener);
    server.await.unwrap();
    assert_eq!(budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_why_and_that_nothing_was_delivered() {
    let mut ends = connect();
    let refuse = async {
        let offered = ends.incoming.next().await.unwrap();
        offered.refuse(Code::Denied, Some("shop/orders/only-web"));
    };
    let (refused, ()) = tokio::join!(ends.opener.open(opening(b"secret", true)), refuse);
    let error = refused.unwrap_err();
    assert!(error.nothing_was_delivered());
    let OpenError::Refused { code, rule, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (code, rule.as_deref()),
        (Code::Denied, Some("shop/orders/only-web"))
    );

    let drop_it = async { drop(ends.incoming.next().await) };
    let (refused, ()) = tokio::join!(ends.opener.open(opening(b"", false)), drop_it);
    assert!(matches!(
        refused,
        Err(OpenError::Refused {
            code: Code::Cancelled,
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_never_a_clean_end() {
    let mut ends = connect();
    let (near, far) = ends.stream().await;
    let (done, done_far) = ends.stream().await;
    near.write(Bytes::from_static(b"half of the"))
        .await
        .unwrap();
    done.write(Bytes::from_static(b"whole")).await.unwrap();
    done.finish();
    tokio::time::sleep(Duration::from_millis(10)).await;
    ends.client.abort();
    assert!(
        matches!(ends.server.await.unwrap(), SessionEnd::Cut(error) if error.kind() == io::ErrorKind::UnexpectedEof)
    );
    assert!(matches!(
        read_all(&far).await,
        Err(StreamError::SessionEnded(SessionEnd::Cut(_)))
    ));
    assert_eq!(
        read_all(&done_far).await.unwrap(),
        b"whole",
        "its FIN had come"
    );
    assert!(matches!(
        near.read().await,
        Err(StreamError::SessionEnded(SessionEnd::Cut(_)))
    ));
    let late = ends.opener.open(opening(b"", false)).await.unwrap_err();
    assert!(matches!(late, OpenError::Retired));
    drop((near, far, done, done_far));
    assert_eq!(ends.budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_full_connection_does_not_take_at_once_is_sent_later() {
    let mut ends = connect();
    let (near, far) = ends.stream().await;
    let said: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_be_bytes()[2]).collect();
    let sending = async {
        for piece in said.chunks(PIECE_BYTES) {
            near.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        near.finish();
    };
    let (came, ()) = tokio::join!(read_all(&far), sending);
    assert!(came.unwrap() == said);
}

#[tokio::test(start_paused = true)]
async fn beside_small_messages_a_peer_has_little_bulk_to_send() {
    let mut ends = connect_over(8 << 20);
    let (near, far) = ends.stream().await;
    tokio::spawn(async move { while let Ok(Some(_)) = far.read().await {} });
    let requests = Kind::default();
    let granted = async |has_small| {
        for _ in 0..256 {
            let room = near.room().await.unwrap();
            if has_small {
                requests.moved(Instant::now(), 100);
            } else {
                // The reader waits for more, so its window grows.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let piece = vec![0; room.min(PIECE_BYTES)];
            near.write(Bytes::from(piece)).await.unwrap();
        }
        // Until all is read.
        tokio::time::sleep(Duration::from_millis(1)).await;
        near.room().await.unwrap()
    };
    let (alone, beside) = (granted(false).await, granted(true).await);
    assert!(alone >= 256 << 10, "{alone}");
    assert!(beside <= 128 << 10, "{beside}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_while_nothing_is_read_or_written() {
    let mut ends = connect();
    let (reset, reset_far) = ends.stream().await;
    let (half, half_far) = ends.stream().await;
    let (done, done_far) = ends.stream().await;
    let soon = Duration::from_secs(1);
    for stream in [&reset, &half, &done] {
        stream.write(Bytes::from_static(b"said")).await.unwrap();
    }
    for stream in [&half, &done, &done_far] {
        stream.finish();
    }
    assert!(timeout(soon, reset_far.failed()).await.is_err());
    reset.reset(Code::AppReset);
    assert!(matches!(
        reset_far.failed().await,
        StreamError::Reset(Code::AppReset)
    ));

    ends.client.abort();
    ends.server.await.unwrap();
    // What came whole is read first, and then nothing can be said to it.
    assert!(timeout(soon, half_far.failed()).await.is_err());
    assert_eq!(read_all(&half_far).await.unwrap(), b"said");
    assert!(matches!(
        half_far.failed().await,
        StreamError::SessionEnded(SessionEnd::Cut(_))
    ));
    // Where both sides had said all, the end of the connection is none of this.
    assert_eq!(read_all(&done_far).await.unwrap(), b"said");
    assert!(timeout(soon, done_far.failed()).await.is_err());
    assert!(matches!(
        half.failed().await,
        StreamError::SessionEnded(SessionEnd::Cut(_))
    ));
}

/// A connection to nobody: what is written is kept, and nothing comes back.
fn nobody() -> (Opener<()>, JoinHandle<SessionEnd>, DuplexStream) {
    let (near, far) = duplex(64 * 1024);
    let (opener, driver) = client(
        BufReader::new(near),
        Arc::new(()),
        Settings::default(),
        Budget::default(),
    );
    (opener, tokio::spawn(driver), far)
}

/// HELLO with the least limits.
const HELLO: [u8; 16] = [1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0x40, 0];

#[tokio::test(start_paused = true)]
async fn an_unanswered_open_finds_a_dead_peer_in_three_seconds() {
    let (opener, driver, mut far) = nobody();
    far.write_all(&HELLO).await.unwrap();
    let begun = Instant::now();
    let error = opener.open(opening(b"", false)).await.unwrap_err();
    assert!(matches!(error, OpenError::SessionEnded(SessionEnd::Dead)));
    assert!(!error.nothing_was_delivered());
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(3)..Duration::from_millis(3100)).contains(&took),
        "{took:?}"
    );
    assert!(matches!(driver.await.unwrap(), SessionEnd::Dead));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_ping_may_take_its_time_for_an_open() {
    let mut ends = connect();
    let late = async {
        let offered = ends.incoming.next().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        offered.accept()
    };
    let (near, _far) = tokio::join!(ends.opener.open(opening(b"", false)), late);
    near.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_hello_is_given_up() {
    let (_opener, driver, _far) = nobody();
    assert!(matches!(driver.await.unwrap(), SessionEnd::Protocol(_)));
}

#[tokio::test(start_paused = true)]
async fn an_end_before_hello_is_told_from_a_later_one() {
    for hello in [&[][..], &HELLO] {
        let (opener, _driver, mut far) = nobody();
        let cut = async {
            let mut said = [0; 16 + 8];
            far.read_exact(&mut said).await.unwrap();
            far.write_all(hello).await.unwrap();
            drop(far);
        };
        let (opened, ()) = tokio::join!(opener.open(opening(b"", false)), cut);
        let error = opened.unwrap_err();
        assert!(!error.nothing_was_delivered());
        let is_unheard = matches!(error, OpenError::Unheard(SessionEnd::Cut(_)));
        assert_eq!(is_unheard, hello.is_empty(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_cleanly_after_its_time() {
    let begun = Instant::now();
    let ends = connect();
    assert!(matches!(ends.client.await.unwrap(), SessionEnd::Clean));
    assert!(matches!(ends.server.await.unwrap(), SessionEnd::Clean));
    assert_eq!(begun.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_the_last_stream_finish_and_admits_no_other() {
    let mut ends = connect();
    let (near, far) = ends.stream().await;
    ends.incoming.handle().retire(Code::Draining);
    let late = ends.opener.open(opening(b"", false)).await.unwrap_err();
    assert!(matches!(late, OpenError::Retired) && late.nothing_was_delivered());
    assert!(ends.opener.handle().is_retired());
    near.write(Bytes::from_static(b"last words")).await.unwrap();
    near.finish();
    assert_eq!(read_all(&far).await.unwrap(), b"last words");
    far.finish();
    assert!(near.read().await.unwrap().is_none());
    assert!(matches!(ends.client.await.unwrap(), SessionEnd::Clean));
    assert!(matches!(ends.server.await.unwrap(), SessionEnd::Clean));
}

#[tokio::test(start_paused = true)]
async fn a_close_tells_both_sides_its_code() {
    let mut ends = connect();
    let (near, far) = ends.stream().await;
    ends.incoming.handle().close(Code::PolicyChanged);
    assert!(matches!(
        far.read().await,
        Err(StreamError::SessionEnded(SessionEnd::Closed(
            Code::PolicyChanged
        )))
    ));
    assert!(matches!(
        near.read().await,
        Err(StreamError::Reset(Code::PolicyChanged))
    ));
    assert!(matches!(
        ends.client.await.unwrap(),
        SessionEnd::PeerClosed(Code::PolicyChanged)
    ));
    assert!(matches!(
        ends.server.await.unwrap(),
        SessionEnd::Closed(Code::PolicyChanged)
    ));
    assert!(matches!(
        ends.opener.handle().ended().await,
        SessionEnd::PeerClosed(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn stalled_readers_block_nobody_else_and_stay_within_the_budget() {
    let mut ends = connect();
    let mut stalled = Vec::new();
    for _ in 0..64 {
        let (near, far) = ends.stream().await;
        stalled.push(tokio::spawn(async move {
            let _far = far;
            loop {
                near.write(Bytes::from_static(&[0; 16 * 1024]))
                    .await
                    .unwrap();
            }
        }));
    }
    let (near, far) = ends.stream().await;
    for _ in 0..1000 {
        near.write(Bytes::from_static(b"ping")).await.unwrap();
        assert_eq!(far.read().await.unwrap().unwrap(), "ping");
    }
    assert_eq!(
        ends.budget.used_bytes(),
        2 * 65 * 16 * 1024,
        "no window of a stalled reader grew"
    );
    for task in stalled {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_sent_has_its_credit_already() {
    let mut ends = connect();
    let (near, _far) = ends.stream().await;
    let all = near.room().await.unwrap();
    near.write(Bytes::from_static(&[0; 1000])).await.unwrap();
    assert_eq!(near.room().await.unwrap(), all - 1000);
}

#[tokio::test(start_paused = true)]
async fn credit_for_a_little_piece_is_no_room() {
    let mut ends = connect();
    let (near, far) = ends.stream().await;
    let all = near.room().await.unwrap();
    near.write(vec![0; all - 1].into()).await.unwrap();
    let waited = timeout(Duration::from_secs(5), near.room()).await;
    assert!(waited.is_err(), "one byte is left: {waited:?}");

    let read = far.read().await.unwrap().unwrap();
    assert_eq!(read.len(), all - 1);
    let (room, more) = tokio::join!(near.room(), timeout(Duration::from_secs(5), far.read()));
    assert!(room.unwrap() >= all / 2);
    assert!(more.is_err(), "nothing was sent: {more:?}");
}

#[tokio::test(start_paused = true)]
async fn futures_are_small_for_there_is_one_for_each_connection() {
    let mut ends = connect();
    let (near, _far) = ends.stream().await;
    let sizes = [
        size_of_val(&ends.opener.open(opening(b"", false))),
        size_of_val(&near.read()),
        size_of_val(&near.write(Bytes::new())),
        size_of_val(&near),
    ];
    let bounds = [512, 64, 128, 24];
    assert!(
        sizes.iter().zip(bounds).all(|(size, bound)| *size <= bound),
        "{sizes:?}"
    );
}
