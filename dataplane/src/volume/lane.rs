//! The lane of one home: a run of frames, and so one piece of each member, that its log or its bitmap lies in.
//!
//! ```text
//!   block   0      1      2 ..            2 + h ..          2 + 2h
//!           head   head   half 0          half 1                     the same on every member
//! ```
//!
//! Records are laid down from the start of one half, on each member on its own. When a record does not fit any more, the
//! other half is used, provided that the head says durably that nothing of it counts; then the full one is *drained*: its
//! changes are finished in place, their leaves are written back, all is flushed, and a head is written whose tail lies
//! behind it. So no record is overwritten before a head that passes over it, and over all that is older, is durable.

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry};
use bireme_control::raid::members::Members;

use super::Volume;
use super::map::{BLOCK, Map};
use super::record::PAYLOAD_BLOCKS_MAX;

/// The room in the lane of one home.
#[derive(Debug)]
pub(super) struct Lane {
    /// Where it begins on each member.
    offset: u64,
    half_blocks: u32,
    /// The half that records go to.
    half: u32,
    /// Blocks of that half in use, by member.
    used: Box<[u32]>,
    /// Whether the other half may be used.
    other_is_free: bool,
    /// Records whose changes are not finished in place, by half.
    live: [u32; 2],
    /// The first record of the half in use.
    tail: u64,
}

/// Room for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Which half.
    pub(super) half: u32,
    /// Which block of the lane.
    pub(super) place: u32,
}

impl Lane {
    pub(super) fn new(volume: &Volume, index: u16) -> Lane {
        Lane {
            offset: offset(volume, index),
            half_blocks: half_blocks(blocks(volume, index)),
            half: 0,
            used: vec![0; usize::from(volume.geometry.members())].into_boxed_slice(),
            other_is_free: true,
            live: [0; 2],
            tail: 0,
        }
    }

    /// Room for record `sequence`, at the same place on each of its mirrors; `None` until a drain has ended.
    pub(super) fn take(&mut self, mirrors: Members, blocks: u32, sequence: u64) -> Option<Room> {
        assert!(blocks <= self.half_blocks, "a record fits into half a lane");
        let next = |used: &[u32]| mirrors.iter().map(|member| used[usize::from(member)]).max().unwrap_or(0);
        if next(&self.used) + blocks > self.half_blocks {
            if !self.other_is_free {
                return None;
            }
            self.turn_over(sequence);
        }
        let start = next(&self.used);
        mirrors.iter().for_each(|member| self.used[usize::from(member)] = start + blocks);
        self.live[self.half as usize] += 1;
        Some(Room { half: self.half, place: HEADS + self.half * self.half_blocks + start })
    }

    /// A record's changes are finished in place.
    pub(super) fn give_back(&mut self, half: u32) {
        let live = &mut self.live[half as usize];
        *live = live.checked_sub(1).expect("a record is finished once");
    }

    /// Takes the other half into use, from record `sequence` on; the one before is to be drained.
    pub(super) fn turn_over(&mut self, sequence: u64) {
        assert!(self.other_is_free, "a half is used again when it was drained");
        (self.half, self.other_is_free, self.tail) = (1 - self.half, false, sequence);
        self.used.fill(0);
    }

    /// Whether the other half is to be drained.
    pub(super) fn wants_drain(&self) -> bool {
        !self.other_is_free
    }

    /// Whether all changes of the other half are finished.
    pub(super) fn other_is_quiet(&self) -> bool {
        self.live[1 - self.half as usize] == 0
    }

    /// Records before this one are done when the other half is.
    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    /// The other half is drained.
    pub(super) fn drained(&mut self) {
        self.other_is_free = true;
    }

    /// Where a block of the lane lies on each member.
    pub(super) fn offset(&self, place: u32) -> u64 {
        self.offset + u64::from(place) * BLOCK_BYTES
    }
}

/// Where a lane begins on each member.
pub(super) fn offset(volume: &Volume, index: u16) -> u64 {
    volume.layout.data_offset(volume.lanes[usize::from(index)].start)
}

/// Blocks of a lane on each member.
pub(super) fn blocks(volume: &Volume, index: u16) -> u32 {
    let bytes = volume.lanes[usize::from(index)].count * u64::from(volume.geometry.frame_member_bytes());
    u32::try_from(bytes / BLOCK_BYTES).unwrap_or(u32::MAX)
}

/// Rows of one change at most, so that its record fits into half a lane, its CRCs into the header, and its buffer stays
/// small.
///
/// # Panics
/// When the lane is smaller than [`bytes_min`].
pub(super) fn rows_max(map: &Map, index: u16) -> u32 {
    let shards = u32::try_from(map.shards).expect("at most 64");
    let room = half_blocks(blocks(&map.volume, index)).saturating_sub(1);
    let rows = ROWS_MAX.min(map.chunk).min(PAYLOAD_BLOCKS_MAX / shards);
    let rows = if map.is_copied() { rows } else { rows.min(room / shards) };
    assert!(rows > 0, "a lane holds two records of one row");
    rows
}

/// The fewest bytes on each member that a lane can have.
pub fn bytes_min(geometry: &Geometry) -> u64 {
    let shards = u64::from(geometry.unit_chunks() + geometry.parities());
    (u64::from(HEADS) + 2 * (1 + shards)) * BLOCK_BYTES
}

fn half_blocks(blocks: u32) -> u32 {
    blocks.saturating_sub(HEADS) / 2
}

/// Blocks at the start that are no records.
pub(super) const HEADS: u32 = 2;
/// Changes of 64 KiB of each member keep a device busy, and more would only take memory.
const ROWS_MAX: u32 = (64 << 10) / BLOCK;

#[cfg(test)]
mod tests {
    use bireme_control::raid::geometry::Level;

    use super::super::map::tests::volume;
    use super::*;

    #[test]
    fn a_half_is_used_again_only_when_it_was_drained() {
        let volume = volume(Level::Raid6, 5, 4096, 64 << 10, 64, 2);
        let mut lane = Lane::new(&volume, 1);
        let blocks = blocks(&volume, 1);
        let half = (blocks - 2) / 2;
        let members = |list: &[u16]| list.iter().copied().collect::<Members>();
        let first = lane.take(members(&[1, 2]), 3, 1).expect("room");
        assert_eq!(first, Room { half: 0, place: 2 });
        assert_eq!(lane.take(members(&[3]), 5, 2).expect("room").place, 2, "members are filled on their own");
        assert_eq!(lane.take(members(&[2, 3]), 1, 3).expect("room").place, 7, "mirrors at the same place");
        assert!(!lane.wants_drain());
        assert_eq!(lane.take(members(&[3]), half, 4).expect("room"), Room { half: 1, place: 2 + half });
        assert!(lane.wants_drain() && !lane.other_is_quiet());
        assert_eq!(lane.take(members(&[3]), 1, 5), None);
        (0..3).for_each(|_| lane.give_back(0));
        assert!(lane.other_is_quiet());
        assert_eq!(lane.tail(), 4, "the first of the new half");
        lane.drained();
        assert_eq!(lane.take(members(&[3]), 1, 6), Some(Room { half: 0, place: 2 }));
        assert_eq!(lane.offset(2), offset(&volume, 1) + 8192);
    }

    #[test]
    fn the_smallest_lane_holds_a_record_in_each_half() {
        for (level, members) in [(Level::Raid5, 3), (Level::Raid6, 20), (Level::Raid60 { groups: 2 }, 64)] {
            let geometry = Geometry::new(level, members, 4096, 4096).expect("a usable shape");
            let blocks = u32::try_from(bytes_min(&geometry) / BLOCK_BYTES).expect("small");
            let shards = u32::from(geometry.unit_chunks() + geometry.parities());
            assert_eq!(half_blocks(blocks), 1 + shards);
        }
    }
}
