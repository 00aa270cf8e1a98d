//! What the whole-system tests share.
//!
//! - [`loops`]: loop devices that go away with the test, also when it panics. [`throttle`]: devices that hang.
//! - [`zram`]: a block device that fails writes.
//! - [`child`]: the command as a child process that is never waited for without bound.
//! - [`pool`]: a pool, written and read back by the command.
//! - [`kills`]: an offload that is killed at random moments, and what must be true then.
//! - [`generated`]: the bytes that a generated set must have, computed apart from the product.

pub mod child;
pub mod generated;
pub mod kills;
pub mod loops;
pub mod pool;
pub mod throttle;
pub mod zram;
