//! The knobs of a session.

use tokio::time::Duration;

use super::credit::MIN_CREDIT;

/// Limits and times of a session. The defaults are meant to be right.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many streams the peer may have open at once; default 1024, at least [`MIN_STREAMS`]. Each costs its initial
    /// credit, so too large moves the refusal from here to the budget.
    pub max_streams: u32,
    /// Credit that the peer has on a new stream, in bytes; default and least 16 KiB.
    pub initial_credit: u32,
    /// The largest window that a stream may grow to, in bytes; default 2 MiB. Too small slows long paths, too large
    /// lets few streams use up the budget.
    pub max_window: u32,
    /// A session without streams is retired after this; default 90 s. A server waits twice as long, so that it is the
    /// client who ends it, unless the client is gone.
    pub idle_timeout: Duration,
    /// The peer's HELLO must come within this; default 10 s.
    pub hello_timeout: Duration,
    /// An OPEN that is not answered within this sends PING; default 1 s.
    pub answer_timeout: Duration,
    /// Silence for this long while streams are open sends PING; default 30 s.
    pub quiet_timeout: Duration,
    /// Silence for this long after a PING means that the peer is dead; default 2 s.
    pub pong_timeout: Duration,
    /// How long an ended session may take to write its last frames and to see the peer's end; default 1 s.
    pub close_timeout: Duration,
    /// How many streams a client may reset at once; default 20,000.
    pub reset_burst: u32,
    /// How many streams a client may reset in a second, on average; default 20,000.
    pub resets_per_second: u32,
}

/// Every peer must allow so many streams: an opener may count on it before it saw the peer's HELLO.
pub const MIN_STREAMS: u32 = 32;

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 1024,
            initial_credit: MIN_CREDIT,
            max_window: 2 * 1024 * 1024,
            idle_timeout: Duration::from_secs(90),
            hello_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(1),
            quiet_timeout: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(2),
            close_timeout: Duration::from_secs(1),
            reset_burst: 20_000,
            resets_per_second: 20_000,
        }
    }
}
