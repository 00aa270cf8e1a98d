//! Changes of who counts in a pool, and the superblocks that make them durable.
//!
//! ```text
//!   active ── a request is refused, fail, absent at opening ──▶ failed ── replace ──▶ rebuilding ── rebuilt ──▶ active
//!                                                                 └─ a spare is there ──▶ rebuilding, on the spare
//! ```
//!
//! A change is made in memory first, and counts when it is durable on every device that still takes part. Superblocks
//! are written to those first that are furthest behind, and flushed before the others are: so no device can be further
//! ahead of another than the pool has devices, however often the power fails in between. That is why the generation
//! makes a leap when somebody is marked as failed who is not there to be asked what he holds.
//!
//! Of those whom one table counts at least half must hold the next: a second member is given up only when the loss of the
//! first is durable, or when enough are left in any case.

use bireme_control::raid::health::Health;

use super::error::{PoolError, device};
use super::inspect::{self, Device, look_at};
use super::roll::{Place, list};
use super::{Member, Pool, new_uuid};
use crate::layout::zones;
use crate::port::Port;
use crate::port::blocking::{Blocking, Fault};
use crate::superblock::{Entry, ROWS_MAX, SUPERBLOCK_BYTES, State};

/// A device that is to take a member's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The device.
    pub device: Member,
    /// The port's file of it.
    pub file: u16,
    /// Whether what it holds may be lost.
    pub destroy_data: bool,
}

/// A row that was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The device that took its place.
    pub(crate) spare: Option<std::path::PathBuf>,
}

/// A superblock of one device, and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Inscription {
    pub(crate) file: u16,
    pub(crate) offsets: [u64; 2],
    pub(crate) bytes: Vec<u8>,
    /// What the device held before.
    before: u64,
}

impl Pool {
    /// Marks a member as failed: nothing on it counts from now on. A spare takes its place, if there is one.
    ///
    /// # Errors
    /// The array does not survive without it, or the devices refuse.
    pub fn fail<P: Port>(&mut self, member: u16, port: &mut P) -> Result<Health, PoolError> {
        self.check_failing(member)?;
        if !self.health().lost.contains(member) {
            let place = self.places[usize::from(member)].as_ref();
            let path = place.map_or_else(String::new, |place| place.path.display().to_string());
            let loss = self.lose(usize::from(member)).expect("it was checked that the array survives");
            self.notes.push(left_out(&path, &loss));
            self.write_superblocks(port)?;
        }
        Ok(self.health())
    }

    /// Whether a member can be done without.
    ///
    /// # Errors
    /// The sentence that says why not.
    pub fn check_failing(&self, member: u16) -> Result<(), PoolError> {
        let (geometry, health) = (self.geometry(), self.health());
        if member >= geometry.members() {
            return Err(PoolError::NoMember { member, members: geometry.members() });
        }
        let without = health.without(member);
        if health.lost.contains(member) || without.survives(&geometry) {
            return Ok(());
        }
        let gone = without.lost | without.rebuilding;
        Err(PoolError::Needed { member, level: geometry.level(), missing: list(gone) })
    }

    /// Puts a device in the place of a member, which is failed if it was not: it is to be rebuilt from the first frame on.
    ///
    /// # Errors
    /// The array does not survive without the member, the device is not blank or too small, or the devices refuse.
    pub fn replace<P: Port>(&mut self, member: u16, with: &Replacement, port: &mut P) -> Result<Health, PoolError> {
        self.check_replacement(member, with, port)?;
        let Replacement { device: Member { path, bytes }, file, destroy_data } = with;
        if *destroy_data {
            inspect::wipe(&with.device, *file, port)?;
        }
        let bytes = inspect::whole_blocks(*bytes);
        let row = usize::from(member);
        self.newest.rows[row] = Entry { uuid: new_uuid()?, bytes, state: State::Rebuilding, failed_at: 0 };
        // Which of the given devices it is matters to those only who opened the pool with it.
        let place = Place { given: usize::from(*file), file: *file, path: path.clone(), slots: [1; 2], generation: 0 };
        self.places[row] = Some(place);
        self.newest.watermark = 0;
        // What was said of the member is past.
        let past = format!("member {member} has failed");
        self.notes.retain(|note| !note.starts_with(&past));
        self.write_superblocks(port)?;
        // The mirror of a member that is being rebuilt does not count before: the order does no harm.
        let source = self.active().next().and_then(|row| self.places[row].clone());
        let source = source.ok_or_else(|| PoolError::NoMetadata { path: path.clone() })?;
        self.copy_mirror(&source, &[*file], port)?;
        Ok(self.health())
    }

    /// Whether a device can take a member's place; writes nothing.
    ///
    /// # Errors
    /// The sentence that says why not.
    pub fn check_replacement<P: Port>(&self, member: u16, with: &Replacement, port: &mut P) -> Result<(), PoolError> {
        self.check_failing(member)?;
        if self.health().rebuilding.contains(member) {
            let place = self.places[usize::from(member)].as_ref();
            let path = place.map_or_else(Default::default, |place| place.path.clone());
            return Err(PoolError::Rebuilding { member, path });
        }
        let Replacement { device: Member { path, bytes }, file, destroy_data } = with;
        let have = inspect::whole_blocks(*bytes);
        if !self.layout().fits(have) {
            return Err(PoolError::SmallReplacement {
                path: path.clone(),
                have,
                need: self.layout().device_bytes_min(),
            });
        }
        let what = match look_at(&with.device, *file, port)? {
            Device::Unreadable(fault) => return Err(device(path)(fault)),
            Device::Ours(own, _) if own.pool == self.uuid() && self.newest.counted().any(|uuid| uuid == own.device) => {
                return Err(PoolError::Own { path: path.clone() });
            }
            Device::Blank => return Ok(()),
            _ if *destroy_data => return Ok(()),
            Device::Foreign(what) => inspect::holds(what),
            Device::Ours(..) | Device::Unfinished(..) => "is a part of a Bireme pool".to_owned(),
        };
        Err(PoolError::Foreign { path: path.clone(), what })
    }

    /// Frames below this are whole on the members that are being rebuilt: what was written to them is made durable first.
    ///
    /// # Errors
    /// The devices refuse.
    ///
    /// # Panics
    /// When there are not so many frames.
    pub fn set_watermark<P: Port>(&mut self, frames: u64, port: &mut P) -> Result<(), PoolError> {
        assert!(frames <= self.layout().frames(), "a watermark lies within the pool");
        let before = self.newest.rows.clone();
        self.flush_all(port)?;
        // One that was lost by the flush, and its place taken, is to be filled from the start.
        if self.newest.rows == before {
            self.newest.watermark = frames;
        }
        self.write_superblocks(port)
    }

    /// All frames are whole on the members that are being rebuilt: they are members as the others are.
    ///
    /// # Errors
    /// The devices refuse.
    pub fn rebuilt<P: Port>(&mut self, port: &mut P) -> Result<(), PoolError> {
        let before = self.newest.rows.clone();
        self.flush_all(port)?;
        if self.newest.rows == before {
            let there = self.newest.rows.iter_mut().zip(&self.places).filter(|(_, place)| place.is_some());
            let filled = there.map(|(entry, _)| entry).filter(|entry| entry.state == State::Rebuilding);
            filled.for_each(|entry| entry.state = State::Active);
            self.newest.watermark = 0;
        }
        self.write_superblocks(port)
    }

    /// The row of a device that takes part, by its file.
    pub(crate) fn row_of(&self, file: u16) -> Option<usize> {
        self.places.iter().position(|place| place.as_ref().is_some_and(|place| place.file == file))
    }

    /// Takes a row out, in memory; `None`, and nothing is changed, when the array does not survive that.
    pub(crate) fn lose(&mut self, row: usize) -> Option<Loss> {
        let members = usize::from(self.geometry().members());
        if self.newest.rows[row].state == State::Creating {
            return None;
        }
        if row >= members {
            self.newest.rows.remove(row);
            self.places.remove(row);
            return Some(Loss { spare: None });
        }
        let member = u16::try_from(row).expect("few members");
        if !self.active().any(|other| other != row) {
            // Its mirror is the only one that counts.
            return None;
        }
        if !self.health().without(member).survives(&self.geometry()) || !self.has_quorum_without(row) {
            return None;
        }
        let failed_at = self.newest.generation + 1;
        let entry = &mut self.newest.rows[row];
        (entry.state, entry.failed_at) = (State::Failed, failed_at);
        self.places[row] = None;
        let spare = (members..self.places.len())
            .find(|&spare| self.places[spare].is_some() && self.newest.layout.fits(self.newest.rows[spare].bytes));
        let Some(spare) = spare else { return Some(Loss { spare: None }) };
        let entry = self.newest.rows.remove(spare);
        self.newest.rows[row] = Entry { state: State::Rebuilding, ..entry };
        self.places[row] = self.places.remove(spare);
        self.newest.watermark = 0;
        Some(Loss { spare: self.places[row].as_ref().map(|place| place.path.clone()) })
    }

    /// Whether at least half of those whom the last durable table counts will hold the next one too. Otherwise what is left
    /// behind could be taken for the pool: it has not heard of those that were lost before.
    fn has_quorum_without(&self, row: usize) -> bool {
        let places = self.newest.rows.iter().zip(&self.places).enumerate();
        let there = places.filter(|(other, (entry, place))| *other != row && entry.state.counts() && place.is_some());
        let there = there.filter(|(_, (entry, _))| self.quorum.contains(&entry.uuid)).count();
        there * 2 >= self.quorum.len()
    }

    /// The newest table is durable on all that take part.
    pub(crate) fn confirm(&mut self) {
        self.quorum = self.newest.counted_members().collect();
        for place in self.places.iter_mut().flatten() {
            place.slots = place.slots.map(|slot| 1 - slot);
            place.generation = self.newest.generation;
        }
    }

    /// Marks members as failed that are not there. Whoever is not there may be ahead: the generation leaps over it.
    pub(super) fn fail_absent(&mut self) {
        let members = usize::from(self.geometry().members());
        let rows = self.newest.rows.iter().zip(&self.places).enumerate();
        let absent = rows.filter(|(_, (entry, place))| entry.state != State::Failed && place.is_none());
        let absent: Vec<usize> = absent.map(|(row, _)| row).collect();
        if !absent.is_empty() {
            self.newest.generation += LEAP;
        }
        for row in absent.into_iter().filter(|&row| row < members) {
            let loss = self.lose(row).expect("the roll call has found that the array survives");
            self.notes.push(left_out(&format!("member {row}"), &loss));
        }
    }

    /// Members whose mirrors count, in order.
    pub(super) fn active(&self) -> impl Iterator<Item = usize> + '_ {
        let rows = self.newest.rows.iter().zip(&self.places).enumerate();
        rows.filter_map(|(row, (entry, place))| (entry.state == State::Active && place.is_some()).then_some(row))
    }

    /// Goes on without a device that has refused a request, in memory; the error when the array does not survive that.
    pub(super) fn without(&mut self, file: u16, fault: Fault) -> Result<(), PoolError> {
        let error = self.refused(file, fault);
        let Some(row) = self.row_of(file) else { return Ok(()) };
        match self.lose(row) {
            Some(loss) => {
                self.notes.push(format!("{error}; {}", left_out("it", &loss)));
                Ok(())
            }
            None => Err(error),
        }
    }

    /// The error that names the device.
    pub(super) fn refused(&self, file: u16, fault: Fault) -> PoolError {
        let place = self.places.iter().flatten().find(|place| place.file == file);
        place.map_or(PoolError::Port(fault.errno), |place| device(&place.path)(fault))
    }

    /// A new generation on all that take part. A device that refuses is left out, if the array survives that, and another
    /// generation says so.
    pub(super) fn write_superblocks<P: Port>(&mut self, port: &mut P) -> Result<(), PoolError> {
        loop {
            let mut inscriptions = self.inscribe();
            inscriptions.sort_by_key(|inscription| inscription.before);
            let behind = |one: &Inscription, other: &Inscription| one.before == other.before;
            match inscriptions.chunk_by(behind).try_for_each(|equals| write(equals, port)) {
                Ok(()) => {
                    self.confirm();
                    return Ok(());
                }
                Err(fault) if port.in_flight() == 0 => self.without(fault.file, fault)?,
                Err(fault) => return Err(self.refused(fault.file, fault)),
            }
        }
    }

    /// The superblocks of the next generation, each for the slot that does not hold the newest durable one at that end.
    /// Those of an attempt that was not confirmed are written over: were the other slot taken instead, a loss of power
    /// could tear both.
    pub(crate) fn inscribe(&mut self) -> Vec<Inscription> {
        self.newest.generation += 1;
        let mut inscriptions = Vec::new();
        for (row, place) in self.places.iter().enumerate() {
            let Some(place) = place else { continue };
            self.newest.device = self.newest.rows[row].uuid;
            let zones = zones(self.newest.rows[row].bytes);
            let offset = |end: usize| zones[end] + u64::from(1 - place.slots[end]) * SUPERBLOCK_BYTES as u64;
            let (offsets, bytes) = ([offset(0), offset(1)], self.newest.encode());
            inscriptions.push(Inscription { file: place.file, offsets, bytes, before: place.generation });
        }
        inscriptions
    }
}

fn write<P: Port>(inscriptions: &[Inscription], port: &mut P) -> Result<(), Fault> {
    let mut blocking = Blocking::new(port);
    for inscription in inscriptions {
        let Inscription { file, offsets, bytes, .. } = inscription;
        offsets.iter().try_for_each(|&offset| blocking.write(*file, offset, bytes))?;
    }
    inscriptions.iter().try_for_each(|inscription| blocking.flush(inscription.file))
}

/// What became of a member, as words of a sentence.
pub(crate) fn left_out(whom: &str, loss: &Loss) -> String {
    match &loss.spare {
        Some(spare) => format!("{whom} counts as failed, and {} takes its place: rebuild it", spare.display()),
        None => format!("{whom} counts as failed: the others go on without it"),
    }
}

/// More than a device can be ahead of another.
const LEAP: u64 = ROWS_MAX as u64 + 1;
