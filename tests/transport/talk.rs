//! What is said on one stream.

use std::time::Duration;

/// Question and answer in turn, known to both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Talk {
    /// Which content it has.
    pub(super) number: u32,
    pub(super) rounds: u32,
    /// Bytes of each question, by the client.
    pub(super) question: u32,
    /// Bytes of each answer.
    pub(super) answer: u32,
    /// The client takes so long between two rounds.
    pub(super) pause: Duration,
    /// The client is greeted, and then waits until `Apps::begin`.
    pub(super) begins_with_others: bool,
    /// Both readers stop after so many bytes, until `Apps::go_on`.
    pub(super) stops_after: u64,
}

/// Where a talk's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
}

impl Talk {
    /// Questions and answers in turn.
    pub(super) const fn rounds(rounds: u32, question: u32, answer: u32, pause: Duration) -> Self {
        Self {
            number: 0,
            rounds,
            question,
            answer,
            pause,
            begins_with_others: false,
            stops_after: u64::MAX,
        }
    }

    /// As much as this in one way.
    pub(super) fn bulk(way: Way, bytes: u32) -> Self {
        let (question, answer) = match way {
            Way::Up => (bytes, 0),
            Way::Down => (0, bytes),
        };
        Self::rounds(1, question, answer, Duration::ZERO)
    }

    pub(super) fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// Waits, once it is greeted, for the others.
    pub(super) fn beginning_with_others(self) -> Self {
        Self {
            begins_with_others: true,
            ..self
        }
    }

    /// Has readers that stop.
    pub(super) fn stopping_after(self, stops_after: u64) -> Self {
        Self {
            stops_after,
            ..self
        }
    }

    /// What the server must know.
    pub(super) fn announced(&self) -> [u8; ANNOUNCEMENT] {
        let mut bytes = [0; ANNOUNCEMENT];
        let numbers = [self.number, self.rounds, self.question, self.answer];
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        let all = numbers.chain(self.stops_after.to_be_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }

    /// What a client announced.
    pub(super) fn of(announced: &[u8; ANNOUNCEMENT]) -> Self {
        let number = |at: usize| {
            let bytes = announced[at..at + 4].try_into();
            u32::from_be_bytes(bytes.expect("four bytes"))
        };
        let stop = u64::from(number(16)) << 32 | u64::from(number(20));
        Self::rounds(number(4), number(8), number(12), Duration::ZERO)
            .numbered(number(0))
            .stopping_after(stop)
    }
}

/// Its length, in bytes.
pub(super) const ANNOUNCEMENT: usize = 24;
