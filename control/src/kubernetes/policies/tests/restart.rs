//! What a restart of control finds, and what it leaves for the next.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn after_a_restart_rules_that_went_with_their_definition_are_awaited_and_others_are_not() {
    let list = |names: &[&'static str]| {
        let listed = names.iter().map(|n| (*n, object(n, 1, "web")));
        List(listed.collect())
    };
    // The events, whether all is known then, and what is in force.
    let cases = [
        (
            "the same definition, and somebody deleted the rules",
            vec![Define(Some(crd("1"))), list(&[])],
            true,
            vec![],
        ),
        (
            "another, and no rule",
            vec![Define(Some(crd("2"))), list(&[]), Pass(Duration::ZERO)],
            false,
            vec![],
        ),
        (
            "another, and one of two",
            vec![Define(Some(crd("2"))), list(&["a"]), Pass(SETTLE / 2)],
            false,
            vec!["a<-web"],
        ),
        (
            "another, and all are there again",
            vec![
                Define(Some(crd("2"))),
                list(&["a"]),
                Set("b", object("b", 1, "web")),
                Pass(Duration::ZERO),
            ],
            true,
            vec!["a<-web", "b<-web"],
        ),
        (
            "another, that settled",
            vec![
                Define(Some(crd("2"))),
                list(&["a"]),
                Pass(SETTLE.saturating_sub(AGE)),
            ],
            true,
            vec!["a<-web"],
        ),
        (
            "another, that is deleted too",
            vec![
                Define(Some(crd("2"))),
                list(&["a"]),
                Define(Some(going("2"))),
                Define(None),
                Pass(SETTLE),
            ],
            false,
            vec![],
        ),
        (
            "none, and then another",
            vec![
                Define(None),
                Define(Some(crd("2"))),
                list(&[]),
                Pass(Duration::ZERO),
            ],
            false,
            vec![],
        ),
    ];
    for (case, events, is_complete, expected) in cases {
        let recorded = run(served(vec![])).record();
        let policies = run_after(recorded, events);
        assert_eq!(policies.is_complete(), is_complete, "{case}");
        assert_eq!(in_force(&policies), expected, "{case}");
        assert_eq!(policies.missing() > 0, !is_complete, "{case}");
    }
}

#[test]
fn what_is_on_record_is_of_the_definition_under_which_all_rules_were_there() {
    let back = || {
        vec![
            Define(Some(going("1"))),
            Define(None),
            Define(Some(crd("2"))),
        ]
    };
    let with = |mut more: Vec<Happens>| {
        let mut events = back();
        events.append(&mut more);
        served(events)
    };
    let again = |n: &'static str| Set(n, object("new", 1, "web"));
    // Under which definition, how many rules, and how many of them are not listed.
    let cases = [
        ("not listed yet", vec![Define(Some(crd("1")))], None),
        ("listed", served(vec![]), Some(("1", 2, 0))),
        (
            "one was deleted",
            served(vec![Gone("a"), Answer(Some(crd("1")))]),
            Some(("1", 1, 0)),
        ),
        ("gone", served(vec![Define(None)]), Some(("1", 2, 2))),
        ("back", with(vec![List(vec![])]), Some(("1", 2, 2))),
        ("one is back", with(vec![again("a")]), Some(("1", 2, 1))),
        (
            "both are back",
            with(vec![again("a"), again("b")]),
            Some(("2", 2, 0)),
        ),
        (
            "settled",
            with(vec![List(vec![]), Pass(SETTLE)]),
            Some(("2", 0, 0)),
        ),
    ];
    for (case, events, expected) in cases {
        let record = run(events).record();
        let found = record
            .as_ref()
            .map(|record| (record.uid.as_str(), record.rules, record.missing));
        assert_eq!(found, expected, "{case}");
        let is_awaited = record.is_some_and(|record| record.until.is_some());
        assert_eq!(is_awaited, matches!(case, "back" | "one is back"), "{case}");
    }
}
