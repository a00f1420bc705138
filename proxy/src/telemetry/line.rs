//! One event of one connection as one line.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::facts::{End, Facts};
use crate::outcome::Event;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line. The default.
    #[default]
    Json,
    /// One aligned line for people.
    Text,
}

/// What an event adds to the facts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Happening {
    pub(super) event: Event,
    pub(super) at: OffsetDateTime,
    pub(super) bytes_sent: u64,
    pub(super) bytes_recv: u64,
    pub(super) duration_ms: u64,
    pub(super) close_by: Option<&'static str>,
    pub(super) error: Option<&'static str>,
    pub(super) count: Option<u32>,
}

/// The line, with its end.
pub(super) fn render(format: Format, facts: &Facts, happening: &Happening) -> Vec<u8> {
    let line = Line::of(facts, happening);
    let mut bytes = Vec::with_capacity(TYPICAL_LINE_BYTES);
    match format {
        // Writing plain strings and numbers to memory cannot fail; if it ever did, a line that is cut off
        // is more honest than none.
        Format::Json => drop(serde_json::to_writer(&mut bytes, &line)),
        Format::Text => bytes.extend_from_slice(line.text().as_bytes()),
    }
    bytes.push(b'\n');
    bytes
}

/// The keys of a record, in their order. What is not known is not there.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    #[serde(rename = "conn.id")]
    conn_id: String,
    direction: &'static str,
    #[serde(rename = "src.addr")]
    src_addr: String,
    #[serde(rename = "src.identity", skip_serializing_if = "Option::is_none")]
    src_identity: Option<&'a str>,
    #[serde(rename = "src.workload", skip_serializing_if = "Option::is_none")]
    src_workload: Option<&'a str>,
    #[serde(rename = "src.namespace", skip_serializing_if = "Option::is_none")]
    src_namespace: Option<&'a str>,
    #[serde(rename = "src.claimed", skip_serializing_if = "Option::is_none")]
    src_claimed: Option<&'a str>,
    #[serde(rename = "dst.addr")]
    dst_addr: String,
    #[serde(rename = "dst.identity", skip_serializing_if = "Option::is_none")]
    dst_identity: Option<&'a str>,
    #[serde(rename = "dst.workload", skip_serializing_if = "Option::is_none")]
    dst_workload: Option<&'a str>,
    #[serde(rename = "dst.namespace", skip_serializing_if = "Option::is_none")]
    dst_namespace: Option<&'a str>,
    #[serde(rename = "dst.service", skip_serializing_if = "Option::is_none")]
    dst_service: Option<&'a str>,
    #[serde(rename = "dst.port")]
    dst_port: u16,
    #[serde(rename = "tls.version", skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(rename = "tls.group", skip_serializing_if = "Option::is_none")]
    tls_group: Option<&'static str>,
    #[serde(rename = "tls.peer_serial", skip_serializing_if = "Option::is_none")]
    tls_peer_serial: Option<&'a str>,
    #[serde(rename = "tls.peer_not_after", skip_serializing_if = "Option::is_none")]
    tls_peer_not_after: Option<String>,
    #[serde(rename = "policy.decision", skip_serializing_if = "Option::is_none")]
    policy_decision: Option<&'static str>,
    #[serde(rename = "policy.mode", skip_serializing_if = "Option::is_none")]
    policy_mode: Option<&'static str>,
    #[serde(rename = "policy.rule", skip_serializing_if = "Option::is_none")]
    policy_rule: Option<&'a str>,
    #[serde(rename = "policy.revision", skip_serializing_if = "Option::is_none")]
    policy_revision: Option<u64>,
    #[serde(rename = "policy.reason", skip_serializing_if = "Option::is_none")]
    policy_reason: Option<&'a str>,
    #[serde(rename = "policy.near_miss", skip_serializing_if = "Option::is_none")]
    policy_near_miss: Option<&'a str>,
    #[serde(rename = "policy.shadow", skip_serializing_if = "Option::is_none")]
    policy_shadow: Option<&'a str>,
    #[serde(rename = "policy.expires", skip_serializing_if = "Option::is_none")]
    policy_expires: Option<String>,
    #[serde(rename = "policy.because", skip_serializing_if = "Option::is_none")]
    policy_because: Option<&'a str>,
    bytes_sent: u64,
    bytes_recv: u64,
    duration_ms: u64,
    #[serde(rename = "close.by", skip_serializing_if = "Option::is_none")]
    close_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

impl<'a> Line<'a> {
    fn of(facts: &'a Facts, happening: &Happening) -> Self {
        let tls = facts.tls.as_deref();
        let policy = facts.policy.as_deref();
        Self {
            time: timestamp(happening.at),
            event: happening.event.as_str(),
            conn_id: facts.conn_id.to_string(),
            direction: facts.direction.as_str(),
            src_addr: facts.src.addr.to_string(),
            src_identity: identity(&facts.src),
            src_workload: facts.src.workload.as_deref(),
            src_namespace: facts.src.namespace(),
            src_claimed: facts.src_claimed.as_deref(),
            dst_addr: facts.dst.addr.to_string(),
            dst_identity: identity(&facts.dst),
            dst_workload: facts.dst.workload.as_deref(),
            dst_namespace: facts.dst.namespace(),
            dst_service: facts.dst_service.as_deref(),
            dst_port: facts.dst.addr.port(),
            tls_version: tls.map(|tls| tls.version),
            tls_group: tls.map(|tls| tls.group),
            tls_peer_serial: tls.map(|tls| &*tls.peer_serial),
            tls_peer_not_after: tls.map(|tls| timestamp(tls.peer_not_after)),
            policy_decision: policy.and_then(|policy| policy.decision),
            policy_mode: policy.and_then(|policy| policy.mode),
            policy_rule: policy.and_then(|policy| policy.rule.as_deref()),
            policy_revision: policy.and_then(|policy| policy.revision),
            policy_reason: policy.map(|policy| &*policy.reason),
            policy_near_miss: policy.and_then(|policy| policy.near_miss.as_deref()),
            policy_shadow: policy.and_then(|policy| policy.shadow.as_deref()),
            policy_expires: policy.and_then(|policy| policy.expires).map(timestamp),
            policy_because: policy.and_then(|policy| policy.because.as_deref()),
            bytes_sent: happening.bytes_sent,
            bytes_recv: happening.bytes_recv,
            duration_ms: happening.duration_ms,
            close_by: happening.close_by,
            error: happening.error,
            count: happening.count,
        }
    }

    fn text(&self) -> String {
        let src = named(
            self.src_namespace,
            self.src_workload,
            self.src_identity,
            &self.src_addr,
        );
        let dst = match self.dst_service {
            Some(service) => format!("{service}:{}", self.dst_port),
            None => named(
                self.dst_namespace,
                self.dst_workload,
                self.dst_identity,
                &self.dst_addr,
            ),
        };
        let mut text = format!(
            "{} {:<10} {:<8} {src:<24} -> {dst:<24}",
            self.time, self.event, self.direction
        );
        for (key, value) in [
            ("policy", self.policy_decision),
            ("mode", self.policy_mode.filter(|mode| *mode != "enforce")),
            ("rule", self.policy_rule),
            (
                "reason",
                self.policy_reason.filter(|reason| *reason != "rule"),
            ),
            ("near_miss", self.policy_near_miss),
            ("shadow", self.policy_shadow),
            ("expires", self.policy_expires.as_deref()),
            ("because", self.policy_because),
            ("close.by", self.close_by),
            ("error", self.error),
        ] {
            if let Some(value) = value {
                append(&mut text, key, value);
            }
        }
        append(&mut text, "sent", self.bytes_sent);
        append(&mut text, "recv", self.bytes_recv);
        append(&mut text, "ms", self.duration_ms);
        if let Some(count) = self.count {
            append(&mut text, "count", count);
        }
        append(&mut text, "id", &self.conn_id);
        text
    }
}

/// The shortest name that says who it is.
fn named(
    namespace: Option<&str>,
    workload: Option<&str>,
    identity: Option<&str>,
    addr: &str,
) -> String {
    match (namespace, workload, identity) {
        (Some(namespace), Some(workload), _) => format!("{namespace}/{workload}"),
        (_, _, Some(identity)) => identity.to_owned(),
        _ => addr.to_owned(),
    }
}

fn append(text: &mut String, key: &str, value: impl std::fmt::Display) {
    text.push_str(&format!(" {key}={value}"));
}

fn identity(end: &End) -> Option<&str> {
    end.identity
        .as_ref()
        .map(palisade_api::spiffe::SpiffeId::as_str)
}

/// RFC 3339, UTC, milliseconds.
fn timestamp(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(TIMESTAMP)
        .unwrap_or_default()
}

const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const TYPICAL_LINE_BYTES: usize = 1024;
