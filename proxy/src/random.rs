//! Numbers that spread load. They protect nothing, so a system without randomness gets some that do not spread.

/// A number in 0..1; without randomness the middle.
pub(crate) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(aws_lc_rs::error::Unspecified) => 0.5,
    }
}

/// A number below `below`, or zero where that is zero.
pub(crate) fn below(below: usize) -> usize {
    let mut bytes = [0_u8; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        // The bias of a remainder does not matter among endpoints.
        Ok(()) => usize::from_le_bytes(bytes) % below.max(1),
        Err(aws_lc_rs::error::Unspecified) => 0,
    }
}
