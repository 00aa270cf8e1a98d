//! What the `bireme` command is made of.
//!
//! - [`cli`]: what may be written on the command line. [`run`]: what each command does.
//! - [`live`]: progress on stderr while it runs. [`signals`]: Ctrl-C ends a run in order.
//! - [`lab`]: loop devices over files, for trying things out without a spare disk.
//! - [`loop_device`]: attaching and detaching one of them.
//!
//! Unsafe code is lifted in `loop_device::ioctls` and nowhere else.

pub mod cli;
pub mod lab;
pub mod live;
pub mod loop_device;
pub mod run;
pub mod signals;
