//! What the API server warns of beside its answers: an admission webhook's words, for one.

use http::{HeaderMap, Request};
use kube::Client;
use kube::client::Body;
use palisade_api::manifest::without_controls;
use tokio::sync::mpsc;

/// Warnings of the answers so far that were not taken yet.
#[derive(Debug)]
pub(super) struct Heard(mpsc::UnboundedReceiver<String>);

impl Heard {
    /// Takes them.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// A client that asks what another would, and hears the warnings of the answers. kube passes over them.
pub(super) fn hearing(client: Client) -> (Client, Heard) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, sender) = (client.clone(), sender.clone());
        async move {
            let answer = client.send(request).await?;
            for text in texts(answer.headers()) {
                // Nobody listens any more once the command ends.
                sender.send(text).ok();
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    (Client::new(service, namespace), Heard(receiver))
}

/// The warnings of one answer, fit for a terminal, and no more than people read.
fn texts(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(http::header::WARNING).into_iter();
    let all = values.flat_map(|value| parse(&String::from_utf8_lossy(value.as_bytes())));
    let mut texts: Vec<_> = all.map(|text| fit(&text)).collect();
    let more = texts.len().saturating_sub(MOST);
    texts.truncate(MOST);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts
}

fn fit(text: &str) -> String {
    let mut fit: String = text.chars().take(LONGEST).collect();
    if fit.len() < text.len() {
        fit.push('…');
    }
    without_controls(&fit)
}

/// The texts of a header: `299 - "text"`, of which there may be several, each with a date behind it. What follows
/// something else is passed over.
fn parse(header: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = header;
    while let Some((code, text, after)) = one(rest.trim_start()) {
        // Other codes are those of caches.
        if code == PERSISTENT && !text.is_empty() {
            texts.push(text);
        }
        let Some(next) = after.trim_start().strip_prefix(',') else {
            break;
        };
        rest = next;
    }
    texts
}

/// The code and the text of the first, and what is behind it.
fn one(header: &str) -> Option<(&str, String, &str)> {
    let (code, rest) = header.split_once(' ')?;
    let (_agent, rest) = rest.trim_start().split_once(' ')?;
    let (text, rest) = quoted(rest.trim_start())?;
    let rest = match quoted(rest.trim_start()) {
        Some((_date, rest)) => rest,
        None => rest,
    };
    Some((code, text, rest))
}

/// A text in quotes, and what is behind it. A backslash makes a letter of whatever follows it.
fn quoted(header: &str) -> Option<(String, &str)> {
    let mut chars = header.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((text, chars.as_str())),
            '\\' => text.push(chars.next()?),
            other => text.push(other),
        }
    }
}

/// The code of what the API server says.
const PERSISTENT: &str = "299";
/// Of one answer. The API server itself stops at 4 KiB.
const MOST: usize = 32;
/// In characters.
const LONGEST: usize = 1000;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn texts_are_taken_as_they_are_meant_and_others_passed_over() {
        let cases: [(&str, &[&str]); 9] = [
            (
                r#"299 - "no service account `wbe`""#,
                &["no service account `wbe`"],
            ),
            (
                r#"299 agent "say \"x\", \\ or not""#,
                &[r#"say "x", \ or not"#],
            ),
            (
                r#"299 - "a, b" "Sun, 22 Nov 2026 09:00:00 GMT", 299 - "c""#,
                &["a, b", "c"],
            ),
            (r#"199 - "a cache says", 299 - "b""#, &["b"]),
            (r#"299 - """#, &[]),
            (r#"299 - "no end"#, &[]),
            (r#"299 - "ends \"#, &[]),
            ("299", &[]),
            ("", &[]),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn nothing_that_is_sent_is_shown_without_bounds_or_to_a_terminal() {
        let mut headers = HeaderMap::new();
        let mut add = |text: &[u8]| {
            let value = [b"299 - \"", text, b"\""].concat();
            headers.append(
                http::header::WARNING,
                HeaderValue::from_bytes(&value).unwrap(),
            );
        };
        add("a\u{202e}b\u{9b}2J".as_bytes());
        add(b"\xff");
        add("é".repeat(LONGEST + 1).as_bytes());
        (0..MOST).for_each(|_| add(b"again"));
        let texts = texts(&headers);
        assert_eq!(texts.len(), MOST + 1);
        assert_eq!(texts[..2], ["a\u{fffd}b\u{fffd}2J", "\u{fffd}"]);
        assert_eq!(texts[2].chars().count(), LONGEST + 1);
        assert_eq!(texts[MOST], "and 3 more");
    }
}
