//! The bitmap: the copies of what was being written are made the same again, and the leaves those of what is there.
//!
//! A copy that has the block of a leaf is taken; the leaf may be an old one, and then so is the block, or none has it,
//! because all were written and the leaf was not. Then the first copy counts: old, new, or torn between sectors of the
//! device, as a single device might show it after a loss of power.

use bireme_control::raid::geometry::BLOCK_BYTES;

use super::Recovery;
use crate::checksum::{Leaf, crc32c};
use crate::port::Port;
use crate::port::blocking::Fault;
use crate::volume::intents::{has_bit, region_pages};

impl<P: Port> Recovery<'_, P> {
    pub(super) fn recover_regions(&mut self, lane: u16) -> Result<(), Fault> {
        let Some((_, bits)) = self.head(lane)? else { return Ok(()) };
        let (homes, index) = (u64::from(self.map.volume.homes), u64::from(lane));
        let home_pages = (self.map.pages() + homes).saturating_sub(1 + index) / homes;
        let region_pages = region_pages(home_pages);
        for region in 0..home_pages.div_ceil(region_pages) {
            if has_bit(&bits, region) {
                self.recovered.regions += 1;
                let pages = region * region_pages..((region + 1) * region_pages).min(home_pages);
                for page in pages {
                    self.recover_page(page * homes + index)?;
                }
            }
        }
        Ok(())
    }

    fn recover_page(&mut self, page: u64) -> Result<(), Fault> {
        let frame = self.map.frame_of(page);
        if self.is_marked(frame)? {
            for unit in self.map.first_unit(frame)..self.map.first_unit(frame + 1) {
                self.recover_unit(frame, unit)?;
            }
        }
        self.write_leaves()
    }

    /// Whether any block of a page has a leaf. Before the first is written all blocks are made zeros, durably; before that
    /// there lies what lay there before the volume was made.
    fn is_marked(&mut self, frame: u64) -> Result<bool, Fault> {
        let lost = self.health.lost_of(frame);
        for member in (self.living - lost).iter() {
            for leaf in 0..self.map.frame {
                if self.leaf(frame, member, leaf)? != Leaf::ABSENT {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Makes the copies of one chunk the same.
    fn recover_unit(&mut self, frame: u64, unit: u64) -> Result<(), Fault> {
        let lost = self.health.lost_of(frame);
        let copies = (0..self.map.shards).filter(|&shard| !lost.contains(self.map.shard(unit, shard).member));
        let copies: Vec<usize> = copies.collect();
        let block_bytes = usize::try_from(BLOCK_BYTES).expect("4096");
        let mut chunks = Vec::new();
        for &shard in &copies {
            let place = self.map.shard(unit, shard);
            let mut bytes = vec![0; self.map.chunk as usize * block_bytes];
            self.disks.read(place.member, place.offset, &mut bytes)?;
            chunks.push(bytes);
        }
        for row in 0..self.map.chunk {
            let range = row as usize * block_bytes..(row as usize + 1) * block_bytes;
            let mut leaves = Vec::new();
            for &shard in &copies {
                let place = self.map.shard(unit, shard);
                leaves.push(self.leaf(frame, place.member, place.leaf + row)?);
            }
            // The leaf of one copy may be newer than that of another.
            let expected = |crc: u32| leaves.iter().any(|&leaf| leaf != Leaf::ABSENT && leaf.crc() == crc);
            let chosen = chunks.iter().position(|chunk| expected(crc32c(&chunk[range.clone()])));
            let block = chunks[chosen.unwrap_or(0)][range.clone()].to_vec();
            for (copy, &shard) in copies.iter().enumerate() {
                let place = self.map.shard(unit, shard);
                let address = place.offset / BLOCK_BYTES + u64::from(row);
                let leaf = Leaf::of(&block, address, self.map.volume.generation);
                if chunks[copy][range.clone()] != block {
                    self.recovered.blocks += 1;
                    self.put(unit, shard, row, &block)?;
                } else if self.leaf(frame, place.member, place.leaf + row)? != leaf {
                    self.set_leaf(frame, place.member, place.leaf + row, leaf)?;
                }
            }
        }
        Ok(())
    }
}
