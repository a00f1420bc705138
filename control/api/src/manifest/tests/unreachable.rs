//! Allowances that a denial of the same policy overrules in full.

use super::*;

fn is_refused(denial: &str, allowance: &str) -> bool {
    let head = POLICY.split("  - name").next().unwrap();
    let text = format!("{head}  - {{name: a, {allowance}}}\n  - {{name: d, {denial}}}\n");
    match parse("f", &text) {
        Ok(_) => false,
        Err(diagnostics) => {
            let expected = "f:7:12: the rule `a` can never allow anything: `d` denies all of it; remove it, or narrow `d`";
            assert_eq!(shown(&diagnostics), expected);
            true
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn an_allowance_is_refused_if_one_denial_covers_it_whole() {
    let shop = "from: [{namespace: shop}]";
    let web = "from: [{serviceAccount: shop/web}]";
    let until = |month| format!("reason: x, expires: 2026-{month}-01T00:00:00Z");
    for (denial, allowance, refused) in [
        (shop.to_owned(), web.to_owned(), true),
        (web.to_owned(), shop.to_owned(), false),
        (
            shop.to_owned(),
            "from: [{serviceAccount: batch/web}]".to_owned(),
            false,
        ),
        (
            shop.to_owned(),
            "from: [{serviceAccount: shop/web}, {namespace: batch}]".to_owned(),
            false,
        ),
        (
            "from: [{trustDomain: a.test}]".to_owned(),
            "from: [{identity: spiffe://a.test/x}]".to_owned(),
            true,
        ),
        (
            "from: [{trustDomain: a.test}]".to_owned(),
            "from: [{identity: spiffe://b.test/x}]".to_owned(),
            false,
        ),
        (
            "from: [{trustDomain: a.test}]".to_owned(),
            web.to_owned(),
            false,
        ),
        (
            "from: [unauthenticated: {cidr: 10.0.0.0/8}]".to_owned(),
            "from: [unauthenticated: {cidr: 10.1.0.0/16}]".to_owned(),
            true,
        ),
        (
            "from: [unauthenticated: {cidr: 10.1.0.0/16}]".to_owned(),
            "from: [unauthenticated: {cidr: 10.0.0.0/8}]".to_owned(),
            false,
        ),
        (format!("{shop}, mode: shadow"), web.to_owned(), false),
        (shop.to_owned(), format!("{web}, mode: shadow"), true),
        (shop.to_owned(), format!("{web}, ports: [80]"), true),
        (format!("{shop}, ports: [80]"), web.to_owned(), false),
        (
            format!("{shop}, ports: [80-90]"),
            format!("{web}, ports: [80, 85-90]"),
            true,
        ),
        (
            format!("{shop}, ports: [80-90]"),
            format!("{web}, ports: [80, 85-91]"),
            false,
        ),
        (format!("{shop}, {}", until("12")), web.to_owned(), false),
        (
            format!("{shop}, {}", until("11")),
            format!("{web}, {}", until("12")),
            false,
        ),
        (
            format!("{shop}, {}", until("12")),
            format!("{web}, {}", until("12")),
            true,
        ),
        (shop.to_owned(), format!("{web}, {}", until("12")), true),
    ] {
        let is_refused = is_refused(
            &format!("effect: deny, {denial}"),
            &format!("effect: allow, {allowance}"),
        );
        assert_eq!(is_refused, refused, "{denial} / {allowance}");
    }
    assert!(!is_refused(
        &format!("effect: allow, {shop}"),
        &format!("effect: allow, {web}")
    ));
}
