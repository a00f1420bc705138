//! Rules: nothing wrong gets in, and what is in can always go out.

use std::net::IpAddr;

use palisade_api::manifest::{Known, NARROW, Object, lets_nodes_in, read_object, warnings};
use palisade_api::policy::{AuthorizationPolicy, From};
use time::OffsetDateTime;

use super::review::{Change, Verdict};

/// What rules are warned of by.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// The namespaces that take plaintext.
    pub(crate) permissive: Vec<String>,
    /// The names and addresses of nodes.
    pub(crate) nodes: Vec<(String, IpAddr)>,
    /// Who exists; `None` where that is not known.
    pub(crate) known: Option<Known>,
}

/// Reads the rule object that somebody wants to have.
///
/// # Errors
///
/// The answer, where there is nothing to read, or everything that is wrong with it.
pub(crate) fn read(change: &Change) -> Result<Object, Verdict> {
    let object = match change {
        Change::Create(object) => object,
        // Labels and finalizers of an object that an older version let in can be changed: it could not even be
        // deleted otherwise. Whoever applies a good one again is warned again.
        Change::Update { old, new } if old.get("spec") == new.get("spec") => {
            return read_object(&new.to_string()).map_err(|_mistakes| Verdict::allow());
        }
        Change::Update { new, .. } => new,
        Change::Other => return Err(Verdict::allow()),
    };
    read_object(&object.to_string()).map_err(|found| Verdict::Refuse {
        code: UNPROCESSABLE,
        message: lines(found.iter().map(ToString::to_string), MAX_LINES).join("\n"),
    })
}

/// Whether callers are to be let in by their addresses.
pub(crate) fn lets_addresses_in(policy: &AuthorizationPolicy) -> bool {
    let mut sources = policy.rules.iter().flat_map(|rule| &rule.from);
    sources.any(|from| matches!(from, From::Unauthenticated(_)))
}

/// Lets a rule in, with what it may do otherwise than its author thinks. Nothing that exists, or does not, refuses it:
/// what it names may come later, and a rule that has expired says nothing.
pub(crate) fn warned(object: &Object, around: &Around, now: OffsetDateTime) -> Verdict {
    let Some(policy) = object.manifest().policy() else {
        return Verdict::allow();
    };
    let permissive: Vec<_> = around.permissive.iter().map(String::as_str).collect();
    let mut found = warnings(policy, &permissive);
    let lets_in = lets_nodes_in(policy, &around.nodes).into_iter();
    found.extend(lets_in.map(|what| format!("{what}; {NARROW}")));
    if let Some(known) = &around.known {
        let of_names = object.against(known, now).into_iter();
        found.extend(of_names.map(|found| found.to_string()));
    }
    Verdict::Allow {
        warnings: lines(found.into_iter(), MAX_WARNINGS),
    }
}

/// So many of them, and how many more there are.
fn lines(found: impl ExactSizeIterator<Item = String>, most: usize) -> Vec<String> {
    let more = found.len().saturating_sub(most);
    let mut lines: Vec<_> = found.take(most).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

const UNPROCESSABLE: u16 = 422;
const MAX_LINES: usize = 50;
/// The API server cuts what is more than 4 KiB together.
const MAX_WARNINGS: usize = 15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use palisade_api::manifest::KnownWorkload;
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    fn review(change: &Change, permissive: &[&str], nodes: &[(String, IpAddr)]) -> Verdict {
        let around = Around {
            permissive: permissive.iter().map(|name| (*name).to_owned()).collect(),
            nodes: nodes.to_vec(),
            known: None,
        };
        match read(change) {
            Ok(object) => warned(&object, &around, datetime!(2026-11-22 03:00 UTC)),
            Err(verdict) => verdict,
        }
    }

    fn object(spec: Value) -> Value {
        json!({
            "apiVersion": "palisade.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": spec,
        })
    }

    fn good() -> Value {
        object(
            json!({"rules": [{"name": "web", "effect": "allow", "from": [{"namespace": "web"}]}]}),
        )
    }

    fn wrong() -> Value {
        object(json!({"rules": [
            {"name": "web", "effect": "Allow", "from": [{"namespac": "web"}], "port": [80]},
        ]}))
    }

    const WRONG: &str = "\
spec.rules[0].effect: `effect` cannot be \"Allow\"; did you mean `allow`?
spec.rules[0].from[0].namespac: there is no source \"namespac\"; did you mean `namespace`?
spec.rules[0].port: `rules` has no field \"port\"; did you mean `ports`?";

    fn update(old: Value, new: Value) -> Change {
        Change::Update { old, new }
    }

    fn labelled(mut object: Value) -> Value {
        object["metadata"]["labels"] = json!({"a": "b"});
        object
    }

    #[test]
    fn what_is_wrong_is_refused_with_every_line() {
        let refused = Verdict::Refuse {
            code: 422,
            message: WRONG.to_owned(),
        };
        for (change, expected) in [
            (Change::Create(good()), Verdict::allow()),
            (Change::Create(wrong()), refused.clone()),
            (update(good(), wrong()), refused.clone()),
            (update(wrong(), good()), Verdict::allow()),
            (update(wrong(), labelled(wrong())), Verdict::allow()),
            (Change::Other, Verdict::allow()),
        ] {
            assert_eq!(review(&change, &[], &[]), expected, "{change:?}");
        }
    }

    #[test]
    fn a_refusal_stays_readable() {
        let rule = json!({"name": "web"});
        // Each lacks two fields, and all but the first have the name of another.
        let change = Change::Create(object(json!({"rules": vec![rule; 1000]})));
        let Verdict::Refuse { message, .. } = review(&change, &[], &[]) else {
            panic!("not refused");
        };
        assert_eq!(message.lines().count(), MAX_LINES + 1);
        assert_eq!(message.lines().last(), Some("and 2949 more"));
    }

    #[test]
    fn a_denied_identity_in_a_permissive_namespace_is_warned_of() {
        let rule = json!({"name": "no", "effect": "deny", "from": [{"namespace": "batch"}]});
        let object = object(json!({"rules": [rule]}));
        // Applied again, too.
        for change in [
            Change::Create(object.clone()),
            update(object.clone(), object),
        ] {
            assert_eq!(review(&change, &["web"], &[]), Verdict::allow());
            let Verdict::Allow { warnings } = review(&change, &["shop"], &[]) else {
                panic!("not allowed");
            };
            assert_eq!(warnings.len(), 1);
            assert!(warnings[0].contains("`no` denies identities in `shop`"));
        }
    }

    #[test]
    fn names_of_nobody_and_what_is_over_are_warned_of_by_their_fields() {
        let spec = json!({
            "target": {"labels": {"app": "ordres"}},
            "rules": [
                {"name": "a", "effect": "allow", "from": [{"serviceAccount": "shop/wbe"}, {"namespace": "shpo"}]},
                {"name": "b", "effect": "allow", "from": [{"namespace": "shop"}],
                    "expires": "2026-11-22T02:59:59Z", "reason": "x"},
            ],
        });
        let read = read(&Change::Create(object(spec))).unwrap();
        let accounts = ["web", "orders"].map(str::to_owned);
        let known = Known {
            service_accounts: BTreeMap::from([("shop".to_owned(), accounts.into())]),
            workloads: vec![KnownWorkload {
                namespace: "shop".to_owned(),
                name: "orders-0".to_owned(),
                service_account: "orders".to_owned(),
                labels: [("app".to_owned(), "orders".to_owned())].into(),
            }],
            complete: true,
            ..Known::default()
        };
        let around = Around {
            known: Some(known),
            ..Around::default()
        };
        let now = datetime!(2026-11-22 03:00 UTC);
        let expected = [
            "spec.rules[0].from[0].serviceAccount: no service account `wbe` in namespace `shop`; did you mean `web`?",
            "spec.rules[0].from[1].namespace: there is no namespace `shpo`; did you mean `shop`?",
            "spec.rules[1].expires: the rule `b` expired at 2026-11-22T02:59:59Z and says nothing any more; remove it, or let it expire later",
            "spec.target.labels[app]: no workload of `shop` is labelled app=ordres; did you mean `orders`?",
        ];
        let warnings = expected.map(str::to_owned).to_vec();
        assert_eq!(warned(&read, &around, now), Verdict::Allow { warnings });
    }

    #[test]
    fn a_range_with_a_node_in_it_is_warned_of() {
        let nodes = [("node1".to_owned(), "10.0.0.11".parse().unwrap())];
        let from = |source: Value| {
            let rule = json!({"name": "lb", "effect": "allow", "from": [source]});
            Change::Create(object(json!({"rules": [rule]})))
        };
        let open = from(json!({"unauthenticated": {"cidr": "10.0.0.0/8"}}));
        let shut = from(json!({"namespace": "web"}));
        let lets_in =
            |change| lets_addresses_in(read(change).unwrap().manifest().policy().unwrap());
        assert!(lets_in(&open) && !lets_in(&shut));
        assert_eq!(review(&shut, &[], &nodes), Verdict::allow());
        assert_eq!(review(&open, &[], &[]), Verdict::allow());
        let Verdict::Allow { warnings } = review(&open, &[], &nodes) else {
            panic!("not allowed");
        };
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(warning.contains("the node `node1`"), "{warning}");
        assert!(warning.len() <= 256, "longer warnings are cut: {warning}");
    }
}
