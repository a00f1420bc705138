//! The reasons that one side tells the other.

use std::fmt;

/// Why a stream was refused or reset, or a connection given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// No rule allows the stream, or one denies it.
    Denied,
    /// The peer has no identity, policy or redirect yet.
    NotReady,
    /// No memory or no stream is left for it.
    NoCapacity,
    /// The application could not be reached.
    Connect,
    /// The connection takes no streams any more.
    Draining,
    /// An SVID expired.
    Expired,
    /// An identity was revoked.
    Revoked,
    /// A newer policy forbids what an older one allowed.
    PolicyChanged,
    /// Nobody wants the stream any more.
    Cancelled,
    /// The application reset its connection.
    AppReset,
    /// The peer broke the protocol.
    ProtocolError,
    /// A time limit passed.
    Timeout,
}

impl Code {
    const ALL: [Self; 12] = [
        Self::Denied,
        Self::NotReady,
        Self::NoCapacity,
        Self::Connect,
        Self::Draining,
        Self::Expired,
        Self::Revoked,
        Self::PolicyChanged,
        Self::Cancelled,
        Self::AppReset,
        Self::ProtocolError,
        Self::Timeout,
    ];

    /// The code of a number on the wire.
    pub fn new(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The code's number on the wire; never 0.
    pub fn number(self) -> u8 {
        match self {
            Self::Denied => 1,
            Self::NotReady => 2,
            Self::NoCapacity => 3,
            Self::Connect => 4,
            Self::Draining => 5,
            Self::Expired => 6,
            Self::Revoked => 7,
            Self::PolicyChanged => 8,
            Self::Cancelled => 9,
            Self::AppReset => 10,
            Self::ProtocolError => 11,
            Self::Timeout => 12,
        }
    }

    /// One word, for records and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotReady => "not_ready",
            Self::NoCapacity => "no_capacity",
            Self::Connect => "connect",
            Self::Draining => "draining",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::PolicyChanged => "policy_changed",
            Self::Cancelled => "cancelled",
            Self::AppReset => "app_reset",
            Self::ProtocolError => "protocol_error",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
