//! What a cluster's rules come to, in every order of events that was seen.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod restart;

fn name(name: &str) -> Name {
    Name {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

/// An object whose one rule lets this namespace in.
fn object(uid: &str, generation: i64, from: &str) -> Object {
    let rule = json!({"name": "only", "effect": "allow", "from": [{"namespace": from}]});
    with_spec(uid, generation, json!({"rules": [rule]}))
}

fn wrong(uid: &str, generation: i64) -> Object {
    with_spec(uid, generation, json!({"rules": [], "port": 80}))
}

fn with_spec(uid: &str, generation: i64, spec: Value) -> Object {
    Object {
        uid: uid.to_owned(),
        generation,
        content: [("spec".to_owned(), spec)].into_iter().collect(),
        status: None,
    }
}

fn crd(uid: &str) -> Definition {
    Definition {
        uid: uid.to_owned(),
        terminating: false,
        age: AGE,
    }
}

fn going(uid: &str) -> Definition {
    Definition {
        uid: uid.to_owned(),
        terminating: true,
        age: AGE,
    }
}

/// How long ago each definition was made that is found.
const AGE: Duration = Duration::from_secs(100);

/// What can happen.
enum Happens {
    Define(Option<Definition>),
    List(Vec<(&'static str, Object)>),
    Set(&'static str, Object),
    Gone(&'static str),
    /// The definition is asked for all doubts, and this is the answer.
    Answer(Option<Definition>),
    /// This much time passes.
    Pass(Duration),
}

use Happens::{Answer, Define, Gone, List, Pass, Set};

/// What is in force after these events, as `name<-namespace`, or `name closed for {labels}`.
fn after(events: Vec<Happens>) -> Vec<String> {
    let policies = run(events);
    in_force(&policies)
}

fn in_force(policies: &Policies) -> Vec<String> {
    let each = policies.in_force().map(|policy| {
        if policy.rules.is_empty() {
            return format!("{} closed for {:?}", policy.name, policy.target.labels);
        }
        let palisade_api::policy::From::Namespace(from) = &policy.rules[0].from[0] else {
            panic!("{policy:?}");
        };
        format!("{}<-{from}", policy.name)
    });
    each.collect()
}

fn run(events: Vec<Happens>) -> Policies {
    run_after(None, events)
}

fn run_after(recorded: Option<Record>, events: Vec<Happens>) -> Policies {
    let mut now = Instant::now();
    let mut policies = Policies::new(Kind::Namespaced, recorded);
    for event in events {
        match event {
            Define(found) => {
                policies.define(found.as_ref(), now);
            }
            List(objects) => {
                let objects = objects.into_iter().map(|(n, object)| (name(n), object));
                policies.list(&objects.collect());
            }
            Set(n, object) => policies.set(name(n), &object),
            Gone(n) => policies.gone(name(n)),
            Answer(found) => {
                let doubts = policies.doubts().unwrap_or_default();
                policies.resolve(&doubts, found.as_ref(), now);
            }
            Pass(time) => {
                now += time;
                policies.settle(now);
            }
        }
    }
    policies
}

/// Served, with `a` and `b` in force, each letting `web` in.
fn served(mut more: Vec<Happens>) -> Vec<Happens> {
    let mut events = vec![
        Define(Some(crd("1"))),
        List(vec![
            ("a", object("ua", 1, "web")),
            ("b", object("ub", 1, "web")),
        ]),
    ];
    events.append(&mut more);
    events
}

#[test]
fn an_object_is_in_force_in_its_newest_version_that_is_right() {
    let both = ["a<-web", "b<-web"];
    let cases = [
        ("as listed", vec![], both.to_vec()),
        (
            "changed",
            vec![Set("a", object("ua", 2, "batch"))],
            vec!["a<-batch", "b<-web"],
        ),
        ("wrong", vec![Set("a", wrong("ua", 2))], both.to_vec()),
        (
            "wrong, then right",
            vec![Set("a", wrong("ua", 2)), Set("a", object("ua", 3, "batch"))],
            vec!["a<-batch", "b<-web"],
        ),
        (
            "wrong at first sight",
            vec![Set("c", wrong("uc", 1))],
            vec!["a<-web", "b<-web", "c closed for {}"],
        ),
        (
            "wrong at first sight, with a target that can be read",
            vec![Set(
                "c",
                with_spec(
                    "uc",
                    1,
                    json!({"target": {"labels": {"app": "db"}}, "rules": [{"effect": "dney"}]}),
                ),
            )],
            vec!["a<-web", "b<-web", r#"c closed for {"app": "db"}"#],
        ),
        // Another object under that name never was right.
        (
            "wrong, and another",
            vec![Set("a", wrong("other", 1))],
            vec!["a closed for {}", "b<-web"],
        ),
        // A write of the status changes no generation: what it carries beside is not looked at.
        (
            "status",
            vec![Set("a", object("ua", 1, "batch"))],
            both.to_vec(),
        ),
        (
            "new",
            vec![Set("c", object("uc", 1, "web"))],
            vec!["a<-web", "b<-web", "c<-web"],
        ),
    ];
    for (case, events, expected) in cases {
        assert_eq!(after(served(events)), expected, "{case}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let policies = run(served(vec![
        Set("a", wrong("ua", 2)),
        Set("c", wrong("uc", 1)),
    ]));
    let held: BTreeMap<_, _> = policies.held().collect();
    let of = |n: &str| held[&name(n)].clone();
    assert_eq!(of("a").good.map(|(generation, _)| generation), Some(1));
    assert_eq!(of("a").generation, 2);
    assert!(of("a").errors.iter().any(|error| error.contains("port")));
    assert_eq!(of("c").good, None);
    assert!(!of("c").errors.is_empty());
    assert!(of("b").errors.is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn a_deletion_is_one_only_if_the_definition_is_there_after_it() {
    let both = ["a<-web", "b<-web"];
    let cases = [
        ("not asked yet", vec![Gone("a")], both.to_vec()),
        (
            "somebody deleted it",
            vec![Gone("a"), Answer(Some(crd("1")))],
            vec!["b<-web"],
        ),
        (
            "it came again in between",
            vec![
                Gone("a"),
                Set("a", object("ux", 1, "batch")),
                Answer(Some(crd("1"))),
            ],
            vec!["a<-batch", "b<-web"],
        ),
        (
            "missing in a list",
            vec![
                List(vec![("b", object("ub", 1, "web"))]),
                Answer(Some(crd("1"))),
            ],
            vec!["b<-web"],
        ),
        (
            "the definition goes, told first",
            vec![Define(Some(going("1"))), Gone("a"), Gone("b"), Define(None)],
            both.to_vec(),
        ),
        (
            "the definition goes, told last",
            vec![Gone("a"), Gone("b"), Answer(Some(going("1"))), Define(None)],
            both.to_vec(),
        ),
        (
            "told in the middle",
            vec![
                Gone("a"),
                Define(Some(going("1"))),
                Gone("b"),
                Answer(Some(crd("1"))),
            ],
            both.to_vec(),
        ),
        (
            "gone before anybody asked",
            vec![Gone("a"), Gone("b"), Answer(None)],
            both.to_vec(),
        ),
        (
            "an old answer after all is gone",
            vec![Define(None), Gone("a"), Answer(Some(crd("1")))],
            both.to_vec(),
        ),
        (
            "gone and back before anybody asked",
            vec![List(vec![]), Answer(Some(crd("2")))],
            both.to_vec(),
        ),
    ];
    for (case, events, expected) in cases {
        assert_eq!(after(served(events)), expected, "{case}");
    }
}

#[test]
fn what_comes_back_with_its_definition_replaces_what_was_frozen_and_the_rest_goes_in_time() {
    let back = |mut more: Vec<Happens>| {
        let mut events = vec![
            Define(Some(going("1"))),
            Define(None),
            Define(Some(crd("2"))),
        ];
        events.append(&mut more);
        served(events)
    };
    let again = || Set("a", object("new", 1, "batch"));
    let cases = [
        ("listed empty", vec![List(vec![])], vec!["a<-web", "b<-web"]),
        (
            "one is back",
            vec![List(vec![]), again()],
            vec!["a<-batch", "b<-web"],
        ),
        (
            "one is back, and wrong",
            vec![Set("a", wrong("new", 1))],
            vec!["a<-web", "b<-web"],
        ),
        (
            "settled",
            vec![List(vec![]), again(), Pass(SETTLE)],
            vec!["a<-batch"],
        ),
        (
            "one is back and deleted",
            vec![again(), Gone("a"), Answer(Some(crd("2")))],
            vec!["b<-web"],
        ),
        (
            "gone again before it settled",
            vec![List(vec![]), Define(None), Pass(SETTLE)],
            vec!["a<-web", "b<-web"],
        ),
    ];
    for (case, events, expected) in cases {
        assert_eq!(after(back(events)), expected, "{case}");
    }
}

#[test]
fn nothing_is_known_until_the_definition_and_the_objects_are() {
    let cases = [
        ("nothing", vec![], false),
        ("no definition", vec![Define(None)], false),
        (
            "going at first sight",
            vec![Define(Some(going("1"))), List(vec![])],
            false,
        ),
        ("not listed", vec![Define(Some(crd("1")))], false),
        ("listed", vec![Define(Some(crd("1"))), List(vec![])], true),
        ("frozen", served(vec![Define(None)]), true),
    ];
    for (case, events, expected) in cases {
        assert_eq!(run(events).is_complete(), expected, "{case}");
    }
}

#[test]
fn a_field_that_nobody_knows_is_a_mistake_wherever_it_stands() {
    let object = |spec: Value| with_spec("u", 1, spec);
    let rule = |more: Value| {
        let mut rule = json!({"name": "only", "effect": "allow", "from": [{"namespace": "web"}]});
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    let of = |spec| object(spec).policy(Kind::Namespaced, &name("a"));
    assert!(of(rule(json!({}))).is_ok());
    assert!(of(rule(json!({"ports": [80]}))).is_ok());
    for spec in [rule(json!({"port": [80]})), json!({"rule": []}), json!({})] {
        assert!(of(spec.clone()).is_err(), "{spec}");
    }
    let mut beside = object(rule(json!({})));
    beside.content.insert("rules".into(), json!([]));
    assert!(beside.policy(Kind::Namespaced, &name("a")).is_err());
}
