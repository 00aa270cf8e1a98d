//! The store's file as memory, which remembers what was written to it and where the barriers were.
//!
//! ```text
//!   redb ── write, write, sync, set_len, write, sync ──▶ bytes in memory
//!                                                     └─▶ segments: blocks | barrier | blocks | barrier
//! ```
//!
//! Between two barriers order does not matter, so a segment is a set of blocks with their last contents. A change of
//! the length is a segment of its own: the blocks before it are durable before it, and it is durable before those
//! after. What it grows by is written as zeros first. So a device never shows a length without its blocks.
//!
//! The length lies in two blocks before the image that are written in turn (see `docs/on-disk-format.md`).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bireme_control::raid::geometry::BLOCK_BYTES;

use crate::checksum::crc32c;
use crate::layout::LENGTHS_BYTES;
use crate::superblock::Uuid;

/// Blocks to write, in any order, with a barrier after them. Keys count blocks from the start of the metadata area.
pub(crate) type Segment = BTreeMap<u64, Box<[u8]>>;

/// A handle to the one image of an open store.
#[derive(Clone, Debug)]
pub(crate) struct Image(Arc<Mutex<State>>);

struct State {
    bytes: Vec<u8>,
    bytes_max: u64,
    pool: Uuid,
    /// Of the newest length record.
    sequence: u64,
    ended: VecDeque<Segment>,
    current: Segment,
    /// A growth was refused.
    full: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an image of {} bytes", self.bytes.len())
    }
}

impl Image {
    /// An empty image that may grow to `bytes_max`.
    pub(crate) fn empty(pool: Uuid, bytes_max: u64) -> Image {
        Image::loaded(pool, bytes_max, Vec::new(), 0)
    }

    /// An image as it was read from a device, with the sequence of its length record.
    pub(crate) fn loaded(pool: Uuid, bytes_max: u64, bytes: Vec<u8>, sequence: u64) -> Image {
        let (ended, current) = (VecDeque::new(), Segment::new());
        Image(Arc::new(Mutex::new(State { bytes, bytes_max, pool, sequence, ended, current, full: false })))
    }

    /// What was written since the last call, for replay in order.
    pub(crate) fn take_segments(&self) -> VecDeque<Segment> {
        let mut state = self.lock();
        state.barrier();
        std::mem::take(&mut state.ended)
    }

    /// Whether a growth was refused for lack of room.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().full
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn barrier(&mut self) {
        if !self.current.is_empty() {
            self.ended.push_back(std::mem::take(&mut self.current));
        }
    }

    /// Notes the whole blocks that a range touches, as they are now.
    fn note(&mut self, from: usize, to: usize) {
        for block in from / BLOCK..to.div_ceil(BLOCK) {
            let end = ((block + 1) * BLOCK).min(self.bytes.len());
            let mut bytes = vec![0; BLOCK].into_boxed_slice();
            bytes[..end - block * BLOCK].copy_from_slice(&self.bytes[block * BLOCK..end]);
            self.current.insert(block as u64 + LENGTHS_BYTES / BLOCK_BYTES, bytes);
        }
    }

    fn range(&self, offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        range
            .filter(|range| range.end <= self.bytes.len())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "outside the image"))
    }
}

impl redb::StorageBackend for Image {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        out.copy_from_slice(&state.bytes[state.range(offset, out.len())?]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        if length > state.bytes_max {
            state.full = true;
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let (old, new) = (state.bytes.len(), usize::try_from(length).map_err(io::Error::other)?);
        if old == new {
            return Ok(());
        }
        state.bytes.resize(new, 0);
        state.barrier();
        if new > old {
            state.note(old, new);
            state.barrier();
        }
        state.sequence += 1;
        let (slot, record) = encode_length(state.pool, state.sequence, length);
        state.current.insert(slot, record);
        state.barrier();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.lock().barrier();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let range = state.range(offset, data.len())?;
        state.bytes[range.clone()].copy_from_slice(data);
        state.note(range.start, range.end);
        Ok(())
    }
}

/// Which of the two blocks takes this record, and its bytes.
fn encode_length(pool: Uuid, sequence: u64, length: u64) -> (u64, Box<[u8]>) {
    let mut block = vec![0; BLOCK].into_boxed_slice();
    block[..8].copy_from_slice(&MAGIC);
    block[8..24].copy_from_slice(&pool);
    block[24..32].copy_from_slice(&sequence.to_le_bytes());
    block[32..40].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c(&block[..40]);
    block[40..44].copy_from_slice(&crc.to_le_bytes());
    (sequence % 2, block)
}

/// The newest (sequence, length) in the two blocks that is this pool's and sound.
pub(crate) fn decode_length(pool: Uuid, blocks: &[u8]) -> Option<(u64, u64)> {
    let sound = |block: &[u8]| {
        let crc = u32::from_le_bytes(block.get(40..44)?.try_into().ok()?);
        let ours = block[..8] == MAGIC && block[8..24] == pool && crc32c(&block[..40]) == crc;
        let word = |at: usize| block[at..at + 8].try_into().ok().map(u64::from_le_bytes);
        ours.then_some((word(24)?, word(32)?))
    };
    blocks.chunks(BLOCK).filter_map(sound).max()
}

const MAGIC: [u8; 8] = *b"BIRMLEN\x01";
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use redb::StorageBackend;

    use super::*;

    #[test]
    fn blocks_are_grouped_between_barriers_and_a_length_stands_alone() {
        let image = Image::empty([1; 16], 1 << 20);
        image.set_len(8192).expect("room");
        image.write(10, &[1; 4]).expect("inside");
        image.write(4090, &[2; 10]).expect("inside");
        image.sync_data().expect("memory");
        image.write(0, &[3]).expect("inside");
        let segments = image.take_segments();
        let keys: Vec<Vec<u64>> = segments.iter().map(|segment| segment.keys().copied().collect()).collect();
        assert_eq!(keys, [vec![2, 3], vec![1], vec![2, 3], vec![2]]);
        assert_eq!(segments[2][&2][8..16], [0, 0, 1, 1, 1, 1, 0, 0]);
        assert_eq!(decode_length([1; 16], &segments[1][&1]), Some((1, 8192)));
        assert_eq!(decode_length([2; 16], &segments[1][&1]), None, "another pool's");
    }

    #[test]
    fn it_does_not_grow_past_its_area() {
        let image = Image::empty([1; 16], 8192);
        assert_eq!(image.set_len(8193).expect_err("no room").raw_os_error(), Some(libc::ENOSPC));
        assert!(image.is_full());
    }
}
