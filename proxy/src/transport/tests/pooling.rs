//! Which connection a stream takes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{BufReader, DuplexStream, duplex};

use crate::transport::pool::{Choice, choose};
use crate::transport::{
    Budget, Code, Load, OpenError, Opening, Pool, PoolError, SessionEnd, Settings, StreamError,
    server,
};

const FREE: Load = Load {
    streams: 3,
    full: false,
    backlogged: false,
    bulk: false,
    retired: false,
};
const BULK: Load = Load { bulk: true, ..FREE };
const BACKLOGGED: Load = Load {
    backlogged: true,
    streams: 2,
    ..FREE
};
const FULL: Load = Load { full: true, ..FREE };
const RETIRED: Load = Load {
    retired: true,
    ..FREE
};

#[test]
fn a_stream_shares_until_a_connection_is_busy() {
    let cases: &[(&[Load], Choice)] = &[
        (&[], Choice::Connect),
        (&[FREE], Choice::Use(0)),
        (&[FREE, FREE], Choice::Use(0)),
        (&[BULK, FREE], Choice::Use(1)),
        (&[RETIRED, FREE], Choice::Use(1)),
        (&[BULK], Choice::Connect),
        (&[BACKLOGGED], Choice::Connect),
        (&[FULL], Choice::Connect),
        (&[RETIRED, RETIRED, RETIRED, RETIRED], Choice::Connect),
        (&[BULK, BACKLOGGED, FULL, BULK], Choice::Use(1)),
        (&[FULL, FULL, FULL, BULK], Choice::Use(3)),
        (&[BULK, BULK, BULK, RETIRED], Choice::Connect),
    ];
    for (loads, expected) in cases {
        assert_eq!(choose(loads, 4), *expected, "{loads:?}");
    }
}

/// A server that accepts every stream and holds it.
fn serve(io: DuplexStream) {
    let (mut incoming, driver) = server(
        BufReader::new(io),
        Arc::new(()),
        Settings::default(),
        Budget::default(),
    );
    tokio::spawn(driver);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(offered) = incoming.next().await {
            held.push(offered.accept());
        }
    });
}

fn pool() -> Pool<&'static str, (), io::Error> {
    Pool::new(Settings::default(), Budget::default(), 4)
}

#[tokio::test(start_paused = true)]
async fn concurrent_first_streams_share_one_handshake() {
    let (pool, made) = (pool(), Arc::new(AtomicUsize::new(0)));
    let opens = (0..50).map(|_| {
        let (pool, made) = (pool.clone(), Arc::clone(&made));
        tokio::spawn(async move {
            let connect = || async {
                made.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                let (near, far) = duplex(64 * 1024);
                serve(far);
                Ok((BufReader::new(near), Arc::new(())))
            };
            pool.open(&"orders", connect, Opening::default())
                .await
                .unwrap()
        })
    });
    let mut streams = Vec::new();
    for open in opens.collect::<Vec<_>>() {
        streams.push(open.await.unwrap());
    }
    assert_eq!(made.load(Ordering::Relaxed), 1);
    let counts = pool.counts();
    assert_eq!(
        (counts.open_sessions, counts.streams, counts.reused),
        (1, 50, 49)
    );

    pool.close_where(|key, ()| *key == "web", Code::Revoked);
    assert_eq!(pool.counts().open_sessions, 1);
    pool.retire_where(|key, ()| *key == "orders", Code::Draining);
    assert_eq!(
        (pool.counts().open_sessions, pool.counts().retired_sessions),
        (0, 1)
    );
    pool.close_where(|_, ()| true, Code::Revoked);
    let ended = streams[0].read().await.unwrap_err();
    assert!(matches!(
        ended,
        StreamError::SessionEnded(SessionEnd::Closed(Code::Revoked))
    ));
    drop(streams);
    tokio::time::sleep(Settings::default().close_timeout * 2).await;
    assert_eq!(pool.counts().retired_sessions, 0, "it left the pool");
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_for_a_handshake_share_its_failure() {
    let (pool, tried) = (pool(), Arc::new(AtomicUsize::new(0)));
    let opens = (0..10).map(|_| {
        let (pool, tried) = (pool.clone(), Arc::clone(&tried));
        tokio::spawn(async move {
            let connect = || async {
                tried.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err::<(BufReader<DuplexStream>, Arc<()>), _>(io::Error::from(
                    io::ErrorKind::ConnectionRefused,
                ))
            };
            pool.open(&"orders", connect, Opening::default())
                .await
                .unwrap_err()
        })
    });
    for open in opens.collect::<Vec<_>>() {
        let error = open.await.unwrap();
        assert!(matches!(error, PoolError::Connect(_)) && error.nothing_was_delivered());
    }
    assert_eq!(tried.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cancelled_leaves_the_handshake_to_another() {
    let pool = pool();
    let leader = {
        let pool = pool.clone();
        tokio::spawn(async move {
            let never = || std::future::pending::<io::Result<(BufReader<DuplexStream>, Arc<()>)>>();
            pool.open(&"orders", never, Opening::default()).await
        })
    };
    tokio::task::yield_now().await;
    let connect = || async {
        let (near, far) = duplex(64 * 1024);
        serve(far);
        Ok((BufReader::new(near), Arc::new(())))
    };
    let follower = pool.open(&"orders", connect, Opening::default());
    let abort = async {
        tokio::task::yield_now().await;
        leader.abort();
    };
    let (stream, ()) = tokio::join!(follower, abort);
    stream.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_may_have_been_delivered_is_not_tried_again() {
    let (pool, made) = (pool(), AtomicUsize::new(0));
    let connect = || async {
        made.fetch_add(1, Ordering::Relaxed);
        let (near, far) = duplex(64 * 1024);
        let (mut incoming, driver) = server(
            BufReader::new(far),
            Arc::new(()),
            Settings::default(),
            Budget::default(),
        );
        let driver = tokio::spawn(driver);
        tokio::spawn(async move {
            let _offered = incoming.next().await;
            driver.abort();
            std::future::pending::<()>().await;
        });
        Ok((BufReader::new(near), Arc::new(())))
    };
    let error = pool
        .open(&"orders", connect, Opening::default())
        .await
        .unwrap_err();
    assert!(!error.nothing_was_delivered());
    assert!(
        matches!(
            error,
            PoolError::Open {
                error: OpenError::SessionEnded(SessionEnd::Cut(_)),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(made.load(Ordering::Relaxed), 1);
}
