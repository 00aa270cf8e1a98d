//! The roll call of a pool: which of the given devices are which of its members, and which may be used.
//!
//! ```text
//!   devices ─▶ the newest table of all ─▶ each device finds its row by its name
//!                                          ├─ it counts      ─▶ used
//!                                          ├─ failed, no row ─▶ stale: named in a note, never used
//!   rows without a device ─▶ absent: the array must survive that, and most members must be there
//! ```
//!
//! Why the newest table tells the truth: whoever goes on without a member says so in the tables of all others before
//! anything else is written. A member that was left behind therefore finds itself marked as failed. A minority is never
//! used alone, as the others may have gone on without it. Exactly half can be told to go on, and the other half later
//! too: then each has marked the other as failed, neither table counts a device that the other counts, and both together
//! are refused. Half is also refused while a device is named that cannot be read: it may be the better half.

use std::path::PathBuf;

use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;

use super::error::{PoolError, device};
use super::inspect::Device;
use super::{Member, Standing};
use crate::superblock::{State, Superblock, Uuid};

/// A device that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which of the given devices.
    pub(super) given: usize,
    /// The port's file.
    pub(super) file: u16,
    pub(super) path: PathBuf,
    /// At each end, which slot holds the newest durable superblock.
    pub(super) slots: [u8; 2],
    /// Of its newest durable superblock.
    pub(super) generation: u64,
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Roll {
    /// The newest table.
    pub(super) newest: Superblock,
    /// By row.
    pub(super) places: Vec<Option<Place>>,
    /// What the operator should know.
    pub(super) notes: Vec<String>,
}

/// What the given devices are together.
#[derive(Debug)]
pub(super) enum Found {
    /// Nobody's; what traces there are of a pool that was never finished.
    Blank(Vec<Device>),
    /// One of them is somebody's.
    Foreign { member: usize, what: &'static str },
    /// A pool's.
    Ours(Roll),
}

/// Whose the devices are together.
pub(super) fn call(members: &[Member], devices: Vec<Device>) -> Result<Found, PoolError> {
    for (member, device) in devices.iter().enumerate() {
        if let Device::Foreign(what) = device {
            return Ok(Found::Foreign { member, what });
        }
    }
    let ours = devices.iter().position(|device| matches!(device, Device::Ours(..)));
    let Some(first) = ours else {
        let unreadable = devices.iter().zip(members).find_map(|(found, member)| match found {
            Device::Unreadable(fault) => Some(device(&member.path)(*fault)),
            _ => None,
        });
        return unreadable.map_or(Ok(Found::Blank(devices)), Err);
    };
    Roll::of(members, devices, first).map(Found::Ours)
}

impl Found {
    pub(super) fn standing(&self) -> Standing {
        match self {
            Found::Blank(_) => Standing::Blank,
            &Found::Foreign { member, what } => Standing::Foreign { member, what },
            Found::Ours(roll) => Standing::Ours { uuid: roll.newest.pool, geometry: roll.newest.geometry },
        }
    }
}

impl Roll {
    fn of(members: &[Member], devices: Vec<Device>, first: usize) -> Result<Roll, PoolError> {
        let path = |index: usize| members[index].path.clone();
        let (mut notes, mut unreadable) = (Vec::new(), None);
        let mut present: Vec<(Superblock, Place)> = Vec::new();
        let pool =
            devices.iter().find_map(|device| if let Device::Ours(own, _) = device { Some(own.pool) } else { None });
        for (given, found) in devices.into_iter().enumerate() {
            // Where the last superblocks of a creation reached some members only, the metadata were durable on all
            // before: the others belong to the pool too.
            let (own, slots) = match found {
                Device::Ours(own, slots) => (own, slots),
                Device::Unfinished(own, slots) if Some(own.pool) == pool => (own, slots),
                Device::Unreadable(fault) => {
                    let why = device(&members[given].path)(fault);
                    notes.push(format!("{why}: it is left out"));
                    unreadable = unreadable.or(Some(why));
                    continue;
                }
                _ => return Err(PoolError::Mixed { ours: path(first), other: path(given) }),
            };
            if Some(own.pool) != pool {
                return Err(PoolError::Different { one: path(first), other: path(given) });
            }
            if let Some((_, twin)) = present.iter().find(|(other, _)| other.device == own.device) {
                return Err(PoolError::Twice { one: twin.path.clone(), other: path(given) });
            }
            let file = u16::try_from(given).expect("few devices are given");
            let place = Place { given, file, path: path(given), slots, generation: own.generation };
            present.push((own, place));
        }
        let newest = present.iter().max_by_key(|(own, _)| own.generation).expect("the first is ours").clone();
        let mut roll = Roll { places: vec![None; newest.0.rows.len()], newest: newest.0, notes };
        for (own, place) in present {
            roll.enter(&own, place, &newest.1)?;
        }
        roll.check(members.len(), unreadable)?;
        Ok(roll)
    }

    /// A device takes its place, if the newest table counts it.
    fn enter(&mut self, own: &Superblock, place: Place, newest: &Place) -> Result<(), PoolError> {
        let row = self.newest.row_of(own.device);
        let counted = row.filter(|&row| self.newest.rows[row].state != State::Failed);
        if let Some(row) = counted {
            self.places[row] = Some(place);
            return Ok(());
        }
        // Nobody whom it counts is left, and somebody whom it has marked as failed is in use.
        let shared = |uuid: Uuid| own.rows.iter().any(|entry| entry.uuid == uuid && entry.state != State::Failed);
        let excluded = |uuid: Uuid| own.rows.iter().any(|entry| entry.uuid == uuid && entry.state == State::Failed);
        if !self.newest.counted().any(shared) && self.newest.counted().any(excluded) {
            return Err(PoolError::Apart { one: newest.path.clone(), other: place.path });
        }
        let path = place.path.display();
        self.notes.push(match row {
            Some(member) => format!("{path} is stale: member {member} has failed, and the others went on without it"),
            None => format!("{path} is stale: another device has taken its place in the pool"),
        });
        Ok(())
    }

    /// Whether so many are there that they can be used.
    fn check(&mut self, given: usize, unreadable: Option<PoolError>) -> Result<(), PoolError> {
        let geometry = self.newest.geometry;
        let health = health(&self.newest, &self.places);
        let holder = self.places.iter().position(Option::is_some).unwrap_or(0);
        let path = || self.places[holder].as_ref().map_or_else(PathBuf::new, |place| place.path.clone());
        if !health.survives(&geometry) {
            // With what cannot be read there could be enough: that is the cause.
            if let Some(why) = unreadable {
                return Err(why);
            }
            let (have, level) = (geometry.members(), geometry.level());
            let missing = list(health.lost | health.rebuilding);
            return Err(PoolError::Members { path: path(), member: holder, have, given, level, missing });
        }
        let members = || self.newest.rows.iter().zip(&self.places).take(usize::from(geometry.members()));
        let counted = members().filter(|(entry, _)| entry.state.counts()).count();
        let there = members().filter(|(entry, place)| entry.state.counts() && place.is_some()).count();
        if there * 2 < counted {
            return Err(PoolError::Minority { path: path(), there, counted });
        }
        if let Some(why) = unreadable.filter(|_| there * 2 == counted) {
            return Err(PoolError::Unsure { why: why.to_string(), there });
        }
        self.note_missing();
        Ok(())
    }

    fn note_missing(&mut self) {
        let members = usize::from(self.newest.geometry.members());
        for (row, (entry, place)) in self.newest.rows.iter().zip(&self.places).enumerate() {
            let note = match (entry.state, place) {
                (State::Failed, _) => format!("member {row} has failed: replace it (bireme array replace)"),
                (State::Rebuilding, Some(place)) => {
                    let (whole, frames) = (self.newest.watermark, self.newest.layout.frames());
                    format!(
                        "member {row}, {}, is not rebuilt yet: {whole} of {frames} frames are",
                        place.path.display()
                    )
                }
                (_, None) if row < members => format!("member {row} is absent: the others go on without it"),
                (State::Spare, None) => "a spare is absent".to_owned(),
                _ => continue,
            };
            self.notes.push(note);
        }
    }
}

/// Which members count.
pub(super) fn health(table: &Superblock, places: &[Option<Place>]) -> Health {
    let members = || table.rows.iter().zip(places).zip(0u16..table.geometry.members());
    let gone = members().filter(|((entry, place), _)| !entry.state.counts() || place.is_none());
    let rebuilding = members().filter(|((entry, place), _)| entry.state == State::Rebuilding && place.is_some());
    Health {
        lost: gone.map(|(_, member)| member).collect(),
        rebuilding: rebuilding.map(|(_, member)| member).collect(),
        watermark: table.watermark,
    }
}

/// Members as words of a sentence.
pub(super) fn list(members: Members) -> String {
    let names: Vec<String> = members.iter().map(|member| member.to_string()).collect();
    match names.as_slice() {
        [one] => format!("member {one}"),
        [most @ .., last] => format!("members {} and {last}", most.join(", ")),
        [] => "no member".to_owned(),
    }
}
