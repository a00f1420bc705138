//! Names of files in a mesh's directory of rules.

/// The name that somebody gave, as far as a file of rules can have it.
pub(in crate::policy::put) fn usual(given: &str) -> String {
    of(given, |_| true)
}

/// The first name, of those that are like the one that somebody gave, which is free.
pub(super) fn of(given: &str, is_free: impl Fn(&str) -> bool) -> String {
    let (stem, ending) = fit(given);
    let mut name = format!("{stem}.{ending}");
    let mut number = 2_usize;
    while !is_free(&name) {
        name = format!("{stem}-{number}.{ending}");
        number += 1;
    }
    name
}

/// Such as control reads, and no way to another directory.
fn fit(given: &str) -> (String, &str) {
    let (stem, ending) = match given.rsplit_once('.') {
        Some((stem, ending @ ("yaml" | "yml"))) => (stem, ending),
        Some(_) | None => (given, "yaml"),
    };
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "-_.".contains(c) => c,
        _ => '-',
    };
    let stem: String = stem.chars().map(plain).collect();
    match stem.trim_start_matches('.') {
        "" => ("rules".to_owned(), ending),
        stem => (stem.to_owned(), ending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_where_it_can_be() {
        for (given, taken, expected) in [
            ("a.yaml", &[][..], "a.yaml"),
            ("a.yml", &["a.yaml"], "a.yml"),
            ("a.yaml", &["a.yaml"], "a-2.yaml"),
            ("a.yaml", &["a.yaml", "a-2.yaml"], "a-3.yaml"),
            ("stdin", &[], "stdin.yaml"),
            ("rules.txt", &["rules.txt.yaml"], "rules.txt-2.yaml"),
            (".hidden.yaml", &[], "hidden.yaml"),
            ("../..", &[], "-...yaml"),
            (".yaml", &[], "rules.yaml"),
            ("ä b.yaml", &[], "--b.yaml"),
        ] {
            assert_eq!(
                of(given, |name| !taken.contains(&name)),
                expected,
                "{given}"
            );
        }
    }
}
