//! Outcomes as JUnit XML, which CI systems show.
//!
//! There is no one specification: this is what all readers of it agree on. They key a case by its class name and name, and
//! show the text of a failure rather than its `message`. Times are 0: what is asked costs none that is worth a word.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Report;
use super::ask::Outcome;
use super::print::{details, place, title};

/// A suite for each `PolicyTest`, and one for coverage where some is asked for.
pub(super) fn xml(report: &Report<'_>) -> String {
    let coverage = report
        .coverage
        .min_percent()
        .map(|_| !report.coverage.is_enough());
    let counted = usize::from(coverage.is_some());
    let failed = usize::from(coverage == Some(true));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string cannot fail.
    let _written = writeln!(
        xml,
        "<testsuites name=\"palisade policy test\" tests=\"{}\" failures=\"{}\" errors=\"0\" time=\"0\">",
        report.outcomes.len() + counted,
        report.failed() + failed
    );
    for suite in report
        .outcomes
        .chunk_by(|one, next| one.case.test == next.case.test)
    {
        xml.push_str(&test_suite(suite));
    }
    if coverage.is_some() {
        xml.push_str(&coverage_suite(report, failed));
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// One case, which ended with an error: nothing could be asked.
pub(super) fn unasked(why: &str) -> String {
    let why = anstream::adapter::strip_str(why).to_string();
    let first = why.lines().next().unwrap_or_default();
    let (message, text) = (escaped(first), escaped(&why));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"palisade policy test\" tests=\"1\" failures=\"0\" errors=\"1\" time=\"0\">
  <testsuite name=\"expectations\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" time=\"0\">
    <testcase classname=\"expectations\" name=\"they can be asked\" time=\"0\">
      <error message=\"{message}\" type=\"unasked\">{text}</error>
    </testcase>
  </testsuite>
</testsuites>
"
    )
}

fn test_suite(outcomes: &[Outcome<'_>]) -> String {
    let failed = outcomes.iter().filter(|one| !one.is_as_expected()).count();
    let test = outcomes.first().map(|outcome| outcome.case.test);
    let (name, file) = test.map_or(("", ""), |test| (&test.name, &test.file));
    let (name, file) = (escaped(name), escaped(file));
    let mut xml = format!(
        "  <testsuite name=\"{name}\" file=\"{file}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"0\">\n",
        outcomes.len()
    );
    let mut titles: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes {
        let title = title(outcome);
        let count = titles.entry(title.clone()).or_default();
        *count += 1;
        // What is there twice would be one case to its readers.
        let title = match count {
            1 => title,
            count => format!("{title} #{count}"),
        };
        let _written = write!(
            xml,
            "    <testcase classname=\"{name}\" name=\"{}\" file=\"{file}\" line=\"{}\" time=\"0\"",
            escaped(&title),
            outcome.case.expectation.place.line
        );
        xml.push_str(&ending(outcome));
    }
    xml.push_str("  </testsuite>\n");
    xml
}

/// The rest of a case.
fn ending(outcome: &Outcome<'_>) -> String {
    let mut differs = outcome
        .wrong
        .iter()
        .filter_map(|one| one.differs.as_deref());
    let failure = differs.next().map(|differs| {
        let details = details(outcome);
        let details = anstream::adapter::strip_str(&details);
        let text = format!("{}\n{details}", place(outcome));
        failure(differs, "expectation", &text)
    });
    // Its readers show that of cases that passed, too.
    let doubt = outcome.case.doubt.as_deref();
    let doubt = doubt.map(|doubt| format!("      <system-out>{}</system-out>\n", escaped(doubt)));
    closed(failure.into_iter().chain(doubt).collect())
}

fn coverage_suite(report: &Report<'_>, failed: usize) -> String {
    let mut xml = format!(
        "  <testsuite name=\"coverage\" tests=\"1\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"0\">\n    <testcase classname=\"coverage\" name=\"enough rules are exercised\" time=\"0\""
    );
    let failure = (failed > 0).then(|| {
        let idle = report.coverage.unexercised.iter();
        let idle: String = idle
            .map(|idle| format!("{}  {}\n", idle.rule, idle.place))
            .collect();
        failure(&report.coverage.in_words(), "coverage", &idle)
    });
    xml.push_str(&closed(failure.unwrap_or_default()));
    xml.push_str("  </testsuite>\n");
    xml
}

/// The rest of a case with these elements in it.
fn closed(elements: String) -> String {
    match elements.as_str() {
        "" => "/>\n".to_owned(),
        elements => format!(">\n{elements}    </testcase>\n"),
    }
}

fn failure(message: &str, kind: &str, text: &str) -> String {
    format!(
        "      <failure message=\"{}\" type=\"{kind}\">{}</failure>\n",
        escaped(message),
        escaped(text)
    )
}

/// Text for an element or an attribute; what XML cannot hold at all is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_asked_is_an_error_with_its_reason_in_plain_text() {
        let xml = unasked("the rules have mistakes:\n\u{1b}[1mrules.yaml:3:5\u{1b}[0m: no <field>");
        for expected in [
            "errors=\"1\"",
            "message=\"the rules have mistakes:\"",
            "\nrules.yaml:3:5: no &lt;field&gt;</error>",
        ] {
            assert!(xml.contains(expected), "{expected}: {xml}");
        }
    }

    #[test]
    fn text_never_ends_an_attribute_or_an_element() {
        let text = "a<b>&\"c'\u{1b}[2J\u{fffe}]]>\nä";
        let shown = "a&lt;b&gt;&amp;&quot;c&apos;\u{fffd}[2J\u{fffd}]]&gt;\nä";
        assert_eq!(escaped(text), shown);
    }
}
