//! Refusals of who was revoked, decided once more.

use super::*;

/// A refusal as one of both was revoked.
fn refused(from: &str) -> Edge {
    let mut edge = edge(from, "orders-0", 9090, Was::Denied);
    edge.reason = Some("revoked".into());
    edge
}

#[test]
fn what_was_refused_as_revoked_flips_where_it_is_no_longer() {
    let text = format!("{RULES}{ORDERS}");
    let revoked = |what: &str| {
        format!(
            "{text}---\napiVersion: palisade.dev/v1alpha1\nkind: Revocations\nspec: {{{what}}}\n"
        )
    };
    let edges = || vec![refused(&of_shop("web")), refused(&of_shop("stranger"))];
    let still = simulated(
        &revoked(&format!("identities: [{}]", of_shop("web"))),
        edges(),
    );
    assert_eq!(
        (still.flips.len(), still.unchanged.edges),
        (0, 2),
        "{still:?}"
    );
    let again = simulated(&text, edges());
    let [flip] = again.flips.as_slice() else {
        panic!("{again:?}");
    };
    assert_eq!((&*flip.seen.from, flip.becomes), ("shop/web", "allow"));
    assert_eq!(
        (flip.was_by.as_deref(), flip.presumed),
        (Some("revoked"), false)
    );
    assert_eq!(again.unchanged.edges, 1, "no rule lets the stranger in");
    let shown = print::text(&again);
    assert!(
        shown.contains("was so as one of both was revoked"),
        "{shown}"
    );
    // A number that is revoked says nothing of names.
    let number = simulated(&revoked("serials: [0a1b]"), edges());
    assert_eq!((number.flips.len(), number.unknown.len()), (0, 2));
    assert_eq!(number.unknown[0].why, MAYBE_BY_NUMBER);
}

#[test]
fn whose_certificate_was_refused_is_taken_from_its_address_where_that_is_known() {
    let workload = "---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: web-0, namespace: shop}
spec: {serviceAccount: web, addresses: [10.0.0.7]}
";
    let text = format!("{RULES}{ORDERS}{workload}");
    let at = |replica: &str| Edge {
        at: Some(("shop".into(), replica.into())),
        ..refused("10.0.0.7")
    };
    let known = simulated(&text, vec![at("web-0"), refused(&of_shop("web"))]);
    let [flip] = known.flips.as_slice() else {
        panic!("{known:?}");
    };
    assert_eq!((&*flip.seen.from, flip.seen.count), ("shop/web", 20));
    assert!(flip.presumed && print::text(&known).contains("is taken for who is at its address"));
    let unknown = simulated(&text, vec![at("gone-0"), refused("10.0.0.7")]);
    let [one] = unknown.unknown.as_slice() else {
        panic!("{unknown:?}");
    };
    assert_eq!((one.why, one.seen.count), (NO_CALLER, 20));
    assert_eq!(one.seen.from, "10.0.0.7, by a revoked certificate");
    assert_eq!(unknown.flips.len(), 0);
}

#[test]
fn what_the_mesh_revokes_stays_so_unless_the_edited_rules_say_of_it() {
    let of = |account: &str| {
        rules(&format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: Revocations\nspec: {{identities: [{}]}}\n",
            of_shop(account)
        ))
    };
    let mesh = |place: &str| {
        let mut revoked = Revoked::default();
        let spec = palisade_api::manifest::RevocationsSpec {
            identities: vec![of_shop("web").parse().unwrap()],
            serials: vec!["0a".to_owned()],
        };
        revoked.take(&spec, place);
        revoked
    };
    let stays = |mut rules: Rules, place: &str| {
        stay_revoked(&mut rules, mesh(place));
        let web = of_shop("web").parse().unwrap();
        let stays = rules.revoked.has(&web);
        assert_eq!(rules.warnings.iter().any(|one| one.contains(place)), stays);
        assert_eq!(rules.revoked.has_serials(), stays);
        stays
    };
    assert!(stays(rules(RULES), "mesh/revoked.yaml:1"));
    assert!(
        !stays(of("batch"), "mesh/revoked.yaml:1"),
        "they say who is"
    );
    assert!(
        !stays(rules(RULES), "mesh/rules.yaml:1"),
        "its file is edited"
    );
}
