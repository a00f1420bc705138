//! What a diagnostic looks like with the line that it is about.

use super::*;

/// Every mistake of a text with its line, for a terminal of so many columns.
fn seen(text: &str, columns: usize) -> String {
    let found = parse("f", text).unwrap_err();
    let snippets: Vec<_> = found
        .iter()
        .map(|diagnostic| diagnostic.snippet(text, columns).to_string())
        .collect();
    snippets.join("\n")
}

fn at(line: u64, column: u64, width: u64) -> Diagnostic {
    let at = Position {
        line,
        column,
        width,
    };
    Diagnostic::error("f", at, "no", "yes")
}

/// The two lines in the middle of a snippet: the text and what underlines it, without their margins.
fn underlined(diagnostic: &Diagnostic, text: &str, columns: usize) -> [String; 2] {
    let shown = diagnostic.snippet(text, columns).to_string();
    let lines: Vec<_> = shown.lines().collect();
    [lines[1], lines[2]].map(|line| line.split_once(" | ").unwrap().1.to_owned())
}

#[test]
fn the_offending_text_is_underlined() {
    let text = POLICY
        .replace("effect: allow", "efect: allow # as ever")
        .replace("from:", "whom:")
        .replace("[8080]", "[\"80-a\", 8080]")
        .replace("name: web", "name: {a: b} # no text");
    assert_eq!(
        seen(&text, 80),
        "\
f:7:5: error: `from` is missing
 7 |   - name: {a: b} # no text
   |     ^^^^^^^^^^^^
   = help: say whom the rule is about, as in `- serviceAccount: shop/web`
f:7:11: error: `name` is a mapping, not text
 7 |   - name: {a: b} # no text
   |           ^^^^^^
   = help: write one value
f:8:5: error: `rules` has no field \"efect\"
 8 |     efect: allow # as ever
   |     ^^^^^
   = help: did you mean `effect`?
f:9:5: error: `rules` has no field \"whom\"
 9 |     whom:
   |     ^^^^
   = help: its fields are `name`, `effect`, `from`, `ports`, `mode`, `expires` or `reason`
f:11:13: error: \"80-a\" is no range of ports
 11 |     ports: [\"80-a\", 8080]
    |             ^^^^^^
    = help: write one like 9000-9010, with ports from 1 to 65535"
    );
}

#[test]
fn where_there_is_no_such_line_none_is_shown() {
    let expected = "f: error: no\n   = help: yes";
    assert_eq!(at(0, 0, 0).snippet("a", 80).to_string(), expected);
    let expected = "f:3:1: error: no\n   = help: yes";
    assert_eq!(at(3, 1, 1).snippet("a\nb", 80).to_string(), expected);
}

#[test]
fn lines_end_as_yaml_ends_them() {
    for text in ["a\nb\nc d", "a\r\nb\r\nc d", "a\rb\rc d", "a\n\nc d\r\n"] {
        let expected = ["c d", "  ^"].map(str::to_owned);
        assert_eq!(underlined(&at(3, 3, 1), text, 80), expected, "{text:?}");
    }
}

#[test]
fn columns_are_those_of_a_terminal() {
    for (text, column, width, line, underline) in [
        ("\ta: b", 5, 1, "    a: b", "       ^"),
        ("日本: x", 5, 1, "日本: x", "      ^"),
        ("a: 日本", 4, 2, "a: 日本", "   ^^^^"),
        ("e\u{301}: x", 5, 1, "e\u{301}: x", "   ^"),
        ("a\u{1b}[2Jb", 6, 1, "a\u{fffd}[2Jb", "     ^"),
        ("a \u{202e}b", 4, 1, "a \u{fffd}b", "   ^"),
        // Beyond the end of the line, and across it.
        ("a", 9, 3, "a", " ^"),
        ("ab", 2, 9, "ab", " ^"),
        ("", 1, 0, "", "^"),
        // All that is left of it.
        ("a: b c  # d", 4, 0, "a: b c  # d", "   ^^^"),
    ] {
        let expected = [line, underline].map(str::to_owned);
        assert_eq!(
            underlined(&at(1, column, width), text, 80),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let text = format!("{}HERE{}", "a".repeat(60), "b".repeat(60));
    for (column, line, underline) in [
        (61, "…aaaaaaaHEREbbbbbbb…", "        ^^^^"),
        (1, "aaaaaaaaaaaaaaaaaa…", "^^^^"),
        (121, "…bbbbbbbbbbbbbbbbbb", "               ^^^^"),
    ] {
        let expected = [line, underline].map(str::to_owned);
        assert_eq!(
            underlined(&at(1, column, 4), &text, 0),
            expected,
            "{column}"
        );
    }
    let [line, underline] = underlined(&at(1, 31, 90), &text, 85);
    assert_eq!((line.chars().count(), underline.chars().count()), (80, 79));
}

#[test]
fn no_part_but_a_plain_one_breaks_the_line() {
    let diagnostic = Diagnostic {
        file: "a\nb".to_owned(),
        message: "c\nd".to_owned(),
        remedy: "e\nf".to_owned(),
        severity: Severity::Warning,
        ..at(1, 1, 1)
    };
    let snippet = diagnostic.snippet("g\nh", 80);
    let shown = snippet.to_string();
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(
        shown.starts_with("a\u{fffd}b:1:1: warning: c\u{fffd}d\n"),
        "{shown}"
    );
    let broken = snippet
        .parts()
        .iter()
        .filter(|part| part.text.contains('\n'));
    assert!(broken.clone().count() == 3 && broken.clone().all(|part| part.style == Style::Plain));
}

proptest::proptest! {
    /// Wherever it points, nothing panics, and no line is wider than the terminal.
    #[test]
    fn any_place_of_any_text_can_be_shown(text: String, line in 0..4_u64, column in 0..200_u64, width in 0..200_u64, columns in 30..90_usize) {
        let shown = at(line, column, width).snippet(&text, columns).to_string();
        let wide = |line: &str| line.chars().map(underline::columns_of).sum::<usize>();
        proptest::prop_assert!(shown.lines().all(|line| wide(line) <= columns), "{}", shown);
    }
}
