//! Bulk on a long path beside small messages: a short window there would be a slow stream.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::super::{Budget, Kind, Opening, PIECE_BYTES, Settings, client, server};

/// What else the proxy moves.
#[derive(Debug, Clone, Copy)]
struct Beside {
    /// Between small messages, or none.
    small_every: Option<Duration>,
    /// Of other bulk, in a millisecond.
    bulk_bytes: usize,
}

#[tokio::test(start_paused = true)]
async fn a_long_path_keeps_its_rate_beside_small_messages_however_often_they_come_and_beside_other_bulk()
 {
    let alone = Beside {
        small_every: None,
        bulk_bytes: 0,
    };
    let whole = rate(alone).await;
    for milliseconds in [10, 110, 200] {
        for bulk_bytes in [0, 80_000, 500_000] {
            let small_every = Some(Duration::from_millis(milliseconds));
            let beside = Beside {
                small_every,
                bulk_bytes,
            };
            let rate = rate(beside).await;
            println!("{rate} of {whole} bytes beside {beside:?}");
            assert!(rate > whole / 4 * 3, "{rate} of {whole}: {beside:?}");
        }
    }
}

/// What a stream moves in a second on a path of [`ROUND_TRIP`], once it has learned how long it is.
async fn rate(beside: Beside) -> usize {
    let (near, near_end) = duplex(LARGE);
    let (far, far_end) = duplex(LARGE);
    let (from_near, to_near) = split(near_end);
    let (from_far, to_far) = split(far_end);
    let ways = [delayed(from_near, to_far), delayed(from_far, to_near)];
    let facts = || (Settings::default(), Budget::default());
    let near = BufReader::with_capacity(PIECE_BYTES, near);
    let far = BufReader::with_capacity(PIECE_BYTES, far);
    let (opener, driver) = client(near, Arc::new("server"), facts().0, facts().1);
    tokio::spawn(driver);
    let (mut incoming, driver) = server(far, Arc::new("client"), facts().0, facts().1);
    tokio::spawn(driver);
    let accept = async { incoming.next().await.map(|offered| offered.accept()) };
    let (from, to) = tokio::join!(opener.open(Opening::default()), accept);
    let (from, to) = (from.unwrap(), to.unwrap());
    let sending = tokio::spawn(async move {
        let piece = Bytes::from(vec![7; PIECE_BYTES]);
        while let Ok(room) = from.room().await
            && from
                .write(piece.slice(..room.min(piece.len())))
                .await
                .is_ok()
        {}
    });
    let others = tokio::spawn(others(beside));

    let (own, start) = (Kind::default(), Instant::now());
    let mut moved = 0;
    while start.elapsed() < LEARNING + Duration::from_secs(1) {
        let bytes = to.read().await.unwrap().unwrap();
        own.moved(Instant::now(), bytes.len());
        if start.elapsed() >= LEARNING {
            moved += bytes.len();
        }
    }
    sending.abort();
    others.abort();
    ways.into_iter().flatten().for_each(|way| way.abort());
    // What it noticed of small messages ends with them.
    sleep(Duration::from_secs(1)).await;
    moved
}

async fn others(beside: Beside) {
    let (small, bulk) = (Kind::default(), Kind::default());
    let mut small_at = Instant::now();
    loop {
        let now = Instant::now();
        if beside.bulk_bytes > 0 {
            bulk.moved(now, beside.bulk_bytes);
        }
        if let Some(every) = beside.small_every
            && now >= small_at
        {
            small.moved(now, 100);
            small_at = now + every;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Carries one direction, half a round trip late.
fn delayed(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
) -> [tokio::task::JoinHandle<()>; 2] {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let leaves = tokio::spawn(async move {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + ROUND_TRIP / 2;
            let sent = sender.send((due, Bytes::copy_from_slice(&buffer[..count])));
            sent.unwrap();
        }
    });
    let arrives = tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            to.write_all(&bytes).await.unwrap();
        }
    });
    [leaves, arrives]
}

const ROUND_TRIP: Duration = Duration::from_millis(20);
const LEARNING: Duration = Duration::from_secs(3);
const LARGE: usize = 8 << 20;
