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
use super::life::{Boot, Fault, Life, Moment};
use super::model::{Data, Model, Set, input};
use super::stage::{OPENING_BYTES, Stage};
use super::tally::{Kind, Tally};
use super::trace::Trace;
use super::watch::{NEVER, Watch};

/// How a boot ended, if nothing that was promised was broken.
#[derive(Debug)]
pub enum End {
    /// All sets were acknowledged.
    Done,
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
    hang_limit: Nanos,
    /// Deaths that wait for no moment any more.
    caught: Vec<usize>,
    tally: &'a mut Tally,
}

/// The fault of a boot, and the step from which it is there.
struct Fuse {
    fault: Fault,
    moment: Moment,
    steps: u64,
    /// `None` until the moment has come.
    at: Option<u64>,
}

impl Fuse {
    /// A moment has come: the fault is so many steps away.
    fn reach(&mut self, moment: Moment, world: &World) {
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

    /// Whether it may have been felt.
    fn is_burnt(&self, world: &World) -> bool {
        let reached = self.at.is_some_and(|at| matches!(self.fault, Fault::Rate(_)) || world.steps() >= at);
        reached && self.fault != Fault::None
    }
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
    let fuse = Fuse { fault: boot.fault, moment: boot.moment, steps: boot.steps, at: None };
    let mut running =
        Running { boot, stage, model, trace, fuse, hang_limit: life.config.hang_limit, caught: Vec::new(), tally };
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
        let (members, disks) = self.stage.given(random);
        let shape = Shape { geometry: life.geometry };
        let mut port = world.port_to(&disks, OPENING_BYTES, 16 * u32::from(life.geometry.members()));
        let pool = match Pool::open_or_create(&members, shape, false, &mut port) {
            Ok(pool) => pool,
            Err(_) if world.is_off() => return Ok(self.end(End::Off, false)),
            Err(error) if self.fuse.is_burnt(&world) => return Ok(self.end(End::Pool(error), false)),
            Err(error) => return Err(format!("the pool cannot be opened: {error}")),
        };
        drop(port);
        let found = self.model.recognise(pool.newest_set())?;
        self.model.settle(found);
        self.model.exists = true;
        self.trace.note(world.now(), "main", ("opened", pool.generation(), found.map(|set| set.number)));
        self.note_requests(&world, None)?;
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
        let members: Vec<usize> = pool.order().iter().flatten().map(|&index| given[index]).collect();
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
        let task = Task { array, job, disks: &files, sharing: &sharing, reports };
        let crew = Crew::new(world, config, Random::new(random.bits()), &task);
        let port = world.port_to(&members, config.ledger_region, 5 * u32::from(array.members()));
        let ledger_port = port.number();
        let newest = pool.newest_set();
        let pages = newest.map(|set| pool.store().pages(set.number)).transpose();
        let pages = pages.map_err(|failure| format!("{failure:?}"))?.unwrap_or_default();
        let frames: Vec<u64> = pages.iter().map(|page| page.frame).collect();
        let number = newest.map_or(0, |set| set.number);
        let watch = Watch::new(life.geometry, pool.layout(), &members, number, &frames);
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
                self.model.committed(number)?;
                self.reach(engine, Moment::Committed(sequence));
                engine.watch.losers().into_iter().for_each(|peer| self.caught(engine, Moment::Losing, peer));
            }
            ToMain::Lost { file, failure, .. } => {
                return Err(format!("the run goes on without member {file}, and RAID 0 cannot: {failure:?}"));
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
        if !self.fuse.is_burnt(self.stage.world()) {
            return Err(format!("it failed for no cause: {failure:?}"));
        }
        match (self.fuse.fault, failure) {
            (_, Failure::Broken(_) | Failure::Store(_) | Failure::Damaged { .. } | Failure::Checksums { .. }) => {
                Err(format!("a fault of a device became {failure:?}"))
            }
            (Fault::Hang, Failure::Hung { .. })
            | (Fault::Errno(_) | Fault::Rate(_), Failure::Device { .. } | Failure::Input { .. })
            | (Fault::Power | Fault::Kill, Failure::Port { .. }) => Ok(()),
            (fault, failure) => Err(format!("{fault:?} became {failure:?}")),
        }
    }

    /// What an engine that has gone leaves behind.
    fn judge(&self, engine: Engine) -> Result<End, String> {
        let world = self.stage.world();
        let burnt = self.fuse.is_burnt(world);
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
            let Some(engine) = &mut engine else { continue };
            if let Some(peer) = peer {
                let peer = PeerId(u16::try_from(peer).expect("a few peers"));
                if let Some(moment) = engine.watch.peer_started(world.now(), peer, &started)? {
                    self.caught(engine, moment, peer);
                }
            } else if started.port == engine.ledger_port && !engine.committing {
                engine.committing = true;
                let store = engine.ledger.as_ref().map(|(ledger, _)| ledger.pool().store());
                engine.watch.commit_begins(world, |set| store.and_then(|store| store.pages(set).ok()))?;
            }
        }
        Ok(())
    }
}

/// How a run ends when nobody is left.
pub const ALL_DIED: Failure = Failure::Broken("all peers have died");
