//! What `wrk --latency` says.

/// One run of `wrk`.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Connections and requests that failed, and answers other than 2xx and 3xx.
    pub(crate) errors: u64,
}

/// Reads it, or nothing where a part is missing.
pub(crate) fn parse(text: &str) -> Option<Report> {
    Some(Report {
        requests: before(text, " requests in ")?.parse().ok()?,
        per_second: after(text, "Requests/sec:")?.parse().ok()?,
        p50_us: microseconds(after(text, "50%")?)?,
        p99_us: microseconds(after(text, "99%")?)?,
        errors: socket_errors(text)
            + after(text, "Non-2xx or 3xx responses:")
                .map_or(0, |count| count.parse().unwrap_or(0)),
    })
}

/// The word behind these, on the line that begins with them.
fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let rest = |line: &'a str| line.trim_start().strip_prefix(words);
    text.lines().find_map(rest)?.split_whitespace().next()
}

fn before<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let line = |line: &'a str| Some(line.split_once(words)?.0.trim());
    text.lines().find_map(line)
}

/// `Socket errors: connect 0, read 3, write 0, timeout 2`, of which all are counted.
fn socket_errors(text: &str) -> u64 {
    let rest = |line: &str| {
        let counts = line.trim_start().strip_prefix("Socket errors:")?;
        let numbers = counts
            .split([' ', ','])
            .filter_map(|word| word.parse::<u64>().ok());
        Some(numbers.sum())
    };
    text.lines().find_map(rest).unwrap_or(0)
}

fn microseconds(time: &str) -> Option<f64> {
    let unit = time.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = time.split_at(unit);
    let scale = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 6e7,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}
