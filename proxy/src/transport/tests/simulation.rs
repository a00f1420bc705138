//! A client and a server against each other, in memory, in every order that a seed gives.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use crate::transport::code::Code;
use crate::transport::credit::Budget;
use crate::transport::end::SessionEnd;
use crate::transport::open::Opening;
use crate::transport::output::WRITE_BYTES;
use crate::transport::session::{Role, Session};
use crate::transport::settings::Settings;

/// Numbers that look random and are the same for a seed (splitmix64).
struct Seed(u64);

impl Seed {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

/// One direction of a stream, as its applications see it. The byte at offset n is a function of n and the stream.
#[derive(Default)]
struct Flow {
    written: usize,
    is_finished: bool,
    read: usize,
    is_read_to_end: bool,
    is_broken: bool,
}

/// What a stream carries repeats after a prime number of bytes, so that no frame or window falls in step with it.
const PERIOD: usize = 65_521;
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let byte = |at: usize| u8::try_from((at * 31 + at / 251) % 256).unwrap();
    (0..6 * PERIOD).map(|at| byte(at % PERIOD)).collect()
});

fn piece(id: u32, from: usize, length: usize) -> Bytes {
    let start = (from + id as usize) % PERIOD;
    PATTERN.slice(start..start + length)
}

struct Pair {
    sides: [Session; 2],
    /// What is on its way from each side.
    wires: [Vec<u8>; 2],
    /// By stream, what each side sends.
    flows: HashMap<u32, [Flow; 2]>,
    held: [Vec<u32>; 2],
    now: Instant,
    budget: Budget,
    seed: Seed,
}

const BUDGET_BYTES: usize = 16 * 1024 * 1024;

impl Pair {
    fn new(seed: u64) -> Self {
        let (now, budget) = (Instant::now(), Budget::new(BUDGET_BYTES));
        let settings = || Settings {
            max_streams: 32,
            max_window: 512 * 1024,
            ..Settings::default()
        };
        Self {
            sides: [
                Session::new(Role::Client, settings(), budget.clone(), now),
                Session::new(Role::Server, settings(), budget.clone(), now),
            ],
            wires: [Vec::new(), Vec::new()],
            flows: HashMap::new(),
            held: [Vec::new(), Vec::new()],
            now,
            budget,
            seed: Seed(seed),
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        let side = self.seed.below(2);
        if self.seed.below(100) == 0 {
            let session = &mut self.sides[side];
            session.company.has_small = !session.company.has_small;
        }
        match self.seed.below(12) {
            0 => self.open(),
            1 | 2 => self.deliver(side),
            3 | 4 => self.sides[side].transmit(self.now, WRITE_BYTES, &mut self.wires[side]),
            5 => self.accept(),
            6 if self.seed.below(40) == 0 => self.give_up(side),
            choice => {
                let count = self.held[side].len();
                if count > 0 {
                    let id = self.held[side][self.seed.below(count)];
                    match choice {
                        6..=8 => self.write(side, id),
                        _ => self.read(side, id),
                    }
                }
            }
        }
        assert!(self.budget.used_bytes() <= BUDGET_BYTES);
    }

    fn open(&mut self) {
        let length = self.seed.below(3) * 9000;
        let id = self.sides[0].next;
        let is_all = self.seed.below(4) == 0;
        let opening = Opening {
            first: piece(id, 0, length),
            first_is_all: is_all,
            ..Opening::default()
        };
        if let Ok(opened) = self.sides[0].open(self.now, opening) {
            assert_eq!(opened, id);
            let flows = self.flows.entry(id).or_default();
            flows[0].written = length;
            flows[0].is_finished = is_all;
            self.held[0].push(id);
        }
    }

    /// Delivers a part of what is on its way, cut anywhere.
    fn deliver(&mut self, from: usize) {
        let wire = &mut self.wires[from];
        let part = self.seed.below(wire.len() + 1);
        let done = self.sides[1 - from].receive(self.now, &wire[..part]);
        wire.drain(..done.expect("no violation by an honest peer"));
    }

    fn accept(&mut self) {
        if let Poll::Ready(Some((id, _))) = self.sides[1].poll_offered(Waker::noop()) {
            if self.seed.below(10) == 0 {
                self.sides[1].refuse(id, Code::Denied, None);
                self.sides[1].release(id, self.now);
                self.broken(id);
            } else {
                self.sides[1].accept(id);
                self.held[1].push(id);
            }
        }
    }

    fn write(&mut self, side: usize, id: u32) {
        let flow = &mut self.flows.get_mut(&id).unwrap()[side];
        match self.sides[side].poll_writable(id, Waker::noop()) {
            Poll::Ready(Ok(())) if self.seed.below(8) == 0 => {
                self.sides[side].finish(id);
                flow.is_finished = true;
            }
            Poll::Ready(Ok(())) => {
                let length = 1 + self.seed.below(40_000);
                self.sides[side].write(id, piece(id, flow.written, length));
                flow.written += length;
            }
            Poll::Ready(Err(_)) => assert!(
                flow.is_finished || flow.is_broken || side == 0,
                "stream {id}"
            ),
            Poll::Pending => {}
        }
    }

    fn read(&mut self, side: usize, id: u32) {
        let [client, server] = self.flows.get_mut(&id).unwrap();
        let flow = if side == 0 { server } else { client };
        match self.sides[side].poll_read(id, Waker::noop()) {
            Poll::Ready(Ok(Some(bytes))) => {
                assert_eq!(bytes, piece(id, flow.read, bytes.len()), "order");
                flow.read += bytes.len();
            }
            Poll::Ready(Ok(None)) => {
                assert!(
                    flow.is_finished && flow.read == flow.written,
                    "FIN only after all data"
                );
                flow.is_read_to_end = true;
                let is_done_here = self.flows[&id][side].is_finished;
                if is_done_here {
                    self.let_go(side, id);
                }
            }
            Poll::Ready(Err(_)) => {
                let answer = self.sides[side].poll_answer(id, Waker::noop());
                if matches!(answer, Poll::Ready(Err(error)) if error.nothing_was_delivered()) {
                    self.broken(id);
                }
                assert!(
                    self.flows[&id].iter().any(|flow| flow.is_broken),
                    "only a stream given up is broken"
                );
                self.let_go(side, id);
            }
            Poll::Pending => {}
        }
    }

    fn give_up(&mut self, side: usize) {
        let count = self.held[side].len();
        if count > 0 {
            let id = self.held[side][self.seed.below(count)];
            self.let_go(side, id);
            self.broken(id);
        }
    }

    fn broken(&mut self, id: u32) {
        for flow in self.flows.get_mut(&id).unwrap() {
            flow.is_broken = true;
        }
    }

    fn let_go(&mut self, side: usize, id: u32) {
        self.sides[side].release(id, self.now);
        self.held[side].retain(|held| *held != id);
    }

    /// Everything is delivered, read and finished.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            for side in 0..2 {
                self.sides[side].transmit(self.now, WRITE_BYTES, &mut self.wires[side]);
                let done = self.sides[1 - side]
                    .receive(self.now, &self.wires[side])
                    .unwrap();
                self.wires[side].drain(..done);
                self.accept();
                for id in self.held[side].clone() {
                    if !self.flows[&id][side].is_finished {
                        self.sides[side].finish(id);
                        self.flows.get_mut(&id).unwrap()[side].is_finished = true;
                    }
                    self.read(side, id);
                }
            }
            if self.sides.iter().all(|side| side.streams.is_empty()) {
                return;
            }
        }
        panic!("streams are left: {:?}", self.held);
    }
}

#[test]
fn in_every_order_all_bytes_arrive_in_order_and_all_memory_comes_back() {
    for seed in 0..3000 {
        let mut pair = Pair::new(seed);
        for _ in 0..300 {
            pair.step();
        }
        pair.settle();
        assert_eq!(pair.budget.used_bytes(), 0, "seed {seed}");
        for (id, [client, server]) in &pair.flows {
            if !client.is_broken && !server.is_broken && pair.sides[1].next > *id {
                assert!(
                    client.is_read_to_end && server.is_read_to_end,
                    "seed {seed}, stream {id}"
                );
            }
        }
    }
}

#[test]
fn a_drain_in_any_order_loses_no_stream_that_was_taken() {
    for seed in 0..500 {
        let mut pair = Pair::new(seed);
        for _ in 0..150 {
            pair.step();
        }
        pair.sides[usize::from(seed % 2 == 0)].retire(Code::Draining);
        // What the server had not taken by then is refused, which its client sees as a broken stream.
        let taken = pair.sides[1].last_taken;
        let later: Vec<u32> = pair
            .flows
            .keys()
            .copied()
            .filter(|id| *id > taken)
            .collect();
        for id in later {
            if seed % 2 == 0 {
                pair.broken(id);
            }
        }
        pair.settle();
        assert!(pair.sides.iter().all(Session::is_done), "seed {seed}");
        pair.sides[0].conclude_done(pair.now);
        assert!(matches!(pair.sides[0].end, Some(SessionEnd::Clean)));
        assert_eq!(pair.budget.used_bytes(), 0);
    }
}
