//! YAML itself, and texts that nobody would write.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

#[test]
fn what_is_no_yaml_or_could_be_read_in_two_ways_is_refused() {
    let yaml =
        "write it as YAML 1.2: spaces for indentation, quotes around text with special characters";
    for (text, expected) in [
        ("a: b: c", format!("f:1:5: mapping values are not allowed in this context; {yaml}")),
        ("a: [1", format!("f:1:4: unclosed bracket '['; {yaml}")),
        ("a: *b", format!("f:1:4: reference to unknown value; {yaml}")),
        ("a: .nan", format!("f:1:4: value `.nan` is not a finite number; {yaml}")),
        ("? [a]\n: b", format!("f:1:3: expected string scalar; {yaml}")),
        ("a: 1\na: 2", "f:2:1: duplicate mapping key `a` is not allowed here; write each field once".to_owned()),
        ("b:\n  1: a\n  \"1\": b", "f:3:3: the field \"1\" is there twice; write each field once".to_owned()),
        ("x: &a {b: 1}\ny:\n  <<: *a", "f:3:3: merge key not allowed here; write the fields themselves".to_owned()),
        ("a: !thing 1", "f:1:11: unsupported tag `!thing`; write the value without a tag".to_owned()),
        (
            "- 1",
            "f:1:1: `document` is a list, not fields; write `apiVersion:`, `kind:`, `metadata:` or `spec:`".to_owned(),
        ),
    ] {
        assert_eq!(said(text), expected, "{text:?}");
    }
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let levels = (1..12).map(|level| {
        let many = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{many}]\n")
    });
    let bomb: String = std::iter::once("a0: &a0 x\n".to_owned())
        .chain(levels)
        .collect();
    assert!(parse("f", &bomb).is_err());
    assert!(parse("f", &"[".repeat(100_000)).is_err());
    assert!(parse("f", &"{a: ".repeat(100_000)).is_err());
}

#[test]
fn what_is_quoted_from_a_file_cannot_write_to_a_terminal() {
    let text = POLICY.replace("kind: AuthorizationPolicy", "kind: \"\\e[2J\"");
    assert!(
        said(&text).starts_with("f:2:7: there is no kind \"\\u{1b}[2J\";"),
        "{}",
        said(&text)
    );
    let long = POLICY.replace(
        "kind: AuthorizationPolicy",
        &format!("kind: {}", "é".repeat(500)),
    );
    assert!(
        said(&long).contains(&format!("\"{}…\"", "é".repeat(100))),
        "{}",
        said(&long)
    );
}

fn document() -> impl Strategy<Value = &'static str> {
    select(vec![
        POLICY,
        CLUSTER,
        WORKLOAD,
        SERVICE,
        NAMESPACE,
        REVOCATIONS,
        BUNDLE,
    ])
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        // Nothing means nothing; anything else is no object of ours.
        prop_assert!(parse("f", &text).is_ok_and(|all| all.is_empty()) || parse("f", &text).is_err());
    }

    #[test]
    fn no_yaml_makes_it_panic(text in "[a-c0-9:\\-\\[\\]{}&*!|>'\"#%@`?,~\n \t]{0,80}") {
        prop_assert!(parse("f", &text).is_ok_and(|all| all.is_empty()) || parse("f", &text).is_err());
    }

    #[test]
    fn no_damage_to_a_document_makes_it_panic_or_adds_a_document(
        text in document(), at in any::<prop::sample::Index>(), length in 0..12_usize, put in "[ -~\n]{0,6}",
    ) {
        let at = at.index(text.len());
        let end = text.len().min(at + length);
        let damaged = [&text[..at], &put, &text[end..]].concat();
        match parse("f", &damaged) {
            Ok(manifests) => prop_assert!(manifests.len() <= 1),
            Err(diagnostics) => {
                prop_assert!(!diagnostics.is_empty());
                for found in diagnostics {
                    prop_assert!(!found.message.is_empty() && !found.remedy.is_empty(), "{found}");
                    prop_assert!(!found.to_string().contains(|c: char| c.is_control()), "{found:?}");
                }
            }
        }
    }
}
