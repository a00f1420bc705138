//! Expectations, with all who are meant by them.

use std::collections::BTreeSet;

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
    let wrong = |at: Position, (message, remedy): (String, String)| Diagnostic {
        file: test.file.to_string(),
        line: at.line,
        column: at.column,
        width: at.width,
        severity: Severity::Error,
        message,
        remedy,
    };
    let Expectation {
        from, to, labels, ..
    } = expectation;
    let callers =
        subject::callers(rules, &meant(from)).map_err(|why| wrong(from.at, in_parts(&why)));
    let called =
        subject::called(rules, &meant(to), labels).map_err(|why| wrong(to.at, in_parts(&why)));
    let named = expectation.rule.as_ref();
    let named = named.map(|rule| {
        let found = named_so(rules, &rule.value);
        found.ok_or_else(|| wrong(rule.at, unknown(rules, &rule.value)))
    });
    match (callers, called, named.transpose()) {
        (Ok(callers), Ok(called), Ok(rules)) => Ok(Case {
            test,
            expectation,
            callers,
            called,
            rules,
        }),
        (callers, called, named) => {
            let mistakes = [callers.err(), called.err(), named.err()];
            Err(mistakes.into_iter().flatten().collect())
        }
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
