//! A flat JSON object, appended to a buffer. Every connection ends with one, so nothing is allocated for it.

/// An object of strings and numbers, in the order in which they are given.
pub(super) struct Object<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    pub(super) fn begin(bytes: &'a mut Vec<u8>) -> Self {
        bytes.push(b'{');
        Self { bytes }
    }

    /// A string, where there is one.
    pub(super) fn text<'b>(&mut self, key: &'static str, value: impl Into<Option<&'b str>>) {
        let Some(value) = value.into() else { return };
        self.key(key);
        if is_plain(value) {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(value.as_bytes());
            self.bytes.push(b'"');
        } else {
            // A string goes into memory: neither can fail.
            drop(serde_json::to_writer(&mut *self.bytes, value));
        }
    }

    /// A number, where there is one.
    pub(super) fn number(&mut self, key: &'static str, value: impl Into<Option<u64>>) {
        let Some(value) = value.into() else { return };
        self.key(key);
        drop(serde_json::to_writer(&mut *self.bytes, &value));
    }

    pub(super) fn end(self) {
        self.bytes.push(b'}');
    }

    /// Keys are ours, and plain.
    fn key(&mut self, key: &'static str) {
        if self.bytes.last() != Some(&b'{') {
            self.bytes.push(b',');
        }
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }
}

/// Whether `text` is in JSON as it is. All of it is looked at, which takes fewer steps than to stop early.
fn is_plain(text: &str) -> bool {
    let needs_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    !text
        .bytes()
        .fold(false, |found, byte| found | needs_escape(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn parsed(texts: &[(&'static str, Option<&str>)], number: u64) -> Value {
        let mut bytes = b"before ".to_vec();
        let mut object = Object::begin(&mut bytes);
        for (key, text) in texts {
            object.text(key, *text);
        }
        object.number("number", number);
        object.number("none", None);
        object.end();
        serde_json::from_slice(bytes.strip_prefix(b"before ").unwrap()).unwrap()
    }

    #[test]
    fn an_object_may_be_empty() {
        let mut bytes = Vec::new();
        Object::begin(&mut bytes).end();
        assert_eq!(bytes, b"{}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            first in "\\PC{0,40}|(?s).{0,40}|[{}\",:\\\\\u{0}-\u{1f}]{0,20}",
            second in proptest::option::of("(?s).{0,10}"),
            number: u64,
        ) {
            let read = parsed(&[("first", Some(&first)), ("second", second.as_deref())], number);
            let mut expected = serde_json::json!({"first": first, "number": number});
            if let Some(second) = second {
                expected["second"] = second.into();
            }
            prop_assert_eq!(read, expected);
        }
    }
}
