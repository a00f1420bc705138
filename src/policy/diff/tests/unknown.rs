//! Rules of a mesh that are in force and are not known.

use time::macros::datetime;

use super::*;
use crate::policy::rules::{of_mesh, sample};

#[test]
fn where_an_object_has_mistakes_nothing_is_said_to_change() {
    let changed = |objects: &[serde_json::Value]| {
        let server = sample::readable().has(&sample::own_rules("shop"), sample::list(objects));
        let before = of_mesh(&server.mesh(None)).unwrap();
        let everybody = "apiVersion: palisade.dev/v1alpha1\nkind: ClusterAuthorizationPolicy\nmetadata: {name: all}\n\
                         spec: {rules: [{name: r, effect: allow, from: [{namespace: jobs}]}]}\n";
        let after = applied::applied(&before, rules(everybody));
        let sides = Sides {
            before: &before,
            after: &after,
            trust_domain: &before.trust_domain,
        };
        let compared = compare::compare(sides, datetime!(2026-11-22 03:00 UTC), 100_000).unwrap();
        compared
            .namespaces
            .iter()
            .filter(|one| !one.flips.is_empty())
            .map(|one| one.shown.clone())
            .collect::<Vec<_>>()
    };
    let all = ["jobs", "other", "shop", "any other namespace"];
    assert_eq!(changed(&[sample::rule("shop")]), all);
    let bad = sample::mistaken("generation 3 stays in force: no", Some(3));
    assert_eq!(changed(&[bad]), ["jobs", "other", "any other namespace"]);
}
