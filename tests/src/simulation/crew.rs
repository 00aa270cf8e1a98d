//! Peers and control on one thread: who is awake, who takes the next turn, and when the clock moves.
//!
//! ```text
//!   somebody awake  ─▶ one of them, drawn from the seed: turn, submit, sleep as the turn said
//!   nobody awake    ─▶ the clock moves to the next answer or alarm
//!   none of either  ─▶ everybody sleeps for ever: a wake-up was lost
//! ```
//!
//! A sleeper wakes as in production: when a request of its port has ended, its time has come, or its bell was rung by
//! a port that was submitted after the letter.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use bireme_control::balance::Machine;
use bireme_control::raid::health::Health;
use bireme_control::units::{Nanos, PeerId};
use bireme_dataplane::array::Array;
use bireme_dataplane::board::Board;
use bireme_dataplane::control_thread::{Control, NewestSet};
use bireme_dataplane::job::Job;
use bireme_dataplane::ledger::Sharing;
use bireme_dataplane::message::{ToLedger, ToPeer};
use bireme_dataplane::peer::{self, Peer};
use bireme_dataplane::port::simulated::{Died, PortNumber, Random, Simulated, World};
use bireme_dataplane::port::{Bell, Next, Port};
use bireme_dataplane::queue::Mailbox;
use bireme_dataplane::telemetry::{Gauges, Healed};

use super::deaths::Dead;
use super::life::{Config, pick};
use super::pace::Pace;
use super::tally::{Kind, Tally};

/// What the threads of one engine share, and the peers.
pub struct Crew {
    /// The devices, the clock and the bells.
    pub world: World,
    /// Order of turns.
    pub random: Random,
    /// Of this engine.
    pub config: Config,
    /// Letters to each peer.
    pub to_peers: Vec<Arc<Mailbox<ToPeer>>>,
    /// The newest set, for control.
    pub newest: Arc<NewestSet>,
    /// The main thread's port, which rings for it.
    pub main: Simulated,
    /// Those who have died, in that order.
    pub deaths: Vec<Dead>,
    /// Those who were told to stop and have gone, as far as main has not said so.
    pub ended: Vec<PeerId>,
    /// What they have done.
    pub tally: Tally,
    /// What those who have gone have brought back.
    pub healed: Healed,
    peers: Vec<Option<Rower>>,
    ports: Vec<PortNumber>,
    control: Control,
    control_at: Nanos,
    turns: u64,
}

/// A peer, where it sleeps, and how fast it is.
struct Rower {
    peer: Peer<Simulated>,
    bed: Bed,
    pace: Pace,
    /// Its thread is away until then, whoever calls.
    back_at: Nanos,
}

impl Rower {
    fn is_awake(&self, world: &World) -> bool {
        world.now() >= self.back_at && self.bed.is_awake(world)
    }

    /// When it wakes by itself, or could be woken again.
    fn alarm(&self, world: &World) -> Option<Nanos> {
        if self.bed.is_awake(world) { Some(self.back_at) } else { self.bed.alarm().map(|at| at.max(self.back_at)) }
    }
}

/// Where somebody sleeps, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Bed {
    next: Next,
    bell: Bell,
    rung: u64,
    port: PortNumber,
}

impl Bed {
    /// For the owner of a port.
    pub fn new(bell: Bell, port: PortNumber) -> Bed {
        Bed { next: Next::Ready, bell, rung: 0, port }
    }

    /// Lies down as a turn has said.
    pub fn lie_down(&mut self, next: Next, rung: u64) {
        (self.next, self.rung) = (next, rung);
    }

    /// How often its bell was rung.
    pub fn rung(&self, world: &World) -> u64 {
        world.wakes(self.bell)
    }

    /// Whether its owner takes a turn now.
    pub fn is_awake(&self, world: &World) -> bool {
        let called = || world.wakes(self.bell) > self.rung || world.has_answers(self.port);
        match self.next {
            Next::Ready => true,
            Next::At(time) => world.now() >= time || called(),
            Next::Event => called(),
        }
    }

    /// When it wakes by itself.
    pub fn alarm(&self) -> Option<Nanos> {
        if let Next::At(time) = self.next { Some(time) } else { None }
    }
}

/// What a crew is to do.
pub struct Task<'a> {
    /// Sizes.
    pub array: Array,
    /// What all peers work at.
    pub job: Job,
    /// The disk of each file of the peers' ports.
    pub disks: &'a [usize],
    /// Which members count.
    pub health: Health,
    /// How they share the work.
    pub sharing: &'a Sharing,
    /// Whom they report to.
    pub reports: Arc<Mailbox<ToLedger>>,
}

/// Who takes the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// One of the peers.
    Peer(usize),
    /// The ledger.
    Ledger,
    /// The thread that gives orders.
    Control,
    /// Nobody: the clock has moved.
    Clock,
}

impl Crew {
    /// Peers that have nothing to do yet.
    pub fn new(world: &World, config: Config, random: Random, task: &Task<'_>) -> Crew {
        let board = Arc::new(Board::new(config.peers));
        let newest = Arc::new(NewestSet::default());
        let inbox = |peer| Arc::new(Mailbox::new(config.peer_letters, Bell(peer)));
        let to_peers: Vec<_> = (0..config.peers).map(inbox).collect();
        let gauges = Arc::new(Gauges::new(usize::from(task.array.members())));
        let region = usize::try_from(task.array.region_bytes()).expect("a small region");
        let manager = config.promises().manager(usize::from(task.array.members()));
        let mut peers = Vec::new();
        let mut ports = Vec::new();
        for (id, inbox) in (0..config.peers).zip(&to_peers) {
            let port = world.port_to(task.disks, region, task.array.requests());
            ports.push(port.number());
            let pace = config.paces[usize::from(id)];
            world.slow(port.number(), pace.request_times);
            let bed = Bed::new(Bell(id), port.number());
            let wiring = peer::Wiring {
                id: PeerId(id),
                peers: config.peers,
                inbox: inbox.clone(),
                others: to_peers.clone(),
                ledger: task.reports.clone(),
                board: board.clone(),
                gauges: gauges.clone(),
                hang_limit: config.hang_limit,
                rate: pace.rate.map(peer::Rate::new),
                allowance: manager.as_ref().map(|manager| manager.allowance(task.job.class())),
                health: task.health,
            };
            let machine = Machine::new(task.sharing.rules, PeerId(id), config.peers, &task.sharing.learnt);
            let peer = Peer::new(wiring, task.array, task.job.clone(), machine, port);
            peers.push(Some(Rower { peer, bed, pace, back_at: Nanos::ZERO }));
        }
        Crew {
            world: world.clone(),
            random,
            config,
            to_peers,
            newest: newest.clone(),
            main: world.port(4096, 1),
            deaths: Vec::new(),
            ended: Vec::new(),
            tally: Tally::default(),
            healed: Healed::default(),
            peers,
            ports,
            control: Control::new(config.peers, board, newest, manager),
            control_at: world.now(),
            turns: 0,
        }
    }

    /// Takes one peer's or control's turn, or moves the clock, or says that it is the ledger's turn, who sleeps in
    /// `ledger` if there is one.
    ///
    /// # Errors
    /// Everybody sleeps for ever, or it takes too long.
    pub fn step(&mut self, ledger: Option<&Bed>) -> Result<Who, String> {
        self.turns += 1;
        if self.turns > TURNS_MAX {
            return Err(format!("no end after {TURNS_MAX} turns"));
        }
        let lag = self.random.chance(self.config.lag_per_million);
        if lag && let Some(event) = self.world.next_event() {
            self.world.advance_to(event);
        }
        let world = &self.world;
        let rowers = self.peers.iter().enumerate();
        let awake = rowers.filter(|(_, peer)| peer.as_ref().is_some_and(|rower| rower.is_awake(world)));
        let mut awake: Vec<_> = awake.map(|(index, _)| Who::Peer(index)).collect();
        awake.extend(ledger.filter(|bed| bed.is_awake(world)).map(|_| Who::Ledger));
        awake.extend((world.now() >= self.control_at).then_some(Who::Control));
        if awake.is_empty() {
            self.sleep(ledger)?;
            return Ok(Who::Clock);
        }
        let who = awake[pick(&mut self.random, awake.len() as u64)];
        let cost = TURN_MIN + Nanos(self.random.below(self.config.turn_max.0));
        // Whoever waits for somebody who is away must not take so many turns that it looks like for ever.
        let away = self.peers.iter().flatten().map(|rower| rower.back_at.since(world.now()).0).max().unwrap_or(0);
        self.world.advance_to(world.now() + cost + Nanos(away.div_ceil(AWAY_TURNS)));
        match who {
            Who::Peer(index) => self.turn(index),
            Who::Control => self.control_at = self.control.step(self.world.now()),
            Who::Ledger | Who::Clock => {}
        }
        Ok(who)
    }

    fn turn(&mut self, index: usize) {
        let Some(Rower { mut peer, mut bed, pace, .. }) = self.peers[index].take() else { return };
        let (rung, asked) = (bed.rung(&self.world), peer.is_asking());
        let now = peer.now();
        let turn = catch_unwind(AssertUnwindSafe(move || {
            peer.rouse();
            let next = peer.turn(now);
            peer.submit(Next::Ready);
            (peer, next)
        }));
        match turn {
            Ok((peer, _)) if peer.is_done(now) => {
                let (desk, hand_overs, _) = peer.into_figures();
                desk.healed.total().iter().for_each(|&healed| self.healed.add(healed));
                self.tally.asked(hand_overs.list(), hand_overs.repeated());
                self.ended.push(PeerId(u16::try_from(index).expect("a few peers")));
            }
            Ok((peer, next)) => {
                bed.lie_down(next, rung);
                let held = peer.is_held() && pace.rate.is_none();
                self.tally.add(Kind::HeldBack, held.into());
                let back_at = self.world.now() + pace.away(&mut self.random);
                self.peers[index] = Some(Rower { peer, bed, pace, back_at });
            }
            Err(panic) if panic.is::<Died>() => {
                let id = PeerId(u16::try_from(index).expect("a few peers"));
                self.deaths.push(Dead::new(id, self.world.now(), asked));
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// A peer will die.
    pub fn doom(&self, peer: PeerId, calls: u64) {
        if let Some(port) = self.ports.get(peer.index()).filter(|_| self.peers[peer.index()].is_some()) {
            self.world.die_at_call(*port, calls);
        }
    }

    /// Whether an offer of a peer is not answered yet.
    pub fn is_asking(&self, peer: usize) -> bool {
        self.peers[peer].as_ref().is_some_and(|rower| rower.peer.is_asking())
    }

    fn sleep(&mut self, ledger: Option<&Bed>) -> Result<(), String> {
        let rowers = self.peers.iter().flatten().filter_map(|rower| rower.alarm(&self.world));
        let alarms = rowers.chain(ledger.and_then(Bed::alarm)).chain(self.deaths.iter().filter_map(Dead::alarm));
        let alarm = alarms.chain(self.world.next_event()).min();
        let Some(alarm) = alarm else {
            let left = self.peers.iter().flatten().count();
            return Err(format!("everybody sleeps for ever; {left} peers are left, ledger {ledger:?}"));
        };
        self.world.advance_to(alarm.min(self.control_at));
        Ok(())
    }

    /// Whether all peers have gone.
    pub fn is_gone(&self) -> bool {
        self.peers.iter().all(Option::is_none)
    }

    /// Whose port this is, among the peers.
    pub fn peer_of(&self, port: PortNumber) -> Option<usize> {
        self.ports.iter().position(|&other| other == port)
    }

    /// Rings for the main thread.
    pub fn ring(&mut self, bell: Option<Bell>) {
        if let Some(bell) = bell {
            self.main.wake(bell);
            // Without power nobody wakes up, and the driver sees that by itself.
            let _ = self.main.submit(Next::Ready);
        }
    }

    /// Tells all peers something, as the main thread of a restore does.
    pub fn tell(&mut self, letter: impl Fn(PeerId) -> ToPeer) {
        for (peer, id) in self.to_peers.clone().into_iter().zip(0..) {
            let bell = peer.post(letter(PeerId(id))).ok().flatten();
            self.ring(bell);
        }
    }
}

/// No turn takes less: whoever takes turn after turn lets the time pass.
const TURN_MIN: Nanos = Nanos(1_000);
/// So many turns at most pass while somebody is away.
const AWAY_TURNS: u64 = 256;
/// Some hundred times what lives take.
const TURNS_MAX: u64 = 2_000_000;
