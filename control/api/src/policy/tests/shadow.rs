//! Migration: rules in shadow, permissive namespaces, a closing in shadow.

use super::*;

#[test]
fn a_rule_in_shadow_only_says_what_it_would_do() {
    let web = || account("shop", "web");
    let mode = closed(Some(("sa", Difference::Mode)));
    let would = |effect, rule| Some((effect, name(rule)));
    for (rules, verdict, shadowed) in [
        (
            vec![shadow(allow("sa", web()))],
            mode.clone(),
            would(Effect::Allow, "sa"),
        ),
        (
            vec![shadow(deny("sd", web())), allow("a", web())],
            allowed("a"),
            would(Effect::Deny, "sd"),
        ),
        (
            vec![shadow(allow("sa", web())), allow("a", web())],
            allowed("a"),
            None,
        ),
        (
            vec![shadow(allow("sa", web())), deny("d", web())],
            denied("d"),
            None,
        ),
        (
            vec![shadow(deny("sd", web())), deny("d", web())],
            denied("d"),
            None,
        ),
        (vec![shadow(deny("sd", web()))], closed(None), None),
        (
            vec![shadow(deny("sd", web())), shadow(allow("sa", web()))],
            mode,
            None,
        ),
        (
            vec![until(NOW, shadow(deny("sd", web()))), allow("a", web())],
            allowed("a"),
            None,
        ),
        (
            vec![on(&[(9, 9)], shadow(deny("sd", web()))), allow("a", web())],
            allowed("a"),
            None,
        ),
    ] {
        let decision = Decision {
            verdict,
            shadow: shadowed,
        };
        assert_eq!(ASKED.of(&[policy(rules.clone())]), decision, "{rules:?}");
    }
}

#[test]
fn a_permissive_namespace_lets_in_whom_no_rule_denies_and_who_has_no_identity() {
    let permissive = |source| Asked {
        source,
        settings: NamespaceSettings {
            mtls: Mtls::Permissive,
            ..ASKED.settings
        },
        ..ASKED
    };
    let everyone = || {
        policy(vec![
            allow("a", network("10.0.0.0/8")),
            shadow(deny("sd", network("10.9.0.0/16"))),
        ])
    };
    let open = Verdict::Allow(AllowReason::Permissive);
    let denial = policy(vec![deny("d", network("10.9.0.0/16"))]);
    assert_eq!(permissive("10.1.1.1").verdict(&[]), open);
    assert_eq!(permissive("fd70::1").verdict(&[]), open);
    assert_eq!(permissive("10.1.1.1").verdict(&[everyone()]), allowed("a"));
    assert_eq!(
        permissive("10.9.1.1").verdict(std::slice::from_ref(&denial)),
        denied("d")
    );
    assert_eq!(
        permissive("::ffff:10.9.1.1").verdict(&[denial]),
        denied("d")
    );
    assert_eq!(permissive(WEB).verdict(&[]), closed(None));
    let shadowed = permissive("10.9.1.1").of(&[everyone()]);
    assert_eq!(shadowed.shadow, Some((Effect::Deny, name("sd"))));
}

#[test]
fn a_closing_in_shadow_lets_in_whom_no_rule_denies() {
    let asked = Asked {
        settings: NamespaceSettings {
            closing: Closing::Shadow,
            ..ASKED.settings
        },
        ..ASKED
    };
    let open = |miss| Verdict::Allow(AllowReason::ClosingInShadow(near(miss)));
    let web = || account("shop", "web");
    assert_eq!(asked.verdict(&[]), open(None));
    assert_eq!(
        asked.verdict(&[policy(vec![deny("d", web())])]),
        denied("d")
    );
    assert_eq!(
        asked.verdict(&[policy(vec![allow("a", web())])]),
        allowed("a")
    );
    let near = asked.of(&[policy(vec![
        on(&[(1, 1)], allow("a", web())),
        shadow(deny("sd", web())),
    ])]);
    assert_eq!(near.verdict, open(Some(("a", Difference::Port))));
    assert_eq!(near.shadow, Some((Effect::Deny, name("sd"))));
}
