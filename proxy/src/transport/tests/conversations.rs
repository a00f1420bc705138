//! The conversations of the test vectors, `../vectors/conversations.json`, held with a session.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each function takes its kind of steps, and panics at others"
)]

use std::net::SocketAddr;
use std::task::{Poll, Waker};

use serde::Deserialize;
use tokio::time::{Duration, Instant};

use super::vectors::{Hex, code_named, name};
use crate::transport::credit::Budget;
use crate::transport::end::{OpenError, SessionEnd, StreamError};
use crate::transport::frame::Frame;
use crate::transport::open::{Open, Opening};
use crate::transport::output::WRITE_BYTES;
use crate::transport::session::{Role, Session};
use crate::transport::settings::Settings;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversations {
    pub(super) conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversation {
    pub(super) name: String,
    role: Side,
    #[serde(rename = "about")]
    _about: Option<String>,
    #[serde(default)]
    settings: Limits,
    pub(super) steps: Vec<Step>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Side {
    Client,
    Server,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Limits {
    max_streams: Option<u32>,
    reset_burst: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Claims {
    source: Option<SocketAddr>,
    workload: Option<Box<str>>,
    namespace: Option<Box<str>>,
}

/// What happens to the side that is tested; `wire.md` says what each means.
#[derive(Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    Receive {
        hex: Hex,
    },
    Partial {
        hex: Hex,
    },
    Violation {
        hex: Hex,
        error: String,
    },
    Send {
        frames: Vec<Hex>,
        #[serde(default)]
        any_order: bool,
    },
    SendLast {
        frame: Hex,
    },
    Wait {
        ms: u64,
    },
    Open {
        stream: u32,
        claims: Claims,
        first: Hex,
        last: bool,
    },
    OpenFails {},
    Opened {
        stream: u32,
    },
    Refused {
        stream: u32,
        code: String,
        rule: Option<String>,
    },
    Retired {
        stream: u32,
    },
    Offered {
        stream: u32,
        claims: Claims,
    },
    NoneOffered {},
    Accept {
        stream: u32,
    },
    Refuse {
        stream: u32,
        code: String,
        rule: Option<String>,
    },
    Write {
        stream: u32,
        hex: Hex,
    },
    Finish {
        stream: u32,
    },
    Reset {
        stream: u32,
        code: String,
    },
    Release {
        stream: u32,
    },
    Read {
        stream: u32,
        hex: Hex,
    },
    ReadWaits {
        stream: u32,
    },
    ReadEnd {
        stream: u32,
    },
    ReadReset {
        stream: u32,
        code: String,
    },
    Retire {
        code: String,
    },
    Close {
        code: String,
    },
    Finished {},
    Dead {},
}

/// The side that is tested.
struct Tested {
    session: Session,
    now: Instant,
}

impl Tested {
    fn new(role: Side, limits: &Limits) -> Self {
        let defaults = Settings::default();
        let settings = Settings {
            max_streams: limits.max_streams.unwrap_or(defaults.max_streams),
            reset_burst: limits.reset_burst.unwrap_or(defaults.reset_burst),
            ..defaults
        };
        let role = match role {
            Side::Client => Role::Client,
            Side::Server => Role::Server,
        };
        let now = Instant::now();
        Self {
            session: Session::new(role, settings, Budget::default(), now),
            now,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Receive { hex } => self.receive(&hex.bytes()),
            Step::Partial { hex } => {
                assert_eq!(self.session.receive(self.now, &hex.bytes()), Ok(0));
            }
            Step::Violation { hex, error } => {
                let violation = self.session.receive(self.now, &hex.bytes()).unwrap_err();
                assert_eq!(name(violation), error);
                self.session.violated(violation, self.now);
            }
            Step::Send { frames, any_order } => self.send(frames, *any_order),
            Step::SendLast { frame } => {
                assert_eq!(self.sent().last(), Some(&frame.bytes()));
            }
            Step::Wait { ms } => {
                self.now += Duration::from_millis(*ms);
                self.session.tick(self.now);
            }
            Step::Retire { code } => self.session.retire(code_named(code)),
            Step::Close { code } => self.session.close(code_named(code), self.now),
            Step::Finished {} => {
                assert!(self.sent().is_empty() && self.session.is_done());
                self.session.conclude_done(self.now);
                assert!(matches!(self.session.end, Some(SessionEnd::Clean)));
            }
            Step::Dead {} => assert!(matches!(self.session.end, Some(SessionEnd::Dead))),
            of_client @ (Step::Open { .. }
            | Step::OpenFails {}
            | Step::Opened { .. }
            | Step::Refused { .. }
            | Step::Retired { .. }) => self.open(of_client),
            of_server @ (Step::Offered { .. }
            | Step::NoneOffered {}
            | Step::Accept { .. }
            | Step::Refuse { .. }) => self.decide(of_server),
            of_stream => self.on_stream(of_stream),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let done = self.session.receive(self.now, bytes);
        assert_eq!(done, Ok(bytes.len()));
    }

    /// What the session has to say, frame by frame.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let mut out = Vec::new();
            self.session.transmit(self.now, WRITE_BYTES, &mut out);
            if out.is_empty() {
                return frames;
            }
            let mut rest = out.as_slice();
            while let Some((_, length)) = Frame::decode(rest).unwrap() {
                let (frame, after) = rest.split_at(length);
                frames.push(frame.to_vec());
                rest = after;
            }
        }
    }

    fn send(&mut self, expected: &[Hex], any_order: bool) {
        let mut expected: Vec<Vec<u8>> = expected.iter().map(Hex::bytes).collect();
        let mut sent = self.sent();
        if any_order {
            expected.sort();
            sent.sort();
        }
        assert_eq!(sent, expected);
    }

    /// What the client's application does and sees.
    fn open(&mut self, step: &Step) {
        let answer = |session: &mut Session, id| session.poll_answer(id, Waker::noop());
        match step {
            Step::Open {
                stream,
                claims,
                first,
                last,
            } => {
                let opening = Opening {
                    open: open(claims),
                    first: first.bytes().into(),
                    first_is_all: *last,
                };
                assert_eq!(self.session.open(self.now, opening).unwrap(), *stream);
            }
            Step::OpenFails {} => {
                let opened = self.session.open(self.now, Opening::default());
                assert!(matches!(opened, Err(OpenError::Retired)));
            }
            Step::Opened { stream } => {
                let answer = answer(&mut self.session, *stream);
                assert!(matches!(answer, Poll::Ready(Ok(()))));
            }
            Step::Refused { stream, code, rule } => {
                let Poll::Ready(Err(OpenError::Refused {
                    code: why,
                    rule: by,
                    ..
                })) = answer(&mut self.session, *stream)
                else {
                    panic!("not refused");
                };
                assert_eq!((why, by.as_deref()), (code_named(code), rule.as_deref()));
                self.session.release(*stream, self.now);
            }
            Step::Retired { stream } => {
                let answer = answer(&mut self.session, *stream);
                assert!(matches!(answer, Poll::Ready(Err(OpenError::Retired))));
                self.session.release(*stream, self.now);
            }
            _ => panic!("a step of another kind"),
        }
    }

    /// What the server's application does and sees before a stream is answered.
    fn decide(&mut self, step: &Step) {
        match step {
            Step::Offered { stream, claims } => {
                let offered = self.session.poll_offered(Waker::noop());
                assert_eq!(offered, Poll::Ready(Some((*stream, open(claims)))));
            }
            Step::NoneOffered {} => {
                assert!(self.session.poll_offered(Waker::noop()).is_pending());
            }
            Step::Accept { stream } => self.session.accept(*stream),
            Step::Refuse { stream, code, rule } => {
                let code = code_named(code);
                self.session.refuse(*stream, code, rule.as_deref());
                self.session.release(*stream, self.now);
            }
            _ => panic!("a step of another kind"),
        }
    }

    /// What an application does with a stream, and sees of it.
    fn on_stream(&mut self, step: &Step) {
        let read = |session: &mut Session, id| session.poll_read(id, Waker::noop());
        match step {
            Step::Write { stream, hex } => {
                let writable = self.session.poll_writable(*stream, Waker::noop());
                assert!(matches!(writable, Poll::Ready(Ok(()))));
                self.session.write(*stream, hex.bytes().into());
            }
            Step::Finish { stream } => self.session.finish(*stream),
            Step::Reset { stream, code } => self.session.reset(*stream, code_named(code)),
            Step::Release { stream } => self.session.release(*stream, self.now),
            Step::Read { stream, hex } => match read(&mut self.session, *stream) {
                Poll::Ready(Ok(Some(bytes))) => assert_eq!(bytes, hex.bytes()),
                other => panic!("{other:?}"),
            },
            Step::ReadWaits { stream } => {
                assert!(read(&mut self.session, *stream).is_pending());
            }
            Step::ReadEnd { stream } => {
                let read = read(&mut self.session, *stream);
                assert!(matches!(read, Poll::Ready(Ok(None))), "{read:?}");
            }
            Step::ReadReset { stream, code } => match read(&mut self.session, *stream) {
                Poll::Ready(Err(StreamError::Reset(why))) => assert_eq!(why, code_named(code)),
                other => panic!("{other:?}"),
            },
            _ => panic!("a step of another kind"),
        }
    }
}

fn open(claims: &Claims) -> Open {
    Open {
        source: claims.source,
        workload: claims.workload.clone(),
        namespace: claims.namespace.clone(),
    }
}

pub(super) fn conversations() -> Vec<Conversation> {
    let text = include_str!("../vectors/conversations.json");
    let read: Conversations = serde_json::from_str(text).unwrap();
    read.conversations
}

#[test]
fn sessions_hold_the_conversations_that_the_vectors_say() {
    for conversation in conversations() {
        let mut tested = Tested::new(conversation.role, &conversation.settings);
        for (number, step) in conversation.steps.iter().enumerate() {
            // Shown where a step fails.
            println!("{}, step {number}", conversation.name);
            tested.step(step);
        }
    }
}
