//! One opening of a volume: it is recovered, clients ask, something happens, and it is settled or the power fails.

use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_dataplane::message::Failure;
use bireme_dataplane::port::Next;
use bireme_dataplane::port::simulated::{Random, Simulated};
use bireme_dataplane::volume::home::{Home, Operation};

use super::Tally;
use super::model::{Model, Version};
use super::plan::{Episode, Event, Plan, pick};
use super::stage::Stage;

/// Plays one.
///
/// # Errors
/// What was broken, as a sentence.
pub fn play(
    plan: &Plan,
    episode: &Episode,
    stage: &mut Stage,
    model: &mut Model,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    open(plan, stage, model, random, tally)?;
    if episode.rebuild && !stage.health.lost.is_empty() {
        stage.replace_lost(plan);
    }
    let mut doomed = None;
    if let Event::Death | Event::Absence = episode.event {
        let member = u16::try_from(pick(random, usize::from(plan.geometry.members()))).expect("few members");
        if stage.health.without(member).survives(&plan.geometry) && !stage.health.lost.contains(member) {
            stage.world.kill_at(stage.world.steps() + episode.steps, usize::from(member));
            doomed = Some(member);
        }
    }
    let rot = match episode.event {
        Event::Rot(blocks) if stage.health.is_whole() => rot(plan, stage, blocks, random),
        _ => 0,
    };
    if !plan.geometry.survives(&[0]) {
        stage.rotten += rot;
    }
    let rot = rot.max(stage.rotten);
    if let Some(steps) = episode.power_off.filter(|_| rot == 0) {
        stage.world.power_off_at(stage.world.steps() + steps);
    }
    stage.clean = false;
    let mut crew = Crew::new(plan, episode, stage, rot);
    let outcome = crew.work(stage, model, random, tally);
    let healed: u64 = crew.homes.iter().map(|home| home.healed().blocks).sum();
    drop(crew);
    tally.deaths += u64::from(doomed.is_some_and(|member| stage.health.lost.contains(member)));
    if doomed.is_some() && episode.event == Event::Absence {
        stage.absent = doomed.into_iter().collect();
    }
    if stage.world.is_off() {
        tally.power_cuts += 1;
        stage.world = stage.world.reboot();
        return Ok(());
    }
    outcome?;
    tally.healed += healed;
    stage.clean = true;
    stage.world = stage.world.restart();
    // What has rotted was healed, or written over before anybody came by; a level without redundancy keeps it.
    if rot == 0 || plan.geometry.survives(&[0]) { stage.look() } else { Ok(()) }
}

/// The next opening: those who do not answer do not count any more, the others agree, and what was left is noted.
fn open(
    plan: &Plan,
    stage: &mut Stage,
    model: &mut Model,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    for member in std::mem::take(&mut stage.absent).iter() {
        // One that was not marked in time counts as if nothing had happened: nobody has gone on without it.
        stage.world.revive(usize::from(member));
    }
    let dead: Members = (0..plan.geometry.members())
        .filter(|&member| stage.world.is_dead(usize::from(member)))
        .filter(|member| !stage.health.lost.contains(*member))
        .collect();
    stage.note_dead(dead);
    if stage.clean {
        stage.volume.epoch += 1;
        return Ok(());
    }
    if random.below(3) == 0 {
        stage.world.power_off_at(stage.world.steps() + 1 + random.below(60));
    }
    let recovered = loop {
        match stage.recover()? {
            Some(recovered) => break recovered,
            None => stage.world = stage.world.reboot(),
        }
    };
    // Whatever was to happen later in the recovery does not any more.
    stage.world = stage.world.restart();
    tally.recovered += recovered.records + recovered.regions;
    stage.volume.epoch += 1;
    let mut homes = stage.homes(plan);
    let page_blocks = u64::from(plan.geometry.page_bytes()) / 4096;
    for block in 0..stage.volume.blocks {
        let read = read_block(&mut homes[home_of(plan, block / page_blocks)], block)?;
        let bytes = read.map_err(|failure| format!("a read after a power cut failed: {failure:?}"))?;
        model.found(block, &bytes, plan.geometry.parities() == 0)?;
        tally.compared += 1;
    }
    Ok(())
}

/// Reads a block of a home that has nothing else to do.
fn read_block(home: &mut Home<Simulated>, block: u64) -> Result<Result<[u8; 4096], Failure>, String> {
    let operation = home.begin().ok_or("no operation is free")?;
    home.read(operation, block, 1);
    for _ in 0..1000 {
        let now = home.now();
        home.turn(now);
        home.submit(Next::Event);
        if let Some(ended) = home.reap() {
            let read = ended.result.map(|()| <[u8; 4096]>::try_from(home.data(operation, 4096)).expect("a block"));
            home.end(operation);
            return Ok(read);
        }
    }
    Err(format!("a read of block {block} does not end"))
}

/// Changes some blocks behind everybody's back, no two of one row; how many.
fn rot(plan: &Plan, stage: &Stage, blocks: u64, random: &mut Random) -> u64 {
    let geometry = plan.geometry;
    let volume = &stage.volume;
    let mut rotten = 0;
    for _ in 0..blocks.min(plan.pages) {
        // One per page: that is one per row too.
        let frame = volume.frames[usize::try_from(rotten).expect("few pages")];
        let member = usize::from(u16::try_from(random.below(u64::from(geometry.members()))).expect("few members"));
        let within = random.below(u64::from(geometry.frame_member_bytes()) / 4096);
        let offset = volume.layout.data_offset(frame) + within * 4096;
        let leaf = stage.world.peek(member, volume.layout.leaf_offset(frame) + within * 8, 8);
        if leaf == [0; 8] {
            // Never written: what lies there is nobody's.
            return rotten;
        }
        let mut block = stage.world.peek(member, offset, 4096);
        match random.below(3) {
            0 => block[pick(random, 4096)] ^= 1 << random.below(8),
            1 => block = stage.world.peek(member, offset ^ 4096, 4096),
            _ => block.fill(0),
        }
        if block == stage.world.peek(member, offset, 4096) {
            return rotten;
        }
        stage.world.poke(member, offset, &block);
        rotten += 1;
    }
    rotten
}

fn home_of(plan: &Plan, page: u64) -> usize {
    usize::try_from(page % u64::from(plan.homes)).expect("few homes")
}

/// The homes of one opening, and what was asked of them.
struct Crew<'a> {
    plan: &'a Plan,
    episode: &'a Episode,
    homes: Vec<Home<Simulated>>,
    asked: Vec<Asked>,
    /// Pages still to rebuild, and to scrub.
    rebuild: Vec<u64>,
    scrub: Vec<u64>,
    left: u64,
    /// Turns until a lost member is durably marked.
    marking: Option<u64>,
    rotten: u64,
}

/// An operation under way.
struct Asked {
    home: usize,
    operation: Operation,
    what: What,
}

enum What {
    Read {
        block: u64,
        blocks: u64,
        acknowledged: Vec<usize>,
    },
    Write {
        block: u64,
        blocks: u64,
        version: Version,
        fua: bool,
    },
    /// Several homes flush for one client: the number tells whose it is.
    Flush {
        acknowledged: Vec<usize>,
    },
    Rebuild,
    Scrub,
    Settle,
}

impl<'a> Crew<'a> {
    fn new(plan: &'a Plan, episode: &'a Episode, stage: &Stage, rotten: u64) -> Crew<'a> {
        let pages = || (0..plan.pages).rev().collect::<Vec<u64>>();
        Crew {
            plan,
            episode,
            homes: stage.homes(plan),
            asked: Vec::new(),
            rebuild: if stage.health.rebuilding.is_empty() { Vec::new() } else { pages() },
            scrub: if episode.scrub || rotten > 0 { pages() } else { Vec::new() },
            left: episode.operations,
            marking: None,
            rotten,
        }
    }

    /// Until all is done and settled, or the power is off.
    fn work(
        &mut self,
        stage: &mut Stage,
        model: &mut Model,
        random: &mut Random,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let mut settling = false;
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            if stage.world.is_off() {
                return Ok(());
            }
            if !settling && self.is_idle() {
                settling = true;
                for home in 0..self.homes.len() {
                    let operation = self.homes[home].begin().ok_or("no operation is free at the end")?;
                    self.homes[home].settle(operation);
                    self.asked.push(Asked { home, operation, what: What::Settle });
                }
            } else if !settling {
                self.ask(model, random, stage)?;
            } else if self.asked.is_empty() {
                if !stage.health.rebuilding.is_empty() {
                    self.finish_rebuild(stage);
                }
                return self.read_all(stage, model, tally);
            }
            let home = pick(random, self.homes.len());
            let now = stage.world.now();
            let next = self.homes[home].turn(now);
            self.homes[home].submit(Next::Ready);
            self.note_lost(stage, random);
            self.reap(home, stage, model, tally)?;
            quiet = if next == Next::Ready { 0 } else { quiet + 1 };
            if quiet > 2 * self.homes.len() {
                match stage.world.next_event() {
                    Some(time) => {
                        stage.world.advance_to(time);
                        quiet = 0;
                    }
                    None if quiet > 40 * self.homes.len() && self.marking.is_none() => {
                        return Err(format!("{} operations wait for nothing", self.asked.len()));
                    }
                    None => {}
                }
            }
        }
        Err("it does not end".to_owned())
    }

    fn is_idle(&self) -> bool {
        self.left == 0 && self.asked.is_empty() && self.rebuild.is_empty() && self.scrub.is_empty()
    }

    /// All pages are rebuilt, and all is settled: the members count again.
    fn finish_rebuild(&mut self, stage: &mut Stage) {
        stage.health = Health { lost: stage.health.lost, ..Health::default() };
        self.homes.iter_mut().for_each(|home| home.set_health(stage.health));
    }

    /// Begins what a client may ask next.
    fn ask(&mut self, model: &mut Model, random: &mut Random, stage: &Stage) -> Result<(), String> {
        let background = self.asked.iter().filter(|asked| matches!(asked.what, What::Rebuild | What::Scrub)).count();
        if background == 0 && random.below(2) == 0 {
            let page = self.rebuild.pop().map(|page| (page, What::Rebuild));
            if let Some((page, what)) = page.or_else(|| self.scrub.pop().map(|page| (page, What::Scrub))) {
                let home = home_of(self.plan, page);
                match self.homes[home].begin() {
                    Some(operation) => {
                        match what {
                            What::Rebuild => self.homes[home].rebuild(operation, page),
                            _ => self.homes[home].scrub(operation, page),
                        }
                        self.asked.push(Asked { home, operation, what });
                    }
                    None if matches!(what, What::Rebuild) => self.rebuild.push(page),
                    None => self.scrub.push(page),
                }
                return Ok(());
            }
        }
        if self.left == 0 || self.asked.len() - background >= self.episode.depth {
            return Ok(());
        }
        let kind = random.below(10);
        if kind == 0 {
            return self.ask_flush(model);
        }
        let page_blocks = u64::from(self.plan.geometry.page_bytes()) / 4096;
        let block = random.below(stage.volume.blocks);
        let most = if self.plan.homes == 1 { stage.volume.blocks - block } else { page_blocks - block % page_blocks };
        let most = most.min(u64::from(self.plan.options.operation_bytes) / 4096);
        let blocks = 1 + random.below(most).min(random.below(most));
        if kind >= 5 && model.is_written(block, blocks) {
            return Ok(());
        }
        let home = home_of(self.plan, block / page_blocks);
        let Some(operation) = self.homes[home].begin() else { return Ok(()) };
        self.left -= 1;
        let count = u32::try_from(blocks).expect("within an operation");
        let what = if kind < 5 {
            self.homes[home].read(operation, block, count);
            What::Read { block, blocks, acknowledged: model.acknowledged() }
        } else {
            let version = model.write(block, blocks);
            let data = self.homes[home].data_mut(operation, count * 4096);
            for (block, out) in (block..).zip(data.chunks_exact_mut(4096)) {
                out.copy_from_slice(&model.bytes(block, version));
            }
            let fua = kind == 9;
            self.homes[home].write(operation, block, count, fua);
            What::Write { block, blocks, version, fua }
        };
        self.asked.push(Asked { home, operation, what });
        Ok(())
    }

    /// One home's flush covers its own pages; a client's covers all.
    fn ask_flush(&mut self, model: &Model) -> Result<(), String> {
        let page_blocks = usize::try_from(self.plan.geometry.page_bytes() / 4096).expect("a small page");
        self.left -= 1;
        for home in 0..self.homes.len() {
            let Some(operation) = self.homes[home].begin() else { continue };
            let mut acknowledged = model.acknowledged();
            for (block, at) in acknowledged.iter_mut().enumerate() {
                if home_of(self.plan, (block / page_blocks) as u64) != home {
                    *at = 0;
                }
            }
            self.homes[home].flush(operation);
            self.asked.push(Asked { home, operation, what: What::Flush { acknowledged } });
        }
        Ok(())
    }

    /// A member that refuses requests is marked some turns later, and only then do the homes go on without it.
    fn note_lost(&mut self, stage: &mut Stage, random: &mut Random) {
        let lost = |home: &Home<Simulated>| home.lost().map(|(member, _)| member);
        let lost: Members = self.homes.iter().filter_map(lost).collect();
        if lost.is_empty() {
            return;
        }
        match &mut self.marking {
            None => self.marking = Some(random.below(8)),
            Some(0) => {
                self.marking = None;
                stage.health = lost.iter().fold(stage.health, Health::without);
                if stage.health.rebuilding.is_empty() {
                    self.rebuild.clear();
                }
                self.homes.iter_mut().for_each(|home| home.set_health(stage.health));
            }
            Some(turns) => *turns -= 1,
        }
    }

    fn reap(&mut self, home: usize, stage: &Stage, model: &mut Model, tally: &mut Tally) -> Result<(), String> {
        while let Some(ended) = self.homes[home].reap() {
            let mine = |asked: &Asked| asked.home == home && asked.operation == ended.operation;
            let at = self.asked.iter().position(mine).ok_or("an operation ended that nobody asked")?;
            let asked = self.asked.swap_remove(at);
            if let Err(failure) = ended.result {
                if stage.world.is_off() {
                    return Ok(());
                }
                let rotten = self.rotten > 0 && !self.plan.geometry.survives(&[0]);
                if !rotten || matches!(asked.what, What::Write { .. } | What::Flush { .. } | What::Settle) {
                    return Err(format!("an operation failed: {failure:?}"));
                }
                tally.refused += 1;
                self.homes[home].end(ended.operation);
                continue;
            }
            tally.operations += 1;
            match asked.what {
                What::Read { block, blocks, acknowledged } => {
                    let bytes = u32::try_from(blocks * 4096).expect("within an operation");
                    let data = self.homes[home].data(ended.operation, bytes);
                    for (block, bytes) in (block..).zip(data.chunks_exact(4096)) {
                        model.read(block, bytes, &acknowledged)?;
                        tally.compared += 1;
                    }
                }
                What::Write { block, blocks, version, fua } => model.written(block, blocks, version, fua),
                What::Flush { acknowledged } => model.flushed(&acknowledged),
                What::Rebuild => tally.rebuilt += 1,
                What::Scrub | What::Settle => {}
            }
            self.homes[home].end(ended.operation);
        }
        Ok(())
    }

    /// Everything is as it was acknowledged last.
    fn read_all(&mut self, stage: &Stage, model: &Model, tally: &mut Tally) -> Result<(), String> {
        let page_blocks = u64::from(self.plan.geometry.page_bytes()) / 4096;
        let acknowledged = model.acknowledged();
        for block in 0..stage.volume.blocks {
            match read_block(&mut self.homes[home_of(self.plan, block / page_blocks)], block)? {
                Ok(bytes) => model.read(block, &bytes, &acknowledged)?,
                Err(_) if self.rotten > 0 && !self.plan.geometry.survives(&[0]) => tally.refused += 1,
                Err(failure) => return Err(format!("a read at the end failed: {failure:?}")),
            }
            tally.compared += 1;
        }
        Ok(())
    }
}

const TURNS_MAX: u64 = 400_000;
