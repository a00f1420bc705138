//! What a session hears: each frame, checked against what the peer may say.

use tokio::time::Instant;

use super::code::Code;
use super::credit::{MIN_CREDIT, Receive};
use super::end::{StreamError, Violation};
use super::frame::{Frame, Hello};
use super::open::Open;
use super::session::{Role, Session};
use super::settings::MIN_STREAMS;
use super::stream::{Answer, BULK_SPAN, StreamState};

impl Session {
    /// Takes in the whole frames that `bytes` begins with and returns their length.
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<usize, Violation> {
        self.heard = now;
        let mut done = 0;
        while let Some(rest) = bytes.get(done..)
            && let Some((frame, length)) = Frame::decode(rest).map_err(Violation::Frame)?
        {
            self.frame(now, frame)?;
            done += length;
        }
        Ok(done)
    }

    fn frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), Violation> {
        if let Frame::Hello(hello) = frame {
            return self.hello(hello);
        }
        if self.peer.is_none() {
            return Err(Violation::NoHello);
        }
        match frame {
            Frame::Hello(_) => Err(Violation::HelloTwice),
            Frame::Open { stream, open } => self.opened_by_peer(now, stream, open),
            Frame::Opened { stream } => self.answered(now, stream, Answer::Opened),
            Frame::Refused { stream, code, rule } => {
                self.answered(now, stream, Answer::Refused(code, rule.map(Box::from)))
            }
            Frame::Data { stream, bytes } => self.data(now, stream, bytes),
            Frame::Credit { stream, bytes } => self.credit(stream, bytes),
            Frame::Fin { stream } => self.fin(now, stream),
            Frame::Reset { stream, code } => self.reset_by_peer(now, stream, code),
            Frame::GoAway { last, code } => {
                self.goaway_there = Some(code);
                if self.role == Role::Client {
                    self.not_taken_after(now, last);
                }
                Ok(())
            }
            Frame::Ping => {
                self.pong_due = true;
                Ok(())
            }
            Frame::Pong => {
                self.pinged = None;
                Ok(())
            }
        }
    }

    fn hello(&mut self, hello: Hello) -> Result<(), Violation> {
        if self.peer.is_some() {
            return Err(Violation::HelloTwice);
        }
        let Some(more) = hello.initial_credit.checked_sub(MIN_CREDIT) else {
            return Err(Violation::HelloLimits);
        };
        if hello.max_streams < MIN_STREAMS {
            return Err(Violation::HelloLimits);
        }
        self.peer = Some(hello);
        let early: Vec<u32> = self.streams.keys().copied().collect();
        for id in early {
            self.add_credit(id, more)?;
        }
        Ok(())
    }

    fn opened_by_peer(&mut self, now: Instant, id: u32, open: Open) -> Result<(), Violation> {
        if self.role == Role::Client {
            return Err(Violation::WrongSide);
        }
        if id != self.next {
            return Err(Violation::StreamOrder);
        }
        self.next = id.checked_add(1).ok_or(Violation::StreamOrder)?;
        if self.on_wire >= self.settings.max_streams as usize {
            return Err(Violation::TooManyStreams);
        }
        // A stream whose application lives on after the wire forgot it counts too: an honest client cannot know, so
        // it is refused and not punished.
        let is_full = self.streams.len() >= self.settings.max_streams as usize;
        let refusal = match &self.goaway_here {
            Some(_) => Some(Code::Draining),
            None => is_full.then_some(Code::NoCapacity),
        };
        let reserved = self.budget.reserve(self.settings.initial_credit);
        let is_taken = refusal.is_none() && reserved.is_some();
        let receive = match reserved {
            Some(reservation) => Receive::new(reservation),
            None => Receive::unkept(self.settings.initial_credit),
        };
        let credit = self.initial_credit();
        self.streams
            .insert(id, StreamState::new(now, receive, credit));
        self.on_wire += 1;
        if is_taken {
            self.last_taken = id;
            self.offered.push_back((id, open));
            self.woken.extend(self.acceptor.take());
        } else {
            self.refuse(id, refusal.unwrap_or(Code::NoCapacity), None);
            self.release(id, now);
        }
        Ok(())
    }

    /// The stream that a frame is for; `None` where it is over, and such a frame means nothing any more.
    fn known(&mut self, id: u32) -> Result<Option<&mut StreamState>, Violation> {
        if id >= self.next {
            return Err(Violation::UnknownStream);
        }
        match self.streams.get_mut(&id) {
            // A server speaks of a stream only after its answer; a client may send at once.
            Some(stream) if self.role == Role::Client && stream.is_awaited() => {
                Err(Violation::NotAnswered)
            }
            stream => Ok(stream),
        }
    }

    fn answered(&mut self, now: Instant, id: u32, answer: Answer) -> Result<(), Violation> {
        if self.role == Role::Server {
            return Err(Violation::WrongSide);
        }
        if id >= self.next {
            return Err(Violation::UnknownStream);
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        match &stream.answer {
            Answer::Awaited(_) => {}
            // The answer crossed with a GOAWAY that had already decided.
            Answer::Retired => return Ok(()),
            Answer::Opened | Answer::Refused(..) => return Err(Violation::AnsweredTwice),
        }
        let is_refused = answer != Answer::Opened;
        stream.answer = answer;
        self.woken.extend(stream.wakers());
        if is_refused {
            stream.ended_there = true;
            self.end_here(id, StreamError::Reset(Code::Cancelled));
        }
        self.settle(id, now);
        Ok(())
    }

    fn data(&mut self, now: Instant, id: u32, bytes: &[u8]) -> Result<(), Violation> {
        let company = self.company;
        let Some(stream) = self.known(id)? else {
            return Err(Violation::AfterEnd);
        };
        if stream.ended_there {
            return Err(Violation::AfterEnd);
        }
        if !stream.receive.arrive(now, company, bytes) {
            return Err(Violation::BeyondCredit);
        }
        let is_bulk = stream.is_bulk_after(now, bytes.len());
        let waker = stream.reader.take();
        if is_bulk {
            self.bulk_until = Some(now + BULK_SPAN);
        }
        self.woken.extend(waker);
        Ok(())
    }

    fn credit(&mut self, id: u32, bytes: u32) -> Result<(), Violation> {
        // One that was given up sends nothing more, whatever it is granted.
        match self.known(id)?.map(|stream| stream.sends_no_more()) {
            Some(false) => self.add_credit(id, bytes),
            Some(true) | None => Ok(()),
        }
    }

    fn add_credit(&mut self, id: u32, bytes: u32) -> Result<(), Violation> {
        if let Some(stream) = self.streams.get_mut(&id) {
            let credit = stream.credit.checked_add(bytes);
            stream.credit = credit.ok_or(Violation::CreditOverflow)?;
            if stream.slot.is_empty() {
                self.woken.extend(stream.writer.take());
            }
            self.stand_in_line(id);
        }
        Ok(())
    }

    fn fin(&mut self, now: Instant, id: u32) -> Result<(), Violation> {
        let Some(stream) = self.known(id)? else {
            return Err(Violation::AfterEnd);
        };
        if stream.ended_there {
            return Err(Violation::AfterEnd);
        }
        stream.ended_there = true;
        stream.complete = true;
        let waker = stream.reader.take();
        self.woken.extend(waker);
        self.settle(id, now);
        Ok(())
    }

    fn reset_by_peer(&mut self, now: Instant, id: u32, code: Code) -> Result<(), Violation> {
        let is_server = self.role == Role::Server;
        let Some(stream) = self.known(id)? else {
            return Ok(());
        };
        // An answer to this side's own RESET or REFUSED is not counted.
        let is_counted = is_server && stream.given_up.is_none();
        stream.ended_there = true;
        if is_counted && !self.resets.spend(now, &self.settings) {
            return Err(Violation::ResetRate);
        }
        self.end_here(id, StreamError::Reset(code));
        self.settle(id, now);
        Ok(())
    }

    /// Gives a stream up because the peer did, and says so unless this side's direction is ended.
    fn end_here(&mut self, id: u32, why: StreamError) {
        let role = self.role;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.give_up(why);
        self.woken.extend(stream.wakers());
        if !stream.ended_here {
            stream.say_end(role, Code::Cancelled);
        }
        self.stand_in_line(id);
    }

    fn not_taken_after(&mut self, now: Instant, last: u32) {
        let later: Vec<u32> = self
            .streams
            .iter()
            .filter(|(id, stream)| **id > last && stream.is_awaited())
            .map(|(id, _)| *id)
            .collect();
        for id in later {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.answer = Answer::Retired;
                stream.ended_there = true;
            }
            self.end_here(id, StreamError::Reset(Code::Draining));
            self.settle(id, now);
        }
    }
}
