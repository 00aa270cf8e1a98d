//! The devices of a life and the data file beside them, from one boot to the next.

use std::path::PathBuf;

use bireme_dataplane::pool::Member;
use bireme_dataplane::port::simulated::{Random, World};

use super::life::{Life, pick};

/// Disks by index: the devices, then the data file.
pub struct Stage {
    world: World,
    sizes: Vec<u64>,
    life: Life,
}

impl Stage {
    /// Blank devices.
    pub fn new(seed: u64, life: &Life) -> Stage {
        let mut sizes = life.disks.clone();
        sizes.push(4096);
        let stage = Stage { world: World::new(seed, &sizes), sizes: life.disks.clone(), life: life.clone() };
        stage.prepare();
        stage
    }

    /// The devices as they are now.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The devices in an order of the operator's, and their disks.
    pub fn given(&self, random: &mut Random) -> (Vec<Member>, Vec<usize>) {
        let mut disks: Vec<usize> = (0..self.sizes.len()).collect();
        for place in 1..disks.len() {
            disks.swap(place, pick(random, place as u64 + 1));
        }
        let member = |&disk: &usize| Member { path: PathBuf::from(format!("/dev/sim{disk}")), bytes: self.sizes[disk] };
        (disks.iter().map(member).collect(), disks)
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
        self.prepare();
    }

    /// After the end of a process.
    pub fn restart(&mut self) {
        self.world = self.world.restart();
        self.prepare();
    }

    /// The same devices a second time, to do to them what must not be done to these.
    pub fn copy(&mut self) -> Stage {
        let now = self.world.clone();
        self.world = now.restart();
        self.prepare();
        let copy = Stage { world: now.restart(), sizes: self.sizes.clone(), life: self.life.clone() };
        copy.prepare();
        copy
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
pub const OPENING_BYTES: usize = 512 << 10;
