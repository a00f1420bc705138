//! What `iperf3 --json` says.

use serde_json::Value;

/// One run of `iperf3`.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    /// Gigabytes (10^9) that arrived.
    pub(crate) gigabytes: f64,
    pub(crate) gigabits_per_second: f64,
}

/// Reads it, or says why there is none.
pub(crate) fn parse(text: &str) -> Result<Report, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if let Some(error) = json.get("error").and_then(Value::as_str) {
        return Err(error.to_owned());
    }
    let received = |name| json.pointer(&format!("/end/sum_received/{name}"))?.as_f64();
    match (received("bytes"), received("bits_per_second")) {
        (Some(bytes), Some(bits_per_second)) if bytes > 0.0 => Ok(Report {
            gigabytes: bytes / 1e9,
            gigabits_per_second: bits_per_second / 1e9,
        }),
        _ => Err("nothing was received".to_owned()),
    }
}
