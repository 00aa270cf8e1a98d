//! The log: which records count, and what they make of their rows.

use std::collections::{BTreeMap, BTreeSet};

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::raid::members::Members;

use super::Recovery;
use crate::checksum::Leaf;
use crate::port::Port;
use crate::port::blocking::Fault;
use crate::volume::head::Owner;
use crate::volume::lane;
use crate::volume::record::{HEADER_BYTES, Record};

/// A record that was found sound.
struct Found {
    record: Record,
    data: Vec<u8>,
    /// The partial parities, from a member that has them.
    partial: Option<Vec<u8>>,
    /// The members that have it.
    present: Members,
}

/// The newest record of each block, by unit, row and member.
type Newest = BTreeMap<(u64, u16, u16), u64>;

impl<P: Port> Recovery<'_, P> {
    pub(super) fn recover_records(&mut self, lane: u16) -> Result<(), Fault> {
        let tail = self.head(lane)?.map_or(0, |(head, _)| head.tail);
        let mut found = BTreeMap::new();
        for member in self.living.iter() {
            self.scan(lane, member, tail, &mut found)?;
        }
        found.retain(|_, found| self.counts(found));
        // A row stays locked until it is durable in place, so an older record has nothing to add to the blocks of a newer
        // one. But its leaves may still be in the memory that was lost, so each block takes its newest record.
        let mut newest = Newest::new();
        for (&sequence, Found { record, .. }) in &found {
            for member in (record.changed | record.parities).iter() {
                let rows = record.row..record.row + record.rows;
                newest.extend(rows.map(|row| ((record.unit, row, member), sequence)));
            }
        }
        self.recovered.records += found.len() as u64;
        for found in found.values() {
            self.replay(found, &newest)?;
        }
        Ok(())
    }

    /// All sound records of this opening on one member, from `tail` on.
    fn scan(&mut self, lane: u16, member: u16, tail: u64, all: &mut BTreeMap<u64, Found>) -> Result<(), Fault> {
        let blocks = lane::blocks(&self.map.volume, lane);
        let mut bytes = vec![0; blocks as usize * HEADER_BYTES];
        self.disks.read(member, lane::offset(&self.map.volume, lane), &mut bytes)?;
        let frames: BTreeSet<u64> = self.map.volume.frames.iter().copied().collect();
        for place in lane::HEADS..blocks {
            let (before, rest) = bytes.split_at(place as usize * HEADER_BYTES);
            let Some(record) = Record::decode(rest) else { continue };
            let owner =
                Owner { pool: record.pool, generation: record.generation, epoch: record.epoch, lane: record.lane };
            let mine = owner == self.owner(lane) && record.place == place && record.sequence >= tail;
            if !mine || !frames.contains(&self.map.frame_of_unit(record.unit)) || !self.is_possible(&record) {
                continue;
            }
            let has_partial = record.has_partial(member, self.map.parities(record.unit));
            let data = before.len().checked_sub(record.data_blocks() as usize * HEADER_BYTES).map(|at| &before[at..]);
            let partial_bytes = if has_partial { record.parity_blocks() as usize * HEADER_BYTES } else { 0 };
            let partial = rest[HEADER_BYTES..].get(..partial_bytes);
            let Some((data, partial)) = data.zip(partial).filter(|(data, partial)| {
                let blocks = data.chunks(HEADER_BYTES).chain(partial.chunks(HEADER_BYTES));
                blocks.enumerate().all(|(index, block)| Record::vouches(rest, index, block))
            }) else {
                continue;
            };
            let found = all.entry(record.sequence);
            let found =
                found.or_insert_with(|| Found { record, data: data.to_vec(), partial: None, present: Members::NONE });
            found.present = found.present.with(member);
            if has_partial {
                found.partial.get_or_insert_with(|| partial.to_vec());
            }
        }
        Ok(())
    }

    /// Whether the rows and members of a record are those of its unit.
    fn is_possible(&self, record: &Record) -> bool {
        let data = self.map.members(record.unit, 0..self.map.data);
        let rows = u32::from(record.row) + u32::from(record.rows);
        rows <= self.map.chunk
            && !record.changed.is_empty()
            && (record.changed - data).is_empty()
            && (record.parities - self.map.parities(record.unit)).is_empty()
    }

    /// A record counts if it lies on all of its mirrors that are left. Where it does not, nothing was written in place,
    /// and if it counted then a second crash in the middle of its replay could take the only copy of it away.
    fn counts(&self, found: &Found) -> bool {
        let lost = self.health.lost_of(self.map.frame_of_unit(found.record.unit));
        (found.record.mirrors - lost - found.present).is_empty()
    }

    /// Writes a record in place: the new data, the parities that follow, and the leaves of both.
    fn replay(&mut self, found: &Found, newest: &Newest) -> Result<(), Fault> {
        let record = &found.record;
        let bytes = usize::from(record.rows) * HEADER_BYTES;
        let places: Vec<u16> = (0..self.map.shards).map(|shard| self.map.shard(record.unit, shard).member).collect();
        let among = |members: Members| (0..places.len()).filter(|&shard| members.contains(places[shard])).collect();
        let (changed, parities): (Vec<usize>, Vec<usize>) = (among(record.changed), among(record.parities));
        let new: Vec<(usize, &[u8])> = changed.into_iter().zip(found.data.chunks(bytes)).collect();
        for &(shard, data) in &new {
            self.put_newest(record, shard, data, newest)?;
        }
        let zeros = vec![0; bytes];
        // Without a partial parity there is no parity left that it would be needed for.
        let partial = found.partial.as_deref().unwrap_or_default();
        for (shard, partial) in parities.into_iter().zip(partial.chunks(bytes)) {
            let mut parity = partial.to_vec();
            for &(data, new) in &new {
                if shard == self.map.data {
                    self.kernels.update_p(&zeros, new, &mut parity);
                } else {
                    self.kernels.update_q(data, &zeros, new, &mut parity);
                }
            }
            self.put_newest(record, shard, &parity, newest)?;
        }
        Ok(())
    }

    /// Writes those rows of a shard that no newer record has.
    fn put_newest(&mut self, record: &Record, shard: usize, bytes: &[u8], newest: &Newest) -> Result<(), Fault> {
        let member = self.map.shard(record.unit, shard).member;
        if self.health.lost_of(self.map.frame_of_unit(record.unit)).contains(member) {
            return Ok(());
        }
        let rows = record.row..record.row + record.rows;
        for (row, block) in rows.zip(bytes.chunks(HEADER_BYTES)) {
            if newest.get(&(record.unit, row, member)) == Some(&record.sequence) {
                self.recovered.blocks += 1;
                self.put(record.unit, shard, u32::from(row), block)?;
            }
        }
        Ok(())
    }

    /// Writes blocks of one shard and their leaves.
    pub(super) fn put(&mut self, unit: u64, shard: usize, row: u32, bytes: &[u8]) -> Result<(), Fault> {
        let place = self.map.shard(unit, shard);
        let frame = self.map.frame_of_unit(unit);
        let offset = place.offset + u64::from(row) * BLOCK_BYTES;
        self.disks.write(place.member, offset, bytes)?;
        for (index, block) in (0..).zip(bytes.chunks(HEADER_BYTES)) {
            let address = offset / BLOCK_BYTES + u64::from(index);
            let leaf = Leaf::of(block, address, self.map.volume.generation);
            self.set_leaf(frame, place.member, place.leaf + row + index, leaf)?;
        }
        Ok(())
    }
}
