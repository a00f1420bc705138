//! Holds the table of states in `wire.md` to the code: every frame in every state, at both sides.

use std::task::Waker;

use tokio::time::Instant;

use super::vectors::name;
use super::wire::table;
use crate::transport::code::Code;
use crate::transport::credit::Budget;
use crate::transport::frame::{Frame, Hello};
use crate::transport::open::{Open, Opening};
use crate::transport::output::WRITE_BYTES;
use crate::transport::session::{Role, Session};
use crate::transport::settings::Settings;

const HELLO: Frame<'static> = Frame::Hello(Hello {
    max_streams: 32,
    initial_credit: 16 * 1024,
});
const OPENED: Frame<'static> = Frame::Opened { stream: 1 };
const FIN: Frame<'static> = Frame::Fin { stream: 1 };

fn open(stream: u32) -> Frame<'static> {
    let open = Open::default();
    Frame::Open { stream, open }
}

fn hear(session: &mut Session, frames: &[Frame<'_>]) -> Result<(), &'static str> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    match session.receive(Instant::now(), &bytes) {
        Ok(done) => {
            assert_eq!(done, bytes.len());
            Ok(())
        }
        Err(violation) => Err(name(violation)),
    }
}

/// A side that has heard HELLO; a client has opened stream 1.
fn side(role: Role) -> Session {
    let now = Instant::now();
    let mut session = Session::new(role, Settings::default(), Budget::default(), now);
    hear(&mut session, &[HELLO]).unwrap();
    if role == Role::Client {
        assert_eq!(session.open(now, Opening::default()).unwrap(), 1);
    }
    session.transmit(now, WRITE_BYTES, &mut Vec::new());
    session
}

/// A side on which stream 1 is open and answered.
fn answered(role: Role) -> Session {
    let mut session = side(role);
    if role == Role::Client {
        hear(&mut session, &[OPENED]).unwrap();
    } else {
        hear(&mut session, &[open(1)]).unwrap();
        assert!(session.poll_offered(Waker::noop()).is_ready());
        session.accept(1);
        session.transmit(Instant::now(), WRITE_BYTES, &mut Vec::new());
    }
    session
}

/// The side in the state, and the number of the stream that is in it; `None` where no such side can be.
fn state(state: &str, role: Role) -> Option<(Session, u32)> {
    let now = Instant::now();
    let session = match (state, role) {
        ("never opened", _) => return Some((side(role), 3)),
        ("not answered, at the client", Role::Client) => side(role),
        (of_server, Role::Server) if of_server.starts_with("not answered, at the server") => {
            let mut session = side(role);
            hear(&mut session, &[open(1)]).unwrap();
            if of_server.ends_with("peer's direction ended") {
                hear(&mut session, &[FIN]).unwrap();
            }
            session
        }
        (of_other, _) if of_other.starts_with("not answered") => return None,
        ("answered, both directions go on", _) => answered(role),
        ("answered, peer's direction goes on, own ended by FIN", _) => {
            let mut session = answered(role);
            session.finish(1);
            session.transmit(now, WRITE_BYTES, &mut Vec::new());
            session
        }
        ("given up by the receiver, peer's direction goes on", _) => {
            let mut session = answered(role);
            session.reset(1, Code::Cancelled);
            session.transmit(now, WRITE_BYTES, &mut Vec::new());
            session
        }
        ("answered, peer's direction ended, own goes on", _) => {
            let mut session = answered(role);
            hear(&mut session, &[FIN]).unwrap();
            session
        }
        ("over", _) => {
            let mut session = answered(role);
            hear(&mut session, &[FIN]).unwrap();
            session.finish(1);
            session.transmit(now, WRITE_BYTES, &mut Vec::new());
            session.release(1, now);
            session
        }
        (unknown, _) => panic!("{unknown}"),
    };
    Some((session, 1))
}

#[test]
fn every_frame_does_in_every_state_what_the_table_says() {
    let rows = table("| state of *n* at the receiver |");
    assert_eq!(rows.len(), 9);
    for (row, role) in rows
        .iter()
        .flat_map(|row| [(row, Role::Client), (row, Role::Server)])
    {
        for (column, said) in row.iter().enumerate().skip(1) {
            let Some((mut session, stream)) = state(&row[0], role) else {
                continue;
            };
            let code = Code::Cancelled;
            let frame = match column {
                1 => open(stream),
                2 => Frame::Opened { stream },
                3 => Frame::Data {
                    stream,
                    bytes: b"x",
                },
                // Where it means nothing, no number is too large.
                4 => Frame::Credit {
                    stream,
                    bytes: if said == "nothing" { u32::MAX } else { 1 },
                },
                5 => Frame::Fin { stream },
                _ => Frame::Reset { stream, code },
            };
            // A cell that says more than one thing ends with what is true here.
            let last = said.rsplit(' ').next().unwrap();
            let expected = match (role, column) {
                (Role::Client, 1) | (Role::Server, 2) => Err("WRONG_SIDE".to_owned()),
                _ if last.contains('_') => Err(last.to_owned()),
                _ => Ok(()),
            };
            let heard = hear(&mut session, &[frame]).map_err(str::to_owned);
            assert_eq!(heard, expected, "{role:?}, {}: column {column}", row[0]);
        }
    }
}
