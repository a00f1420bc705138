//! Tests of the transport, from frames to the pool.

mod driving;
mod frames;
mod pooling;
mod simulation;
mod violations;
