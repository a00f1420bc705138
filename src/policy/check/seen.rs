//! What records say that rules have admitted.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::bail;

use super::super::subject::Caller;
use super::super::traffic::Admitted;

/// Whom each rule has admitted, and at which ports.
#[derive(Debug, Default)]
pub(super) struct Seen {
    admitted: Admitted,
    nobody: BTreeSet<(Caller, u16)>,
}

impl Seen {
    /// Reads files of records; warns of lines that are none.
    pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let admitted = Admitted::read(files)?;
        super::super::warn(&admitted.warnings);
        if admitted.rules.is_empty() {
            bail!("no record there tells of a connection that a rule admitted");
        }
        Ok(Self {
            admitted,
            ..Self::default()
        })
    }

    /// Whom a rule has admitted, and where.
    pub(super) fn by(&self, rule: &str) -> &BTreeSet<(Caller, u16)> {
        self.admitted.rules.get(rule).unwrap_or(&self.nobody)
    }
}

/// The smallest network that all of some addresses of one family are in.
pub(super) fn network(addrs: &[IpAddr]) -> Option<ipnet::IpNet> {
    let (first, others) = addrs.split_first()?;
    let mut network = ipnet::IpNet::from(*first);
    while !others.iter().all(|addr| network.contains(addr)) {
        network = network.supernet()?;
    }
    Some(network)
}
