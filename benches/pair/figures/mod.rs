//! What is read from other programs' words and made into figures: pure, so that it can be tested.

pub(crate) mod iperf;
pub(crate) mod proc;
pub(crate) mod results;
mod rows;
pub(crate) mod samples;
pub(crate) mod strace;
pub(crate) mod table;
pub(crate) mod wrk;
