//! What the owners of streams ask of a session.

use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::code::Code;
use super::credit::{LEAST_CREDIT, Receive};
use super::end::{OpenError, SessionEnd, StreamError};
use super::open::{Open, Opening};
use super::session::{Role, Session};
use super::stream::{Answer, Fin, StreamState};

impl Session {
    /// Begins a stream: its OPEN and first data go out with the next write.
    pub(super) fn open(&mut self, now: Instant, opening: Opening) -> Result<u32, OpenError> {
        let load = self.load(now);
        if load.retired {
            return Err(OpenError::Retired);
        }
        if load.full {
            return Err(OpenError::Full);
        }
        let id = self.next;
        let Some(next) = id.checked_add(1) else {
            self.retire(Code::Draining);
            return Err(OpenError::Retired);
        };
        self.next = next;
        let Some(reservation) = self.budget.reserve(self.settings.initial_credit) else {
            self.next = id;
            return Err(OpenError::Exhausted);
        };
        let credit = self.initial_credit();
        let mut stream = StreamState::new(now, Receive::new(reservation), credit);
        stream.open = Some(Box::new(opening.open));
        stream.slot = opening.first;
        if opening.first_is_all {
            stream.fin = Fin::Wanted;
        }
        self.streams.insert(id, stream);
        self.on_wire += 1;
        let look_at = now + self.settings.answer_timeout;
        self.look_at.get_or_insert(look_at);
        self.stand_in_line(id);
        Ok(id)
    }

    /// Whether the server took the stream.
    pub(super) fn poll_answer(&mut self, id: u32, waker: &Waker) -> Poll<Result<(), OpenError>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(OpenError::Retired));
        };
        match &stream.answer {
            Answer::Opened => Poll::Ready(Ok(())),
            Answer::Retired => Poll::Ready(Err(OpenError::Retired)),
            Answer::Refused(code, rule) => Poll::Ready(Err(OpenError::Refused {
                stream: id,
                code: *code,
                rule: rule.clone(),
            })),
            Answer::Awaited(_) => match &self.end {
                Some(end) if self.peer.is_none() => {
                    Poll::Ready(Err(OpenError::Unheard(end.clone())))
                }
                Some(end) => Poll::Ready(Err(OpenError::SessionEnded(end.clone()))),
                None => {
                    keep(&mut stream.reader, waker);
                    Poll::Pending
                }
            },
        }
    }

    /// The next stream that the peer opened; `None` once no more can come.
    pub(super) fn poll_offered(&mut self, waker: &Waker) -> Poll<Option<(u32, Open)>> {
        while let Some((id, open)) = self.offered.pop_front() {
            match self.streams.get(&id) {
                Some(stream) if stream.given_up.is_none() && self.end.is_none() => {
                    return Poll::Ready(Some((id, open)));
                }
                _ => self.release(id, Instant::now()),
            }
        }
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        keep(&mut self.acceptor, waker);
        Poll::Pending
    }

    /// Takes a stream; where the peer gave it up meanwhile, its first use will tell.
    pub(super) fn accept(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.is_awaited()
        {
            stream.answer = Answer::Opened;
            stream.opened = true;
            self.stand_in_line(id);
        }
    }

    pub(super) fn refuse(&mut self, id: u32, code: Code, rule: Option<&str>) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.is_awaited()
        {
            stream.say_end(Role::Server, code);
            stream.refused = Some((code, rule.map(Box::from)));
            stream.give_up(StreamError::Finished);
            self.stand_in_line(id);
        }
    }

    pub(super) fn poll_read(
        &mut self,
        id: u32,
        waker: &Waker,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(StreamError::Finished));
        };
        if let Some(error) = &stream.given_up {
            return Poll::Ready(Err(error.clone()));
        }
        let bytes = stream.receive.take();
        if let Some(bytes) = bytes {
            self.stand_in_line(id);
            return Poll::Ready(Ok(Some(bytes)));
        }
        if stream.complete {
            stream.read_to_end = true;
            stream.receive.close();
            return Poll::Ready(Ok(None));
        }
        if let Some(end) = &self.end {
            return Poll::Ready(Err(StreamError::SessionEnded(end.clone())));
        }
        keep(&mut stream.reader, waker);
        self.stand_in_line(id);
        Poll::Pending
    }

    /// Whether the next write is taken at once. Ready with an error where none is possible any more.
    pub(super) fn poll_writable(
        &mut self,
        id: u32,
        waker: &Waker,
    ) -> Poll<Result<(), StreamError>> {
        let stream = self.open_to_write(id)?;
        if !stream.slot.is_empty() || stream.credit == 0 {
            keep(&mut stream.writer, waker);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// How many bytes may follow what is in the slot, once they are more than a few.
    pub(super) fn poll_room(&mut self, id: u32, waker: &Waker) -> Poll<Result<usize, StreamError>> {
        let stream = self.open_to_write(id)?;
        let room = (stream.credit as usize).saturating_sub(stream.slot.len());
        if room < LEAST_CREDIT as usize {
            keep(&mut stream.writer, waker);
            return Poll::Pending;
        }
        Poll::Ready(Ok(room))
    }

    /// Why the stream failed, once it did.
    pub(super) fn poll_failed(&mut self, id: u32, waker: &Waker) -> Poll<StreamError> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(StreamError::Finished);
        };
        if let Some(error) = &stream.given_up {
            return Poll::Ready(error.clone());
        }
        if let Some(end) = &self.end
            && stream.is_cut_short()
        {
            return Poll::Ready(StreamError::SessionEnded(end.clone()));
        }
        keep(&mut stream.watcher, waker);
        Poll::Pending
    }

    /// The stream, where this side may still send on it.
    fn open_to_write(&mut self, id: u32) -> Result<&mut StreamState, StreamError> {
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Finished)?;
        if let Some(error) = &stream.given_up {
            return Err(error.clone());
        }
        if let Some(end) = &self.end {
            return Err(StreamError::SessionEnded(end.clone()));
        }
        if stream.fin != Fin::No {
            return Err(StreamError::Finished);
        }
        Ok(stream)
    }

    /// Puts `bytes` into the empty slot that `poll_writable` saw under the same lock.
    pub(super) fn write(&mut self, id: u32, bytes: Bytes) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.slot = bytes;
            self.stand_in_line(id);
        }
    }

    pub(super) fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.fin == Fin::No
            && stream.given_up.is_none()
        {
            stream.fin = Fin::Wanted;
            self.stand_in_line(id);
        }
    }

    pub(super) fn reset(&mut self, id: u32, code: Code) {
        self.give_up(id, code, StreamError::Finished);
    }

    fn give_up(&mut self, id: u32, code: Code, why: StreamError) {
        let role = self.role;
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.is_live()
        {
            stream.give_up(why);
            self.woken.extend(stream.wakers());
            stream.say_end(role, code);
            self.stand_in_line(id);
        }
    }

    /// The owner lets go. A stream that is not finished both ways is cancelled.
    pub(super) fn release(&mut self, id: u32, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.held = false;
        let is_finished = stream.fin != Fin::No && stream.read_to_end;
        if !is_finished {
            if self.end.is_none() {
                self.reset(id, Code::Cancelled);
            }
            // Both directions may be over on the wire, with data that nobody will read.
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.receive.close();
            }
        }
        // After the end only what is still to be written matters.
        if self.end.is_some() && self.streams.get(&id).is_some_and(|stream| !stream.in_line) {
            self.streams.remove(&id);
        }
        self.settle(id, now);
    }

    /// Takes no new streams; the session ends when the last one does.
    pub(super) fn retire(&mut self, code: Code) {
        if self.goaway_here.is_none() && self.end.is_none() {
            self.goaway_here = Some(code);
            self.goaway_due = true;
            self.woken.extend(self.driver.take());
        }
    }

    /// Ends the session now: all streams are reset, and so is the peer told.
    pub(super) fn close(&mut self, code: Code, now: Instant) {
        if self.end.is_some() {
            return;
        }
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.give_up(
                id,
                code,
                StreamError::SessionEnded(SessionEnd::Closed(code)),
            );
        }
        self.goaway_here = Some(code);
        self.goaway_due = true;
        self.conclude(SessionEnd::Closed(code), now);
    }
}

/// Keeps the waker of the latest caller.
fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(kept) if kept.will_wake(waker) => {}
        Some(kept) => kept.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}
