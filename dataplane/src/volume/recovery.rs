//! What a crash left half done is finished before a volume is used.
//!
//! ```text
//!   flush ─▶ heads and records of the newest opening ─▶ which of them count ─▶ rows or regions made whole ─▶ flush
//! ```
//!
//! The flush at the start is for a crash of the program alone: what is read then may still be in the members' caches, and
//! nothing may be built on a record that a loss of power would take back.
//!
//! Nothing of log or bitmap is changed, so a recovery that is interrupted is begun again with the same records. The caller
//! gives the volume a new epoch afterwards, and with that all of them are void.

use std::collections::BTreeMap;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;

use super::Volume;
use super::head::{BITS_BYTES, HEAD_BYTES, Head, Owner};
use super::lane;
use super::map::Map;
use crate::checksum::Leaf;
use crate::parity::Kernels;
use crate::port::Port;
use crate::port::blocking::{Blocking, Fault};

mod records;
mod regions;

/// What was found to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records of the log that counted.
    pub records: u64,
    /// Blocks that were written again.
    pub blocks: u64,
    /// Regions of the bitmap that were compared.
    pub regions: u64,
}

/// Finishes what the log or the bitmap of epoch `volume.epoch` tells, and makes it durable. Waits on the spot.
///
/// Homes are made after it, and after a new epoch has become durable. It may be interrupted and begun again at any point.
///
/// # Errors
/// The first request that a member refused. Whoever has redundancy left can count that member as lost and begin again.
pub fn recover<P: Port>(volume: &Volume, health: &Health, port: &mut P) -> Result<Recovered, Fault> {
    let map = Map::new(volume.clone());
    let all: Members = (0..volume.geometry.members()).collect();
    let living = all - health.lost;
    let mut recovery = Recovery {
        map,
        health: *health,
        living,
        kernels: Kernels::detect(),
        disks: Blocking::new(port),
        leaves: BTreeMap::new(),
        recovered: Recovered::default(),
    };
    recovery.flush()?;
    for lane in 0..u16::try_from(volume.lanes.len()).unwrap_or(u16::MAX) {
        if recovery.map.is_copied() {
            recovery.recover_regions(lane)?;
        } else {
            recovery.recover_records(lane)?;
        }
        recovery.write_leaves()?;
    }
    recovery.flush()?;
    Ok(recovery.recovered)
}

/// A recovery under way.
struct Recovery<'a, P: Port> {
    map: Map,
    health: Health,
    /// Members that can be asked.
    living: Members,
    kernels: Kernels,
    disks: Blocking<'a, P>,
    /// Leaf blocks that change, by member and offset.
    leaves: BTreeMap<(u16, u64), Vec<u8>>,
    recovered: Recovered,
}

impl<P: Port> Recovery<'_, P> {
    fn flush(&mut self) -> Result<(), Fault> {
        self.living.iter().try_for_each(|member| self.disks.flush(member))
    }

    /// The newest head of a lane that any member has.
    fn head(&mut self, lane: u16) -> Result<Option<(Head, [u8; BITS_BYTES])>, Fault> {
        let mut newest: Option<(Head, [u8; BITS_BYTES])> = None;
        for member in self.living.iter() {
            for block in 0..u64::from(lane::HEADS) {
                let mut bytes = vec![0; HEAD_BYTES];
                let offset = lane::offset(&self.map.volume, lane) + block * BLOCK_BYTES;
                self.disks.read(member, offset, &mut bytes)?;
                let head = Head::decode(&bytes).filter(|(head, _)| head.owner == self.owner(lane));
                let newer = |head: &Head| newest.as_ref().is_none_or(|(newest, _)| head.count > newest.count);
                if let Some(head) = head.filter(|(head, _)| newer(head)) {
                    newest = Some(head);
                }
            }
        }
        Ok(newest)
    }

    fn owner(&self, lane: u16) -> Owner {
        let volume = &self.map.volume;
        Owner { pool: volume.pool, generation: volume.generation, epoch: volume.epoch, lane }
    }

    fn leaf(&mut self, frame: u64, member: u16, leaf: u32) -> Result<Leaf, Fault> {
        let (block, within) = self.leaf_block(frame, member, leaf)?;
        let mut word = [0; 8];
        word.copy_from_slice(&block[within..within + 8]);
        Ok(Leaf(u64::from_le_bytes(word)))
    }

    fn set_leaf(&mut self, frame: u64, member: u16, leaf: u32, value: Leaf) -> Result<(), Fault> {
        let (block, within) = self.leaf_block(frame, member, leaf)?;
        block[within..within + 8].copy_from_slice(&value.0.to_le_bytes());
        Ok(())
    }

    /// The block that a leaf is in, and where.
    fn leaf_block(&mut self, frame: u64, member: u16, leaf: u32) -> Result<(&mut Vec<u8>, usize), Fault> {
        let within = u64::from(leaf) * 8;
        let offset = self.map.volume.layout.leaf_offset(frame) + within / BLOCK_BYTES * BLOCK_BYTES;
        let within = usize::try_from(within % BLOCK_BYTES).expect("less than a block");
        let block = match self.leaves.entry((member, offset)) {
            std::collections::btree_map::Entry::Occupied(block) => block.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                let mut bytes = vec![0; HEAD_BYTES];
                self.disks.read(member, offset, &mut bytes)?;
                vacant.insert(bytes)
            }
        };
        Ok((block, within))
    }

    fn write_leaves(&mut self) -> Result<(), Fault> {
        for ((member, offset), bytes) in std::mem::take(&mut self.leaves) {
            self.disks.write(member, offset, &bytes)?;
        }
        Ok(())
    }
}
