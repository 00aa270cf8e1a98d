//! What an observer knows of the disks of a pool: which count for certain, and which must not.
//!
//! ```text
//!   whole ── an error, a death ──▶ in doubt ── an opening without it, a commit after its loss ──▶ stale
//!     ▲            an opening that counts it ◀──┘                                  replaced, filled again │
//!     └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! As long as the level survives what is not whole, the pool must open and all of its data must be had. Nobody who is
//! stale may ever count.

use std::collections::BTreeSet;
use std::path::Path;

use bireme_control::raid::geometry::Geometry;
use bireme_dataplane::pool::Pool;
use bireme_dataplane::port::simulated::World;
use bireme_dataplane::superblock::{SUPERBLOCK_BYTES, State, Superblock};

use super::losses::promised;

/// Who counts.
#[derive(Clone, Debug)]
pub struct Roster {
    geometry: Geometry,
    /// The disk of each member, as the pool was last seen; empty before that.
    members: Vec<Option<usize>>,
    whole: BTreeSet<usize>,
    stale: BTreeSet<usize>,
    /// Disks that have refused a request in this boot.
    erred: BTreeSet<usize>,
    /// Dead disks whose death was taken down. Several may die before any is.
    dead: BTreeSet<usize>,
    /// Disks that the engine has said it has lost, as far as no set was committed after that.
    lost: BTreeSet<usize>,
    /// Bytes that were changed behind everybody's back, all of one disk, and what they were.
    rot: Vec<Rot>,
}

/// A byte that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rot {
    /// Whose.
    pub disk: usize,
    /// Where.
    pub offset: u64,
    /// What it was.
    pub byte: u8,
}

impl Rot {
    /// Whether the byte is still not what was written.
    fn is_there(&self, world: &World) -> bool {
        world.peek(self.disk, self.offset, 1) != [self.byte]
    }
}

impl Roster {
    /// Of a pool that nobody has seen yet.
    pub fn new(geometry: Geometry) -> Roster {
        let (members, rot) = (Vec::new(), Vec::new());
        let none = BTreeSet::new;
        Roster { geometry, members, whole: none(), stale: none(), erred: none(), dead: none(), lost: none(), rot }
    }

    /// The disk of each member.
    pub fn members(&self) -> &[Option<usize>] {
        &self.members
    }

    /// Members whose disks count for certain, and hold what they should.
    fn sound(&self, world: &World) -> impl Iterator<Item = (u16, usize)> {
        let disks = (0..).zip(&self.members).filter_map(|(member, disk)| Some((member, (*disk)?)));
        disks.filter(|(_, disk)| {
            self.whole.contains(disk) && !world.is_dead(*disk) && self.rot.iter().all(|rot| rot.disk != *disk)
        })
    }

    /// Their disks.
    pub fn sound_disks(&self, world: &World) -> Vec<usize> {
        self.sound(world).map(|(_, disk)| disk).collect()
    }

    /// Whether the pool must open and show all of its data, with one disk less if one is named.
    pub fn survives(&self, world: &World, without: Option<usize>) -> bool {
        let sound: Vec<u16> =
            self.sound(world).filter(|(_, disk)| Some(*disk) != without).map(|(member, _)| member).collect();
        let members = self.geometry.members();
        let gone: Vec<u16> = (0..members).filter(|member| !sound.contains(member)).collect();
        // A minority is never used alone.
        self.geometry.survives(&gone) && sound.len() * 2 >= usize::from(members)
    }

    /// How many more the level promises to do without.
    pub fn room(&self, world: &World) -> usize {
        let gone = usize::from(self.geometry.members()) - self.sound(world).count();
        promised(self.geometry.level()).saturating_sub(gone)
    }

    /// The members that do not count for certain.
    pub fn is_degraded(&self, world: &World) -> bool {
        self.sound(world).count() < usize::from(self.geometry.members())
    }

    /// Another boot.
    pub fn begin(&mut self) {
        self.erred.clear();
        self.lost.clear();
    }

    /// A disk has refused a request or died: it may count as failed, if the array could do without it then. Whoever died
    /// since did not count as dead yet.
    pub fn doubt(&mut self, world: &World, disk: usize) {
        self.erred.insert(disk);
        self.dead.insert(disk);
        let counts = |other: &usize| {
            self.whole.contains(other)
                && *other != disk
                && !(world.is_dead(*other) && self.dead.contains(other))
                && self.rot.iter().all(|rot| rot.disk != *other)
        };
        let gone: Vec<u16> = (0..)
            .zip(&self.members)
            .filter(|(_, other)| !other.as_ref().is_some_and(counts))
            .map(|(member, _)| member)
            .collect();
        let members = usize::from(self.geometry.members());
        if self.geometry.survives(&gone) && (members - gone.len()) * 2 >= members {
            self.whole.remove(&disk);
        }
    }

    /// A dead disk answers again.
    pub fn revived(&mut self, disk: usize) {
        self.dead.remove(&disk);
    }

    /// A disk is about to be taken out, or into the pool: it may count or not.
    pub fn unsettle(&mut self, disk: usize) {
        self.whole.remove(&disk);
        self.stale.remove(&disk);
    }

    /// A disk is blank.
    pub fn forget(&mut self, disk: usize) {
        self.unsettle(disk);
        self.rot.retain(|rot| rot.disk != disk);
        self.members.iter_mut().filter(|member| **member == Some(disk)).for_each(|member| *member = None);
    }

    /// A pool was read: nobody who is stale counts.
    ///
    /// # Errors
    /// Somebody does.
    pub fn look(&self, pool: &Pool) -> Result<(), String> {
        for disk in counted(pool) {
            if self.stale.contains(&disk) {
                return Err(format!("disk {disk} has missed something, and counts"));
            }
        }
        Ok(())
    }

    /// A pool was opened for writing, or changed: those whom it does not count are stale from now on.
    ///
    /// # Errors
    /// Somebody counts who must not.
    pub fn saw(&mut self, pool: &Pool) -> Result<(), String> {
        self.look(pool)?;
        let members = usize::from(self.geometry.members());
        let before = std::mem::take(&mut self.members);
        self.members = pool.present().take(members).map(|path| disk_of(path?)).collect();
        self.whole = counted(pool).collect();
        let known = before.into_iter().chain(self.members.iter().copied()).flatten();
        self.stale.extend(known.filter(|disk| !self.whole.contains(disk)));
        Ok(())
    }

    /// The engine goes on without a disk.
    ///
    /// # Errors
    /// It had no cause to.
    pub fn lose(&mut self, world: &World, disk: usize) -> Result<(), String> {
        if !self.erred.contains(&disk) && !world.is_dead(disk) {
            return Err(format!("disk {disk} has refused nothing, and the run goes on without it"));
        }
        self.whole.remove(&disk);
        self.lost.insert(disk);
        Ok(())
    }

    /// A set was acknowledged: whoever was lost before has missed it, and all others say so, durably.
    ///
    /// # Errors
    /// One of the others does not.
    pub fn committed(&mut self, world: &World) -> Result<(), String> {
        for (member, disk) in self.members.iter().enumerate().filter_map(|(member, disk)| Some((member, (*disk)?))) {
            if !self.lost.contains(&disk) {
                continue;
            }
            for (_, other) in self.sound(world) {
                let table = durable_table(world, other).ok_or(format!("disk {other} has no durable superblock"))?;
                if table.rows[member].state != State::Failed {
                    return Err(format!(
                        "a set was acknowledged, and disk {other} counts member {member}, which is lost"
                    ));
                }
            }
        }
        self.stale.append(&mut self.lost);
        // What had rotted belongs to an older set now.
        self.rot.clear();
        Ok(())
    }

    /// Whether something may have rotted.
    pub fn is_rotten(&self) -> bool {
        !self.rot.is_empty()
    }

    /// Whether something has rotted on a disk that counts for certain, and was not mended since by a run that failed.
    pub fn is_surely_rotten(&self, world: &World) -> bool {
        self.rot.iter().any(|rot| self.whole.contains(&rot.disk) && rot.is_there(world))
    }

    /// A byte rots.
    pub fn rots(&mut self, world: &World, rot: Rot, bit: u32) {
        if self.rot.iter().all(|other| (other.disk, other.offset) != (rot.disk, rot.offset)) {
            world.poke(rot.disk, rot.offset, &[rot.byte ^ 1 << bit]);
            self.rot.push(rot);
        }
    }

    /// All was mended: it is what it was, as far as the disk still counts.
    ///
    /// # Errors
    /// Something is not.
    pub fn mended(&mut self, world: &World) -> Result<(), String> {
        let rotten = |rot: &&Rot| self.whole.contains(&rot.disk) && rot.is_there(world);
        match self.rot.iter().find(rotten) {
            Some(rot) => Err(format!("all was mended, and disk {} is still rotten at {}", rot.disk, rot.offset)),
            None => {
                self.rot.clear();
                Ok(())
            }
        }
    }
}

/// The disks of the members that a pool counts for all frames.
fn counted(pool: &Pool) -> impl Iterator<Item = usize> {
    let rows = pool.rows().iter().zip(pool.present()).take(usize::from(pool.geometry().members()));
    let counts = |state| matches!(state, State::Active | State::Copying);
    rows.filter(move |(entry, _)| counts(entry.state)).filter_map(|(_, path)| disk_of(path?))
}

/// The newest table at the start of a disk that a loss of power would leave.
fn durable_table(world: &World, disk: usize) -> Option<Superblock> {
    let volatile = world.volatile(disk);
    let slots = [0, SUPERBLOCK_BYTES as u64].into_iter();
    let durable = slots.filter(|&slot| {
        volatile.iter().all(|range| range.end <= slot || slot + SUPERBLOCK_BYTES as u64 <= range.start)
    });
    let tables = durable.filter_map(|slot| Superblock::decode(&world.peek(disk, slot, SUPERBLOCK_BYTES)));
    tables.max_by_key(|table| table.generation)
}

/// The path of a disk, as a pool names it.
pub fn path_of(disk: usize) -> std::path::PathBuf {
    format!("/dev/sim{disk}").into()
}

fn disk_of(path: &Path) -> Option<usize> {
    path.to_str()?.strip_prefix("/dev/sim")?.parse().ok()
}
