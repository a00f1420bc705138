//! Which log lines are asked for, of any of the programs.

use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The variable that says it.
pub const VARIABLE: &str = "PALISADE_LOG";

/// What is logged where nothing is asked for, or nothing that is understood.
pub fn ordinary() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// Reads the value of [`VARIABLE`]: a level for all, `target=level` for single modules, or both, with commas between them.
///
/// # Errors
///
/// Any part is neither.
pub fn filter(asked: &str) -> Result<Targets, LogFilterError> {
    if asked.is_empty() {
        return Ok(ordinary());
    }
    let mut parts = asked.split(',');
    let filter = parts.try_fold(Targets::new(), |filter, part| match part.split_once('=') {
        // Spans and fields of a target are another filter's.
        Some((target, _)) if target.contains('[') => None,
        Some((target, word)) => Some(filter.with_target(target.trim(), level(word)?)),
        None => Some(filter.with_default(level(part)?)),
    });
    filter.ok_or_else(|| LogFilterError {
        asked: asked.to_owned(),
    })
}

/// A value that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{VARIABLE}={asked:?} is not understood: give off, error, warn, info, debug or trace, or MODULE=LEVEL, with commas \
     between several"
)]
pub struct LogFilterError {
    /// The whole of it.
    pub asked: String,
}

/// The level of this name. The parser beneath takes no name at all for `error`.
fn level(word: &str) -> Option<LevelFilter> {
    let word = word.trim();
    (!word.is_empty()).then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter as Level;

    use super::*;

    #[test]
    fn levels_are_asked_for_of_all_and_of_single_modules() {
        for (asked, tls, h2) in [
            ("", Level::INFO, Level::INFO),
            ("warn", Level::WARN, Level::WARN),
            ("OFF", Level::OFF, Level::OFF),
            ("palisade_proxy=debug", Level::DEBUG, Level::OFF),
            (
                "error, palisade_proxy::tls = trace",
                Level::TRACE,
                Level::ERROR,
            ),
        ] {
            let filter = filter(asked).unwrap();
            for (target, most) in [("palisade_proxy::tls::peer", tls), ("h2", h2)] {
                for level in
                    ["error", "warn", "info", "debug", "trace"].map(|name| name.parse().unwrap())
                {
                    let is_logged = filter.would_enable(target, &level);
                    assert_eq!(is_logged, most >= level, "{asked:?}: {level} of {target}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_level_is_not_understood() {
        for asked in [
            "verbose",
            "palisade_proxy",
            "palisade_proxy=",
            "info,",
            "h2[headers]=info",
            "a=b=info",
        ] {
            assert_eq!(filter(asked).unwrap_err().asked, asked);
        }
    }
}
