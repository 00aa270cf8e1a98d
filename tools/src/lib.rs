//! What the `bireme` command is made of.
//!
//! - [`lab`]: loop devices over files, for trying things out without a spare disk.
//! - [`loop_device`]: attaching and detaching one of them.
//!
//! Unsafe code is lifted in `loop_device::ioctls` and nowhere else.

pub mod lab;
pub mod loop_device;
