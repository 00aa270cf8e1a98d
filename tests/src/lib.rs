//! What the whole-system tests share.
//!
//! - [`acknowledged`]: a client of volumes that says what was acknowledged.
//! - [`child`]: the command as a child process that is killed, signalled, or hangs.
//! - [`command`]: the `bireme` command as a child with a time limit.
//! - [`crash`]: crashes of volumes, enumerated.
//! - [`data`]: inputs, and what generated data must be.
//! - [`device_deaths`]: loop devices that die in the middle of runs.
//! - [`fuse_disk`]: a loop device that dies when a test wants it to.
//! - [`kills`]: an offload that is killed at random moments, and what must be true then.
//! - [`loops`]: loop devices that go away with the test, also when it panics.
//! - [`members`]: files as members of a pool.
//! - [`pool`]: a pool, written and read back by the command.
//! - [`pools`]: pools in states that no command leaves behind.
//! - [`throttle`]: devices that hang. [`zram`]: a block device that fails writes.
//! - [`volume_life`]: volumes while members die, the power fails and bits rot, from one seed.
//! - [`simulation`]: the whole engine on one thread, from one seed.

pub mod acknowledged;
pub mod child;
pub mod command;
pub mod crash;
pub mod data;
pub mod device_deaths;
pub mod fuse_disk;
pub mod kills;
pub mod loops;
pub mod members;
pub mod pool;
pub mod pools;
pub mod simulation;
pub mod throttle;
pub mod volume_life;
pub mod zram;
