//! A volume: an address space of blocks that are written in place, on an array of any level.
//!
//! ```text
//!   client ── begin, fill, write / read / flush ──▶ Home (one per peer: the pages that it alone may write)
//!      ◀───────────── reap, data, end ──────────────┘ │ rows locked, old blocks read, parity computed
//!                                                     │ parity levels: a record in the log ── flush ──▶ in place
//!                                                     │ other levels:  an intent in the bitmap ───────▶ in place
//!                                                     ▼
//!                                        Port ──▶ members; a member that fails is reported, and skipped when that is durable
//! ```
//!
//! Block b of a volume lies in page b div blocks-per-page, and the page in a frame of the pool that is its own for good.
//! Page p is at home with peer p mod homes: nobody else reads or writes it, so locks of rows are plain data.
//!
//! What a client may rely on:
//! - A read shows the newest write that was acknowledged, whatever happened to one member (two at level 6).
//! - A write that was acknowledged before a flush began is durable when that flush is acknowledged; a write with `fua` is
//!   when it is acknowledged itself. After a crash each block under way is old or new, also if the crash takes with it as
//!   many members as the level can lose. Levels 0, 1 and 10 have no log, only a bitmap: there a block under way is what the
//!   devices made of it, and where these tear blocks of 4 KiB it may be new in some sectors and old in others.
//! - Data that is not what was written is never returned: it is healed from the redundancy, or the read fails.

use std::sync::Arc;

use bireme_control::raid::geometry::Geometry;
use bireme_control::units::Extent;

use crate::layout::Layout;
use crate::superblock::Uuid;

mod flushes;
mod head;
pub mod home;
mod intents;
mod lane;
mod leaves;
mod map;
mod record;
pub mod recovery;
#[cfg(test)]
mod tests;
mod work;

pub use self::lane::bytes_min as lane_bytes_min;

/// What all homes of an open volume know of it.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The pool that it lies in.
    pub pool: Uuid,
    /// The shape of the array.
    pub geometry: Geometry,
    /// What lies where on its members.
    pub layout: Layout,
    /// How many blocks of 4 KiB.
    pub blocks: u64,
    /// What the tags of its leaves carry.
    pub generation: u64,
    /// What records of the log carry: each opening has its own, and only the newest opening's records count.
    pub epoch: u64,
    /// The frame of each page.
    pub frames: Arc<[u64]>,
    /// The frames of each lane: one lane per home, for its log or its bitmap. A lane is a run of frames, and so one piece
    /// of each member's memory.
    pub lanes: Arc<[Extent]>,
    /// How many homes; no more than lanes.
    pub homes: u16,
}
