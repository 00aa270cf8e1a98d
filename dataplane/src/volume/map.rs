//! Where the blocks of a volume lie: pure arithmetic over its geometry and the frames of its pages.
//!
//! ```text
//!   page      unit 0: chunk 0 .. k-1 | unit 1: chunk k .. | ...        blocks of a unit's data follow each other
//!   unit      shard 0 .. k-1: data, then P, then Q                     at levels of copies: shard 0 .. n-1, all the same
//!   rows      the same blocks of every shard of a unit: what is locked, logged and written together
//! ```

use std::ops::Range;

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry, Place};
use bireme_control::raid::members::Members;

use super::Volume;

/// The mapping of one volume.
#[derive(Clone, Debug)]
pub(super) struct Map {
    pub(super) volume: Volume,
    /// Data chunks of a unit.
    pub(super) data: usize,
    /// Shards of a unit: data and parities, or copies.
    pub(super) shards: usize,
    /// Blocks of a chunk.
    pub(super) chunk: u32,
    /// Blocks of a page.
    pub(super) page: u32,
    /// Blocks of a frame on each member.
    pub(super) frame: u32,
}

/// Some blocks of one chunk of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// Who holds it.
    pub(super) member: u16,
    /// Where its chunk begins on the device.
    pub(super) offset: u64,
    /// The leaf of the chunk's first block, among those of the frame on this member.
    pub(super) leaf: u32,
}

impl Map {
    pub(super) fn new(volume: Volume) -> Map {
        let geometry = volume.geometry;
        let copies = geometry.parities() == 0;
        let data = usize::from(geometry.unit_chunks());
        Map {
            data,
            shards: if copies { usize::from(geometry.copies()) } else { data + usize::from(geometry.parities()) },
            chunk: geometry.chunk_bytes() / BLOCK,
            page: geometry.page_bytes() / BLOCK,
            frame: geometry.frame_member_bytes() / BLOCK,
            volume,
        }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.volume.geometry
    }

    /// Whether units have copies, not parities.
    pub(super) fn is_copied(&self) -> bool {
        self.volume.geometry.parities() == 0
    }

    /// The page of a block, and which block of the page it is.
    pub(super) fn page_of(&self, block: u64) -> (u64, u32) {
        let within = u32::try_from(block % u64::from(self.page)).expect("less than the blocks of a page");
        (block / u64::from(self.page), within)
    }

    pub(super) fn pages(&self) -> u64 {
        self.volume.blocks.div_ceil(u64::from(self.page))
    }

    pub(super) fn frame_of(&self, page: u64) -> u64 {
        self.volume.frames[usize::try_from(page).expect("a table has an entry for each page")]
    }

    /// Blocks of data in a unit.
    pub(super) fn unit_blocks(&self) -> u32 {
        self.chunk * u32::try_from(self.data).expect("at most 64")
    }

    /// Units of a page, those included that hold nothing but padding.
    pub(super) fn frame_units(&self) -> u32 {
        self.geometry().frame_chunks() / u32::from(self.geometry().unit_chunks())
    }

    /// The first unit of a frame, as the array counts them.
    pub(super) fn first_unit(&self, frame: u64) -> u64 {
        frame * u64::from(self.frame_units())
    }

    /// The frame that a unit lies in.
    pub(super) fn frame_of_unit(&self, unit: u64) -> u64 {
        unit / u64::from(self.frame_units())
    }

    /// A shard of a unit.
    pub(super) fn shard(&self, unit: u64, shard: usize) -> Shard {
        let geometry = self.geometry();
        let index = u64::try_from(shard).expect("at most 64");
        let place = if self.is_copied() {
            geometry.place(unit, u16::try_from(shard).expect("at most 64"))
        } else if shard < self.data {
            geometry.place(unit * u64::from(geometry.unit_chunks()) + index, 0)
        } else {
            self.parity(unit, shard - self.data)
        };
        let frame = self.frame_of_unit(unit);
        let row = u32::try_from(place.row - frame * u64::from(geometry.frame_rows())).expect("a row of the frame");
        let offset = self.volume.layout.data_offset(frame) + u64::from(row) * u64::from(geometry.chunk_bytes());
        Shard { member: place.member, offset, leaf: row * self.chunk }
    }

    /// The members of a unit's shards.
    pub(super) fn members(&self, unit: u64, shards: Range<usize>) -> Members {
        shards.map(|shard| self.shard(unit, shard).member).collect()
    }

    /// All members of a unit.
    pub(super) fn all(&self, unit: u64) -> Members {
        self.members(unit, 0..self.shards)
    }

    /// The members that hold parity of a unit; none at levels of copies.
    pub(super) fn parities(&self, unit: u64) -> Members {
        if self.is_copied() { Members::NONE } else { self.members(unit, self.data..self.shards) }
    }

    fn parity(&self, unit: u64, which: usize) -> Place {
        let place = if which == 0 { self.geometry().p(unit) } else { self.geometry().q(unit) };
        place.expect("the level has as many parities")
    }
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
pub(super) const BLOCK: u32 = BLOCK_BYTES as u32;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use bireme_control::raid::geometry::Level;
    use bireme_control::units::Extent;

    use super::*;
    use crate::layout::Layout;

    /// A volume in the frames after those of its lanes.
    pub(crate) fn volume(level: Level, members: usize, chunk: u64, page: u64, blocks: u64, homes: u16) -> Volume {
        let geometry = Geometry::new(level, members, chunk, page).expect("a usable shape");
        let layout = Layout::new(geometry, 64 << 20).expect("room");
        let lane_frames = (256_u64 << 10).div_ceil(u64::from(geometry.frame_member_bytes()));
        let lanes: Vec<Extent> =
            (0..u64::from(homes)).map(|home| Extent::new(home * lane_frames, lane_frames)).collect();
        let first = lanes[lanes.len() - 1].end();
        // Pages in no order.
        let pages = (blocks * BLOCK_BYTES).div_ceil(page);
        let frames: Vec<u64> = (0..pages).map(|page| first + (page * 7 + 3) % (pages + 5)).collect();
        let distinct: BTreeSet<u64> = frames.iter().copied().collect();
        let frames = if distinct.len() == frames.len() { frames } else { (first..first + pages).collect() };
        Volume {
            pool: [7; 16],
            geometry,
            layout,
            blocks,
            generation: 41 << 20,
            epoch: 5,
            frames: Arc::from(frames),
            lanes: Arc::from(lanes),
            homes,
        }
    }

    #[test]
    fn every_block_of_a_frame_belongs_to_one_shard() {
        let levels = [
            (Level::Raid0, 3),
            (Level::Raid1, 2),
            (Level::Raid10, 3),
            (Level::Raid10, 4),
            (Level::Raid5, 4),
            (Level::Raid6, 5),
            (Level::Raid50 { groups: 2 }, 6),
            (Level::Raid60 { groups: 2 }, 8),
        ];
        for (level, members) in levels {
            let map = Map::new(volume(level, members, 8192, 100 << 10, 60, 1));
            let frame = map.frame_of(1);
            let mut seen = BTreeSet::new();
            for unit in map.first_unit(frame)..map.first_unit(frame + 1) {
                assert_eq!(map.frame_of_unit(unit), frame);
                for shard in 0..map.shards {
                    let Shard { member, offset, leaf } = map.shard(unit, shard);
                    assert_eq!(offset - map.volume.layout.data_offset(frame), u64::from(leaf) * BLOCK_BYTES);
                    assert!(leaf + map.chunk <= map.frame && seen.insert((member, leaf)), "{level}");
                }
                assert_eq!(map.all(unit), map.geometry().unit_members(unit), "{level}");
            }
            assert_eq!(seen.len(), members * map.frame as usize / map.chunk as usize, "{level}");
        }
    }
}
