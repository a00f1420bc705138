//! Expectations, with all who are meant by them.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::manifest::{
    Diagnostic, Expectation, Placed, PolicyTest, Position, Severity, Who,
};
use palisade_api::policy::RuleName;

use super::super::revoked::REVOKED;
use super::super::rules::Rules;
use super::super::subject::{self, Called, Caller, Subject, WhoError};
use crate::near::near;

/// An expectation, and all that is asked for it.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) test: &'a PolicyTest,
    pub(super) expectation: &'a Expectation,
    pub(super) callers: Vec<Caller>,
    pub(super) called: Vec<Called>,
    /// Why the caller may be somebody else than it is taken for.
    pub(super) doubt: Option<String>,
    /// Those that its `rule` may mean; none where it has no such field.
    pub(super) rules: Option<BTreeSet<RuleName>>,
}

/// Finds who and which rules are meant; what is wrong with any of it, all at once.
pub(super) fn cases<'a>(
    rules: &Rules,
    tests: &'a [PolicyTest],
) -> Result<Vec<Case<'a>>, Vec<Diagnostic>> {
    let (mut cases, mut mistakes) = (Vec::new(), Vec::new());
    for test in tests {
        for expectation in &test.expectations {
            match case(rules, test, expectation) {
                Ok(case) => cases.push(case),
                Err(found) => mistakes.extend(found),
            }
        }
    }
    if mistakes.is_empty() {
        Ok(cases)
    } else {
        Err(mistakes)
    }
}

fn case<'a>(
    rules: &Rules,
    test: &'a PolicyTest,
    expectation: &'a Expectation,
) -> Result<Case<'a>, Vec<Diagnostic>> {
    let Expectation {
        from, to, labels, ..
    } = expectation;
    let callers = callers_of(rules, test, from);
    let called = called_by(rules, test, (to, labels));
    let named = expectation.rule.as_ref();
    let named = named.map(|rule| rules_named(rules, test, rule)).transpose();
    match (callers, called, named) {
        (Ok(callers), Ok(called), Ok(named)) => Ok(Case {
            test,
            expectation,
            doubt: subject::doubt(rules, &meant(from)),
            callers,
            called,
            rules: named,
        }),
        (callers, called, named) => {
            let mistakes = [callers.err(), called.err(), named.err()];
            Err(mistakes.into_iter().flatten().collect())
        }
    }
}

/// Everybody who calls, also where something else is wrong with the expectation.
pub(super) fn callers(tests: &[PolicyTest]) -> impl Iterator<Item = &Placed<Who>> {
    tests.iter().flat_map(|test| {
        let whole = test.expectations.iter().map(|one| &one.from);
        let doubtful = test.doubtful.iter().filter_map(|one| one.from.as_ref());
        whole.chain(doubtful)
    })
}

/// Everybody who is called, where no labels say who that is.
pub(super) fn called_by_name(tests: &[PolicyTest]) -> impl Iterator<Item = Subject> {
    let all = tests.iter().flat_map(|test| &test.expectations);
    let named = all.filter(|one| one.labels.is_empty());
    named.map(|one| meant(&one.to))
}

/// Names of nobody in expectations with which something else is wrong.
pub(super) fn unknown_in_doubtful(rules: &Rules, tests: &[PolicyTest]) -> Vec<Diagnostic> {
    let all = tests
        .iter()
        .flat_map(|test| test.doubtful.iter().map(move |names| (test, names)));
    let unknown = all.flat_map(|(test, names)| {
        let from = names.from.as_ref();
        let to = names.to.as_ref();
        let rule = names.rule.as_ref();
        [
            from.and_then(|from| callers_of(rules, test, from).err()),
            to.and_then(|to| called_by(rules, test, (to, &names.labels)).err()),
            rule.and_then(|rule| rules_named(rules, test, rule).err()),
        ]
    });
    unknown.flatten().collect()
}

fn callers_of(
    rules: &Rules,
    test: &PolicyTest,
    from: &Placed<Who>,
) -> Result<Vec<Caller>, Diagnostic> {
    let callers = subject::callers(rules, &meant(from));
    callers.map_err(|why| wrong(test, from.at, in_parts(&why)))
}

fn called_by(
    rules: &Rules,
    test: &PolicyTest,
    (to, labels): (&Placed<Who>, &BTreeMap<String, String>),
) -> Result<Vec<Called>, Diagnostic> {
    let called = subject::called(rules, &meant(to), labels);
    called.map_err(|why| wrong(test, to.at, in_parts(&why)))
}

fn rules_named(
    rules: &Rules,
    test: &PolicyTest,
    rule: &Placed<String>,
) -> Result<BTreeSet<RuleName>, Diagnostic> {
    let found = named_so(rules, &rule.value);
    found.ok_or_else(|| wrong(test, rule.at, unknown(rules, &rule.value)))
}

fn wrong(test: &PolicyTest, at: Position, (message, remedy): (String, String)) -> Diagnostic {
    Diagnostic {
        file: test.file.to_string(),
        line: at.line,
        column: at.column,
        width: at.width,
        severity: Severity::Error,
        message,
        remedy,
    }
}

/// As the other commands about rules take it.
pub(super) fn meant(who: &Placed<Who>) -> Subject {
    match &who.value {
        Who::Named { namespace, name } => Subject::Named {
            namespace: namespace.clone(),
            name: name.clone(),
        },
        Who::Identity(id) => Subject::Identity(id.clone()),
        Who::Address(addr) => Subject::Address(*addr),
    }
}

/// What is wrong, and what to write instead.
fn in_parts(why: &WhoError) -> (String, String) {
    let said = why.to_string();
    let (message, remedy) = said.split_once("; ").unwrap_or((&said, WHO));
    let remedy = if matches!(why, WhoError::NoLabels(_)) {
        LABELS
    } else {
        remedy
    };
    (message.to_owned(), remedy.to_owned())
}

/// Rules of this name, or of which it is the end. `revoked` may be none: what is revoked is denied without a rule.
fn named_so(rules: &Rules, name: &str) -> Option<BTreeSet<RuleName>> {
    let end = format!("/{name}");
    let all = rules.policies.iter().flat_map(|policy| policy.rule_names());
    let found: BTreeSet<_> = all
        .filter(|rule| {
            let whole = rule.to_string();
            whole == name || whole.ends_with(&end)
        })
        .collect();
    (!found.is_empty() || name == REVOKED).then_some(found)
}

fn unknown(rules: &Rules, name: &str) -> (String, String) {
    let parts = name.split('/').count();
    let all = rules.policies.iter().flat_map(|policy| policy.rule_names());
    let ends = all.map(|rule| {
        let whole = rule.to_string();
        let skipped = whole.split('/').count().saturating_sub(parts);
        let end: Vec<_> = whole.split('/').skip(skipped).collect();
        end.join("/")
    });
    let remedy = match near(name, ends) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write the name of a rule that is to decide, or leave `rule` out".to_owned(),
    };
    (format!("there is no rule `{name}`"), remedy)
}

const WHO: &str = "name a workload, a service account, a SPIFFE ID or an address";
const LABELS: &str = "write `labels: {…}` beside it, or have a mesh file or Kubernetes manifests among the rules that say which it has";
