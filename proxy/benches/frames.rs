//! What frames cost, and the way of data through them: `cargo bench --workspace --bench frames`.
//!
//! Frames are no public part of the transport: only sessions speak them. So the files that make them are compiled
//! into this program, the very ones that are in the proxy, and nothing has to be public for the sake of a benchmark.
#![expect(
    clippy::unwrap_used,
    reason = "what is decoded was encoded here, and what is taken was put in"
)]

#[expect(unreachable_pub, reason = "public in the proxy")]
#[path = "../src/transport/code.rs"]
mod code;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the proxy, and the tests in the file, use more of it"
)]
#[path = "../src/transport/credit.rs"]
mod credit;
#[expect(dead_code, unreachable_pub, reason = "the proxy uses more of it")]
#[path = "../src/transport/frame.rs"]
mod frame;
#[expect(dead_code, unreachable_pub, reason = "the proxy uses more of it")]
#[path = "../src/transport/open.rs"]
mod open;
#[expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the proxy, and the tests in the file, use more of it"
)]
#[path = "../src/transport/turns.rs"]
mod turns;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use tokio::time::Instant;

use code::Code;
use credit::{Budget, Receive, Windows};
use frame::{Frame, HEADER_BYTES, SENT_DATA_BYTES};
use open::Open;
use turns::Company;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion);
    receive(&mut criterion);
    criterion.final_summary();
}

/// The frames of a short connection in their order, and those that only long ones have.
fn frames() -> [(&'static str, Frame<'static>); 8] {
    const STREAM: u32 = 70_001;
    let stream = STREAM;
    let data = |bytes| Frame::Data { stream, bytes };
    let open = Open {
        source: Some(([10, 244, 3, 17], 40_112).into()),
        workload: Some("web-6d4cf56db6-x7k2p".into()),
        namespace: Some("shop".into()),
    };
    [
        ("OPEN", Frame::Open { stream, open }),
        ("OPENED", Frame::Opened { stream }),
        ("DATA of 1 KiB", data(&[b'.'; 1024])),
        ("DATA, full", data(&[b'.'; SENT_DATA_BYTES])),
        ("FIN", Frame::Fin { stream }),
        (
            "CREDIT",
            Frame::Credit {
                stream,
                bytes: 512 * 1024,
            },
        ),
        (
            "REFUSED",
            Frame::Refused {
                stream,
                code: Code::Denied,
                rule: Some("shop/orders/no-batch"),
            },
        ),
        (
            "RESET",
            Frame::Reset {
                stream,
                code: Code::Cancelled,
            },
        ),
    ]
}

/// Into a buffer that is there already, as the one of a driver is. The bytes of DATA are copied.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, frame) in frames() {
        let mut out = Vec::with_capacity(HEADER_BYTES + SENT_DATA_BYTES);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&frame).encode(&mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// From a buffer that holds the whole frame. The bytes of DATA are borrowed.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, frame) in frames() {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(Frame::decode(&bytes), Ok(Some((frame, bytes.len()))));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(Frame::decode(black_box(&bytes))).is_ok());
        });
    }
    group.finish();
}

/// From the connection's buffer to an application that reads at once: decoded, held against the stream's credit, copied
/// into a piece of its own, taken, and granted again when that is due.
///
/// What a full frame takes depends on where the two buffers happen to lie: some processors copy many times slower to
/// where an address is a few bytes further in its page than the one that is copied from.
fn receive(criterion: &mut Criterion) {
    const WINDOW: u32 = 2 * 1024 * 1024;
    let now = Instant::now();
    let company = Company::default();
    let windows = Windows {
        largest: WINDOW,
        company,
    };
    let mut group = criterion.benchmark_group("receive");
    for (name, frame) in frames() {
        let Frame::Data { bytes: payload, .. } = frame else {
            continue;
        };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let mut stream = Receive::new(Budget::default().reserve(WINDOW).unwrap());
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let decoded = Frame::decode(black_box(&bytes));
                let Ok(Some((Frame::Data { bytes, .. }, _))) = decoded else {
                    return 0;
                };
                assert!(stream.arrive(now, company, bytes));
                let taken = stream.take().map_or(0, |taken| taken.len());
                if stream.is_grant_due(company) {
                    stream.grant(now, windows);
                }
                taken
            });
        });
    }
    group.finish();
}
