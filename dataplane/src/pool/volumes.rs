//! The volumes of a pool: made, opened, closed and removed, each in one transaction.
//!
//! ```text
//!   create   frames taken | leaf blocks and heads of lanes zeroed | flush | transaction: it is there
//!   open     what the log of the last opening says, if that was not closed | transaction: a new epoch
//!   close    (its homes have settled) transaction: clean
//!   delete   transaction: it is gone, its frames are free
//! ```
//!
//! A crash before a transaction is durable leaves what was before it: zeroes in frames that nobody holds, or a recovery
//! that is done once more.

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::units::Extent;
use serde::Serialize;

use super::Pool;
use super::error::PoolError;
use crate::ledger::store::Store;
use crate::ledger::store::volumes::VolumeRecord;
use crate::message::StoreFailure;
use crate::port::Port;
use crate::port::blocking::Blocking;
use crate::superblock::Superblock;
use crate::volume::recovery::{Recovered, recover};
use crate::volume::{Volume, lane_bytes_min};

/// A volume could not be made, opened or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// A name that no volume can have.
    #[error("'{0}' cannot be the name of a volume: use 1 to {NAME_CHARACTERS_MAX} of the characters a-z 0-9 - _ .")]
    Name(String),
    /// A name that is taken.
    #[error("there is a volume '{0}' already: choose another name, or delete it first")]
    Exists(String),
    /// No such volume.
    #[error("the pool on {} has no volume '{name}': {}", first.display(), known(names))]
    Missing {
        /// A member of the pool.
        first: std::path::PathBuf,
        /// The name that was asked for.
        name: String,
        /// Those that it has.
        names: Vec<String>,
    },
    /// A size that no volume can have.
    #[error("a volume of {bytes} bytes cannot be made: choose a multiple of {BLOCK_BYTES}, up to {most}")]
    Size {
        /// The size.
        bytes: u64,
        /// What the frames of the pool hold.
        most: u64,
    },
    /// No lanes, or too many.
    #[error("a volume for {0} peers cannot be made: choose 1 to {LANES_MAX}")]
    Lanes(u16),
    /// The frames do not suffice.
    #[error(
        "the volume needs {pages} frames for its data and {lanes} for its logs, and {free} of {frame_bytes} bytes are \
         free: choose a smaller size, delete another volume, or use larger devices"
    )]
    NoRoom {
        /// Frames of data.
        pages: u64,
        /// Frames of lanes, at least.
        lanes: u64,
        /// Free frames.
        free: u64,
        /// Bytes of data of a frame.
        frame_bytes: u64,
    },
    /// The pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// A volume as the metadata tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeFacts {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// How many homes it may have.
    pub lanes: usize,
    /// It was closed in order; the next opening recovers what is left otherwise.
    pub clean: bool,
}

impl Pool {
    /// Makes a volume that reads as zeros, for at most `lanes` homes. It is there when this returns, or it is not at all.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn create_volume<P: Port>(
        &mut self,
        name: &str,
        bytes: u64,
        lanes: u16,
        port: &mut P,
    ) -> Result<(), VolumeError> {
        check_name(name)?;
        let page_bytes = u64::from(self.geometry().page_bytes());
        let most = self.layout().frames() * page_bytes;
        if bytes == 0 || bytes > most || !bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(VolumeError::Size { bytes, most });
        }
        if lanes == 0 || lanes > LANES_MAX {
            return Err(VolumeError::Lanes(lanes));
        }
        if self.store().volume(name).map_err(PoolError::Store)?.is_some() {
            return Err(VolumeError::Exists(name.to_owned()));
        }
        let (pages, lanes) = self.allot(bytes.div_ceil(page_bytes), lanes)?;
        // After a failure nobody knows whether the devices hold the transaction, so the frames stay taken.
        Ok(self.write_volume(name, bytes, (&pages, &lanes), port)?)
    }

    /// Removes a volume; what it holds is lost.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn delete_volume<P: Port>(&mut self, name: &str, port: &mut P) -> Result<(), VolumeError> {
        let record = self.find(name)?;
        let (frames, lanes) = self.places(&record)?;
        self.store().remove_volume(name).map_err(PoolError::Store)?;
        self.replay_store(port)?;
        self.free.give_back(frames.iter().map(|&frame| Extent::new(frame, 1)).chain(lanes));
        Ok(())
    }

    /// Opens a volume for so many homes, or as many as it was made for. What an opening that was not closed has left half done is finished before, and
    /// told.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn open_volume<P: Port>(
        &mut self,
        name: &str,
        homes: u16,
        port: &mut P,
    ) -> Result<(Volume, Option<Recovered>), VolumeError> {
        let record = self.find(name)?;
        let (frames, lanes) = self.places(&record)?;
        let homes = u16::try_from(lanes.len()).unwrap_or(u16::MAX).min(homes);
        let mut volume = Volume {
            pool: self.uuid(),
            geometry: self.geometry(),
            layout: self.layout(),
            blocks: record.bytes / BLOCK_BYTES,
            generation: record.generation,
            epoch: record.epoch,
            frames: frames.into(),
            lanes: lanes.into(),
            homes,
        };
        let recovered = if record.clean { None } else { Some(self.recover(&volume, port)?) };
        volume.epoch = self.store().begin_epoch(&record).map_err(PoolError::Store)?.epoch;
        self.replay_store(port)?;
        Ok((volume, recovered))
    }

    /// A volume whose homes have settled was closed in order: nothing in its logs counts.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn close_volume<P: Port>(&mut self, name: &str, port: &mut P) -> Result<(), VolumeError> {
        let record = self.find(name)?;
        self.store().end_epoch(&record).map_err(PoolError::Store)?;
        Ok(self.replay_store(port)?)
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn volumes(&self) -> Result<Vec<VolumeFacts>, VolumeError> {
        let facts = |volume: VolumeRecord| {
            let lanes = self.store().volume_lanes(volume.id).map_err(PoolError::Store)?.len();
            Ok(VolumeFacts { name: volume.name, bytes: volume.bytes, lanes, clean: volume.clean })
        };
        self.store().volumes().map_err(PoolError::Store)?.into_iter().map(facts).collect()
    }

    /// Recovery begins again without a member that has refused, once that is durable.
    fn recover<P: Port>(&mut self, volume: &Volume, port: &mut P) -> Result<Recovered, PoolError> {
        loop {
            let fault = match recover(volume, &self.health(), port) {
                Ok(recovered) => return Ok(recovered),
                Err(fault) => fault,
            };
            self.or_without(fault.file, Err(fault), port)?;
            self.write_superblocks(port)?;
        }
    }

    fn find(&self, name: &str) -> Result<VolumeRecord, VolumeError> {
        let found = self.store().volume(name).map_err(PoolError::Store)?;
        found.map_or_else(|| Err(self.missing(name)), Ok)
    }

    fn missing(&self, name: &str) -> VolumeError {
        let names = self.store().volumes().unwrap_or_default().into_iter().map(|volume| volume.name).collect();
        VolumeError::Missing { first: self.paths[0].clone(), name: name.to_owned(), names }
    }

    fn places(&self, volume: &VolumeRecord) -> Result<(Vec<u64>, Vec<Extent>), PoolError> {
        let frames = self.store().volume_frames(volume.id).map_err(PoolError::Store)?;
        Ok((frames, self.store().volume_lanes(volume.id).map_err(PoolError::Store)?))
    }

    /// Frames for pages and lanes, or none: lanes of the usual length where there is room, and shorter ones otherwise.
    fn allot(&mut self, pages: u64, lanes: u16) -> Result<(Vec<Extent>, Vec<Extent>), VolumeError> {
        let member_bytes = u64::from(self.geometry().frame_member_bytes());
        let least = lane_bytes_min(&self.geometry()).div_ceil(member_bytes);
        let mut lane_frames = LANE_BYTES.div_ceil(member_bytes).max(least);
        loop {
            let mut free = self.free.clone();
            let runs: Option<Vec<Extent>> = (0..lanes).map(|_| free.take_run(lane_frames)).collect();
            if let Some(runs) = runs
                && let Some(pages) = free.take(pages)
            {
                self.free = free;
                return Ok((pages, runs));
            }
            if lane_frames == least {
                let (lanes, free) = (least * u64::from(lanes), self.free.count());
                let frame_bytes = u64::from(self.geometry().page_bytes());
                return Err(VolumeError::NoRoom { pages, lanes, free, frame_bytes });
            }
            lane_frames = (lane_frames / 2).max(least);
        }
    }

    /// Makes the frames ready, then the transaction.
    fn write_volume<P: Port>(
        &mut self,
        name: &str,
        bytes: u64,
        (pages, lanes): (&[Extent], &[Extent]),
        port: &mut P,
    ) -> Result<(), PoolError> {
        let (layout, health) = (self.layout(), self.health());
        for run in pages {
            self.write_zeros(layout.leaf_offset(run.start), run.count * layout.leaf_bytes(), port)?;
        }
        for lane in lanes {
            self.write_zeros(layout.data_offset(lane.start), LANE_HEAD_BYTES, port)?;
        }
        self.flush_all(port)?;
        if self.health() != health {
            self.write_superblocks(port)?;
        }
        let generation = self.generation() << ID_BITS;
        let generation = |id: u64| generation | VOLUMES_BIT | id & (VOLUMES_BIT - 1);
        self.store().add_volume((name, bytes), generation, pages, lanes).map_err(PoolError::Store)?;
        self.replay_store(port)
    }

    /// Zeros at the same place of all members.
    fn write_zeros<P: Port>(&mut self, offset: u64, bytes: u64, port: &mut P) -> Result<(), PoolError> {
        let zeros = vec![0; usize::try_from(bytes.min(ZEROS_BYTES)).expect("1 MiB")];
        let members = &self.places[..usize::from(self.geometry().members())];
        let files: Vec<u16> = members.iter().flatten().map(|place| place.file).collect();
        for file in files {
            let write = |at: u64| {
                let part = (bytes - at).min(ZEROS_BYTES);
                let zeros = &zeros[..usize::try_from(part).expect("1 MiB")];
                Blocking::new(port).write(file, offset + at, zeros)
            };
            let mut steps = (0..bytes).step_by(usize::try_from(ZEROS_BYTES).expect("1 MiB"));
            let written = steps.try_for_each(write);
            self.or_without(file, written, port)?;
        }
        Ok(())
    }
}

/// All frames that volumes hold; `None` when the store contradicts itself.
pub(super) fn frames_of(store: &Store, superblock: &Superblock) -> Option<Vec<u64>> {
    let all = || -> Result<Option<Vec<u64>>, StoreFailure> {
        let mut used = Vec::new();
        for volume in store.volumes()? {
            let (frames, lanes) = (store.volume_frames(volume.id)?, store.volume_lanes(volume.id)?);
            let pages = volume.bytes.div_ceil(u64::from(superblock.geometry.page_bytes()));
            let inside =
                |lane: &Extent| lane.start.checked_add(lane.count).is_some_and(|end| end <= superblock.layout.frames());
            if frames.len() as u64 != pages || lanes.is_empty() || !lanes.iter().all(inside) {
                return Ok(None);
            }
            used.extend(frames);
            used.extend(lanes.into_iter().flat_map(Extent::iter));
        }
        Ok(Some(used))
    };
    all().ok().flatten()
}

fn check_name(name: &str) -> Result<(), VolumeError> {
    let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    let sound = (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(good);
    if sound { Ok(()) } else { Err(VolumeError::Name(name.to_owned())) }
}

fn known(names: &[String]) -> String {
    if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) }
}

/// The most homes of a volume.
pub const LANES_MAX: u16 = 64;
const NAME_CHARACTERS_MAX: usize = 64;
/// Of each member, for the log of one home: hundreds of small writes between two flushes of leaves.
const LANE_BYTES: u64 = 4 << 20;
/// What tells which records of a lane count.
const LANE_HEAD_BYTES: u64 = 2 * BLOCK_BYTES;
const ZEROS_BYTES: u64 = 1 << 20;
/// Generations of leaves are the pool's, then so many bits of what has its own within one opening of the pool: a set's
/// number, or this bit and a volume's.
const ID_BITS: u32 = 20;
const VOLUMES_BIT: u64 = 1 << (ID_BITS - 1);

#[cfg(test)]
mod tests;
