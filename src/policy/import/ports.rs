//! Sets of ports, which can be taken from each other.

use palisade_api::policy::PortRange;

/// Ports from 1 to 65535: ranges in their order, with a gap between any two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports(Vec<PortRange>);

impl Ports {
    pub(super) fn all() -> Self {
        Self(vec![PortRange {
            first: 1,
            last: u16::MAX,
        }])
    }

    pub(super) fn of(ports: impl IntoIterator<Item = u16>) -> Self {
        let ranges = ports.into_iter().filter(|port| *port > 0);
        Self::joined(
            ranges
                .map(|port| PortRange {
                    first: port,
                    last: port,
                })
                .collect(),
        )
    }

    /// Those of either.
    pub(super) fn or(self, other: Self) -> Self {
        Self::joined(self.0.into_iter().chain(other.0).collect())
    }

    /// Those of both.
    pub(super) fn and(&self, other: &Self) -> Self {
        self.others().or(other.others()).others()
    }

    /// All but these.
    pub(super) fn others(&self) -> Self {
        let mut others = Vec::new();
        let mut next = Some(1);
        for range in &self.0 {
            let before = range.first.checked_sub(1).zip(next);
            if let Some((last, first)) = before.filter(|(last, first)| first <= last) {
                others.push(PortRange { first, last });
            }
            next = range.last.checked_add(1);
        }
        if let Some(first) = next {
            others.push(PortRange {
                first,
                last: u16::MAX,
            });
        }
        Self(others)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As rules write them: all are none.
    pub(super) fn into_ranges(self) -> Vec<PortRange> {
        if self == Self::all() {
            return Vec::new();
        }
        self.0
    }

    fn joined(mut ranges: Vec<PortRange>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<PortRange> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(before) if range.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(range.last);
                }
                _ => joined.push(range),
            }
        }
        Self(joined)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn few() -> impl Strategy<Value = Vec<u16>> {
        let port = prop_oneof![1..6_u16, 65_530..=u16::MAX];
        proptest::collection::vec(port, 0..6)
    }

    fn has(ports: &Ports, port: u16) -> bool {
        ports.0.iter().any(|range| range.contains(port))
    }

    proptest! {
        #[test]
        fn sets_are_what_their_names_say(one in few(), other in few()) {
            let (a, b) = (Ports::of(one.clone()), Ports::of(other.clone()));
            for port in (1..8).chain(65_528..=u16::MAX) {
                let (in_one, in_other) = (one.contains(&port), other.contains(&port));
                prop_assert_eq!(has(&a, port), in_one);
                prop_assert_eq!(has(&a.others(), port), !in_one);
                prop_assert_eq!(has(&a.and(&b), port), in_one && in_other);
                prop_assert_eq!(has(&a.clone().or(b.clone()), port), in_one || in_other);
            }
            prop_assert_eq!(a.others().others(), a);
        }
    }

    #[test]
    fn all_are_written_as_none() {
        assert_eq!(Ports::all().into_ranges(), []);
        assert_eq!(Ports::of([]).others(), Ports::all());
        assert!(Ports::all().others().is_empty());
        assert_eq!(
            Ports::of([2, 1, 3, 1]).into_ranges(),
            [PortRange { first: 1, last: 3 }]
        );
    }
}
