//! Ports as ranges, and in words.

use std::collections::BTreeSet;

use palisade_api::policy::PortRange;

/// Ports that follow each other as one range.
pub(crate) fn ranges(ports: &BTreeSet<u16>) -> Vec<PortRange> {
    let each = ports.iter().map(|port| PortRange {
        first: *port,
        last: *port,
    });
    together(each.collect())
}

/// Without what is there twice; ranges that touch are one.
pub(crate) fn together(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort();
    let mut whole: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match whole.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last);
            }
            _ => whole.push(range),
        }
    }
    whole
}

/// What is left of them without these.
pub(crate) fn without<'a>(
    ranges: &[PortRange],
    ports: impl IntoIterator<Item = &'a u16>,
) -> Vec<PortRange> {
    let ports: BTreeSet<u16> = ports.into_iter().copied().collect();
    let mut left = Vec::new();
    for range in ranges {
        let mut first = Some(range.first);
        for port in ports.range(range.first..=range.last) {
            if let Some(first) = first.filter(|first| first < port) {
                let last = port - 1;
                left.push(PortRange { first, last });
            }
            first = port.checked_add(1);
        }
        if let Some(first) = first.filter(|first| *first <= range.last) {
            let last = range.last;
            left.push(PortRange { first, last });
        }
    }
    left
}

/// `port 80`, `ports 80, 8080-8090`; of very many the first.
pub(crate) fn shown(ports: &BTreeSet<u16>) -> String {
    in_words(&ranges(ports))
}

/// The same of ranges; none at all is every port, as in rules.
pub(crate) fn in_words(ranges: &[PortRange]) -> String {
    let word = match ranges {
        [] => return "every port".to_owned(),
        [one] if one.first == one.last => "port",
        _ => "ports",
    };
    let shown = ranges.iter().take(MOST_SHOWN).map(ToString::to_string);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match ranges.len().checked_sub(MOST_SHOWN) {
        None | Some(0) => format!("{word} {shown}"),
        Some(more) => format!("{word} {shown} and {more} more"),
    }
}

const MOST_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    #[test]
    fn what_touches_is_one_range() {
        let given = vec![
            range(90, 99),
            range(1, 5),
            range(6, 7),
            range(3, 4),
            range(65_535, 65_535),
        ];
        let expected = [range(1, 7), range(90, 99), range(65_535, 65_535)];
        assert_eq!(together(given), expected);
        assert_eq!(ranges(&[80, 81, 83].into()), [range(80, 81), range(83, 83)]);
    }

    #[test]
    fn ports_that_are_taken_out_leave_the_others() {
        let all = [range(1, 65_535)];
        assert_eq!(without(&all, &[1, 65_535]), [range(2, 65_534)]);
        assert_eq!(without(&all, &[80, 81]), [range(1, 79), range(82, 65_535)]);
        assert_eq!(without(&[range(80, 80)], &[80]), []);
        assert_eq!(without(&[range(80, 81)], &[7]), [range(80, 81)]);
    }

    #[test]
    fn many_are_not_all_shown() {
        assert_eq!(in_words(&[]), "every port");
        assert_eq!(shown(&[80].into()), "port 80");
        assert_eq!(shown(&[80, 81, 90].into()), "ports 80-81, 90");
        let many = (1..=20).map(|port| port * 2).collect();
        assert_eq!(shown(&many), "ports 2, 4, 6, 8, 10, 12, 14, 16 and 12 more");
    }
}
