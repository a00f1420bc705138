//! What is known of a `CustomResourceDefinition`, and what comes next. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::Record;

/// A `CustomResourceDefinition`, as much of it as matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) uid: String,
    pub(crate) terminating: bool,
    /// When it was seen like this.
    pub(crate) age: Duration,
}

/// What is known of the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It has not been seen.
    Awaited,
    /// It is another than the one on record, and fewer rules may be there.
    Missing { uid: String, until: Instant },
    /// It is there, and what is listed is the truth.
    Served { uid: String },
    /// It is being deleted, or is gone.
    Going { uid: String, gone: bool },
    /// It is there again; what is not listed is in force still.
    Returned { uid: String, until: Instant },
}

/// What is to be told about a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It is not there yet, or about to go.
    Absent,
    /// It was made anew since rules were recorded, and these are awaited.
    Missing,
    /// It is there.
    Served,
    /// It goes, or is gone, and its rules stay.
    Frozen,
    /// It is there again, and its rules are awaited.
    Returned,
    /// What did not come again is gone.
    Settled,
}

impl State {
    /// What comes next, if it is something else. What was asked for is answered late at times, so an answer that fits
    /// only what was before changes nothing.
    pub(super) fn next(
        &self,
        found: Option<&Definition>,
        recorded: Option<&Record>,
        now: Instant,
    ) -> Option<(Self, Notice)> {
        let until = now + SETTLE;
        match (self, found) {
            (Self::Missing { uid, .. }, Some(found)) if *uid == found.uid && !found.terminating => {
                None
            }
            (Self::Awaited | Self::Missing { .. }, found) => {
                Some(Self::first(found, recorded, now))
            }
            (Self::Served { uid } | Self::Returned { uid, .. }, None) => {
                let (uid, gone) = (uid.clone(), true);
                Some((Self::Going { uid, gone }, Notice::Frozen))
            }
            (Self::Going { uid, gone: false }, None) => {
                let (uid, gone) = (uid.clone(), true);
                Some((Self::Going { uid, gone }, Notice::Frozen))
            }
            (Self::Going { gone: true, .. }, None) => None,
            (Self::Served { uid } | Self::Returned { uid, .. }, Some(found)) => {
                match (*uid == found.uid, found.terminating) {
                    (true, false) => None,
                    (_, true) => {
                        let (uid, gone) = (found.uid.clone(), *uid != found.uid);
                        Some((Self::Going { uid, gone }, Notice::Frozen))
                    }
                    (false, false) => {
                        let uid = found.uid.clone();
                        Some((Self::Returned { uid, until }, Notice::Returned))
                    }
                }
            }
            (Self::Going { uid, .. }, Some(found)) => {
                let is_back = *uid != found.uid && !found.terminating;
                let uid = found.uid.clone();
                is_back.then_some((Self::Returned { uid, until }, Notice::Returned))
            }
        }
    }

    /// What a definition is at first sight.
    fn first(
        found: Option<&Definition>,
        recorded: Option<&Record>,
        now: Instant,
    ) -> (Self, Notice) {
        // Terminating: some of its objects may be gone already, so nothing is known.
        let Some(found) = found.filter(|found| !found.terminating) else {
            return (Self::Awaited, Notice::Absent);
        };
        let uid = found.uid.clone();
        let is_other = |recorded: &&Record| recorded.rules > 0 && recorded.uid != uid;
        if recorded.filter(is_other).is_some() {
            let until = now + SETTLE.saturating_sub(found.age);
            return (Self::Missing { uid, until }, Notice::Missing);
        }
        (Self::Served { uid }, Notice::Served)
    }
}

/// For how long, after a definition came back, the rules that went with it are in force.
pub(crate) const SETTLE: Duration = Duration::from_secs(600);
