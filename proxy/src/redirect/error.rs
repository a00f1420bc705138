//! Why the redirect could not be written, read, or is not what it should be.

use std::io;

use super::check::Difference;

/// Why the redirect could not be applied, removed or confirmed.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The kernel gives no netlink socket.
    #[error("no netlink socket for netfilter could be opened")]
    Socket(#[source] io::Error),
    /// The request did not leave.
    #[error(
        "the rules could not be sent to the kernel; where they are too long, list fewer exclusions"
    )]
    Send(#[source] io::Error),
    /// The answer did not come, or is no netlink.
    #[error("the kernel's answer could not be read")]
    Receive(#[source] io::Error),
    /// Someone else changed rules while they were listed.
    #[error("the rules changed while they were read; try again")]
    Changing,
    /// The kernel refused one message, and with it all.
    #[error("the kernel refuses to {purpose}; {remedy}")]
    Refused {
        /// What the message asked for.
        purpose: String,
        /// What can be done about it.
        remedy: &'static str,
        /// The kernel's reason.
        #[source]
        cause: io::Error,
    },
    /// The kernel holds something else than what `apply` writes.
    #[error("the redirect is not as it should be: {}; apply it again", list(.0))]
    Differs(Vec<Difference>),
}

impl RedirectError {
    pub(super) fn refused(purpose: &str, errno: i32) -> Self {
        Self::Refused {
            purpose: purpose.to_owned(),
            remedy: remedy(errno),
            cause: io::Error::from_raw_os_error(errno),
        }
    }

    /// Whether the kernel knows no such thing.
    pub(super) fn is_unsupported(&self) -> bool {
        let Self::Refused { cause, .. } = self else {
            return false;
        };
        matches!(cause.raw_os_error(), Some(EAFNOSUPPORT | EOPNOTSUPP))
    }
}

fn remedy(errno: i32) -> &'static str {
    match errno {
        EPERM | EACCES => {
            "it takes the capability NET_ADMIN in the user namespace that owns this network namespace"
        }
        ENOENT | EAFNOSUPPORT | EPROTONOSUPPORT | EOPNOTSUPP => {
            "it takes Linux 5.2 or newer with nf_tables, nf_tables_inet, nf_nat, nf_conntrack (with marks), nft_chain_nat, nft_ct, \
             nft_redir, nft_fib_inet and nft_reject_inet: load what lacks with modprobe, or build it in"
        }
        EBUSY => "another program is changing the table; try again",
        ENOMEM | ENOBUFS => "the kernel lacks memory for it",
        _ => "this combination is not known to us: please report it with the kernel's version",
    }
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EPROTONOSUPPORT: i32 = 93;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;
const ENOBUFS: i32 = 105;
