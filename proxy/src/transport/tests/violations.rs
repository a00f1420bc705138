//! An adversary on the other side: each violation ends the session with its reason, and gives the memory back.

use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use crate::transport::code::Code;
use crate::transport::credit::Budget;
use crate::transport::end::{OpenError, SessionEnd, Violation};
use crate::transport::frame::{Frame, FrameError, Hello};
use crate::transport::open::{Open, Opening};
use crate::transport::output::WRITE_BYTES;
use crate::transport::session::{Role, Session};
use crate::transport::settings::Settings;

const HELLO: Frame<'static> = Frame::Hello(Hello {
    max_streams: 64,
    initial_credit: 16 * 1024,
});

fn open(stream: u32) -> Frame<'static> {
    Frame::Open {
        stream,
        open: Open::default(),
    }
}

fn data(stream: u32) -> Frame<'static> {
    static BYTES: [u8; 8 * 1024] = [7; 8 * 1024];
    Frame::Data {
        stream,
        bytes: &BYTES,
    }
}

/// The session, after it took all frames or refused one.
fn after(role: Role, frames: &[Frame<'_>]) -> (Session, Budget, Result<(), Violation>) {
    let (budget, now) = (Budget::default(), Instant::now());
    let settings = Settings {
        max_streams: 32,
        reset_burst: 3,
        resets_per_second: 1,
        ..Settings::default()
    };
    let mut session = Session::new(role, settings, budget.clone(), now);
    if role == Role::Client {
        for _ in 0..2 {
            session.open(now, Opening::default()).unwrap();
        }
        session.transmit(now, WRITE_BYTES, &mut Vec::new());
    }
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    let result = session
        .receive(now, &bytes)
        .map(|done| assert_eq!(done, bytes.len()));
    (session, budget, result)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_violation_ends_the_session_with_its_reason() {
    let fin = |stream| Frame::Fin { stream };
    let reset = |stream| Frame::Reset {
        stream,
        code: Code::Cancelled,
    };
    let opened = |stream| Frame::Opened { stream };
    let refused = |stream| Frame::Refused {
        stream,
        code: Code::Denied,
        rule: None,
    };
    let credit = |stream, bytes| Frame::Credit { stream, bytes };
    let limits = |max_streams, initial_credit| {
        Frame::Hello(Hello {
            max_streams,
            initial_credit,
        })
    };
    let mut many = vec![HELLO];
    many.extend((1..=33).map(open));
    let mut rapid = vec![HELLO];
    rapid.extend((1..=4).flat_map(|id| [open(id), reset(id)]));

    let server: Vec<(Vec<Frame<'_>>, Violation)> = vec![
        (vec![open(1)], Violation::NoHello),
        (vec![Frame::Ping], Violation::NoHello),
        (vec![HELLO, HELLO], Violation::HelloTwice),
        (vec![limits(31, 16384)], Violation::HelloLimits),
        (vec![limits(32, 16383)], Violation::HelloLimits),
        (vec![HELLO, open(2)], Violation::StreamOrder),
        (vec![HELLO, open(1), open(1)], Violation::StreamOrder),
        (vec![HELLO, open(1), open(3)], Violation::StreamOrder),
        (vec![HELLO, data(1)], Violation::UnknownStream),
        (vec![HELLO, credit(1, 1)], Violation::UnknownStream),
        (vec![HELLO, opened(1)], Violation::WrongSide),
        (vec![HELLO, open(1), refused(1)], Violation::WrongSide),
        (
            vec![HELLO, open(1), data(1), data(1), data(1)],
            Violation::BeyondCredit,
        ),
        (vec![HELLO, open(1), fin(1), data(1)], Violation::AfterEnd),
        (vec![HELLO, open(1), fin(1), fin(1)], Violation::AfterEnd),
        (vec![HELLO, open(1), reset(1), data(1)], Violation::AfterEnd),
        (
            vec![HELLO, open(1), credit(1, u32::MAX)],
            Violation::CreditOverflow,
        ),
        (many, Violation::TooManyStreams),
        (rapid, Violation::ResetRate),
    ];
    let client: Vec<(Vec<Frame<'_>>, Violation)> = vec![
        (vec![opened(1)], Violation::NoHello),
        (vec![HELLO, open(3)], Violation::WrongSide),
        (vec![HELLO, opened(3)], Violation::UnknownStream),
        (vec![HELLO, opened(1), opened(1)], Violation::AnsweredTwice),
        (vec![HELLO, opened(1), refused(1)], Violation::AnsweredTwice),
        (vec![HELLO, data(1)], Violation::NotAnswered),
        (vec![HELLO, fin(1)], Violation::NotAnswered),
        (vec![HELLO, reset(1)], Violation::NotAnswered),
        (vec![HELLO, refused(1), data(1)], Violation::AfterEnd),
        (
            vec![HELLO, opened(1), data(1), data(1), data(1)],
            Violation::BeyondCredit,
        ),
    ];
    for (role, cases) in [(Role::Server, server), (Role::Client, client)] {
        for (frames, expected) in cases {
            let (mut session, budget, result) = after(role, &frames);
            assert_eq!(result, Err(expected), "{role:?} {frames:?}");
            session.violated(expected, Instant::now());
            assert!(
                matches!(session.end, Some(SessionEnd::Protocol(violation)) if violation == expected)
            );
            let mut out = Vec::new();
            session.transmit(Instant::now(), WRITE_BYTES, &mut out);
            assert!(out.len() < 64, "HELLO and GOAWAY at most");
            drop(session);
            assert_eq!(budget.used_bytes(), 0);
        }
    }
}

#[test]
fn bytes_that_are_no_frame_end_the_session() {
    let now = Instant::now();
    let mut session = Session::new(Role::Server, Settings::default(), Budget::default(), now);
    let result = session.receive(now, b"GET / HTTP/1.1\r\n");
    assert_eq!(result, Err(Violation::Frame(FrameError::Kind(b'G'))));
}

#[test]
fn control_frames_of_a_peer_that_reads_nothing_do_not_grow() {
    let mut frames = vec![HELLO, open(1)];
    for _ in 0..1000 {
        frames.extend([
            Frame::Ping,
            Frame::Credit {
                stream: 1,
                bytes: 1,
            },
        ]);
        frames.push(Frame::GoAway {
            last: 0,
            code: Code::Draining,
        });
    }
    let (mut session, _, result) = after(Role::Server, &frames);
    assert_eq!(result, Ok(()));
    let mut out = Vec::new();
    session.transmit(Instant::now(), WRITE_BYTES, &mut out);
    assert_eq!(out.len(), 16 + 8, "HELLO and one PONG");
}

#[test]
fn data_for_a_refused_stream_is_dropped_within_its_credit_and_its_place_is_kept_until_the_peer_ends_it()
 {
    let (mut session, budget, _) = after(Role::Server, &[HELLO, open(1)]);
    let now = Instant::now();
    let Poll::Ready(Some((id, _))) = session.poll_offered(Waker::noop()) else {
        panic!("nothing offered");
    };
    session.refuse(id, Code::Denied, Some("shop/orders/deny"));
    session.release(id, now);
    assert_eq!(budget.used_bytes(), 0);
    session.transmit(now, WRITE_BYTES, &mut Vec::new());
    let mut bytes = Vec::new();
    data(1).encode(&mut bytes);
    data(1).encode(&mut bytes);
    session.receive(now, &bytes).unwrap();
    assert_eq!(session.on_wire, 1);
    let mut more = Vec::new();
    data(1).encode(&mut more);
    assert_eq!(session.receive(now, &more), Err(Violation::BeyondCredit));

    let mut end = Vec::new();
    Frame::Reset {
        stream: 1,
        code: Code::Cancelled,
    }
    .encode(&mut end);
    session.receive(now, &end).unwrap();
    assert_eq!((session.on_wire, session.streams.len()), (0, 0));
}

#[test]
fn a_cancelled_stream_counts_until_its_owner_lets_go() {
    let mut frames = vec![HELLO];
    frames.extend((1..=32).map(open));
    let (mut session, budget, _) = after(Role::Server, &frames);
    let now = Instant::now();
    while let Poll::Ready(Some((id, _))) = session.poll_offered(Waker::noop()) {
        session.accept(id);
    }
    let mut bytes = Vec::new();
    Frame::Reset {
        stream: 1,
        code: Code::Cancelled,
    }
    .encode(&mut bytes);
    session.receive(now, &bytes).unwrap();
    session.transmit(now, WRITE_BYTES, &mut Vec::new());
    assert_eq!(session.on_wire, 31);

    let mut bytes = Vec::new();
    open(33).encode(&mut bytes);
    session.receive(now, &bytes).unwrap();
    let mut out = Vec::new();
    session.transmit(now, WRITE_BYTES, &mut out);
    let refused = Frame::Refused {
        stream: 33,
        code: Code::NoCapacity,
        rule: None,
    };
    assert_eq!(Frame::decode(&out).unwrap().unwrap().0, refused);

    let mut bytes = Vec::new();
    Frame::Reset {
        stream: 33,
        code: Code::Cancelled,
    }
    .encode(&mut bytes);
    session.receive(now, &bytes).unwrap();
    session.release(1, now);
    let mut bytes = Vec::new();
    open(34).encode(&mut bytes);
    session.receive(now, &bytes).unwrap();
    assert!(matches!(
        session.poll_offered(Waker::noop()),
        Poll::Ready(Some((34, _)))
    ));
    assert_eq!(budget.used_bytes(), 32 * 16 * 1024);
}

#[test]
fn a_used_up_budget_refuses_streams_on_both_sides() {
    let now = Instant::now();
    let budget = Budget::new(20 * 1024);
    let mut client = Session::new(Role::Client, Settings::default(), budget.clone(), now);
    client.open(now, Opening::default()).unwrap();
    let second = client.open(now, Opening::default());
    assert!(matches!(second, Err(OpenError::Exhausted)));

    let mut server = Session::new(Role::Server, Settings::default(), budget, now);
    let mut bytes = Vec::new();
    HELLO.encode(&mut bytes);
    open(1).encode(&mut bytes);
    server.receive(now, &bytes).unwrap();
    let mut out = Vec::new();
    server.transmit(now, WRITE_BYTES, &mut out);
    let refused = Frame::Refused {
        stream: 1,
        code: Code::NoCapacity,
        rule: None,
    };
    assert_eq!(Frame::decode(&out[16..]).unwrap().unwrap().0, refused);
}

#[test]
fn resets_are_allowed_again_with_time() {
    let (mut session, _, _) = after(Role::Server, &[HELLO]);
    let mut now = Instant::now();
    for id in 1..20 {
        now += Duration::from_secs(1);
        let mut bytes = Vec::new();
        open(id).encode(&mut bytes);
        Frame::Reset {
            stream: id,
            code: Code::Cancelled,
        }
        .encode(&mut bytes);
        session.receive(now, &bytes).unwrap();
        assert!(session.poll_offered(Waker::noop()).is_pending());
        session.transmit(now, WRITE_BYTES, &mut Vec::new());
    }
    assert!(session.streams.is_empty());
}

#[test]
fn open_first_data_and_fin_travel_in_one_write() {
    let now = Instant::now();
    let mut client = Session::new(Role::Client, Settings::default(), Budget::default(), now);
    let opening = Opening {
        first: Bytes::from_static(b"GET /"),
        first_is_all: true,
        ..Opening::default()
    };
    client.open(now, opening).unwrap();
    let mut out = Vec::new();
    client.transmit(now, WRITE_BYTES, &mut out);
    let mut kinds = Vec::new();
    let mut rest = out.as_slice();
    while let Some((frame, length)) = Frame::decode(rest).unwrap() {
        kinds.push(frame);
        rest = &rest[length..];
    }
    assert_eq!(
        kinds[1..],
        [
            open(1),
            Frame::Data {
                stream: 1,
                bytes: b"GET /"
            },
            Frame::Fin { stream: 1 }
        ]
    );
}

#[test]
fn settings_below_what_peers_count_on_are_raised_to_it() {
    let (now, budget) = (Instant::now(), Budget::default());
    let settings = Settings {
        max_streams: 1,
        initial_credit: 1,
        ..Settings::default()
    };
    let mut server = Session::new(Role::Server, settings, budget.clone(), now);
    let mut bytes = Vec::new();
    HELLO.encode(&mut bytes);
    (1..=32).for_each(|id| open(id).encode(&mut bytes));
    data(1).encode(&mut bytes);
    data(1).encode(&mut bytes);
    assert_eq!(server.receive(now, &bytes), Ok(bytes.len()));
    assert_eq!(budget.used_bytes(), 32 * 16 * 1024);
}

#[test]
fn a_stream_that_was_not_written_when_the_session_closed_never_is() {
    let (mut client, _, _) = after(Role::Client, &[HELLO]);
    let now = Instant::now();
    let opening = Opening {
        first_is_all: true,
        ..Opening::default()
    };
    let id = client.open(now, opening).unwrap();
    client.close(Code::Revoked, now);
    let mut out = Vec::new();
    client.transmit(now, WRITE_BYTES, &mut out);
    let resets = 2 * (8 + 1);
    assert_eq!(
        out.len(),
        8 + 5 + resets,
        "GOAWAY, and the end of two streams"
    );
    assert!(matches!(
        client.poll_answer(id, Waker::noop()),
        Poll::Ready(Err(OpenError::Retired))
    ));
}

#[test]
fn a_session_whose_numbers_are_used_up_is_retired() {
    let (mut client, _, _) = after(Role::Client, &[HELLO]);
    let now = Instant::now();
    client.next = u32::MAX - 1;
    assert_eq!(client.open(now, Opening::default()).unwrap(), u32::MAX - 1);
    let none_left = client.open(now, Opening::default());
    assert!(matches!(none_left, Err(OpenError::Retired)));
    assert!(client.load(now).retired);
}
