//! What one peer does, for as long as the engine lives.
//!
//! A peer owns its core, its port and its memory. It shares bounded mailboxes and the board with the outside, and none
//! of them can block:
//!
//! ```text
//!   sets, orders --> [ inbox | machine | runs | slots | requests ] --> letters to the ledger, counters
//! ```
//!
//! One turn, always in this order: take answers; read the inbox; post letters; start one slot. The driver then submits
//! everything with one system call, and sleeps in it as [`Next`] says. One slot a turn, so that what was filled is on
//! its way to the devices while it is hot.
//!
//! Invariants, asserted every turn:
//! - free slots and slots in use are all slots: no stripe is lost or counted twice;
//! - every request in flight belongs to one slot, one run or one flush.

use std::collections::VecDeque;
use std::sync::Arc;

use bireme_control::balance::{Action, Event, Machine};
use bireme_control::units::{Extent, Nanos, PeerId};

use crate::array::Array;
use crate::board::Board;
use crate::desk::Desk;
use crate::job::Job;
use crate::message::{Failure, ToLedger, ToPeer};
use crate::port::{Next, Operation, Port};
use crate::queue::Mailbox;
use crate::requests::{Ask, Done, Owner, Requests};
use crate::runs::{RUN_PAGES_MAX, Run, Runs};
use crate::slots::{Slots, Stage};
use crate::telemetry::{Gauges, State, Stopwatch};

/// What a peer is built from besides its port.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// Who it is.
    pub id: PeerId,
    /// How many there are.
    pub peers: u16,
    /// What it is told.
    pub inbox: Arc<Mailbox<ToPeer>>,
    /// Whom it reports to.
    pub ledger: Arc<Mailbox<ToLedger>>,
    /// What it shares.
    pub board: Arc<Board>,
    /// Progress for the live line.
    pub gauges: Arc<Gauges>,
    /// A request that takes longer ends the run.
    pub hang_limit: Nanos,
}

/// One peer over its port.
#[derive(Debug)]
pub struct Peer<P> {
    wiring: Wiring,
    desk: Desk<P>,
    job: Job,
    machine: Machine,
    sets: [SetState; 2],
    /// The set whose transfers are being started.
    current: u32,
    /// Transfers of that set that are this peer's and not started.
    mine: Extent,
    letters: VecDeque<ToLedger>,
    flushing: Option<Flushing>,
    flush_next: Option<u32>,
    /// Since when it is to stop.
    stopping: Option<Nanos>,
    failed: bool,
    looked: Nanos,
    transfers: u64,
}

/// How far this peer is with a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SetState {
    begun: bool,
    /// The machine has said that nothing is left to start.
    finished: bool,
    /// The ledger was told that this peer's share is written.
    written: bool,
}

#[derive(Clone, Copy, Debug)]
struct Flushing {
    sequence: u32,
    outstanding: u16,
}

impl<P: Port> Peer<P> {
    /// A peer that has nothing to do yet.
    pub fn new(wiring: Wiring, array: Array, job: Job, machine: Machine, port: P) -> Peer<P> {
        let now = port.now();
        let limit = u16::try_from(array.requests()).expect("the engine has checked the number of requests");
        let letters = usize::from(array.runs) * RUN_PAGES_MAX + LETTERS_BESIDES_PAGES;
        let requests = Requests::new(port, array.members(), limit, wiring.gauges.clone());
        Peer {
            desk: Desk {
                requests,
                slots: Slots::new(array.slots),
                runs: Runs::new(array.runs),
                array,
                stopwatch: Stopwatch::new(now, State::Turn),
                bytes: 0,
                plans: [None, None],
            },
            wiring,
            job,
            machine,
            sets: [SetState::default(); 2],
            current: 0,
            mine: Extent::default(),
            letters: VecDeque::with_capacity(letters),
            flushing: None,
            flush_next: None,
            stopping: None,
            failed: false,
            looked: now,
            transfers: 0,
        }
    }

    /// One turn; the answer says how long the driver may sleep in [`Peer::rest`].
    pub fn turn(&mut self, now: Nanos) -> Next {
        self.desk.stopwatch.switch(now, State::Turn);
        if let Some(orders) = self.wiring.board.orders(self.wiring.id) {
            self.machine.set_run(orders.run);
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
        self.report_written();
        let posted = self.post_letters();
        self.assert_whole();
        if started || !posted {
            return Next::Ready;
        }
        if self.is_done(now) || !self.wiring.inbox.doze() {
            return Next::Ready;
        }
        if self.desk.requests.in_flight() > 0 { Next::At(now + self.patience()) } else { Next::Event }
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
            (_, 0) => State::Idle,
            (_, all) if all == self.desk.requests.in_flight_to_file() => State::Input,
            _ => State::Devices,
        };
        let now = self.desk.requests.now();
        self.desk.stopwatch.switch(now, state);
        if next != Next::Ready && !self.desk.slots.has_free() {
            // Nothing can start before a whole slot has been answered.
            let slot = self.desk.array.requests_of_slot();
            self.desk.requests.port().gather(slot);
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

    /// What it did, at the end: its desk and the transfers that it completed.
    pub fn into_figures(self) -> (Desk<P>, u64) {
        (self.desk, self.transfers)
    }

    fn answered(&mut self, now: Nanos, done: Done) {
        if let Err(failure) = done.result {
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
                self.flushed_one(now);
                Ok(())
            }
        };
        if let Err(failure) = outcome {
            self.fail(failure);
        }
    }

    fn end_run_if_complete(&mut self, index: u16) {
        if !self.desk.runs.get(index).is_complete() {
            return;
        }
        let run = self.desk.runs.end(index);
        for page in 0..run.pages {
            let (offset, root) = (u64::from(page), run.roots[usize::from(page)]);
            if let Job::Offload(_) = self.job {
                let (page, frame) = (run.page + offset, run.frame + offset);
                self.letters.push_back(ToLedger::Page { sequence: run.sequence, page, frame, root });
            }
        }
        self.transfers += u64::from(run.pages);
        self.wiring.board.complete(self.wiring.id, u64::from(run.pages));
    }

    fn told(&mut self, now: Nanos, letter: ToPeer) {
        match letter {
            ToPeer::Begin(plan) => {
                let place = plan.sequence as usize % 2;
                assert!(self.desk.plans[place].is_none() || self.sets[place].written, "at most two sets are under way");
                self.sets[place] = SetState::default();
                self.desk.plans[place] = Some(plan);
            }
            ToPeer::Flush { sequence } if self.flushing.is_none() => self.flush(now, sequence),
            ToPeer::Flush { sequence } => {
                let before = self.flush_next.replace(sequence);
                assert!(before.is_none(), "at most two sets are under way");
            }
            ToPeer::Stop => {
                self.stopping.get_or_insert(now);
            }
        }
    }

    /// Flushes the devices that this peer is home to.
    fn flush(&mut self, now: Nanos, sequence: u32) {
        let mine = (0..self.desk.array.members()).filter(|member| member % self.wiring.peers == self.wiring.id.0);
        let mut outstanding = 0;
        for member in mine {
            let ask = Ask { file: member, offset: 0, operation: Operation::Flush, needed: 0 };
            self.desk.requests.start(now, Owner::Flush, ask);
            outstanding += 1;
        }
        self.flushing = Some(Flushing { sequence, outstanding: outstanding + 1 });
        self.flushed_one(now);
    }

    fn flushed_one(&mut self, now: Nanos) {
        let flushing = self.flushing.as_mut().expect("a flush was asked for");
        flushing.outstanding -= 1;
        if flushing.outstanding > 0 {
            return;
        }
        let sequence = flushing.sequence;
        self.flushing = None;
        if !self.failed {
            self.letters.push_back(ToLedger::Flushed { sequence, peer: self.wiring.id, at: now });
        }
        if let Some(sequence) = self.flush_next.take() {
            self.flush(now, sequence);
        }
    }

    /// Starts one slot, if there is one free and something to put into it.
    fn start_one(&mut self, now: Nanos) -> bool {
        if !self.desk.slots.has_free() {
            return false;
        }
        loop {
            if let Some(run) = self.desk.runs.startable() {
                let slot = self.desk.take_slot(run, Stage::Devices);
                self.job.start(&mut self.desk, now, slot);
                return true;
            }
            if !self.begin_run(now) {
                return false;
            }
        }
    }

    /// Takes up the next run of pages.
    fn begin_run(&mut self, now: Nanos) -> bool {
        // Letters are left only while the ledger is behind: no new work then, so that their number stays bounded.
        if !self.desk.runs.has_room() || !self.letters.is_empty() {
            return false;
        }
        if self.mine.is_empty() && !self.get_work(now) {
            return false;
        }
        let plan = self.desk.plans[self.current as usize % 2].clone().expect("work comes with its set");
        let frame = plan.frame(self.mine.start);
        let most = self.mine.count.min(u64::from(self.desk.array.run_pages));
        let together = (1..most).take_while(|&page| plan.frame(self.mine.start + page) == frame + page).count();
        let pages = u16::try_from(together + 1).expect("a run has few pages");
        let extent = self.mine.take_front(u64::from(pages));
        let run = Run {
            sequence: plan.sequence,
            page: extent.start,
            frame,
            pages,
            next_page: 0,
            next_row: 0,
            open: false,
            slots: 0,
            unsummed: 0,
            leaves: 0,
            leaves_asked: false,
            roots: [0; RUN_PAGES_MAX],
        };
        let index = self.desk.runs.begin(run).expect("there is room");
        self.job.open(&mut self.desk, now, index);
        true
    }

    /// Asks the machine for transfers, going on to the next set where this one has none left to start.
    fn get_work(&mut self, now: Nanos) -> bool {
        loop {
            let place = self.current as usize % 2;
            let plan = self.desk.plans[place].as_ref().filter(|plan| plan.sequence == self.current);
            let Some((sequence, transfers)) = plan.map(|plan| (plan.sequence, plan.pages)) else { return false };
            let mut event = if self.sets[place].begun { Event::Dry } else { Event::Begin { transfers } };
            self.sets[place].begun = true;
            let finished = loop {
                match self.machine.handle(now, event) {
                    Some(Action::Assign(extent)) => self.mine = extent,
                    Some(Action::Draw { most }) => {
                        event = Event::Drawn(self.wiring.board.draw(sequence, transfers, most));
                        continue;
                    }
                    Some(Action::Finished) => break true,
                    None => {}
                }
                if !self.mine.is_empty() {
                    break false;
                }
                event = Event::Dry;
            };
            if !finished {
                return true;
            }
            self.sets[place].finished = true;
            self.current += 1;
        }
    }

    /// Tells the ledger of sets that this peer has no part of left to write.
    fn report_written(&mut self) {
        for place in 0..2 {
            let Some(plan) = &self.desk.plans[place] else { continue };
            let state = self.sets[place];
            if state.finished && !state.written && self.desk.runs.of_set(plan.sequence) == 0 {
                self.sets[place].written = true;
                let at = self.desk.requests.now();
                self.letters.push_back(ToLedger::Written { sequence: plan.sequence, peer: self.wiring.id, at });
            }
        }
    }

    /// `false`: the ledger's mailbox is full, and letters are left for the next turn.
    fn post_letters(&mut self) -> bool {
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
        let flushes = self.flushing.map_or(0, |flushing| usize::from(flushing.outstanding));
        let owned = self.desk.slots.outstanding() + self.desk.runs.outstanding() + flushes;
        assert_eq!(owned, self.desk.requests.in_flight(), "a request in flight belongs to nobody");
    }
}

/// Written, flushed and failed, twice each.
const LETTERS_BESIDES_PAGES: usize = 8;

#[cfg(test)]
mod tests;
