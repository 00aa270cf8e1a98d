//! Bireme's data plane: pinned peers move data between memory and devices; nothing here decides who gets what.
//!
//! ```text
//!   Job --Request--> peer's slot --> Port --> devices
//!    ^----- done(result, times) ---- Slot <-- reap --'
//!   set written everywhere -> home peers flush -> Ledger commits page -> frame -> the set is visible
//! ```
//!
//! From the outside in:
//! - [`engine`]: start and stop; pins cores, builds ports, wires queues. [`outcome`]: what a run reports.
//! - [`peer`]: one core's turn. [`job`]: who asks for I/O. [`slots`]: requests under way and their buffers.
//! - [`control_thread`]: observe, let control decide, publish.
//! - [`reservation`]: classes that share devices: what each may still use, and who is next.
//! - [`pool`]: several devices opened as one; [`layout`], [`superblock`]: what lies where on each of them.
//! - [`volume`]: an address space of blocks that are written in place.
//! - [`ledger`]: the thread that owns the metadata: commits and recovery.
//! - [`message`]: what peers, ledger and main thread tell each other; [`plan`]: a set as they see it.
//! - [`device`]: opening, geometry, and the checks before anything is written.
//! - [`port`]: the seam to the kernel (`uring`) or to a model of devices (`simulated`).
//! - [`parity`]: P and Q of stripes, and lost shards brought back, with the instructions that the processor has.
//! - [`buffer`], [`queue`], [`checksum`], [`pattern`], [`telemetry`], [`error`]: what all of these use.
//!
//! Unsafe code is lifted in [`buffer`], in `port::uring`, in `device::kernel`, in `parity::dispatch` and nowhere else.

pub mod array;
pub mod board;
#[expect(unsafe_code, reason = "maps the memory that devices read and write")]
pub mod buffer;
pub mod checksum;
pub mod control_thread;
pub mod desk;
pub mod device;
pub mod engine;
pub mod error;
mod grid;
pub mod job;
pub mod layout;
pub mod ledger;
pub mod message;
pub mod outcome;
pub mod parity;
pub mod pattern;
pub mod peer;
pub mod plan;
pub mod pool;
pub mod port;
pub mod queue;
pub mod requests;
pub mod reservation;
pub mod runs;
pub mod slots;
pub mod superblock;
pub mod telemetry;
pub mod volume;
