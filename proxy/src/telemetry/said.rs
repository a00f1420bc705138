//! What a peer says: bounded, and stripped of what could forge or hide a part of a record.

/// `text` without control and invisible characters, at most `MAX_SAID_BYTES` of it.
pub(super) fn said(text: &str) -> Box<str> {
    let mut kept = String::with_capacity(text.len().min(MAX_SAID_BYTES));
    for c in text.chars().filter(|c| !is_hidden(*c)) {
        if kept.len() + c.len_utf8() > MAX_SAID_BYTES {
            break;
        }
        kept.push(c);
    }
    kept.into_boxed_str()
}

/// Control characters, and those that a terminal shows as nothing or as a change of direction.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

const MAX_SAID_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_forge_a_line_is_gone() {
        for (text, kept) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("a\nb\r\0\u{1b}[31mc", "ab[31mc"),
            ("a\u{85}b\u{202e}c\u{2028}d\u{200b}", "abcd"),
            ("naïve ✓", "naïve ✓"),
        ] {
            assert_eq!(&*said(text), kept);
        }
    }

    proptest! {
        #[test]
        fn nothing_longer_and_nothing_hidden_passes(text in "\\PC{0,200}|(?s).{0,400}") {
            let kept = said(&text);
            prop_assert!(kept.len() <= MAX_SAID_BYTES);
            prop_assert!(!kept.chars().any(is_hidden));
        }
    }
}
