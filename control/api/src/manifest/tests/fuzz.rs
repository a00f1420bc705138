//! Texts that nobody wrote: nothing panics, every mistake has a place in the text, and what is taken means one thing.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::policy::{Destination, Policy, Source};
use crate::workload::NamespaceSettings;

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

/// Reads a text in every way there is, and asks what it says.
fn held(text: &str) -> Result<(), TestCaseError> {
    let lines = u64::try_from(text.split(['\n', '\r']).count()).unwrap() + 1;
    for found in [read("f", text).err(), read_tests("f", text).err()] {
        for diagnostic in found.into_iter().flatten() {
            prop_assert!(diagnostic.line <= lines, "{diagnostic} of {lines} lines");
            prop_assert!(!diagnostic.message.is_empty() && !diagnostic.remedy.is_empty());
            for shown in [
                diagnostic.to_string(),
                diagnostic.snippet(text, 80).to_string(),
            ] {
                let is_fit = |c: char| c == '\n' || !c.is_control();
                prop_assert!(shown.chars().all(is_fit), "{shown:?}");
            }
        }
    }
    drop(check_object(text));
    // Good is only what nothing is said of.
    let all = read_all("f", text);
    prop_assert_eq!(all.mistakes.is_empty(), read("f", text).is_ok());
    let Ok(documents) = read("f", text) else {
        return Ok(());
    };
    prop_assert!(all.doubtful.is_empty(), "{:?}", all.doubtful);
    let mut policies = Vec::new();
    for document in documents {
        if let Manifest::Policy(policy) = document.manifest {
            let printed = print(&policy);
            let again = parse("f", &printed);
            prop_assert_eq!(
                again,
                Ok(vec![Manifest::Policy(policy.clone())]),
                "{}",
                printed
            );
            policies.push(policy);
        }
    }
    asked(policies);
    Ok(())
}

/// Whatever the rules are, and whoever asks: there is an answer, and it is the same twice.
fn asked(policies: Vec<AuthorizationPolicy>) {
    let trust_domain = "cluster.local".parse().unwrap();
    let ids = [
        "spiffe://cluster.local/ns/shop/sa/web",
        "spiffe://a/ns/b/sa/c",
        "spiffe://a/x",
    ];
    let ids: Vec<SpiffeId> = ids.iter().map(|id| id.parse().unwrap()).collect();
    let addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let sources = ids.iter().map(Source::Authenticated);
    let sources: Vec<_> = sources.chain([Source::Unauthenticated(addr)]).collect();
    let labels = [("app".to_owned(), "orders".to_owned())].into();
    let destination = Destination {
        namespace: "shop",
        service_account: "orders",
        labels: &labels,
        trust_domain: &trust_domain,
        settings: NamespaceSettings::default(),
    };
    let policy = Policy::new(policies);
    for source in sources {
        for port in [0, 1, 8080, u16::MAX] {
            for now in [OffsetDateTime::UNIX_EPOCH, datetime!(2030-01-01 0:00 UTC)] {
                let decided = policy.decide(source, &destination, port, now);
                assert_eq!(decided, policy.decide(source, &destination, port, now));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn good_documents_that_were_broken(
        document in select(vec![POLICY, CLUSTER, WORKLOAD, SERVICE, lists::LIST]),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        held(&changed(document, &changes))?;
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
        held(&wrong)?;
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
        held(&pieces.concat())?;
    }

    #[test]
    fn any_text(text in any::<String>()) {
        held(&text)?;
    }
}
