//! The part of a volume that one peer is home to, over that peer's port.
//!
//! ```text
//!   begin ─▶ data_mut ─▶ write ┐                     ┌─▶ reap ─▶ end
//!   begin ─▶ read ─────────────┼─▶ turn .. submit .. ┼─▶ reap ─▶ data ─▶ end
//!   begin ─▶ flush ────────────┘                     └─▶ reap ─▶ end
//! ```
//!
//! The one who drives it calls `turn`, then submits through the port, as a peer does. Nothing here blocks, allocates after
//! `new`, or knows a clock but the port's.

use bireme_control::units::Nanos;

use crate::message::Failure;

/// How a home is sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Operations under way at most.
    pub operations: u16,
    /// Bytes of one operation at most: a multiple of 4 KiB.
    pub operation_bytes: u32,
    /// Pages whose leaves are kept in memory.
    pub pages: u16,
    /// Bytes of one request to a device at most.
    pub request_bytes: u32,
    /// A request that takes longer is a failure.
    pub hang_limit: Nanos,
}

/// An operation under way: a buffer, and what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(u16);

/// An operation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub operation: Operation,
    /// What became of it. A failed read has returned nothing; after a failed write each block is old or new.
    pub result: Result<(), Failure>,
    /// When it was asked.
    pub asked: Nanos,
}

/// What was found and healed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Blocks that were not what was written, and are again.
    pub blocks: u64,
    /// Blocks that could not be brought back; reads of them fail.
    pub lost: u64,
}
