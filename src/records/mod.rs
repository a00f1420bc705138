//! How records and workloads look to people.

pub(crate) mod filter;
pub(crate) mod pair;
pub(crate) mod print;
pub(crate) mod table;

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};

/// What is wrong.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// What was refused.
const DENIED: Style = AnsiColor::Red.on_default();
/// What works.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What takes its time.
pub(crate) const WAITING: Style = AnsiColor::Yellow.on_default();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();

/// One record as one line; a refusal, a failure and what will not stay as it is have a second one, which says why.
///
/// `out` is the calling workload's side of a connection, `in` the called one's, `i+o` both. The rule, which may be of any
/// length, stands last, or below where the terminal is too narrow.
pub(crate) fn text(record: &Map<String, Value>, columns: Option<usize>) -> String {
    let field = |key: &str| record.get(key).map(plain).unwrap_or_default();
    let side = match field("direction").as_str() {
        "inbound" => "in",
        "outbound" => "out",
        pair::BOTH => "i+o",
        _ => "",
    };
    let denied = is_denied(record);
    let style = if denied { DENIED } else { Style::new() };
    let (on, off) = (style.render(), style.render_reset());
    let (dim, undim) = (DIM.render(), DIM.render_reset());
    let mut line = format!(
        "{dim}{}{undim} {on}{:<10}{off} {side:<3} {:<16} → {:<20}",
        clock(&field("time")),
        field("event"),
        source(record),
        destination(record),
    );
    if denied {
        let why = why(record, denied).map(|why| format!("\n{INDENT}{on}└ {why}{off}"));
        return line.trim_end().to_owned() + &why.unwrap_or_default();
    }
    line.push_str(&format!(
        " ↑{:<8} ↓{:<8} {:>8}",
        bytes(&field("bytes_sent")),
        bytes(&field("bytes_recv")),
        duration(&field("duration_ms")),
    ));
    let (warn, unwarn) = (WAITING.render(), WAITING.render_reset());
    let closer = field("close.by");
    if !matches!(closer.as_str(), "" | "client" | "server" | "error") {
        line.push_str(&format!("  {warn}closed by {closer}{unwarn}"));
    }
    let rule = field("policy.rule");
    let width = anstream::adapter::strip_str(&line)
        .to_string()
        .chars()
        .count();
    if !rule.is_empty() {
        let fits = columns.is_none_or(|columns| width + 2 + rule.chars().count() <= columns);
        let gap = if fits {
            "  ".to_owned()
        } else {
            format!("\n{INDENT}└ ")
        };
        line.push_str(&format!(
            "{gap}{}{rule}{}",
            GOOD.render(),
            GOOD.render_reset()
        ));
    }
    if let Some(why) = why(record, denied) {
        line.push_str(&format!("\n{INDENT}{warn}└ {why}{unwarn}"));
    }
    line
}

/// As wide as the time, so that second lines stand below the event.
const INDENT: &str = "             ";

/// How wide the terminal is; none where stdout is none.
pub(crate) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then(|| size.ws_col.into())
}

/// The reason of a refusal or of a failure, with what came nearest to an allowance; what shadow hides, and until when
/// somebody is let in.
fn why(record: &Map<String, Value>, denied: bool) -> Option<String> {
    let field = |key: &str| record.get(key).map(plain).filter(|text| !text.is_empty());
    let mut parts: Vec<String> = Vec::new();
    let reason = field("policy.reason").filter(|_| denied);
    if let Some(reason) = &reason {
        parts.push(match field("policy.rule") {
            Some(rule) if reason == "rule" => format!("{rule} denies it"),
            _ => in_words(reason),
        });
    }
    parts.extend(
        field("error")
            .filter(|e| Some(e) != reason.as_ref())
            .map(|e| in_words(&e)),
    );
    if !denied && field("policy.mode").is_some_and(|mode| mode == "shadow") {
        parts.push("let in by shadow: no rule allows it".to_owned());
    }
    parts.extend(
        field("policy.near_miss").map(|miss| match miss.rsplit_once(": ") {
            Some((rule, differs)) => format!("nearest: {rule}, but for its {differs}"),
            None => format!("nearest: {miss}"),
        }),
    );
    parts.extend(
        field("policy.shadow").map(|shadow| match shadow.split_once(' ') {
            Some(("deny", rule)) => format!("{rule} would deny it, but for shadow"),
            Some(("allow", rule)) => format!("{rule} would allow it, but for shadow"),
            Some(_) | None => format!("in shadow: {shadow}"),
        }),
    );
    if let Some(end) = field("policy.expires") {
        let because = field("policy.because").map(|why| format!(": {why}"));
        parts.push(format!("let in until {end}{}", because.unwrap_or_default()));
    }
    let several = field("count").filter(|count| *count != "1");
    parts.extend(several.map(|count| format!("{count} times")));
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The words of records, where a person would not understand them as they are.
pub(crate) fn in_words(reason: &str) -> String {
    let words = match reason {
        "no_rule" => "no rule allows it",
        "rule" => "a rule denies it",
        "denied" => "the called side denies it",
        "not_ready" => "the proxy is not ready",
        "connect" => "the application could not be reached",
        "unreachable" => "the destination could not be reached",
        "peer_connect" => "the called side could not reach its application",
        "cut" => "the handshake was cut",
        "refused_by_peer" => "the other side refused the handshake",
        "no_policy" => "there is no policy yet",
        "not_understood" => "a rule was not understood, and closes what it protects",
        "untrusted" => "the caller's authority is no longer trusted",
        "unknown_address" => "nothing is known of the address",
        "no_such_port" => "the service has no such port",
        "no_endpoint" => "the service has no endpoint",
        "own_port" => "the port is the proxy's own",
        "not_our_address" => "the address is not this pod's",
        "not_mesh_peer" => "a meshed caller did not begin a mesh handshake",
        "not_mesh" => "the other side does not speak the mesh's protocol",
        "many_uri_names" => "the certificate has more than one URI name",
        "no_uri_name" => "the certificate has no URI name",
        "leaf_is_authority" => "the certificate is an authority's",
        "unexpected_identity" => "somebody else answered than was expected",
        other => return other.replace('_', " "),
    };
    words.to_owned()
}

/// Whether a connection was refused.
pub(crate) fn is_denied(record: &Map<String, Value>) -> bool {
    let is = |key: &str, value: &str| record.get(key).is_some_and(|v| v == value);
    is("event", "denied") || is("event", "tls_failed") || is("policy.decision", "deny")
}

/// Whether a record is of a workload: `web`, `web-0`, `shop/web` or `shop/web-0`.
pub(crate) fn is_of(record: &Map<String, Value>, asked: &str) -> bool {
    let workload = record.get("workload").map(plain).unwrap_or_default();
    let Some((namespace, pod)) = workload.split_once('/') else {
        return false;
    };
    let (wanted, name) = match asked.split_once('/') {
        Some((wanted, name)) => (Some(wanted), name),
        None => (None, asked),
    };
    let replica_of = pod.rsplit_once('-').map(|(workload, _)| workload);
    wanted.is_none_or(|wanted| wanted == namespace) && (name == pod || Some(name) == replica_of)
}

fn source(record: &Map<String, Value>) -> String {
    let workload = workload_of(record, "src");
    workload
        .or_else(|| identity_of(record, "src", "dst"))
        .or_else(|| field_of(record, "src.addr"))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn destination(record: &Map<String, Value>) -> String {
    let name = field_of(record, "dst.service")
        .or_else(|| workload_of(record, "dst"))
        .or_else(|| identity_of(record, "dst", "src"))
        .or_else(|| field_of(record, "dst.addr"))
        .unwrap_or_else(|| "unknown".to_owned());
    match field_of(record, "dst.port") {
        Some(port) if !name.ends_with(&format!(":{port}")) => format!("{name}:{port}"),
        _ => name,
    }
}

pub(crate) fn field_of(record: &Map<String, Value>, key: &str) -> Option<String> {
    record.get(key).map(plain).filter(|text| !text.is_empty())
}

/// `shop/web-0`, as `palisade ps` names it.
fn workload_of(record: &Map<String, Value>, end: &str) -> Option<String> {
    let name = field_of(record, &format!("{end}.workload"))?;
    match field_of(record, &format!("{end}.namespace")) {
        Some(namespace) => Some(format!("{namespace}/{name}")),
        None => Some(name),
    }
}

/// Of `spiffe://cluster.local/ns/shop/sa/web` what tells callers apart, `shop/web`, unless the trust domain
/// does: one that is not the other end's is shown.
fn identity_of(record: &Map<String, Value>, end: &str, other: &str) -> Option<String> {
    let identity = field_of(record, &format!("{end}.identity"))?;
    let other = field_of(record, &format!("{other}.identity"));
    let short = other.as_deref().and_then(parts_of).zip(parts_of(&identity));
    Some(match short {
        Some(((theirs, ..), (own, namespace, account))) if theirs == own => {
            format!("{namespace}/{account}")
        }
        _ => identity,
    })
}

/// Trust domain, namespace and service account.
fn parts_of(identity: &str) -> Option<(&str, &str, &str)> {
    let (domain, rest) = identity.strip_prefix("spiffe://")?.split_once("/ns/")?;
    let (namespace, account) = rest.split_once("/sa/")?;
    Some((domain, namespace, account))
}

/// A value as people write it: text without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Of `2026-11-20T12:43:01.123456Z` the time of day, to the millisecond.
fn clock(time: &str) -> String {
    let of_day = time.split_once('T').map_or(time, |(_, of_day)| of_day);
    let of_day = of_day.trim_end_matches('Z');
    format!("{:<12}", of_day.get(..12).unwrap_or(of_day))
}

fn bytes(count: &str) -> String {
    let Ok(count) = count.parse::<u64>() else {
        return "0 B".to_owned();
    };
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        let tenths = count.saturating_mul(10) >> shift;
        if tenths >= 1000 {
            return format!("{} {unit}", tenths / 10);
        }
        if tenths >= 10 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

fn duration(milliseconds: &str) -> String {
    let whole = milliseconds.split('.').next().unwrap_or_default();
    match whole.parse::<u64>() {
        Ok(ms) if ms >= 3_600_000 => format!("{}h {}m", ms / 3_600_000, ms / 60_000 % 60),
        Ok(ms) if ms >= 60_000 => format!("{}m {}s", ms / 60_000, ms / 1000 % 60),
        Ok(ms) if ms >= 1000 => format!("{}.{} s", ms / 1000, ms / 100 % 10),
        _ => format!("{milliseconds} ms"),
    }
}

#[cfg(test)]
mod tests;
