//! What the whole-system tests share.
//!
//! - [`loops`]: loop devices that go away with the test, also when it panics.
//! - [`simulation`]: the whole engine on one thread, from one seed.

pub mod loops;
pub mod simulation;
