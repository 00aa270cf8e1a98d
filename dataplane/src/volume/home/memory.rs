//! The region of a home: buffers of operations, of pieces, of leaf blocks, and one head.
//!
//! ```text
//!   region   [operation 0][operation 1] .. | [piece 0][piece 1] .. | [leaf blocks 0][leaf blocks 1] .. | [head]
//!   piece    [new data] .. [header][partial parity] .. | [shard 0][shard 1] .. [P][Q]
//!            the record as it goes to the log          | blocks read, and new parities
//! ```

use super::Options;
use crate::buffer::Span;
use crate::volume::Volume;
use crate::volume::lane::rows_max;
use crate::volume::map::{BLOCK, Map};

/// Where everything is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    operation_bytes: u32,
    /// Rows of a piece at most.
    pub(super) rows: u32,
    shards: u32,
    works_at: u64,
    work_bytes: u64,
    bounces_at: u64,
    /// Leaf blocks of a page on one member.
    pub(super) leaf_bytes: u32,
    head_at: u64,
    /// Pieces under way at most.
    pub(super) works: u16,
    /// Leaf blocks being read or written at most.
    pub(super) bounces: u16,
}

impl Memory {
    pub(super) fn new(map: &Map, index: u16, options: Options) -> Memory {
        let rows = rows_max(map, index);
        let shards = u32::try_from(map.shards).expect("at most 64");
        // An answered write still holds its piece while the next one is taken in; a long one has several.
        let works = options.operations.saturating_mul(2).clamp(4, WORKS_MAX);
        let bounces = map.geometry().members() * 2;
        let works_at = u64::from(options.operations) * u64::from(options.operation_bytes);
        let work_bytes = (1 + 2 * u64::from(shards) * u64::from(rows)) * u64::from(BLOCK);
        let bounces_at = works_at + u64::from(works) * work_bytes;
        let leaf_bytes = u32::try_from(map.volume.layout.leaf_bytes()).expect("less than 1 MiB");
        let head_at = bounces_at + u64::from(bounces) * u64::from(leaf_bytes);
        Memory {
            operation_bytes: options.operation_bytes,
            rows,
            shards,
            works_at,
            work_bytes,
            bounces_at,
            leaf_bytes,
            head_at,
            works,
            bounces,
        }
    }

    /// All of it.
    pub(super) fn bytes(&self) -> u64 {
        self.head_at + u64::from(BLOCK)
    }

    /// Requests under way at most: each piece talks to all its shards or writes its record to three of them, each bounce and
    /// each head has its own, and each member its flush.
    pub(super) fn requests(&self, volume: &Volume, options: Options) -> u32 {
        let members = u32::from(volume.geometry.members());
        let record = ((1 + self.shards * self.rows) * BLOCK).div_ceil(options.request_bytes) * 3;
        let shards = (self.rows * BLOCK).div_ceil(options.request_bytes) * self.shards;
        let leaves = self.leaf_bytes.div_ceil(options.request_bytes) * u32::from(self.bounces);
        u32::from(self.works) * record.max(shards) + leaves + 2 * members
    }

    pub(super) fn operation(&self, operation: u16) -> Span {
        span(u64::from(operation) * u64::from(self.operation_bytes), self.operation_bytes)
    }

    /// All of a piece's buffer.
    pub(super) fn work(&self, work: u16) -> Span {
        let bytes = u32::try_from(self.work_bytes).expect("less than a region");
        span(self.works_at + u64::from(work) * self.work_bytes, bytes)
    }

    /// The first blocks of the record of a piece.
    pub(super) fn record(&self, work: u16, blocks: u32) -> Span {
        self.work(work).part(0, blocks * BLOCK)
    }

    /// Where the shards begin in a piece's buffer.
    pub(super) fn shards_at(&self) -> usize {
        ((1 + self.shards * self.rows) * BLOCK) as usize
    }

    /// The first rows of a shard in a piece's buffer.
    pub(super) fn shard(&self, work: u16, shard: usize, rows: u32) -> Span {
        let index = u32::try_from(shard).expect("at most 64");
        let at = (1 + (self.shards + index) * self.rows) * BLOCK;
        self.work(work).part(at, rows * BLOCK)
    }

    /// Bytes of a shard in a piece's buffer.
    pub(super) fn shard_bytes(&self) -> usize {
        (self.rows * BLOCK) as usize
    }

    pub(super) fn bounce(&self, bounce: u16) -> Span {
        span(self.bounces_at + u64::from(bounce) * u64::from(self.leaf_bytes), self.leaf_bytes)
    }

    pub(super) fn head(&self) -> Span {
        span(self.head_at, BLOCK)
    }
}

fn span(offset: u64, bytes: u32) -> Span {
    Span::new(u32::try_from(offset).expect("a region has at most 1 GiB"), bytes)
}

const WORKS_MAX: u16 = 256;
