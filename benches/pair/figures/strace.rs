//! What `strace -c` says.

use std::collections::BTreeMap;

/// How often each system call was made.
pub(crate) fn parse(summary: &str) -> BTreeMap<String, u64> {
    let call = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, calls, .., name] = words.as_slice() else {
            return None;
        };
        let calls = calls.parse().ok()?;
        (*name != "total").then(|| ((*name).to_owned(), calls))
    };
    summary.lines().filter_map(call).collect()
}
