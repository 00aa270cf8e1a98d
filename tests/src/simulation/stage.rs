//! The devices of a life and the data file beside them, from one boot to the next.

use std::collections::BTreeSet;

use bireme_dataplane::pool::error::PoolError;
use bireme_dataplane::pool::{Member, Pool, Standing};
use bireme_dataplane::port::simulated::{Random, Simulated, World};

use super::life::{Life, pick};
use super::roster::{Roster, path_of};

/// Disks by index: the devices, those on the shelf, then the data file.
pub struct Stage {
    world: World,
    sizes: Vec<u64>,
    life: Life,
    /// The devices that the operator names.
    named: Vec<usize>,
    shelf: Vec<usize>,
    /// One that was about to take a member's place when the pool was left.
    joining: Option<usize>,
    /// Those that may answer again when they are dead.
    returning: BTreeSet<usize>,
    /// Who counts.
    pub roster: Roster,
}

/// An attempt to open a pool.
pub struct Opened {
    /// What became of it.
    pub pool: Result<Pool, PoolError>,
    /// The devices that were named, in that order.
    pub disks: Vec<usize>,
    /// The port to them.
    pub port: Simulated,
}

impl Stage {
    /// Blank devices.
    pub fn new(seed: u64, life: &Life) -> Stage {
        let mut sizes = life.disks.clone();
        let members = sizes.len();
        sizes.extend([sizes.iter().copied().max().unwrap_or(0); SHELF]);
        let world = World::new(seed, &[&sizes[..], &[4096]].concat());
        let roster = Roster::new(life.geometry);
        let (named, shelf) = ((0..members).collect(), (members..members + SHELF).collect());
        let returning = BTreeSet::new();
        let stage = Stage { world, sizes, life: life.clone(), named, shelf, joining: None, returning, roster };
        stage.prepare();
        stage
    }

    /// The devices as they are now.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Opens the pool as an operator does who names its devices in some order; further disks follow them in the port. Dead
    /// ones are named too at times, and always when the others are not enough.
    pub fn open(
        &self,
        random: &mut Random,
        further: &[usize],
        attempt: impl Fn(&[Member], &mut Simulated) -> Result<Pool, PoolError>,
    ) -> Opened {
        let mut disks = self.named.clone();
        for place in 1..disks.len() {
            disks.swap(place, pick(random, place as u64 + 1));
        }
        let spared = || self.roster.members().is_empty() || !self.roster.survives(&self.world, None);
        if !spared() && random.below(2) == 0 {
            disks.retain(|&disk| !self.world.is_dead(disk));
        }
        loop {
            let members: Vec<Member> = disks.iter().map(|&disk| self.member(disk)).collect();
            let all = [&disks[..], further].concat();
            let mut port = self.world.port_to(&all, OPENING_BYTES, 16 * u32::from(self.life.geometry.members()));
            let pool = attempt(&members, &mut port);
            let dead = |disk: &usize| self.world.is_dead(*disk);
            if matches!(pool, Err(PoolError::Unsure { .. })) && !spared() && disks.iter().any(dead) {
                // As the sentence says: go on without it by not naming it. One that died just now may be needed.
                disks.retain(|disk| !dead(disk));
                continue;
            }
            return Opened { pool, disks, port };
        }
    }

    /// A disk as a device of a pool.
    pub fn member(&self, disk: usize) -> Member {
        Member { path: path_of(disk), bytes: self.sizes[disk] }
    }

    /// Whether somebody answers who is named and does not take part.
    pub fn names_stale(&self, pool: &Pool) -> bool {
        let present: Vec<_> = pool.present().flatten().collect();
        let is_out = |disk: &&usize| !present.iter().any(|path| **path == path_of(**disk));
        self.named.iter().any(|disk| !self.world.is_dead(*disk) && is_out(&disk))
    }

    /// How many disks may die in a boot.
    pub fn may_die(&self) -> usize {
        let unseen = self.roster.members().is_empty();
        if unseen { super::losses::promised(self.life.geometry.level()) } else { self.roster.room(&self.world) }
    }

    /// Those who may.
    pub fn sound(&self) -> Vec<usize> {
        let unseen = self.roster.members().is_empty();
        if unseen { self.named.clone() } else { self.roster.sound_disks(&self.world) }
    }

    /// A disk will die, perhaps not for ever.
    pub fn doom(&mut self, disk: usize, returns: bool) {
        self.returning.remove(&disk);
        self.returning.extend(returns.then_some(disk));
    }

    /// Before a boot: dead disks that were only absent answer again at times, and while there is no pool, the operator
    /// sees to it that there can be one.
    pub fn begin(&mut self, exists: bool, random: &mut Random) {
        self.roster.begin();
        let returning = self.returning.clone();
        for disk in returning.into_iter().filter(|&disk| self.world.is_dead(disk)) {
            if random.below(2) == 0 {
                self.world.revive(disk);
                self.roster.revived(disk);
                self.returning.remove(&disk);
            }
        }
        let dead: Vec<usize> = self.named.iter().copied().filter(|&disk| self.world.is_dead(disk)).collect();
        if exists || dead.is_empty() {
            return;
        }
        let living: Vec<usize> = self.named.iter().copied().filter(|disk| !dead.contains(disk)).collect();
        let members: Vec<Member> = living.iter().map(|&disk| self.member(disk)).collect();
        let mut port = self.world.port_to(&living, OPENING_BYTES, 64);
        match Pool::inspect(&members, &mut port) {
            // It was made, though nobody was told.
            Ok(Standing::Ours { .. }) => {}
            Ok(Standing::Blank) => dead.iter().for_each(|&disk| self.world.replace(disk, self.sizes[disk])),
            _ => self.named.iter().for_each(|&disk| self.world.replace(disk, self.sizes[disk])),
        }
        self.world.take_started();
    }

    /// A blank disk from the shelf, for a member's place. The last one that was replaced goes there, if nobody else is.
    pub fn take_blank(&mut self) -> usize {
        let disk = self.shelf.pop().unwrap_or_else(|| {
            let spent = self.named.iter().position(|disk| !self.roster.members().contains(&Some(*disk)));
            self.named.remove(spent.expect("more disks than members"))
        });
        self.world.replace(disk, self.sizes[disk]);
        self.roster.forget(disk);
        self.joining = Some(disk);
        disk
    }

    /// It has taken a member's place; the old disk is still named, or put away.
    pub fn joined(&mut self, old: Option<usize>, put_away: bool) {
        self.named.extend(self.joining.take());
        if let Some(old) = old.filter(|_| put_away) {
            self.named.retain(|&disk| disk != old);
            self.shelf.push(old);
        }
    }

    /// The disk of the data file.
    pub fn file(&self) -> usize {
        self.sizes.len()
    }

    /// A new data file of this size that begins like this.
    pub fn put_file(&self, content: &[u8], bytes: u64) {
        self.world.replace(self.file(), bytes);
        self.world.poke(self.file(), 0, content);
    }

    /// After a loss of power.
    pub fn reboot(&mut self) {
        self.world = self.world.reboot();
        self.settle();
    }

    /// After the end of a process.
    pub fn restart(&mut self) {
        self.world = self.world.restart();
        self.settle();
    }

    /// The same devices a second time, to do to them what must not be done to these.
    pub fn copy(&mut self) -> Stage {
        let now = self.world.clone();
        self.world = now.restart();
        self.prepare();
        let copy = Stage {
            world: now.restart(),
            sizes: self.sizes.clone(),
            life: self.life.clone(),
            named: self.named.clone(),
            shelf: self.shelf.clone(),
            joining: None,
            returning: self.returning.clone(),
            roster: self.roster.clone(),
        };
        copy.prepare();
        copy
    }

    /// Who was about to join has done so, or not; and a loss of power may have taken back what was not durable of a disk
    /// that nobody has seen as a member: it is blank again.
    fn settle(&mut self) {
        self.prepare();
        let unseen = |disk: &usize| !self.roster.members().contains(&Some(*disk));
        let doubtful: Vec<usize> = self.named.iter().copied().filter(unseen).collect();
        for disk in doubtful {
            self.named.retain(|&other| other != disk);
            match self.look_with(disk) {
                Err(PoolError::Mixed { .. }) => self.shelf.push(disk),
                _ => self.named.push(disk),
            }
        }
        if let Some(disk) = self.joining.take() {
            match self.look_with(disk) {
                Ok(_) => self.named.push(disk),
                Err(_) => self.shelf.push(disk),
            }
        }
        self.world.take_started();
    }

    /// The pool of those that are named and answer, and of one more.
    fn look_with(&self, disk: usize) -> Result<Pool, PoolError> {
        let mut disks: Vec<usize> = self.named.iter().copied().filter(|&disk| !self.world.is_dead(disk)).collect();
        disks.push(disk);
        let members: Vec<Member> = disks.iter().map(|&disk| self.member(disk)).collect();
        Pool::open_read_only(&members, &mut self.world.port_to(&disks, OPENING_BYTES, 64))
    }

    fn prepare(&self) {
        let config = &self.life.config;
        self.world.watch();
        self.world.short_rate(config.short_per_million);
        // Several stalls of one request in a row stay below the limit.
        self.world.stall_rate(config.stalls_per_million, bireme_control::units::Nanos(config.hang_limit.0 / 8));
    }
}

/// Memory of a port that opens a pool: one request of an everyday size.
const OPENING_BYTES: usize = 512 << 10;
/// Disks beside those that the pool is made of.
const SHELF: usize = 2;
