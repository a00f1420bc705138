//! What holds for every text, whoever wrote it.
//!
//! Only what the crate shows is used here, as `tests/fuzz` has this module, too.

use std::net::{IpAddr, Ipv4Addr};

use time::OffsetDateTime;
use time::macros::datetime;

use crate::manifest::{
    Diagnostic, Known, Manifest, ObjectDiagnostic, against, check_object, parse, print, read,
    read_all, read_all_tests, read_tests,
};
use crate::policy::{AuthorizationPolicy, Destination, Policy, Source};
use crate::spiffe::SpiffeId;
use crate::workload::NamespaceSettings;

/// Reads a text in every way there is, and asks what it says.
pub(super) fn held(text: &str) {
    let (all, tests) = (read_all("f", text), read_all_tests("f", text));
    let lines = text.replace("\r\n", "\n");
    let lines: Vec<&str> = lines.split(['\n', '\r']).collect();
    for diagnostic in all.mistakes.iter().chain(&tests.mistakes) {
        is_told(diagnostic, &lines, text);
    }
    let mut known = Known::default();
    known.learn(&all.documents);
    for documents in [&all.documents, &all.doubtful] {
        for diagnostic in against(documents, &known, OffsetDateTime::UNIX_EPOCH) {
            is_told(&diagnostic, &lines, text);
        }
    }
    // As an object, where it is one document.
    // As YAML 1.2 has it. To readers of 1.1, as kubectl is one, `n` and `0_1` are no text: the API server refuses them then.
    let core_schema = serde_saphyr::options! {
        leading_zero_numbers_as_strings: true,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
    };
    let json = serde_saphyr::from_str_with_options::<serde_json::Value>(text, core_schema);
    let json = json.map(|json| json.to_string());
    let object = check_object(json.as_deref().unwrap_or(text));
    if let Err(found) = &object {
        let has_remedy = |one: &ObjectDiagnostic| !one.message.is_empty() && !one.remedy.is_empty();
        assert!(found.iter().all(has_remedy), "{found:?}");
    }
    // Good is only what nothing is said of, and a text means one thing.
    let is_good = all.mistakes.is_empty();
    assert!(!is_good || all.doubtful.is_empty(), "{:?}", all.doubtful);
    let documents = is_good.then_some(all.documents).ok_or(all.mistakes);
    assert_eq!(read("f", text), documents);
    let is_good = tests.mistakes.is_empty();
    let tests = is_good.then_some(tests.tests).ok_or(tests.mistakes);
    assert_eq!(read_tests("f", text), tests);
    // A policy is the same to the API server.
    if let (Ok([document]), Ok(_)) = (documents.as_deref(), json)
        && let Manifest::Policy(_) = document.manifest
    {
        assert_eq!(object.as_ref(), Ok(&document.manifest), "{text}");
    }
    let mut policies = Vec::new();
    for document in documents.into_iter().flatten() {
        if let Manifest::Policy(policy) = document.manifest {
            let printed = print(&policy);
            let again = parse("f", &printed);
            assert_eq!(
                again,
                Ok(vec![Manifest::Policy(policy.clone())]),
                "{printed}"
            );
            policies.push(policy);
        }
    }
    asked(policies);
}

/// A mistake has a place in the text and a remedy, and can be shown on a terminal.
fn is_told(diagnostic: &Diagnostic, lines: &[&str], text: &str) {
    let before = usize::try_from(diagnostic.line).unwrap().checked_sub(1);
    let line = before.and_then(|before| lines.get(before));
    let columns = line.map(|line| u64::try_from(line.chars().count()).unwrap() + 1);
    let is_in_text = columns.is_some_and(|columns| (1..=columns).contains(&diagnostic.column));
    assert!(is_in_text, "{diagnostic} is not in {text:?}");
    assert!(!diagnostic.message.is_empty() && !diagnostic.remedy.is_empty());
    for shown in [
        diagnostic.to_string(),
        diagnostic.snippet(text, 80).to_string(),
    ] {
        let is_fit = |c: char| c == '\n' || !c.is_control();
        assert!(shown.chars().all(is_fit), "{shown:?}");
    }
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
