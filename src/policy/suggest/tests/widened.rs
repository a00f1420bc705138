//! Whole namespaces in the place of their accounts.

use super::*;

#[test]
fn who_was_denied_and_is_of_a_namespace_that_is_admitted_is_a_doubt_of_that_rule() {
    let wanted = Wanted {
        by_namespace: true,
        ..LEAST
    };
    let edges = vec![
        edge(&of_shop("orders"), "db-0", 5432, Was::Allowed),
        edge(&of_shop("batch"), "db-0", 5432, Was::Allowed),
        edge(&of_shop("intruder"), "db-0", 5432, Was::Denied),
        edge(&of_shop("intruder"), "db-0", 22, Was::Denied),
        edge("10.0.0.9", "db-0", 5432, Was::Denied),
    ];
    let suggested = suggested("", edges, wanted);
    let [target] = suggested.targets.as_slice() else {
        panic!("{suggested:?}");
    };
    let unsure = &target.evidence[0].unsure;
    let said = "shop/intruder too, who was denied 10 times at port 5432";
    assert!(unsure.iter().any(|one| one == said), "{unsure:?}");
    // At another port, or from elsewhere, the rule admits nobody.
    let left: Vec<_> = target
        .denied
        .iter()
        .map(|one| (&*one.from, one.port))
        .collect();
    assert_eq!(
        left,
        [
            ("shop/intruder", 22),
            ("10.0.0.9, without an identity", 5432)
        ]
    );
}
