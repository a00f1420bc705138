//! Stub.
use super::*;
/// Compiled rules.
#[derive(Debug, Default)]
pub struct Policy;
impl Policy {
    /// Compiles.
    pub fn new(_objects: Vec<AuthorizationPolicy>) -> Self {
        Self
    }
    /// Decides.
    pub fn decide(
        &self,
        _source: Source<'_>,
        _destination: &Destination<'_>,
        _port: u16,
        _now: OffsetDateTime,
    ) -> Decision {
        Decision {
            verdict: Verdict::Deny(DenyReason::NoRule(None)),
            shadow: None,
        }
    }
}
