//! One event of one connection as one line.

use time::{OffsetDateTime, UtcOffset};

use super::facts::{End, Facts};
use super::object::Object;
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

/// Appends the line, with its end.
pub(super) fn render(format: Format, facts: &Facts, happening: &Happening, bytes: &mut Vec<u8>) {
    let line = Line::of(facts, happening);
    match format {
        Format::Json => line.json(bytes),
        Format::Text => bytes.extend_from_slice(line.text().as_bytes()),
    }
    bytes.push(b'\n');
}

/// What a record says. What is not known is not there.
#[derive(Debug)]
struct Line<'a> {
    time: String,
    event: &'static str,
    conn_id: String,
    direction: &'static str,
    src_addr: String,
    src_identity: Option<&'a str>,
    src_workload: Option<&'a str>,
    src_namespace: Option<&'a str>,
    src_claimed: Option<&'a str>,
    dst_addr: String,
    dst_identity: Option<&'a str>,
    dst_workload: Option<&'a str>,
    dst_namespace: Option<&'a str>,
    dst_service: Option<&'a str>,
    dst_port: u16,
    tls_version: Option<&'static str>,
    tls_group: Option<&'static str>,
    tls_peer_serial: Option<&'a str>,
    tls_peer_not_after: Option<String>,
    policy_decision: Option<&'static str>,
    policy_mode: Option<&'static str>,
    policy_rule: Option<&'a str>,
    policy_revision: Option<u64>,
    policy_reason: Option<&'a str>,
    policy_near_miss: Option<&'a str>,
    policy_shadow: Option<&'a str>,
    policy_expires: Option<String>,
    policy_because: Option<&'a str>,
    bytes_sent: u64,
    bytes_recv: u64,
    duration_ms: u64,
    close_by: Option<&'static str>,
    error: Option<&'static str>,
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

    /// The keys, in their order.
    fn json(&self, bytes: &mut Vec<u8>) {
        let mut object = Object::begin(bytes);
        object.text("time", &*self.time);
        object.text("event", self.event);
        object.text("conn.id", &*self.conn_id);
        object.text("direction", self.direction);
        object.text("src.addr", &*self.src_addr);
        object.text("src.identity", self.src_identity);
        object.text("src.workload", self.src_workload);
        object.text("src.namespace", self.src_namespace);
        object.text("src.claimed", self.src_claimed);
        object.text("dst.addr", &*self.dst_addr);
        object.text("dst.identity", self.dst_identity);
        object.text("dst.workload", self.dst_workload);
        object.text("dst.namespace", self.dst_namespace);
        object.text("dst.service", self.dst_service);
        object.number("dst.port", u64::from(self.dst_port));
        object.text("tls.version", self.tls_version);
        object.text("tls.group", self.tls_group);
        object.text("tls.peer_serial", self.tls_peer_serial);
        object.text("tls.peer_not_after", self.tls_peer_not_after.as_deref());
        object.text("policy.decision", self.policy_decision);
        object.text("policy.mode", self.policy_mode);
        object.text("policy.rule", self.policy_rule);
        object.number("policy.revision", self.policy_revision);
        object.text("policy.reason", self.policy_reason);
        object.text("policy.near_miss", self.policy_near_miss);
        object.text("policy.shadow", self.policy_shadow);
        object.text("policy.expires", self.policy_expires.as_deref());
        object.text("policy.because", self.policy_because);
        object.number("bytes_sent", self.bytes_sent);
        object.number("bytes_recv", self.bytes_recv);
        object.number("duration_ms", self.duration_ms);
        object.text("close.by", self.close_by);
        object.text("error", self.error);
        object.number("count", self.count.map(u64::from));
        object.end();
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
    let at = at.to_offset(UtcOffset::UTC);
    let mut text = String::with_capacity(TIMESTAMP_BYTES);
    for (number, digits, end) in [
        (at.year().unsigned_abs(), 4, '-'),
        (u8::from(at.month()).into(), 2, '-'),
        (at.day().into(), 2, 'T'),
        (at.hour().into(), 2, ':'),
        (at.minute().into(), 2, ':'),
        (at.second().into(), 2, '.'),
        (at.millisecond().into(), 3, 'Z'),
    ] {
        for place in (0..digits).rev() {
            let digit = number / 10_u32.pow(place) % 10;
            text.extend(char::from_digit(digit, 10));
        }
        text.push(end);
    }
    text
}

const TIMESTAMP_BYTES: usize = "2026-11-21T12:44:16.123Z".len();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::format_description;

    use super::*;

    proptest! {
        #[test]
        fn a_timestamp_is_rfc_3339(second in 0_i64..253_402_300_800, nanosecond in 0_i64..1_000_000_000) {
            let format = format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            );
            let at = OffsetDateTime::from_unix_timestamp(second).unwrap()
                + time::Duration::nanoseconds(nanosecond);
            prop_assert_eq!(timestamp(at), at.format(format).unwrap());
        }
    }
}
