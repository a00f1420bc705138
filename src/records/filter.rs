//! Which records are wanted.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{field_of, is_denied, parts_of};

/// A record, with the moment that it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) at: OffsetDateTime,
    pub(crate) record: Map<String, Value>,
}

impl Timed {
    /// None where it is no record of a connection.
    pub(crate) fn of(record: Map<String, Value>) -> Option<Self> {
        let time = record.get("time")?.as_str()?;
        let at = OffsetDateTime::parse(time, &Rfc3339).ok()?;
        (record.contains_key("event") && record.contains_key("conn.id"))
            .then_some(Self { at, record })
    }

    /// A line of a sidecar's output; none where it is anything else than a record.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        Self::of(serde_json::from_str(line).ok()?)
    }
}

/// Workloads that are meant: `web`, `web-0`, `shop/web`, `shop/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl FromStr for Replica {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
        };
        let name = name.to_owned();
        Ok(Self { namespace, name })
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

impl Replica {
    /// Whether it means a workload or account of this name in this namespace.
    fn fits(&self, namespace: Option<&str>, name: &str) -> bool {
        let in_namespace = self.namespace.is_none() || self.namespace.as_deref() == namespace;
        in_namespace && (self.name == "*" || self.name == name || is_replica(name, &self.name))
    }

    /// Whether it means one end of a connection, by its workload, its service account or, where it is called, its
    /// service.
    fn is_end(&self, record: &Map<String, Value>, end: &str) -> bool {
        let field = |key: &str| field_of(record, &format!("{end}.{key}"));
        let namespace = field("namespace");
        if let Some(workload) = field("workload")
            && self.fits(namespace.as_deref(), &workload)
        {
            return true;
        }
        let account = field("identity").is_some_and(|identity| {
            parts_of(&identity).is_some_and(|(_, namespace, name)| self.fits(Some(namespace), name))
        });
        let service = field("service").is_some_and(|service| {
            let name = service.split_once(':').map_or(&*service, |(name, _)| name);
            match name.split_once('/') {
                Some((namespace, name)) => self.fits(Some(namespace), name),
                None => self.fits(None, name),
            }
        });
        account || service
    }
}

/// Which records are wanted: those that fit all that is given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) denied: bool,
    pub(crate) from: Option<Replica>,
    pub(crate) to: Option<Replica>,
    /// Either end.
    pub(crate) of: Option<Replica>,
    pub(crate) since: Option<OffsetDateTime>,
}

impl Filter {
    pub(crate) fn wants(&self, timed: &Timed) -> bool {
        let Timed { at, record } = timed;
        let is = |wanted: &Option<Replica>, end| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.is_end(record, end))
        };
        let of = self.of.as_ref();
        let either = |of: &Replica| of.is_end(record, "src") || of.is_end(record, "dst");
        (!self.denied || is_denied(record))
            && self.since.is_none_or(|since| *at >= since)
            && of.is_none_or(either)
            && is(&self.from, "src")
            && is(&self.to, "dst")
    }
}

/// Whether a pod's name is one that the local mesh or Kubernetes gives to a replica of a workload: `web-0`,
/// `web-6d4f5c9b7d-x2w1p`, `night-29381234-abcde`.
pub(crate) fn is_replica(pod: &str, workload: &str) -> bool {
    let rest = pod
        .strip_prefix(workload)
        .and_then(|rest| rest.strip_prefix('-'));
    let Some(rest) = rest else { return false };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match rest.split_once('-') {
        None => digits(rest) || is_random(rest),
        Some((first, second)) => (is_random(first) || digits(first)) && is_random(second),
    }
}

/// Kubernetes' random words have no vowels and nothing that looks like one, so they hardly ever are words.
fn is_random(part: &str) -> bool {
    (4..=10).contains(&part.len())
        && part
            .bytes()
            .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
