//! What the whole-system tests share.
//!
//! - [`command`]: the `bireme` command as a child with a time limit.
//! - [`data`]: inputs, and what generated data must be.
//! - [`loops`]: loop devices that go away with the test, also when it panics.
//! - [`members`]: files as members of a pool.
//! - [`pools`]: pools in states that no command leaves behind.

pub mod command;
pub mod data;
pub mod loops;
pub mod members;
pub mod pools;
