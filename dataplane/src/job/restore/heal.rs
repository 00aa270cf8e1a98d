//! Compares what was read with its leaves, and brings back what is wrong or missing.
//!
//! ```text
//!   unit, block by block     d0 ok   d1 wrong   P ok      ->  d1 = P - d0, compared with its leaf
//!   mirrored                 copy 0 lost        copy 1 ok ->  copy 0 = copy 1, and its leaf is computed
//! ```
//!
//! A block that was not asked for counts as missing. A leaf of a leafless member is computed, and believed only when the
//! root of the whole page turns out right.

use bireme_control::raid::geometry::{MEMBERS_MAX, Place};
use bireme_control::raid::members::Members;

use super::wanted;
use crate::checksum::{Leaf, crc32c};
use crate::desk::Desk;
use crate::grid::{BLOCK, Columns, Grid};
use crate::message::Failure;
use crate::parity::Kernels;
use crate::port::Port;
use crate::slots::Slot;
use crate::telemetry::Healed;

/// What became of a slot.
pub(super) enum Examined {
    /// All of its data is what was written.
    Sound,
    /// What was not read is needed.
    Rest,
    /// It cannot be brought back.
    Lost(Failure),
}

/// Compares and heals a slot whose requests were all answered.
pub(super) fn examine<P: Port>(desk: &mut Desk<P>, index: u16) -> Examined {
    let (slot, grid, lost) = (*desk.slots.get(index), desk.grid(index), {
        let run = desk.slots.get(index).run;
        desk.lost(run)
    });
    let run = *desk.runs.get(slot.run);
    let (memory, leaves) = (desk.array.slot(index), desk.array.run_leaves(slot.run));
    let (column_bytes, leaf_bytes) = (desk.array.column_bytes(), desk.array.leaf_column_bytes());
    let kernels = desk.kernels;
    let (memory, leaves) = desk.requests.port().region_mut().pair_mut(memory, leaves);
    let mut healing = Healing {
        data: Columns::new(memory, column_bytes),
        leaves: Columns::new(leaves, leaf_bytes),
        grid,
        kernels,
        slot,
        leafless: run.reading.leafless,
        lost,
        found: [Healed::default(); MEMBERS_MAX as usize],
        wrong: Members::NONE,
    };
    let examined = if slot.skipped.is_empty() && !slot.whole { healing.compare() } else { healing.heal() };
    let (found, wrong) = (healing.found, healing.wrong);
    match examined {
        Ok(()) => {
            (0..).zip(found).take(desk.array.members().into()).for_each(|(member, healed)| {
                desk.healed.count(slot.run, member, healed);
            });
            desk.slots.get(index).wrong = wrong;
            Examined::Sound
        }
        Err(_) if !slot.whole && desk.array.is_redundant() => Examined::Rest,
        Err(Bad { place, block }) => Examined::Lost(slot.refused.unwrap_or(Failure::Damaged {
            file: place.member,
            offset: grid.device_block(place, block) * BLOCK as u64,
            page: run.page + u64::from(slot.page),
        })),
    }
}

/// A block that is wrong.
struct Bad {
    place: Place,
    block: usize,
}

/// Which shards of a unit are missing: no more than it has parities.
#[derive(Default)]
struct Missing {
    shards: [usize; 2],
    count: usize,
}

impl Missing {
    fn as_slice(&self) -> &[usize] {
        &self.shards[..self.count]
    }
}

struct Healing<'a> {
    grid: Grid,
    kernels: Kernels,
    data: Columns<'a>,
    leaves: Columns<'a>,
    slot: Slot,
    leafless: Members,
    lost: Members,
    found: [Healed; MEMBERS_MAX as usize],
    wrong: Members,
}

impl Healing<'_> {
    /// All is there: each block that was asked for is compared with its leaf, in the order of memory.
    fn compare(&mut self) -> Result<(), Bad> {
        for member in 0..self.grid.geometry.members() {
            for row in self.grid.row..self.grid.row + u64::from(self.grid.rows) {
                let place = Place { member, row };
                if wanted(&self.grid, &self.slot, place) {
                    (0..self.grid.chunk_blocks()).try_for_each(|block| self.check(place, block))?;
                }
            }
        }
        Ok(())
    }

    /// Something is missing, or all is looked at.
    fn heal(&mut self) -> Result<(), Bad> {
        let (first, count) = self.grid.units();
        for unit in first..first + count {
            match self.grid.geometry.parities() {
                0 => self.copies(unit)?,
                _ => self.unit(unit)?,
            }
        }
        Ok(())
    }

    /// Data and parity of one unit.
    fn unit(&mut self, unit: u64) -> Result<(), Bad> {
        let geometry = self.grid.geometry;
        let data = usize::from(geometry.unit_chunks());
        let shards = data + usize::from(geometry.parities());
        let first = unit * u64::from(geometry.unit_chunks());
        let parity = [geometry.p(unit), geometry.q(unit)];
        let place = |shard: usize| match shard.checked_sub(data) {
            None => geometry.place(first + shard as u64, 0),
            Some(parity_number) => parity[parity_number].expect("the level has as many parities"),
        };
        let mut places = [Place { member: 0, row: 0 }; MEMBERS_MAX as usize];
        places.iter_mut().zip(0..shards).for_each(|(to, shard)| *to = place(shard));
        // Parity was read where something of its unit was not.
        let is_read = self.slot.whole || !(geometry.unit_members(unit) & self.slot.skipped).is_empty();
        let looked_at = if is_read { shards } else { data };
        let most = if is_read { shards - data } else { 0 };
        for block in 0..self.grid.chunk_blocks() {
            let found = self.missing(&places[..looked_at], block, most, false);
            let missing = match found {
                Err(_) if is_read => self.missing(&places[..looked_at], block, most, true)?,
                found => found?,
            };
            if !missing.as_slice().is_empty() {
                self.bring_back(&places[..shards], data, missing.as_slice(), block)?;
                missing.as_slice().iter().try_for_each(|&shard| self.settle(places[shard], block))?;
            }
        }
        Ok(())
    }

    /// The shards that are missing, if they are not more than that. Those without leaves are missing, unless there is
    /// nothing left but to believe them.
    fn missing(&mut self, places: &[Place], block: usize, most: usize, believing: bool) -> Result<Missing, Bad> {
        let mut missing = Missing::default();
        for (shard, &place) in places.iter().enumerate() {
            if believing && self.believe(place, block) {
                continue;
            }
            if let Err(bad) = self.check(place, block) {
                if missing.count == most {
                    return Err(self.to_blame(bad, places, missing.as_slice()));
                }
                missing.shards[missing.count] = shard;
                missing.count += 1;
            }
        }
        Ok(missing)
    }

    /// Takes a block that was read without a leaf for what it is; the root will tell.
    fn believe(&mut self, place: Place, block: usize) -> bool {
        let read = self.leafless.contains(place.member) && !self.slot.skipped.contains(place.member);
        if read {
            self.put_leaf(place, block);
        }
        read
    }

    /// Of several that are missing, one that was read and is wrong.
    fn to_blame(&self, bad: Bad, places: &[Place], missing: &[usize]) -> Bad {
        let read = |place: &Place| !self.slot.skipped.contains(place.member);
        let Bad { place, block } = bad;
        let other = missing.iter().map(|&shard| places[shard]).find(read);
        Bad { place: if read(&place) { place } else { other.unwrap_or(place) }, block }
    }

    /// Computes the missing shards of a unit from the others.
    fn bring_back(&mut self, places: &[Place], data: usize, missing: &[usize], block: usize) -> Result<(), Bad> {
        let range = |place: Place| self.grid.block_bytes(place, block);
        let [one, two] = [missing.first(), missing.get(1)].map(|shard| shard.map(|&shard| places[shard]));
        let mut columns = [one, two].map(|place| place.map(|place| (place, self.data.take(place.member))));
        let mut shards: [Option<&[u8]>; MEMBERS_MAX as usize] = [None; MEMBERS_MAX as usize];
        for (shard, &place) in places.iter().enumerate().filter(|(shard, _)| !missing.contains(shard)) {
            shards[shard] = Some(&self.data.0[usize::from(place.member)][range(place)]);
        }
        let shards = &shards[..places.len()];
        let done = match &mut columns {
            [Some((place, column)), None] => {
                self.kernels.reconstruct(data, shards, &mut [(missing[0], &mut column[range(*place)])])
            }
            [Some((place, column)), Some((other, other_column))] => {
                let first = (missing[0], &mut column[range(*place)]);
                let second = (missing[1], &mut other_column[range(*other)]);
                self.kernels.reconstruct(data, shards, &mut [first, second])
            }
            _ => Ok(()),
        };
        for (place, column) in columns.into_iter().flatten() {
            self.data.put_back(place.member, column);
        }
        done.map_err(|_| Bad { place: places[missing[0]], block })
    }

    /// All copies of one chunk.
    fn copies(&mut self, chunk: u64) -> Result<(), Bad> {
        let geometry = self.grid.geometry;
        for block in 0..self.grid.chunk_blocks() {
            let mut source = None;
            let mut bad = None;
            let mut is_sound = [false; MEMBERS_MAX as usize];
            for turn in 0..geometry.copies() {
                let copy = (self.slot.copy + turn) % geometry.copies();
                let place = geometry.place(chunk, copy);
                match self.check(place, block) {
                    Ok(()) => {
                        is_sound[usize::from(copy)] = true;
                        source = source.or(Some(place));
                        if !self.slot.whole {
                            break;
                        }
                    }
                    // One copy is read at first, so there is no other to go on with.
                    Err(wrong) if !self.slot.whole && !self.slot.skipped.contains(place.member) => return Err(wrong),
                    Err(wrong) => bad = Some(wrong),
                }
            }
            let mut places = (0..geometry.copies()).map(|copy| geometry.place(chunk, copy));
            let from = match source.or_else(|| places.find(|&place| self.believe(place, block))) {
                Some(from) => from,
                None => return Err(bad.unwrap_or(Bad { place: geometry.place(chunk, 0), block })),
            };
            for copy in (0..geometry.copies()).filter(|&copy| !is_sound[usize::from(copy)]) {
                let to = geometry.place(chunk, copy);
                // Copies that nobody has asked for are none of this reader's business.
                if to == from {
                    continue;
                }
                if self.slot.whole || self.slot.skipped.contains(to.member) {
                    let column = self.data.take(to.member);
                    let bytes = &self.data.of(from.member)[self.grid.block_bytes(from, block)];
                    column[self.grid.block_bytes(to, block)].copy_from_slice(bytes);
                    self.data.put_back(to.member, column);
                    self.settle(to, block)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a block was read and has the leaf that it should have.
    fn check(&mut self, place: Place, block: usize) -> Result<(), Bad> {
        let bad = Bad { place, block };
        let unknown = self.slot.skipped | self.leafless;
        if unknown.contains(place.member) || self.computed(place, block) != self.stored(place, block) {
            return Err(bad);
        }
        Ok(())
    }

    /// A block was brought back: it is what its leaf says, or its leaf is now known.
    fn settle(&mut self, place: Place, block: usize) -> Result<(), Bad> {
        let member = place.member;
        let leafless = self.leafless.contains(member);
        if leafless {
            self.put_leaf(place, block);
        } else if self.computed(place, block) != self.stored(place, block) {
            return Err(Bad { place, block });
        }
        let found = &mut self.found[usize::from(member)];
        if self.lost.contains(member) {
            found.reconstructed += 1;
        } else if !leafless && !self.slot.skipped.contains(member) {
            found.damaged += 1;
            self.wrong = self.wrong.with(member);
        }
        Ok(())
    }

    fn put_leaf(&mut self, place: Place, block: usize) {
        let leaf = self.computed(place, block);
        self.leaves.of(place.member)[self.grid.leaf_bytes(place, block)].copy_from_slice(&leaf.0.to_le_bytes());
    }

    fn computed(&mut self, place: Place, block: usize) -> Leaf {
        let crc = crc32c(&self.data.of(place.member)[self.grid.block_bytes(place, block)]);
        self.grid.leaf(place, block, crc)
    }

    fn stored(&mut self, place: Place, block: usize) -> Leaf {
        let mut leaf = [0; 8];
        leaf.copy_from_slice(&self.leaves.of(place.member)[self.grid.leaf_bytes(place, block)]);
        Leaf(u64::from_le_bytes(leaf))
    }
}
