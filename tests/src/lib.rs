//! What the whole-system tests share.
//!
//! - [`loops`]: loop devices that go away with the test, also when it panics.

pub mod loops;
