//! What records say that rules have admitted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use palisade_api::spiffe::SpiffeId;
use serde::Deserialize;

use super::super::subject::Caller;

/// Whom each rule has admitted, and at which ports.
#[derive(Debug, Default)]
pub(super) struct Seen {
    rules: BTreeMap<String, BTreeSet<(Caller, u16)>>,
    nobody: BTreeSet<(Caller, u16)>,
}

/// The fields of a record that are of interest; all others are passed over.
#[derive(Debug, Deserialize)]
struct Record {
    direction: Option<String>,
    #[serde(rename = "src.addr")]
    addr: Option<String>,
    #[serde(rename = "src.identity")]
    identity: Option<String>,
    #[serde(rename = "dst.port")]
    port: Option<u16>,
    #[serde(rename = "policy.decision")]
    decision: Option<String>,
    #[serde(rename = "policy.rule")]
    rule: Option<String>,
}

impl Seen {
    /// Reads JSON lines.
    pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut seen = Self::default();
        for file in files {
            seen.read_file(file)?;
        }
        if seen.rules.is_empty() {
            bail!("no record there tells of a connection that a rule admitted");
        }
        Ok(seen)
    }

    fn read_file(&mut self, file: &Path) -> anyhow::Result<()> {
        let name = file.display();
        let open = File::open(file).with_context(|| format!("cannot read {name}"))?;
        for (number, line) in BufReader::new(open).lines().enumerate() {
            let line = line.with_context(|| format!("cannot read {name}"))?;
            if line.trim().is_empty() {
                continue;
            }
            let record: Record = serde_json::from_str(&line).with_context(|| {
                format!(
                    "{name}:{} is no record; `palisade logs -o json` prints them",
                    number + 1
                )
            })?;
            self.take(record);
        }
        Ok(())
    }

    /// The called side's records count: only it decides.
    fn take(&mut self, record: Record) {
        let is_called = record
            .direction
            .as_deref()
            .is_some_and(|side| side != "outbound");
        let is_allowed = record.decision.as_deref() == Some("allow");
        let (Some(rule), Some(port), true) = (record.rule, record.port, is_called && is_allowed)
        else {
            return;
        };
        let caller = match (record.identity, record.addr) {
            (Some(id), _) => id.parse::<SpiffeId>().ok().map(Caller::Identity),
            (None, addr) => {
                let addr = addr.and_then(|addr| addr.parse::<SocketAddr>().ok());
                addr.map(|addr| Caller::Address(addr.ip().to_canonical()))
            }
        };
        if let Some(caller) = caller {
            self.rules.entry(rule).or_default().insert((caller, port));
        }
    }

    /// Whom a rule has admitted, and where.
    pub(super) fn by(&self, rule: &str) -> &BTreeSet<(Caller, u16)> {
        self.rules.get(rule).unwrap_or(&self.nobody)
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
