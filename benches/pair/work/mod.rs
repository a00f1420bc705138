//! The kinds of work that pairs are measured at.

mod bulk;
pub(crate) mod cipher;
mod memory;
mod mixed;
mod requests;
mod stall;
mod syscalls;

use anyhow::Result;
use clap::ValueEnum;

use crate::figures::results::Figures;
use crate::peers::Pair;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Work {
    /// Resident memory: idle, and with 1,000 idle connections. First, while nothing else has left its traces.
    Mem,
    /// 1 KB responses on 64 keep-alive connections.
    Http64,
    /// 1 KB responses on one keep-alive connection.
    Http1,
    /// A new connection for each 1 KB response, 16 at a time.
    Conn,
    /// Upload on one connection.
    Bulk1,
    /// Upload on four connections.
    Bulk4,
    /// Download on one connection.
    Bulk1r,
    /// System calls per request on 64 keep-alive connections.
    SysHttp64,
    /// System calls per request on one.
    SysHttp1,
    /// System calls per new connection, 16 at a time.
    SysConn,
    /// System calls per new connection, one at a time: nothing is shared.
    SysConn1,
    /// System calls per MB of upload.
    SysBulk,
    /// Small requests while 8 connections to the same pod have a reader that stopped.
    Stall,
    /// Small requests while bulk goes to the same pod.
    Mixed,
}

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    KeepAlive,
    /// A new connection for each.
    None,
}

/// Which way bulk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Work {
    /// Whether there is nothing to measure without proxies.
    pub(crate) fn is_about_the_proxies(self) -> bool {
        self == Self::Mem || self.is_traced()
    }

    /// Whether a relay that knows small requests to one port only cannot do it.
    pub(crate) fn needs_more_than_small_requests(self) -> bool {
        use Work::{Mixed, Stall, SysBulk};
        self.is_bulk() || [Mixed, Stall, SysBulk].contains(&self)
    }

    /// Whether its cost is one of bytes.
    fn is_bulk(self) -> bool {
        use Work::{Bulk1, Bulk1r, Bulk4};
        [Bulk1, Bulk1r, Bulk4].contains(&self)
    }

    /// Whether the CPU that it takes is measured.
    pub(crate) fn takes_cpu(self) -> bool {
        use Work::{Conn, Http1, Http64};
        self.is_bulk() || [Conn, Http1, Http64].contains(&self)
    }

    /// As on the command line and in the results.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it needs `strace`.
    pub(crate) fn is_traced(self) -> bool {
        use Work::{SysBulk, SysConn, SysConn1, SysHttp1, SysHttp64};
        [SysBulk, SysConn, SysConn1, SysHttp1, SysHttp64].contains(&self)
    }

    /// Does it for so many seconds, and says what was found.
    pub(crate) async fn measure(self, pair: &Pair, seconds: u32) -> Result<Figures> {
        match self {
            Self::Mem => memory::measure(pair).await,
            Self::Http64 => requests::measure(pair, seconds, (64, Reuse::KeepAlive)).await,
            Self::Http1 => requests::measure(pair, seconds, (1, Reuse::KeepAlive)).await,
            Self::Conn => requests::measure(pair, seconds, (16, Reuse::None)).await,
            Self::Bulk1 => bulk::measure(pair, seconds, (1, Way::Up)).await,
            Self::Bulk4 => bulk::measure(pair, seconds, (4, Way::Up)).await,
            Self::Bulk1r => bulk::measure(pair, seconds, (1, Way::Down)).await,
            Self::SysHttp64 => syscalls::requests(pair, seconds, (64, Reuse::KeepAlive)).await,
            Self::SysHttp1 => syscalls::requests(pair, seconds, (1, Reuse::KeepAlive)).await,
            Self::SysConn => syscalls::requests(pair, seconds, (16, Reuse::None)).await,
            Self::SysConn1 => syscalls::requests(pair, seconds, (1, Reuse::None)).await,
            Self::SysBulk => syscalls::bulk(pair, seconds).await,
            Self::Stall => stall::measure(pair, seconds).await,
            Self::Mixed => mixed::measure(pair, seconds).await,
        }
    }
}
