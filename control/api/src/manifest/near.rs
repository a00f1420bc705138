//! What somebody may have meant who wrote what does not exist.

/// The one of some words that is nearest to what was written, if one is near; of several as near, the first.
///
/// Letters left out, added, changed or swapped count; whether they are large or small does not.
pub(super) fn nearest<'a>(
    written: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = written.chars().count();
    // Nobody means a word by a text, and to compare them costs the product of their lengths.
    if length > LONGEST {
        return None;
    }
    let most = length.max(3) / 3;
    let written = written.to_lowercase();
    let near = words.into_iter().filter_map(|word| {
        if word.chars().count().abs_diff(length) > most {
            return None;
        }
        let distance = strsim::osa_distance(&written, &word.to_lowercase());
        (distance <= most).then_some((distance, word))
    });
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// "did you mean `web`?"
pub(super) fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// A longer name than this is that of a machine. In characters.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_near_and_another_word_is_not() {
        for (written, words, expected) in [
            ("form", &["from", "ports"][..], Some("from")),
            ("Allow", &["deny", "allow"], Some("allow")),
            ("wbe", &["web", "db"], Some("web")),
            ("ordres", &["order", "orders"], Some("orders")),
            (
                "serviceaccount",
                &["serviceAccount"],
                Some("serviceAccount"),
            ),
            (
                "AuthorisationPolicy",
                &["AuthorizationPolicy"],
                Some("AuthorizationPolicy"),
            ),
            ("webb", &["weba", "webc"], Some("weba")),
            ("web", &["db", "orders"], None),
            ("", &["a", "ab"], Some("a")),
            ("web", &[], None),
        ] {
            assert_eq!(
                nearest(written, words.iter().copied()),
                expected,
                "{written}"
            );
        }
        let long = "a".repeat(LONGEST + 1);
        assert_eq!(nearest(&long, [long.as_str()]), None);
    }
}
