//! What one peer does, for as long as the engine lives.
//!
//! A peer owns its core, its port and its memory. It shares bounded mailboxes and the board with the outside, and none
//! of them can block:
//!
//! ```text
//!   sets, orders --> [ inbox | machine | runs | slots | requests ] --> letters to the ledger, counters
//!                       ^        '---- offers, answers ----> other peers' inboxes
//!                       '------------- offers, answers ----- other peers
//! ```
//!
//! One turn, always in this order: take answers; read the inbox; post letters; start one slot; ask for work if there is
//! little left. The driver then submits everything with one system call, and sleeps in it as [`Next`] says. One slot a
//! turn, so that what was filled is on its way to the devices while it is hot.
//!
//! Invariants, asserted every turn:
//! - free slots and slots in use are all slots: no stripe is lost or counted twice;
//! - every request in flight belongs to one slot, one run or one flush.

use std::collections::VecDeque;
use std::sync::Arc;

use bireme_control::balance::{Event, Machine, Work};
use bireme_control::raid::geometry::MEMBERS_MAX;
use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::reservation::LinkId;
use bireme_control::units::{Extent, Nanos, PeerId};

use crate::array::Array;
use crate::board::Board;
use crate::desk::Desk;
use crate::job::Job;
use crate::message::{Doing, Failure, Page, ToLedger, ToPeer};
use crate::parity::Kernels;
use crate::port::{GATHER_TIME, Next, Port};
use crate::queue::Mailbox;
use crate::requests::{Done, Owner, Requests};
use crate::reservation::Allowance;
use crate::runs::{RUN_PAGES_MAX, Run, Runs};
use crate::slots::{Slots, Stage};
use crate::telemetry::{Gauges, HandOvers, Healings, State, Stopwatch};

use self::flushes::Flushes;
pub use self::pacer::{Pacer, Rate};

mod balancing;
mod flushes;
mod pacer;

/// What a peer is built from besides its port.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// Who it is.
    pub id: PeerId,
    /// How many there are.
    pub peers: u16,
    /// What it is told.
    pub inbox: Arc<Mailbox<ToPeer>>,
    /// What all peers are told, by their ids.
    pub others: Vec<Arc<Mailbox<ToPeer>>>,
    /// Whom it reports to.
    pub ledger: Arc<Mailbox<ToLedger>>,
    /// What it shares.
    pub board: Arc<Board>,
    /// Progress for the live line.
    pub gauges: Arc<Gauges>,
    /// A request that takes longer ends the run.
    pub hang_limit: Nanos,
    /// How fast it may be.
    pub rate: Option<Rate>,
    /// What its class may use of each member.
    pub allowance: Option<Allowance>,
    /// Which members count.
    pub health: Health,
}

/// One peer over its port.
#[derive(Debug)]
pub struct Peer<P> {
    wiring: Wiring,
    desk: Desk<P>,
    job: Job,
    machine: Machine,
    sets: [SetState; 2],
    letters: VecDeque<ToLedger>,
    to_others: VecDeque<(PeerId, ToPeer)>,
    flushes: Flushes,
    hand_overs: HandOvers,
    /// Where the others' progress is read to: what each has done of a set, and what is left to it.
    view: [Box<[u64]>; 2],
    pacer: Option<Pacer>,
    /// Until when the pacer or its class's allowance holds it back.
    held: Option<Nanos>,
    /// Peers that have died, as far as it knows.
    deaths: u16,
    /// It has not yet said that nothing is in flight.
    laying_down: bool,
    /// Since when it is to stop.
    stopping: Option<Nanos>,
    failed: bool,
    looked: Nanos,
    transfers: u64,
}

/// How far this peer is with a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SetState {
    /// Each page was reported, by whomever.
    ended: bool,
    /// The ledger was told that nothing of it is in flight here.
    quiet: bool,
    /// Spare frames taken.
    spares: usize,
}

impl<P: Port> Peer<P> {
    /// A peer that has nothing to do yet.
    pub fn new(wiring: Wiring, array: Array, job: Job, machine: Machine, port: P) -> Peer<P> {
        let now = port.now();
        let limit = u16::try_from(array.requests()).expect("the engine has checked the number of requests");
        let peers = usize::from(wiring.peers);
        let members = usize::from(array.members());
        let letters = usize::from(array.runs) * RUN_PAGES_MAX + LETTERS_BESIDES_PAGES + peers + members;
        let requests = Requests::new(port, array.members(), limit, wiring.gauges.clone());
        let requests = requests.recorded(wiring.gauges.recorder(wiring.id));
        Peer {
            desk: Desk {
                requests,
                slots: Slots::new(array.slots),
                runs: Runs::new(array.runs),
                array,
                kernels: Kernels::detect(),
                stopwatch: Stopwatch::new(now, State::Turn),
                bytes: 0,
                health: wiring.health,
                found_lost: Members::NONE,
                refusals: [0; MEMBERS_MAX as usize],
                healed: Healings::new(array.members(), array.runs),
                plans: [None, None],
            },
            pacer: wiring.rate.clone().map(Pacer::new),
            wiring,
            job,
            machine,
            sets: [SetState::default(); 2],
            letters: VecDeque::with_capacity(letters),
            // An offer of its own, and an answer to each of the others; they ask again when they have it.
            to_others: VecDeque::with_capacity(2 * peers),
            flushes: Flushes::new(peers),
            hand_overs: HandOvers::new(),
            view: [(); 2].map(|()| vec![0; peers].into_boxed_slice()),
            held: None,
            deaths: 0,
            laying_down: false,
            stopping: None,
            failed: false,
            looked: now,
            transfers: 0,
        }
    }

    /// One turn; the answer says how long the driver may sleep in [`Peer::rest`].
    pub fn turn(&mut self, now: Nanos) -> Next {
        self.desk.stopwatch.switch(now, State::Turn);
        self.desk.requests.tick(now);
        if let Some(orders) = self.wiring.board.orders(self.wiring.id) {
            self.machine.set_run(orders.run);
            self.machine.set_minimum(orders.minimum);
        }
        while let Some(done) = self.desk.requests.finish(now) {
            self.answered(now, done);
        }
        while let Some(letter) = self.wiring.inbox.take() {
            self.told(now, letter);
        }
        self.look_for_stuck(now);
        let working = self.stopping.is_none() && !self.failed;
        // New work needs the mailbox to have taken all letters, so they go first.
        let started = self.post_letters() && working && self.start_one(now);
        if working {
            self.ask(now);
        }
        self.report_quiet();
        let posted = self.post_letters();
        self.assert_whole();
        if started || !posted || self.is_done(now) || !self.wiring.inbox.doze() {
            return Next::Ready;
        }
        let in_flight = self.desk.requests.in_flight() > 0;
        let patience = in_flight.then(|| now + self.patience());
        self.held.into_iter().chain(patience).min().map_or(Next::Event, Next::At)
    }

    /// Whether its rate, or its class, holds it back.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Submits what the turn has asked for, and sleeps as it said.
    pub fn rest(&mut self, next: Next) {
        self.submit(next);
        self.rouse();
    }

    /// The first half of [`Peer::rest`]. A simulation submits with [`Next::Ready`], lets the peer sleep, and rouses it.
    pub fn submit(&mut self, next: Next) {
        let state = match (next, self.desk.requests.in_flight()) {
            (Next::Ready, _) => State::Kernel,
            (_, 0) if self.held.is_some() => State::Throttled,
            (_, 0) if self.machine.is_asking() => State::Handover,
            (_, 0) => State::Idle,
            (_, all) if all == self.desk.requests.in_flight_to_file() => State::Input,
            _ => State::Devices,
        };
        let now = self.desk.requests.now();
        self.desk.stopwatch.switch(now, state);
        if next != Next::Ready && !self.desk.slots.has_free() {
            // Nothing can start before a whole slot has been answered.
            let slot = self.desk.array.requests_of_slot();
            self.desk.requests.port().gather(slot, GATHER_TIME);
        }
        if let Err(error) = self.desk.requests.port().submit(next) {
            self.fail(Failure::Port { errno: error.raw_os_error().unwrap_or(0) });
            // Without a port there is nothing to drain.
            self.stopping.get_or_insert(Nanos::ZERO);
        }
        let now = self.desk.requests.now();
        self.desk.stopwatch.switch(now, State::Turn);
    }

    /// The second half of [`Peer::rest`]: it is awake, and nobody needs to ring for it.
    pub fn rouse(&mut self) {
        self.wiring.inbox.rouse();
    }

    /// The time of this peer's port.
    pub fn now(&self) -> Nanos {
        self.desk.requests.now()
    }

    /// Whether it was told to stop, and nothing that it started is in flight; or what is will not be answered. Letters
    /// may be left: whoever told it to stop reads no more of them, and there may be no room for them ever again.
    pub fn is_done(&self, now: Nanos) -> bool {
        let idle = self.desk.requests.in_flight() == 0;
        self.stopping.is_some_and(|since| idle || now.since(since) > self.wiring.hang_limit)
    }

    /// Whether an offer of its is not answered yet.
    pub fn is_asking(&self) -> bool {
        self.machine.is_asking()
    }

    /// What it did, at the end: its desk, its hand-overs, and the transfers that it completed.
    pub fn into_figures(self) -> (Desk<P>, HandOvers, u64) {
        (self.desk, self.hand_overs, self.transfers)
    }

    fn answered(&mut self, now: Nanos, done: Done) {
        if let Err(failure) = done.result
            && !self.bears(done, failure)
        {
            self.fail(failure);
        }
        let outcome = match done.owner {
            Owner::Slot(index) => {
                let slot = self.desk.slots.get(index);
                slot.outstanding -= 1;
                let (run, whole) = (slot.run, slot.outstanding == 0);
                let outcome =
                    if whole && !self.failed { self.job.slot_answered(&mut self.desk, now, index) } else { Ok(()) };
                if outcome.is_ok() && !self.failed {
                    self.end_run_if_complete(run);
                }
                outcome
            }
            Owner::Leaves(index) => {
                let run = self.desk.runs.get(index);
                run.leaves -= 1;
                let whole = run.leaves == 0;
                let outcome =
                    if whole && !self.failed { self.job.leaves_answered(&mut self.desk, index) } else { Ok(()) };
                if outcome.is_ok() && !self.failed {
                    self.end_run_if_complete(index);
                }
                outcome
            }
            Owner::Flush => {
                let flushed = self.flushes.answered();
                self.flushed(now, flushed);
                Ok(())
            }
        };
        if let Err(failure) = outcome {
            self.fail(failure);
        }
    }

    /// Whether the peer can go on although a request was refused. Then it counts as answered: what was to be written is on
    /// the other members, and what was to be read is found to be wrong, and brought back.
    fn bears(&mut self, done: Done, failure: Failure) -> bool {
        let member = done.file;
        if member >= self.desk.array.members() {
            return false;
        }
        let known = self.desk.health.lost;
        let goes_on = match self.job {
            Job::Restore(_) if done.doing == Doing::Read => self.desk.note_refusal(done.owner, member, failure),
            _ => known.contains(member) || self.desk.go_on_without(member),
        };
        if (self.desk.health.lost - known).contains(member) {
            self.letters.push_back(ToLedger::Lost { member, failure });
        }
        goes_on
    }

    fn end_run_if_complete(&mut self, index: u16) {
        if !self.desk.runs.get(index).is_complete() {
            return;
        }
        let run = self.desk.runs.end(index);
        let Run { sequence, repeat, .. } = run;
        let at = self.desk.requests.now();
        // What the others see of it comes before what the ledger hears of it: with the last page they count up.
        let extent = Extent::new(run.page, u64::from(run.pages));
        self.act(at, Event::Completed(Work { sequence, extent, repeat }));
        self.publish(sequence);
        if repeat {
            self.hand_overs.repeat(extent.count);
        } else {
            self.transfers += extent.count;
            self.wiring.board.complete(self.wiring.id, extent.count);
        }
        for offset in 0..run.pages {
            let (page, frame) = (run.page + u64::from(offset), run.frame + u64::from(offset));
            let (peer, root) = (self.wiring.id, run.roots[usize::from(offset)]);
            self.letters.push_back(ToLedger::Page(Page { sequence, peer, page, frame, root, at }));
        }
    }

    fn told(&mut self, now: Nanos, letter: ToPeer) {
        match letter {
            ToPeer::Begin(plan) => {
                let place = plan.sequence as usize % 2;
                assert!(self.desk.plans[place].is_none() || self.sets[place].quiet, "at most two sets are under way");
                self.sets[place] = SetState::default();
                let share = plan.shares.get(self.wiring.id.index()).copied().unwrap_or_default();
                let (sequence, transfers) = (plan.sequence, plan.pages);
                self.desk.plans[place] = Some(plan);
                self.act(now, Event::Begin { sequence, transfers, share });
                self.publish(sequence);
            }
            // Nobody waits for the answer of a peer that ends: whoever has asked ends too.
            ToPeer::Balance { .. } if self.failed || self.stopping.is_some() => {}
            ToPeer::Balance { from, message } => self.heard(now, from, message),
            ToPeer::Flush { sequence, whose } => {
                if whose == self.wiring.id {
                    self.end_set(now, sequence);
                }
                self.flushes.ask(sequence, whose);
                self.flush_next(now);
            }
            ToPeer::LayDown { gone } => self.lay_down(now, gone),
            ToPeer::TakeUp { sequence, extent } => {
                self.act(now, Event::TakeUp { sequence, extent });
                self.publish(sequence);
            }
            ToPeer::Health(health) => self.desk.set_health(health),
            ToPeer::Stop => {
                self.stopping.get_or_insert(now);
            }
        }
    }

    /// Starts one slot, if there is one free, something to put into it, and the pacer and its class's allowance permit.
    fn start_one(&mut self, now: Nanos) -> bool {
        self.held = None;
        if !self.desk.slots.has_free() {
            return false;
        }
        loop {
            if let Some(run) = self.desk.runs.startable() {
                self.held = self.pacer.as_ref().and_then(|pacer| pacer.holds_until(now));
                self.held = self.held.or_else(|| self.not_allowed_until(now, run));
                if self.held.is_some() {
                    return false;
                }
                let slot = self.desk.take_slot(run, Stage::Devices);
                if let Some(pacer) = &mut self.pacer {
                    pacer.spend(now, self.desk.slots.get(slot).bytes);
                }
                self.job.start(&mut self.desk, now, slot);
                return true;
            }
            if !self.begin_run(now) {
                return false;
            }
        }
    }

    /// Takes what the next slot of a run uses of each member from the allowance of the class; until when there is none.
    fn not_allowed_until(&mut self, now: Nanos, run: u16) -> Option<Nanos> {
        let allowance = self.wiring.allowance.as_mut()?;
        let members = (0..self.desk.array.members()).map(LinkId);
        allowance.take(now, members, self.desk.next_bytes_of_member(run)).err()
    }

    /// Takes up the next run of pages.
    fn begin_run(&mut self, now: Nanos) -> bool {
        // Letters are left only while the ledger is behind: no new work then, so that their number stays bounded.
        if !self.desk.runs.has_room() || !self.letters.is_empty() {
            return false;
        }
        let Some((work, frame)) = self.next_work(now) else { return false };
        let run = Run::new(work, frame, self.desk.health.lost_of(frame));
        let index = self.desk.runs.begin(run).expect("there is room");
        self.job.open(&mut self.desk, now, index);
        true
    }

    /// Tells the ledger of sets that nothing is in flight of any more, and when nothing at all is.
    fn report_quiet(&mut self) {
        let peer = self.wiring.id;
        for place in 0..2 {
            let Some(plan) = &self.desk.plans[place] else { continue };
            let (state, sequence) = (&mut self.sets[place], plan.sequence);
            if state.ended && !state.quiet && self.desk.runs.of_set(sequence) == 0 {
                state.quiet = true;
                self.letters.push_back(ToLedger::Quiet { sequence, peer });
            }
        }
        if self.laying_down && self.desk.runs.is_empty() {
            self.laying_down = false;
            self.letters.push_back(ToLedger::LaidDown { peer, deaths: self.deaths });
        }
    }

    /// `false`: a mailbox is full, and letters are left for the next turn.
    fn post_letters(&mut self) -> bool {
        while let Some((to, letter)) = self.to_others.pop_front() {
            match self.wiring.others[to.index()].post(letter) {
                Ok(Some(bell)) => self.desk.requests.port().wake(bell),
                Ok(None) => {}
                Err(letter) => {
                    self.to_others.push_front((to, letter));
                    return false;
                }
            }
        }
        while let Some(letter) = self.letters.pop_front() {
            match self.wiring.ledger.post(letter) {
                Ok(Some(bell)) => self.desk.requests.port().wake(bell),
                Ok(None) => {}
                Err(letter) => {
                    self.letters.push_front(letter);
                    return false;
                }
            }
        }
        true
    }

    fn fail(&mut self, failure: Failure) {
        if !self.failed {
            self.failed = true;
            self.letters.push_back(ToLedger::Failed { peer: self.wiring.id, failure });
        }
    }

    fn look_for_stuck(&mut self, now: Nanos) {
        if self.desk.requests.in_flight() == 0 || now.since(self.looked) < self.patience() {
            return;
        }
        self.looked = now;
        if let Some(failure) = self.desk.requests.stuck(now, self.wiring.hang_limit) {
            self.fail(failure);
        }
    }

    /// How long it sleeps with requests in flight before it looks whether one is stuck.
    fn patience(&self) -> Nanos {
        Nanos((self.wiring.hang_limit.0 / 4).max(1_000_000))
    }

    fn assert_whole(&self) {
        let owned = self.desk.slots.outstanding() + self.desk.runs.outstanding() + self.flushes.outstanding();
        assert_eq!(owned, self.desk.requests.in_flight(), "a request in flight belongs to nobody");
    }
}

/// Flushed, quiet, laid down and failed, of two sets each; and each member may be lost.
const LETTERS_BESIDES_PAGES: usize = 8;

#[cfg(test)]
mod tests;
