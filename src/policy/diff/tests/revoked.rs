//! Who is revoked, and who is no longer.

use super::*;

fn revoked(account: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {{identities: [spiffe://cluster.local/ns/shop/sa/{account}]}}
---
"
    )
}

#[test]
fn whom_a_side_revokes_reaches_nobody_and_nobody_reaches_it() {
    let rules = policy(
        ORDERS,
        &[
            "effect: allow, from: [{serviceAccount: shop/web}, {serviceAccount: b/job}], ports: [8080]",
        ],
    ) + &policy(
        "{serviceAccount: db}",
        &["effect: allow, from: [{namespace: shop}]"],
    )
    .replace("name: p,", "name: q,")
        + &deployment("orders");
    let web = rules.clone() + &revoked("web");
    let lines = [
        "shop/web → any workload of shop of account db all ports",
        "shop/web → shop/orders 8080",
    ];
    assert_eq!(diff(&rules, &web), lines.map(|line| format!("- {line}")));
    assert_eq!(diff(&web, &rules), lines.map(|line| format!("+ {line}")));
    let text = printed(&rules, &web);
    assert!(
        text.contains("(shop/web is revoked, ") && text.contains("; was by shop/p/r0, "),
        "{text}"
    );
    assert!(printed(&web, &rules).contains("; shop/web was revoked, "));
    assert_eq!(
        diff(&rules, &(rules.clone() + &revoked("orders"))),
        [
            "- shop/orders → any workload of shop of account db all ports",
            "- b/job → shop/orders 8080",
            "- shop/web → shop/orders 8080",
        ]
    );
    assert_eq!(diff(&web, &web), Vec::<String>::new());
    assert_eq!(
        diff(&rules, &(rules.clone() + &revoked("stranger"))),
        ["- shop/stranger → any workload of shop of account db all ports"]
    );
}

#[test]
fn what_a_file_revokes_is_added_to_what_the_mesh_does() {
    let rule = policy(ORDERS, &["effect: allow, from: [{namespace: shop}]"]);
    let mesh = rules(&(rule + &revoked("web")));
    let after = applied::applied(&mesh, rules(&revoked("batch")));
    let sides = Sides {
        before: &mesh,
        after: &after,
        trust_domain: &after.trust_domain,
    };
    let compared = compare::compare(sides, datetime!(2026-11-22 03:00 UTC), 1000).unwrap();
    let lines = merge::lines(&compared, sides.trust_domain);
    let [line] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(line.from, "shop/batch");
    let json: serde_json::Value =
        serde_json::from_str(&print::json(sides, &lines).unwrap()).unwrap();
    assert_eq!(json["reason"], "revoked");
    let identity = "spiffe://cluster.local/ns/shop/sa/batch";
    assert_eq!(json["revoked"]["identity"], identity);
    assert_eq!(json["was"]["rule"]["name"], "shop/p/r0");
}
