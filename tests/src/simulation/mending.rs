//! A boot in which the pool is mended: a member's place is taken by a blank disk, and filled; or the set is scrubbed.
//!
//! ```text
//!   somebody does not count ─▶ replace: open, a blank disk in its place, close ─▶ rebuild
//!   somebody is to be filled ─▶ rebuild: open, read all and write what is missing, flush, it counts, close
//!   all count ─▶ bits are flipped ─▶ scrub: open, read all and write what is wrong, flush, close
//! ```

use bireme_control::raid::members::Members;
use bireme_dataplane::job::Mend;
use bireme_dataplane::message::Failure;
use bireme_dataplane::pool::error::PoolError;
use bireme_dataplane::pool::{Pool, Replacement};
use bireme_dataplane::port::simulated::{Random, Simulated, Started, World};
use bireme_dataplane::telemetry::Healed;

use super::boot::End;
use super::fuse::Fuse;
use super::life::{Boot, Fault, Life, Moment, Work, pick};
use super::model::Model;
use super::reading::{Read, Reading, read};
use super::restore::{self, draw_place, is_write};
use super::roster::Rot;
use super::stage::{Opened, Stage};
use super::tally::{Kind, Tally};
use super::trace::Trace;

/// One such boot on a stage.
struct Mending<'a> {
    life: &'a Life,
    boot: &'a Boot,
    stage: &'a mut Stage,
    model: &'a mut Model,
    trace: &'a mut Trace,
    random: &'a mut Random,
    tally: &'a mut Tally,
    fuse: Fuse,
    /// As whose deaths the next ones count.
    phase: Kind,
}

/// An open pool, the disks that were named, and the port to them.
type Ready = (Pool, Vec<usize>, Simulated);

/// Runs one; the error is what was broken.
pub fn run(
    life: &Life,
    boot: &Boot,
    stage: &mut Stage,
    model: &mut Model,
    trace: &mut Trace,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<End, String> {
    let Work::Mend { flips, swap } = boot.work else { return Err("there is nothing to mend".to_owned()) };
    let degraded = stage.roster.is_degraded(stage.world());
    if flips > 0 && !degraded && !swap {
        flip(life, flips, stage, model, trace, random)?;
    }
    let fuse = Fuse::new(boot, stage, random).for_mending();
    let phase = if degraded || swap { Kind::DiskDiedRebuilding } else { Kind::DiskDiedScrubbing };
    let mut mending = Mending { life, boot, stage, model, trace, random, tally, fuse, phase };
    let world = mending.stage.world().clone();
    mending.fuse.reach(Moment::Opening, &world);
    let end = mending.go(degraded, swap)?;
    mending.note()?;
    mending.tally.add(Kind::MendingCut, u64::from(matches!(end, End::Off)));
    mending.trace.note(world.now(), "main", &end);
    Ok(end)
}

/// Flips bits of one member, where the level can bring them back.
fn flip(
    life: &Life,
    flips: u64,
    stage: &mut Stage,
    model: &Model,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<(), String> {
    let world = stage.world().clone();
    if stage.roster.is_rotten() || stage.may_die() == 0 {
        return Ok(());
    }
    let Some(reading) = restore::open(stage, model, trace, random)? else { return Ok(()) };
    let sound = stage.sound();
    let victim = sound[pick(random, sound.len() as u64)];
    for _ in 0..flips {
        let Some((disk, offset)) = draw_place(life.geometry, &reading, Some(victim), random) else { continue };
        let byte = world.peek(disk, offset, 1)[0];
        trace.note(world.now(), "rot", (disk, offset));
        let bit = u32::try_from(random.below(8)).expect("a bit of a byte");
        stage.roster.rots(&world, Rot { disk, offset, byte }, bit);
    }
    Ok(())
}

impl Mending<'_> {
    fn go(&mut self, degraded: bool, swap: bool) -> Result<End, String> {
        if (degraded || swap)
            && let Some(end) = self.replace(swap && !degraded)?
        {
            return Ok(end);
        }
        self.fill()
    }

    fn world(&self) -> World {
        self.stage.world().clone()
    }

    /// Opens the pool and looks at who counts; how the boot has ended if it cannot be opened.
    fn open(&mut self, further: &[usize]) -> Result<Result<Ready, End>, String> {
        let world = self.world();
        let sure = self.stage.roster.survives(&world, None);
        let Opened { pool, disks, port } = self.stage.open(self.random, further, Pool::open);
        let wrote = self.note()?;
        let pool = match pool {
            Ok(pool) => pool,
            Err(_) if world.is_off() => return Ok(Err(End::Off)),
            Err(error) if !self.model.exists || self.fuse.is_burnt(&world) => return Ok(Err(End::Pool(error))),
            Err(error) if !self.stage.roster.survives(&world, None) => {
                if wrote && !sure {
                    return Err(format!("the pool was refused, and written to: {error}"));
                }
                return Ok(Err(End::Refused(error)));
            }
            Err(error) => return Err(format!("the pool cannot be opened: {error}")),
        };
        self.tally.add(Kind::StaleRefused, u64::from(self.stage.names_stale(&pool)));
        self.stage.roster.saw(&pool)?;
        let found = self.model.recognise(pool.newest_set())?;
        self.model.settle(found);
        self.model.exists = true;
        self.trace.note(world.now(), "main", ("opened", pool.generation(), pool.health()));
        Ok(Ok((pool, disks, port)))
    }

    /// Puts a blank disk in the place of a member that does not count, or of any. `None`: go on.
    fn replace(&mut self, swap: bool) -> Result<Option<End>, String> {
        let with = self.stage.take_blank();
        let destroy_data = self.random.below(2) == 0;
        if destroy_data {
            self.stage.world().poke(with, 12_345, b"somebody's");
        }
        let (mut pool, disks, mut port) = match self.open(&[with])? {
            Ok(opened) => opened,
            Err(end) => return Ok(Some(end)),
        };
        let lost: Vec<u16> = pool.health().lost.iter().collect();
        let members: Vec<u16> = (0..pool.geometry().members()).collect();
        let choice = if lost.is_empty() && swap && self.stage.may_die() > 0 { &members } else { &lost };
        let member = match choice.is_empty() || !pool.health().rebuilding.is_empty() {
            true => None,
            false => Some(choice[pick(self.random, choice.len() as u64)]),
        };
        let Some(member) = member.filter(|&member| pool.check_failing(member).is_ok()) else {
            return self.close(pool, &mut port);
        };
        let old = self.stage.roster.members()[usize::from(member)];
        old.iter().for_each(|&old| self.stage.roster.unsettle(old));
        let file = u16::try_from(disks.len()).expect("few disks");
        let replacement = Replacement { device: self.stage.member(with), file, destroy_data };
        let replaced = pool.replace(member, &replacement, &mut port);
        self.note()?;
        if let Err(error) = replaced {
            return self.excuse(error).map(Some);
        }
        self.stage.roster.saw(&pool)?;
        // A disk that was in the place before may be named on: it is stale.
        let stale = self.random.below(2) == 0;
        self.stage.joined(old, !stale);
        self.tally.add(Kind::Replaced, 1);
        self.close(pool, &mut port)
    }

    /// `None`: it is closed, and the boot goes on.
    fn close(&mut self, pool: Pool, port: &mut Simulated) -> Result<Option<End>, String> {
        let closed = pool.close(port);
        self.note()?;
        closed.map_or_else(|error| self.excuse(error).map(Some), |()| Ok(None))
    }

    /// Reads the set and mends it, fills what is to be filled, and has it count.
    fn fill(&mut self) -> Result<End, String> {
        let (mut pool, disks, mut port) = match self.open(&[])? {
            Ok(opened) => opened,
            Err(end) => return Ok(end),
        };
        let world = self.world();
        let filled = pool.health().rebuilding;
        if !filled.is_empty() {
            self.phase = Kind::DiskDiedRebuilding;
        }
        let mend = if filled.is_empty() { Mend::Damage } else { Mend::Members(filled) };
        self.fuse.reach(Moment::Running, &world);
        if let Some(set) = self.model.newest {
            let reading = Reading::of(&pool, set, &disks)?;
            match self.read(&reading, mend)? {
                None => return Ok(End::Off),
                Some(Err(failure)) => return self.check_failure(&reading, failure).map(|()| End::Failed(failure)),
                Some(Ok((healed, losses))) => {
                    self.check_healed(healed)?;
                    for (member, failure) in losses {
                        if let Some(end) = self.lose(&mut pool, &reading, (member, failure), filled, &mut port)? {
                            return Ok(end);
                        }
                    }
                }
            }
        }
        let rebuilding = pool.health().rebuilding;
        self.fuse.reach(Moment::Closing, &world);
        if !rebuilding.is_empty()
            && let Some(end) = self.count(&mut pool, rebuilding, &mut port)?
        {
            return Ok(end);
        }
        self.stage.roster.mended(&world)?;
        self.tally.add(Kind::Scrubbed, 1);
        Ok(self.close(pool, &mut port)?.unwrap_or(End::Mended))
    }

    /// As the engine does with a member that was lost on the way: it is failed before anything counts. `None`: go on.
    fn lose(
        &mut self,
        pool: &mut Pool,
        reading: &Reading,
        (member, failure): (u16, Failure),
        filled: Members,
        port: &mut Simulated,
    ) -> Result<Option<End>, String> {
        self.check_failure(reading, failure)?;
        if pool.check_failing(member).is_err() {
            return Ok(Some(End::Failed(failure)));
        }
        self.stage.roster.unsettle(reading.members[usize::from(member)]);
        let failed = pool.fail(member, port);
        self.note()?;
        let health = match failed {
            Ok(health) => health,
            Err(error) => return self.excuse(error).map(Some),
        };
        self.stage.roster.saw(pool)?;
        let left = health.rebuilding;
        let ends = left.contains(member) || (filled.contains(member) && left.is_empty());
        Ok(ends.then_some(End::Failed(failure)))
    }

    fn read(&mut self, reading: &Reading, mend: Mend) -> Result<Option<Result<Read, Failure>>, String> {
        let world = self.stage.world().clone();
        let phase = self.phase;
        let (fuse, tally) = (&mut self.fuse, &mut *self.tally);
        let mut erred = Vec::new();
        let mut note = |started: &Started| {
            let died = fuse.died(&world);
            tally.add(phase, died.len() as u64);
            erred.extend(died);
            erred.extend(started.result.is_err().then_some(started.disk));
            Ok(())
        };
        let read = read(self.life, self.stage, reading, mend, &mut note, self.trace, self.random);
        erred.into_iter().for_each(|disk| self.stage.roster.doubt(&world, disk));
        read
    }

    /// What was filled counts from now on.
    fn count(&mut self, pool: &mut Pool, rebuilding: Members, port: &mut Simulated) -> Result<Option<End>, String> {
        let members = self.stage.roster.members().to_vec();
        for disk in rebuilding.iter().filter_map(|member| members[usize::from(member)]) {
            self.stage.roster.unsettle(disk);
        }
        let rebuilt = pool.rebuilt(port);
        self.note()?;
        if let Err(error) = rebuilt {
            return self.excuse(error).map(Some);
        }
        self.stage.roster.saw(pool)?;
        let left = pool.health().rebuilding | pool.health().lost;
        self.tally.add(Kind::Rebuilt, u64::from((rebuilding - left).count()));
        Ok(None)
    }

    /// What was mended must have been wrong.
    fn check_healed(&mut self, healed: Healed) -> Result<(), String> {
        let world = self.world();
        self.tally.add(Kind::Healed, healed.damaged);
        let disturbed = self.fuse.is_burnt(&world) || self.fuse.has_killed(&world);
        let roster = &self.stage.roster;
        if healed.damaged > 0 && !roster.is_rotten() && !disturbed {
            return Err(format!("nothing is wrong, and {} blocks were mended", healed.damaged));
        }
        match healed.damaged == 0 && roster.is_surely_rotten(&world) {
            true => Err("bits were flipped, and nothing was found".to_owned()),
            false => Ok(()),
        }
    }

    /// Whoever mends needs a cause to fail, or to go on without a member.
    fn check_failure(&self, reading: &Reading, failure: Failure) -> Result<(), String> {
        let world = self.world();
        let burnt = self.fuse.is_burnt(&world);
        let short = !self.stage.roster.survives(&world, None);
        match failure {
            Failure::Device { file, .. } => {
                let disk = reading.members.get(usize::from(file));
                let cause = burnt || disk.is_some_and(|&disk| world.is_dead(disk));
                if cause { Ok(()) } else { Err(format!("nothing is wrong with member {file}: {failure:?}")) }
            }
            Failure::Hung { .. } if self.fuse.fault == Fault::Hang && burnt => Ok(()),
            Failure::Damaged { .. } | Failure::Checksums { .. } if burnt || short => Ok(()),
            failure => Err(format!("{:?} became {failure:?} while the pool was mended", self.boot)),
        }
    }

    /// A pool may refuse after a fault, or when too much is gone.
    fn excuse(&self, error: PoolError) -> Result<End, String> {
        let world = self.world();
        if world.is_off() {
            return Ok(End::Off);
        }
        let cause = self.fuse.is_burnt(&world) || !self.stage.roster.survives(&world, None);
        if cause { Ok(End::Pool(error)) } else { Err(format!("the pool refuses for no cause: {error}")) }
    }

    /// Takes down what was started; whether something was written.
    fn note(&mut self) -> Result<bool, String> {
        let world = self.world();
        let mut wrote = false;
        for started in world.take_started() {
            self.trace.request(world.now(), "metadata", &started);
            wrote |= is_write(started.request.operation);
            if started.result.is_err() {
                self.stage.roster.doubt(&world, started.disk);
            }
        }
        let died = self.fuse.died(&world);
        self.tally.add(self.phase, died.len() as u64);
        // Whatever it was doing has failed, and it may count as failed when it comes back.
        died.into_iter().for_each(|disk| self.stage.roster.doubt(&world, disk));
        Ok(wrote)
    }
}
