//! Tests of the transport, from frames to the pool.

mod conversations;
mod driving;
mod frames;
mod long_path;
mod pooling;
mod simulation;
mod states;
mod vectors;
mod violations;
mod wire;
mod writes;
