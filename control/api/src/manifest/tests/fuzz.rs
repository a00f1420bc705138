//! Texts that nobody wrote: nothing panics, every mistake has a place in the text, and what is taken means one thing.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::held::held;
use super::*;

/// What texts are broken with: pieces of YAML, of our language, and of neither.
const PIECES: [&str; 40] = [
    "\n",
    "  ",
    "    ",
    "- ",
    ": ",
    ":",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "!!str ",
    "? ",
    "---\n",
    "...\n",
    "# ",
    "<<: ",
    "null",
    "true",
    "0x10",
    "1e3",
    "-1",
    "65536",
    "9000-8000",
    "2026-02-30T00:00:00Z",
    "spiffe://",
    "spiffe://a/ns/b/sa/c",
    "10.0.0.0/33",
    "::ffff:1.2.3.4/128",
    "serviceAccount: ",
    "kind: PolicyTest\n",
    "\u{0}",
    "\u{202e}",
    "\u{1f600}",
];

/// What stands in the first two lines of every document, and what people write instead.
const HEADS: [(&str, &str); 4] = [
    ("v1alpha1", "v1"),
    ("palisade.dev/v1alpha1", "{}"),
    ("apiVersion", "apiversion"),
    ("kind: ", "kind: x"),
];

/// One change to a text, at any place of it.
#[derive(Debug, Clone)]
enum Change {
    Insert(Index, &'static str),
    Remove(Index, usize),
    /// A line once more, elsewhere.
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), 1..12_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), any::<Index>()).prop_map(|(line, at)| Change::Repeat(line, at)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for change in changes {
        let length = characters.len() + 1;
        match change {
            Change::Insert(at, piece) => {
                let at = at.index(length);
                characters.splice(at..at, piece.chars());
            }
            Change::Remove(at, count) => {
                let at = at.index(length);
                let end = (at + count).min(characters.len());
                characters.drain(at..end);
            }
            Change::Repeat(line, at) => {
                let text: String = characters.iter().collect();
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                if let Some(line) = (!lines.is_empty()).then(|| lines[line.index(lines.len())]) {
                    let at = at.index(length);
                    characters.splice(at..at, line.chars());
                }
            }
        }
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn good_documents_that_were_broken(
        document in select(vec![POLICY, CLUSTER, WORKLOAD, SERVICE, lists::LIST]),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        held(&changed(document, &changes));
    }

    #[test]
    fn what_is_wrong_around_a_document_makes_nothing_good_and_hides_nothing(
        document in select(vec![POLICY, CLUSTER, WORKLOAD, SERVICE, NAMESPACE, REVOCATIONS, BUNDLE]),
        (good, bad) in select(&HEADS[..]),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        let (head, body) = document.split_at(document.match_indices('\n').nth(1).unwrap().0 + 1);
        // Behind a comment, nothing is part of the head any more.
        let body = format!("#\n{}", changed(body, &changes));
        let (right, wrong) = ([head, &body].concat(), [&head.replace(good, bad), &*body].concat());
        held(&wrong);
        prop_assert_ne!(&right, &wrong);
        let all = read_all("f", &wrong);
        prop_assert!(!all.documents.iter().any(|document| document.line == 1), "{:?}", all.documents);
        for mistake in read_all("f", &right).mistakes {
            let told = all.mistakes.contains(&mistake);
            prop_assert!(told, "{mistake} is not told of:\n{wrong}\nbut: {:?}", all.mistakes);
        }
    }

    #[test]
    fn pieces_in_any_order(pieces in prop::collection::vec(select(&PIECES[..]), 0..40)) {
        held(&pieces.concat());
    }

    #[test]
    fn any_text(text in any::<String>()) {
        held(&text);
    }
}
