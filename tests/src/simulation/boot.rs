//! One engine from opening to closing, or to whatever ends it: what the main thread does, and what it sees.

use std::sync::Arc;

use bireme_control::balance::Learnt;
use bireme_control::units::{Nanos, PeerId};
use bireme_dataplane::job::Job;
use bireme_dataplane::ledger::{self, Ledger, Sharing};
use bireme_dataplane::message::{Committed, Failure, ToLedger, ToMain};
use bireme_dataplane::plan::Origin;
use bireme_dataplane::pool::error::PoolError;
use bireme_dataplane::pool::{Pool, Shape};
use bireme_dataplane::port::simulated::{PortNumber, Random, Simulated, World};
use bireme_dataplane::port::{Bell, Next};
use bireme_dataplane::queue::Mailbox;

use super::crew::{Bed, Crew, Task, Who};
use super::deaths::unread;
use super::fuse::Fuse;
use super::life::{Boot, Fault, Life, Moment, Work};
use super::mending;
use super::model::{Data, Model, Set, input};
use super::reading::{ABSENT, members};
use super::restore::is_write;
use super::stage::{Opened, Stage};
use super::tally::{Kind, Tally};
use super::trace::Trace;
use super::watch::{NEVER, Watch};

/// How a boot ended, if nothing that was promised was broken.
#[derive(Debug)]
pub enum End {
    /// All sets were acknowledged.
    Done,
    /// The pool was mended.
    Mended,
    /// Too much of the pool is gone, and it was refused.
    Refused(PoolError),
    /// The operator stopped it.
    Stopped,
    /// A set did not fit, as had to be.
    NoSpace,
    /// It failed, after a fault.
    Failed(Failure),
    /// The pool could not be opened or closed, after a fault.
    Pool(PoolError),
    /// The power went, or the process was killed.
    Off,
}

/// One boot of a life on a stage.
pub struct Running<'a> {
    boot: &'a Boot,
    stage: &'a mut Stage,
    model: &'a mut Model,
    trace: &'a mut Trace,
    fuse: Fuse,
    /// Something was written to a device.
    wrote: bool,
    hang_limit: Nanos,
    /// Deaths that wait for no moment any more.
    caught: Vec<usize>,
    tally: &'a mut Tally,
}

/// The threads of a running engine that a crew has not got.
struct Engine {
    crew: Crew,
    ledger: Option<(Ledger<Simulated>, Bed)>,
    ledger_port: PortNumber,
    inbox: Arc<Mailbox<ToLedger>>,
    main: Arc<Mailbox<ToMain>>,
    watch: Watch,
    /// The ledger has written since the last acknowledgement.
    committing: bool,
    /// The ledger has said that nobody knows what became of the commit.
    in_doubt: bool,
    asked: usize,
    committed: usize,
    failure: Option<Failure>,
    stop_at: Option<u64>,
    stop_told: bool,
    stopped: bool,
    closed: Option<Result<(), PoolError>>,
}

/// Runs one boot; the error is what was broken.
pub fn run(
    life: &Life,
    boot: &Boot,
    stage: &mut Stage,
    model: &mut Model,
    trace: &mut Trace,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<End, String> {
    stage.begin(model.exists, random);
    if boot.work != Work::Offload {
        return mending::run(life, boot, stage, model, trace, random, tally);
    }
    let fuse = Fuse::new(boot, stage, random);
    let (hang_limit, caught) = (life.config.hang_limit, Vec::new());
    let mut running = Running { boot, stage, model, trace, fuse, wrote: false, hang_limit, caught, tally };
    running.go(life, random)
}

impl Running<'_> {
    fn go(&mut self, life: &Life, random: &mut Random) -> Result<End, String> {
        let key = random.bits();
        if let Some(bytes) = self.boot.input {
            self.stage.put_file(&input(key, bytes), bytes);
        }
        let data = self.boot.input.map_or(Data::Generated { seed: key }, |_| Data::Input { key });
        let world = self.stage.world().clone();
        self.fuse.reach(Moment::Opening, &world);
        let shape = Shape { geometry: life.geometry };
        let sure = self.stage.roster.survives(&world, None);
        let Opened { pool, disks, .. } =
            self.stage.open(random, &[], |members, port| Pool::open_or_create(members, shape, false, port));
        self.note_requests(&world, None)?;
        let pool = match pool {
            Ok(pool) => pool,
            Err(error) => return self.check_refusal(&world, sure, error).map(|end| self.end(end, false)),
        };
        self.tally.add(Kind::StaleRefused, u64::from(self.stage.names_stale(&pool)));
        self.stage.roster.saw(&pool)?;
        let found = self.model.recognise(pool.newest_set())?;
        self.model.settle(found);
        self.model.exists = true;
        self.trace.note(world.now(), "main", ("opened", pool.generation(), found.map(|set| set.number)));
        let mut engine = self.build(life, pool, &disks, random)?;
        self.reach(&engine, Moment::Opening);
        self.reach(&engine, Moment::Running);
        let ended = self.drive(&mut engine, data);
        self.count(&engine);
        // Whoever has lived to say so knows whether a commit was cut short.
        let committing = engine.committing && (world.is_off() || engine.in_doubt);
        let end = ended.and_then(|()| self.judge(engine))?;
        Ok(self.end(end, committing))
    }

    /// A pool that cannot be opened has a fault, or too few members; then nothing was written.
    fn check_refusal(&self, world: &World, sure: bool, error: PoolError) -> Result<End, String> {
        let short = !self.stage.roster.survives(world, None);
        match error {
            _ if world.is_off() => Ok(End::Off),
            // One that is being made needs all of its devices.
            error if self.fuse.is_burnt(world) || !self.model.exists && self.fuse.has_killed(world) => {
                Ok(End::Pool(error))
            }
            error if short && !sure && self.wrote => Err(format!("the pool was refused, and written to: {error}")),
            error if short => Ok(End::Refused(error)),
            error => Err(format!("the pool cannot be opened: {error}")),
        }
    }

    /// A moment has come, for the fault and for those who are to die.
    fn reach(&mut self, engine: &Engine, moment: Moment) {
        self.fuse.reach(moment, self.stage.world());
        let doomed = self.boot.deaths.iter().filter(|death| death.moment == moment);
        doomed.for_each(|death| engine.crew.doom(death.peer, death.calls));
    }

    /// A peer does something at which one is to die; the first to do it does, and with a second death the next.
    fn caught(&mut self, engine: &Engine, moment: Moment, peer: PeerId) {
        let mut doomed = (0..).zip(&self.boot.deaths).filter(|(_, death)| death.moment == moment);
        if let Some((index, death)) = doomed.find(|(index, _)| !self.caught.contains(index)) {
            engine.crew.doom(peer, death.calls);
            self.caught.push(index);
        }
    }

    fn count(&mut self, engine: &Engine) {
        self.tally.merge(&engine.crew.tally);
        self.tally.merge(&engine.watch.tally);
        for dead in &engine.crew.deaths {
            self.tally.add(Kind::DiedAsking, u64::from(dead.asked));
            unread(&engine.crew.to_peers[dead.peer.index()]).into_iter().for_each(|kind| self.tally.add(kind, 1));
        }
    }

    fn end(&mut self, end: End, committing: bool) -> End {
        self.model.left(committing);
        self.trace.note(self.stage.world().now(), "main", &end);
        end
    }

    fn build(&mut self, life: &Life, pool: Pool, given: &[usize], random: &mut Random) -> Result<Engine, String> {
        let world = self.stage.world();
        let config = life.config;
        let members = members(&pool, given);
        let array = life.array(pool.layout())?;
        let inbox = Arc::new(Mailbox::new(config.letters, Bell(config.peers)));
        let main = Arc::new(Mailbox::new(64, Bell(config.peers + 2)));
        let mut files = members.clone();
        files.extend(self.boot.input.map(|_| self.stage.file()));
        let data_file = self.boot.input.map(|_| array.members());
        let learnt = pool.store().learnt().filter(|learnt| learnt.fits(config.rules.strategy, config.peers));
        let learnt = learnt.unwrap_or_else(|| Learnt::new(config.rules.strategy, config.peers));
        let sharing = Sharing { rules: config.rules, learnt };
        let (job, reports) = (Job::offload(data_file), inbox.clone());
        let health = pool.health();
        let task = Task { array, job, disks: &files, health, sharing: &sharing, reports };
        let crew = Crew::new(world, config, Random::new(random.bits()), &task);
        let port = world.port_to(&members, config.ledger_region, 5 * u32::from(array.members()));
        let ledger_port = port.number();
        let newest = pool.newest_set();
        let pages = newest.map(|set| pool.store().pages(set.number)).transpose();
        let pages = pages.map_err(|failure| format!("{failure:?}"))?.unwrap_or_default();
        let frames: Vec<u64> = pages.iter().map(|page| page.frame).collect();
        let number = newest.map_or(0, |set| set.number);
        let watch = Watch::new(life.geometry, pool.layout(), (&members, pool.health()), number, &frames);
        let wiring = ledger::Wiring { inbox: inbox.clone(), peers: crew.to_peers.clone(), main: main.clone() };
        let ledger = Ledger::new(pool, port, wiring, sharing, config.hang_limit);
        let bed = Bed::new(Bell(config.peers), ledger_port);
        Ok(Engine {
            crew,
            ledger: Some((ledger, bed)),
            ledger_port,
            inbox,
            main,
            watch,
            committing: false,
            in_doubt: false,
            asked: 0,
            committed: 0,
            failure: None,
            stop_at: self.boot.stop.map(|steps| world.steps() + steps),
            stop_told: false,
            stopped: false,
            closed: None,
        })
    }

    /// Everybody's turns until all have gone, or the power has.
    fn drive(&mut self, engine: &mut Engine, data: Data) -> Result<(), String> {
        let world = self.stage.world().clone();
        let seed = if let Data::Generated { seed } = data { Some(seed) } else { None };
        loop {
            self.main_turn(engine, seed.map_or(Origin::File, |seed| Origin::Generated { seed }));
            if engine.ledger.is_none() && engine.crew.is_gone() || world.is_off() {
                return Ok(());
            }
            let who = engine.crew.step(engine.ledger.as_ref().map(|(_, bed)| bed))?;
            match who {
                Who::Ledger => self.ledger_turn(engine, data)?,
                Who::Peer(peer) if engine.crew.is_asking(peer) => {
                    let peer = PeerId(u16::try_from(peer).expect("a few peers"));
                    self.caught(engine, Moment::Asking, peer);
                }
                _ => {}
            }
            self.note_requests(&world, Some(engine))?;
            self.note_deaths(engine);
        }
    }

    /// When main will see who has just died: after the port was drained, and not at once.
    fn note_deaths(&mut self, engine: &mut Engine) {
        let now = self.stage.world().now();
        for dead in engine.crew.deaths.iter_mut().filter(|dead| dead.seen_at.is_none()) {
            let last = engine.watch.died(now, dead.peer);
            let drained = if last == NEVER { now + self.hang_limit } else { last.max(now) };
            let unseen = self.boot.deaths.iter().map(|death| death.unseen).nth(engine.watch.deaths() - 1);
            dead.seen_at = Some(drained + unseen.unwrap_or_default());
            self.trace.note(now, dead.peer, ("dies", dead.asked, dead.seen_at));
        }
    }

    /// As the ledger's thread: after its last turn it closes the pool.
    fn ledger_turn(&mut self, engine: &mut Engine, data: Data) -> Result<(), String> {
        let world = self.stage.world().clone();
        let Some((ledger, bed)) = &mut engine.ledger else { return Ok(()) };
        let rung = bed.rung(&world);
        ledger.rouse();
        let next = ledger.turn(world.now());
        bed.lie_down(next, rung);
        while let Some(letter) = engine.main.take() {
            self.hear(engine, letter, data)?;
        }
        let Some((mut ledger, mut bed)) = engine.ledger.take() else { return Ok(()) };
        if ledger.submit(Next::Ready).is_err() {
            bed.lie_down(Next::Ready, rung);
        }
        if !ledger.is_stopped() {
            engine.ledger = Some((ledger, bed));
            return Ok(());
        }
        if engine.failure.is_none() && engine.asked == engine.committed {
            let (has, want) = (ledger.frames_free(), engine.watch.frames_free());
            if has != want {
                return Err(format!("the ledger says that {has} frames are free; want {want}"));
            }
            engine.watch.maps(|set| ledger.pool().store().pages(set).ok())?;
        }
        self.reach(engine, Moment::Closing);
        self.note_requests(&world, Some(engine))?;
        engine.closed = Some(ledger.close().map(|_| ()));
        self.note_requests(&world, None)
    }

    /// The main thread asks for sets, two at a time, and stops the ledger when all are there or one has failed.
    fn main_turn(&mut self, engine: &mut Engine, origin: Origin) {
        let interrupted = engine.stop_at.is_some_and(|step| self.stage.world().steps() >= step);
        let over = engine.failure.is_some() || engine.committed == self.boot.sets.len() || interrupted;
        let room = engine.asked < self.boot.sets.len() && engine.asked < engine.committed + 2;
        let now = self.stage.world().now();
        if engine.ledger.is_none() {
            engine.crew.deaths.iter_mut().for_each(|dead| dead.told = true);
            return;
        }
        let letter = if over && !engine.stop_told {
            ToLedger::Stop
        } else if let Some(dead) = engine.crew.deaths.iter().find(|dead| dead.alarm().is_some_and(|at| at <= now)) {
            ToLedger::Died { peer: dead.peer }
        } else if let (true, Some(&peer)) = (over, engine.crew.ended.first()) {
            // As in production, though it has not died: the ledger keeps no letter for it.
            ToLedger::Died { peer }
        } else if room && !over {
            let sequence = u32::try_from(engine.asked).expect("a few sets");
            ToLedger::Prepare { sequence, bytes: self.boot.sets[engine.asked], origin }
        } else {
            return;
        };
        // A full mailbox: again before the next turn.
        let Ok(bell) = engine.inbox.post(letter) else { return };
        engine.crew.ring(bell);
        self.trace.note(self.stage.world().now(), "main", letter);
        match letter {
            ToLedger::Stop => engine.stop_told = true,
            ToLedger::Died { peer } => {
                let dead = engine.crew.deaths.iter_mut().filter(|dead| dead.peer == peer);
                dead.for_each(|dead| dead.told = true);
                engine.crew.ended.retain(|&ended| ended != peer);
            }
            _ => engine.asked += 1,
        }
    }

    fn hear(&mut self, engine: &mut Engine, letter: ToMain, data: Data) -> Result<(), String> {
        let world = self.stage.world().clone();
        self.trace.note(world.now(), "ledger", &letter);
        match letter {
            ToMain::Prepared(plan) => {
                engine.crew.newest.store(plan.sequence, plan.pages);
                self.model.prepared(Set { number: plan.number, bytes: plan.bytes, data });
                engine.watch.prepared(world.now(), &plan)?;
                self.reach(engine, Moment::Prepared(plan.sequence));
            }
            ToMain::Committed(said) => {
                let Committed { sequence, number, written_at, flushed_at, committed_at, .. } = said;
                if written_at > flushed_at || flushed_at > committed_at || committed_at > world.now() {
                    return Err(format!("set {number} was flushed before it was written, or the like"));
                }
                engine.committing = false;
                engine.committed += 1;
                engine.watch.committed(&world, &said)?;
                self.stage.roster.committed(&world)?;
                self.tally.add(Kind::DegradedCommit, u64::from(self.stage.roster.is_degraded(&world)));
                self.model.committed(number)?;
                self.reach(engine, Moment::Committed(sequence));
                engine.watch.losers().into_iter().for_each(|peer| self.caught(engine, Moment::Losing, peer));
            }
            ToMain::Lost { file, .. } => {
                let disk = engine.watch.lost(file);
                self.stage.roster.lose(&world, disk)?;
                self.tally.add(Kind::WentOnWithout, 1);
            }
            ToMain::InDoubt { number } => {
                let oldest = self.model.planned.keys().next();
                if oldest != Some(&number) || !engine.committing {
                    return Err(format!("set {number} is said to be in doubt, and {oldest:?} is the next to commit"));
                }
                engine.in_doubt = true;
            }
            ToMain::Failed(failure) => {
                self.check_failure(engine, failure)?;
                engine.failure = Some(failure);
            }
            ToMain::Stopped => engine.stopped = true,
        }
        Ok(())
    }

    /// A failure must have a cause, and a device that hangs must be named.
    fn check_failure(&self, engine: &Engine, failure: Failure) -> Result<(), String> {
        if let Failure::NoSpace { .. } = failure {
            // Only the newest set is beside it.
            let page = u64::from(engine.watch.geometry().page_bytes());
            let pages = |bytes: u64| bytes.div_ceil(page);
            let newest = self.model.newest.map_or(0, |set| pages(set.bytes));
            let asked = pages(self.boot.sets[engine.committed]);
            let fits = asked + newest <= engine.watch.frames();
            return if fits { Err(format!("{failure:?}, and the set fits")) } else { Ok(()) };
        }
        if engine.crew.deaths.len() == engine.crew.to_peers.len() && failure == ALL_DIED {
            return Ok(());
        }
        let world = self.stage.world();
        if let Failure::Device { file, .. } = failure {
            let without = engine.watch.disk(file);
            let needed = !self.stage.roster.survives(world, Some(without));
            return if needed {
                Ok(())
            } else {
                Err(format!("it failed, and could go on without {file}: {failure:?}"))
            };
        }
        if !self.fuse.is_burnt(world) {
            return Err(format!("it failed for no cause: {failure:?}"));
        }
        match (self.fuse.fault, failure) {
            (_, Failure::Broken(_) | Failure::Store(_) | Failure::Damaged { .. } | Failure::Checksums { .. }) => {
                Err(format!("a fault of a device became {failure:?}"))
            }
            (Fault::Hang, Failure::Hung { .. })
            | (Fault::Errno(_) | Fault::Rate(_), Failure::Input { .. })
            | (Fault::Power | Fault::Kill, Failure::Port { .. }) => Ok(()),
            (fault, failure) => Err(format!("{fault:?} became {failure:?}")),
        }
    }

    /// What an engine that has gone leaves behind.
    fn judge(&self, engine: Engine) -> Result<End, String> {
        let world = self.stage.world();
        let burnt = self.fuse.is_burnt(world) || !self.stage.roster.survives(world, None);
        match (engine.closed, engine.failure) {
            _ if world.is_off() => Ok(End::Off),
            (_, Some(Failure::NoSpace { .. })) => Ok(End::NoSpace),
            (_, Some(failure)) => Ok(End::Failed(failure)),
            (Some(Err(error)), None) if burnt => Ok(End::Pool(error)),
            (Some(Err(error)), None) => Err(format!("the pool cannot be closed: {error}")),
            (_, None) if !engine.stopped => Err("the ledger has gone without a word".to_owned()),
            (_, None) if engine.committed == self.boot.sets.len() => Ok(End::Done),
            (_, None) if engine.stop_told => Ok(End::Stopped),
            (_, None) => Err("it ended early and named no cause".to_owned()),
        }
    }

    fn note_requests(&mut self, world: &World, mut engine: Option<&mut Engine>) -> Result<(), String> {
        for started in world.take_started() {
            let peer = engine.as_ref().and_then(|engine| engine.crew.peer_of(started.port));
            let name = peer.map_or_else(|| "metadata".to_owned(), |peer| format!("peer {peer}"));
            self.trace.request(world.now(), name, &started);
            self.wrote |= is_write(started.request.operation);
            if started.disk == ABSENT {
                return Err(format!("member {} is asked, which is not there", started.request.file));
            }
            if started.result.is_err() {
                self.stage.roster.doubt(world, started.disk);
            }
            let Some(engine) = &mut engine else { continue };
            if let Some(peer) = peer {
                let peer = PeerId(u16::try_from(peer).expect("a few peers"));
                if let Some(moment) = engine.watch.peer_started(world.now(), peer, &started)? {
                    self.caught(engine, moment, peer);
                }
            } else if engine.watch.is_commit(&started) && !engine.committing && started.port == engine.ledger_port {
                engine.committing = true;
                let store = engine.ledger.as_ref().map(|(ledger, _)| ledger.pool().store());
                engine.watch.commit_begins(world, |set| store.and_then(|store| store.pages(set).ok()))?;
                self.fuse.reach(Moment::Committing(u32::try_from(engine.committed).expect("a few sets")), world);
            }
        }
        let died = self.fuse.died(world);
        let phase = match engine {
            Some(engine) if engine.committing => Kind::DiskDiedCommitting,
            Some(engine) if engine.ledger.is_some() => Kind::DiskDiedWriting,
            _ => Kind::DiskDiedIdle,
        };
        self.tally.add(phase, died.len() as u64);
        // Whatever it was doing has failed, and it may count as failed when it comes back.
        died.into_iter().for_each(|disk| self.stage.roster.doubt(world, disk));
        Ok(())
    }
}

/// How a run ends when nobody is left.
pub const ALL_DIED: Failure = Failure::Broken("all peers have died");
