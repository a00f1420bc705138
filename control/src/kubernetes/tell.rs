//! What is told people of a definition, in the log.

use super::policies::{Kind, Notice, SETTLE};

#[expect(
    clippy::cognitive_complexity,
    reason = "one line of the log for each notice"
)]
pub(super) fn tell(kind: Kind, notice: Notice) {
    let definition = kind.definition();
    match notice {
        Notice::Absent => tracing::error!(
            definition,
            "the definition is not there, and nothing is served without it; apply it"
        ),
        Notice::Missing => tracing::error!(
            definition,
            settle = ?SETTLE,
            "the definition was made again, and rules that were in force are not there; nothing is served until they are \
             applied again or it has settled, and proxies keep what they have"
        ),
        Notice::Served => tracing::debug!(definition, "rules are served"),
        Notice::Frozen => tracing::error!(
            definition,
            "the definition is going or gone; its rules stay in force as they were; apply it and them again"
        ),
        Notice::Returned => tracing::warn!(
            definition,
            settle = ?SETTLE,
            "the definition is back; rules that do not come back until it has settled go then"
        ),
        Notice::Settled => {
            tracing::warn!(definition, "what the API server lists is the truth again");
        }
    }
}
