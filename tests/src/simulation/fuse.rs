//! What strikes in a boot, and from which step on: a fault, and disks that die.

use bireme_dataplane::port::simulated::{Random, World};

use super::life::{Boot, Fault, Moment, pick};
use super::losses::Loss;
use super::stage::Stage;

/// The fault of a boot, and the disks that are to die in it.
#[derive(Debug)]
pub struct Fuse {
    /// What goes wrong.
    pub fault: Fault,
    moment: Moment,
    steps: u64,
    /// `None` until the moment has come.
    at: Option<u64>,
    doomed: Vec<Doomed>,
}

#[derive(Debug)]
struct Doomed {
    loss: Loss,
    disk: usize,
    reached: bool,
    dead: bool,
}

impl Fuse {
    /// For a boot on these devices: no more die than the array survives, unless the boot is reckless.
    pub fn new(boot: &Boot, stage: &mut Stage, random: &mut Random) -> Fuse {
        let mut fuse = Fuse { fault: boot.fault, moment: boot.moment, steps: boot.steps, at: None, doomed: Vec::new() };
        let mut room = stage.may_die();
        match fuse.fault {
            // Whoever counts as failed after an error cannot be done without as well where something else is wrong.
            Fault::Errno(_) | Fault::Rate(_) if room == 0 && stage.roster.is_rotten() => fuse.fault = Fault::None,
            Fault::Errno(_) => room = room.saturating_sub(1),
            Fault::Rate(_) => room = 0,
            _ => {}
        }
        if boot.reckless {
            room = boot.losses.len();
        }
        let mut candidates = stage.sound();
        for &loss in boot.losses.iter().take(room) {
            if candidates.is_empty() {
                break;
            }
            let disk = candidates.swap_remove(pick(random, candidates.len() as u64));
            stage.doom(disk, loss.returns);
            fuse.doomed.push(Doomed { loss, disk, reached: false, dead: false });
        }
        fuse
    }

    /// A moment has come: what belongs to it is so many steps away.
    pub fn reach(&mut self, moment: Moment, world: &World) {
        for doomed in self.doomed.iter_mut().filter(|doomed| doomed.loss.moment == moment && !doomed.reached) {
            doomed.reached = true;
            world.kill_at(world.steps() + doomed.loss.steps, doomed.disk);
        }
        if moment != self.moment || self.at.is_some() {
            return;
        }
        let at = world.steps() + self.steps;
        self.at = Some(at);
        match self.fault {
            Fault::Power | Fault::Kill => world.power_off_at(at),
            Fault::Errno(errno) => world.fail_at(at, errno),
            Fault::Hang => world.hang_at(at),
            Fault::Rate(per_million) => world.error_rate(per_million),
            Fault::None => {}
        }
    }

    /// While a pool is mended nothing is prepared or committed: what would strike then does so while the peers run.
    pub fn for_mending(mut self) -> Fuse {
        let plain = |moment| if matches!(moment, Moment::Opening | Moment::Closing) { moment } else { Moment::Running };
        self.moment = plain(self.moment);
        self.doomed.iter_mut().for_each(|doomed| doomed.loss.moment = plain(doomed.loss.moment));
        self
    }

    /// Whether the fault may have been felt.
    pub fn is_burnt(&self, world: &World) -> bool {
        let reached = self.at.is_some_and(|at| matches!(self.fault, Fault::Rate(_)) || world.steps() >= at);
        reached && self.fault != Fault::None
    }

    /// Disks that have died since the last call.
    pub fn died(&mut self, world: &World) -> Vec<usize> {
        let dead = self.doomed.iter_mut().filter(|doomed| !doomed.dead && world.is_dead(doomed.disk));
        dead.map(|doomed| {
            doomed.dead = true;
            doomed.disk
        })
        .collect()
    }

    /// Whether a disk has died in this boot.
    pub fn has_killed(&self, world: &World) -> bool {
        self.doomed.iter().any(|doomed| world.is_dead(doomed.disk))
    }
}
