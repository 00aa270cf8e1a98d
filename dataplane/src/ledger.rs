//! The thread that owns the metadata: finds room for sets, counts what the peers report, commits.
//!
//! ```text
//!   Prepare ─▶ frames ─▶ writing ─ all peers written ─▶ flushing ─ all peers flushed ─▶ flushed
//!                                                                                       │ in order
//!       older set's frames free ◀─ durable on all mirrors ◀─ replay ◀─ one transaction ◀┘
//! ```
//!
//! A turn reads the inbox, moves the sets on, drives the replay and posts what there is to say. Nothing in it waits: a
//! letter that does not fit into a mailbox stays here until the next turn.
//!
//! Invariants:
//! - Frames of a set that anybody can read are in no plan.
//! - A set is committed only when each of its pages was reported exactly once, in the frame that the plan gave it.
//! - Sets commit in the order of their numbers; at most two are outstanding.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bireme_control::units::Nanos;

use self::frames::Frames;
use self::post::Post;
use self::set::{Outstanding, Phase};
use self::task::Replay;
use crate::message::{Failure, Origin, Plan, Runs, ToLedger, ToMain, ToPeer};
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::port::{Next, Port};
use crate::queue::Mailbox;

pub(crate) mod frames;
pub(crate) mod image;
mod post;
mod set;
pub mod store;
pub mod task;
#[cfg(test)]
mod tests;

/// The mailboxes between the ledger and the others.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// The ledger's own.
    pub inbox: Arc<Mailbox<ToLedger>>,
    /// Each peer's, by its id.
    pub peers: Vec<Arc<Mailbox<ToPeer>>>,
    /// The main thread's.
    pub main: Arc<Mailbox<ToMain>>,
}

/// The owner of a pool's metadata. The files of its port are the members by index.
#[derive(Debug)]
pub struct Ledger<P: Port> {
    pool: Pool,
    port: P,
    inbox: Arc<Mailbox<ToLedger>>,
    post: Post,
    peers: usize,
    patience: Nanos,
    free: Frames,
    /// The runs of the newest committed set: free once the next is durable.
    held: Runs,
    number_next: u64,
    sets: VecDeque<Outstanding>,
    /// Sets that wait for the frames which an outstanding commit frees.
    waiting: VecDeque<(u32, u64, Origin)>,
    /// Plans stay here so that their last owner, who frees the memory, is never a peer.
    plans: Vec<Arc<Plan>>,
    replay: Replay,
    failed: bool,
    /// The port cannot be used any more.
    broken: bool,
    stopping: bool,
    stopped: bool,
}

impl<P: Port> Ledger<P> {
    /// A ledger for an open pool. A request that is not answered for longer than `patience` fails the run.
    pub fn new(mut pool: Pool, port: P, wiring: Wiring, patience: Nanos) -> Ledger<P> {
        pool.use_member_order();
        let newest = pool.newest_set();
        let pages = newest.and_then(|set| pool.store().pages(set.number).ok()).unwrap_or_default();
        let held = pages.iter().map(|page| bireme_control::units::Extent::new(page.frame, 1)).collect::<Vec<_>>();
        Ledger {
            replay: pool.replay(&port),
            free: pool.free_frames(),
            held: Runs::from(held),
            number_next: newest.map_or(1, |set| set.number + 1),
            peers: wiring.peers.len(),
            inbox: wiring.inbox,
            post: Post::new(wiring.peers, wiring.main),
            pool,
            port,
            patience,
            sets: VecDeque::new(),
            waiting: VecDeque::new(),
            plans: Vec::new(),
            failed: false,
            broken: false,
            stopping: false,
            stopped: false,
        }
    }

    /// One turn, without waiting. What it returns is for [`Ledger::rest`].
    pub fn turn(&mut self, now: Nanos) -> Next {
        let more = self.read_inbox(now);
        self.reap();
        if let Some(failure) = self.replay.hung(now, self.patience) {
            self.give_up(failure);
        }
        self.finish_commit(now);
        self.start_commit();
        if !self.broken {
            self.replay.drive(&mut self.port, now);
        }
        let idle = self.replay.is_done() || self.broken;
        if self.stopping && idle && !self.stopped {
            self.stopped = true;
            self.post.main(ToMain::Stopped);
        }
        let posted = self.post.deliver(&mut self.port);
        if more || !posted || self.stopped || !self.inbox.doze() {
            return Next::Ready;
        }
        let oldest = self.replay.oldest().filter(|_| !self.broken);
        oldest.map_or(Next::Event, |since| Next::At(since + self.patience + Nanos(1)))
    }

    /// Hands over what the turn pushed, and sleeps as it said.
    ///
    /// # Errors
    /// The port cannot go on. The next turns tell everybody; they need no port.
    pub fn rest(&mut self, next: Next) -> io::Result<()> {
        let submitted = self.submit(next);
        self.rouse();
        submitted
    }

    /// The first half of [`Ledger::rest`]. A simulation submits with [`Next::Ready`], lets the ledger sleep, and rouses
    /// it.
    ///
    /// # Errors
    /// As [`Ledger::rest`].
    pub fn submit(&mut self, next: Next) -> io::Result<()> {
        let submitted = self.port.submit(next);
        if let Err(error) = &submitted {
            self.give_up(Failure::Port { errno: error.raw_os_error().unwrap_or(libc::EIO) });
        }
        submitted
    }

    /// The second half of [`Ledger::rest`]: it is awake, and nobody needs to ring for it.
    pub fn rouse(&mut self) {
        self.inbox.rouse();
    }

    /// `Stop` came, and nothing is under way any more.
    pub fn is_stopped(&self) -> bool {
        self.stopped && self.post.is_empty()
    }

    /// The pool, to look at.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Frames that no set holds.
    pub fn frames_free(&self) -> u64 {
        self.free.count()
    }

    /// The port: its clock, for the driver.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// Ends the use of the pool in order and returns the port. After a failure nothing is written: the next opening
    /// repairs.
    ///
    /// # Errors
    /// A device refused a request. What was committed stays committed.
    pub fn close(mut self) -> Result<P, PoolError> {
        if !self.failed && self.replay.is_done() && self.port.in_flight() == 0 {
            self.pool.close(&mut self.port)?;
        }
        Ok(self.port)
    }

    /// A bounded number of letters; `true` when there may be more.
    fn read_inbox(&mut self, now: Nanos) -> bool {
        for _ in 0..LETTERS_PER_TURN {
            let Some(letter) = self.inbox.take() else { return false };
            if let Err(failure) = self.hear(letter, now) {
                self.fail(failure);
            }
        }
        true
    }

    fn hear(&mut self, letter: ToLedger, _now: Nanos) -> Result<(), Failure> {
        match letter {
            ToLedger::Stop => {
                self.stopping = true;
                (0..self.peers).for_each(|peer| self.post.peer(peer, ToPeer::Stop));
            }
            ToLedger::Failed { failure, .. } => return Err(failure),
            _ if self.failed => {}
            ToLedger::Prepare { sequence, bytes, origin } => {
                self.waiting.push_back((sequence, bytes, origin));
                if self.sets.len() + self.waiting.len() > OUTSTANDING_MAX {
                    return Err(Failure::Broken("more than two sets were begun at a time"));
                }
                self.prepare_waiting()?;
            }
            ToLedger::Page { sequence, page, frame, root } => self.set(sequence)?.page(page, frame, root)?,
            ToLedger::Written { sequence, peer, at } => {
                if self.set(sequence)?.written(peer, at)? {
                    (0..self.peers).for_each(|peer| self.post.peer(peer, ToPeer::Flush { sequence }));
                }
            }
            ToLedger::Flushed { sequence, peer, at } => self.set(sequence)?.flushed(peer, at)?,
        }
        Ok(())
    }

    fn set(&mut self, sequence: u32) -> Result<&mut Outstanding, Failure> {
        let mut sets = self.sets.iter_mut();
        sets.find(|set| set.plan.sequence == sequence).ok_or(Failure::Broken("a report names a set that is not open"))
    }

    /// Finds room for the sets that wait, in order.
    fn prepare_waiting(&mut self) -> Result<(), Failure> {
        while let Some(&(sequence, bytes, origin)) = self.waiting.front() {
            let geometry = self.pool.geometry();
            let pages = bytes.div_ceil(u64::from(geometry.page_bytes()));
            let frame_bytes = u64::from(geometry.frame_member_bytes()) * u64::from(geometry.members());
            let Some(frames) = self.free.take(pages) else {
                if !self.sets.is_empty() {
                    return Ok(());
                }
                let (free, total) = (self.free.count() * frame_bytes, self.pool.layout().frames() * frame_bytes);
                return Err(Failure::NoSpace { need: pages.saturating_mul(frame_bytes), free, total });
            };
            self.waiting.pop_front();
            let number = self.number_next;
            self.number_next += 1;
            let generation = self.pool.generation() << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1);
            let plan = Plan { sequence, number, generation, bytes, pages, frames: frames.into(), origin };
            let plan = Arc::new(plan);
            self.plans.push(plan.clone());
            self.sets.push_back(Outstanding::new(plan.clone(), self.peers));
            (0..self.peers).for_each(|peer| self.post.peer(peer, ToPeer::Begin(plan.clone())));
            self.post.main(ToMain::Prepared(plan));
        }
        Ok(())
    }

    /// One transaction in memory for the oldest set, when it is flushed and none is being replayed.
    fn start_commit(&mut self) {
        if self.failed || !self.replay.is_done() {
            return;
        }
        let Some(set) = self.sets.front_mut().filter(|set| set.phase == Phase::Flushed) else { return };
        set.phase = Phase::Committing;
        let committed = set.records().and_then(|(record, pages)| {
            self.pool.store().commit(&record, &pages).map_err(Failure::Store)?;
            Ok(self.pool.store().image().take_segments())
        });
        match committed {
            Ok(segments) => self.replay.extend(segments),
            Err(failure) => self.fail(failure),
        }
    }

    /// The transaction is durable on all mirrors: say so, and free what the set before held.
    fn finish_commit(&mut self, now: Nanos) {
        let committing = self.sets.front().is_some_and(|set| set.phase == Phase::Committing);
        if self.broken || !committing || !self.replay.is_done() {
            return;
        }
        let Some(set) = self.sets.pop_front() else { return };
        let old = std::mem::replace(&mut self.held, set.plan.frames.clone());
        self.free.give_back(old.extents().iter().copied());
        let (sequence, number) = (set.plan.sequence, set.plan.number);
        let (written_at, flushed_at) = (set.written_at, set.flushed_at);
        self.post.main(ToMain::Committed { sequence, number, written_at, flushed_at, committed_at: now });
        if !self.failed
            && let Err(failure) = self.prepare_waiting()
        {
            self.fail(failure);
        }
    }

    fn reap(&mut self) {
        while let Some(end) = self.port.reap() {
            if self.broken {
                continue;
            }
            if let Err(failure) = self.replay.ended(end) {
                self.give_up(failure);
            }
        }
    }

    /// Nothing more is committed; a transaction that is being replayed still ends.
    fn fail(&mut self, failure: Failure) {
        if self.failed {
            return;
        }
        self.failed = true;
        let committing = |set: &Outstanding| set.phase == Phase::Committing && !self.replay.is_done();
        self.sets.retain(committing);
        self.waiting.clear();
        self.post.main(ToMain::Failed(failure));
        (0..self.peers).for_each(|peer| self.post.peer(peer, ToPeer::Stop));
    }

    /// The same, when the ledger's own devices cannot be used: the replay ends here.
    fn give_up(&mut self, failure: Failure) {
        self.broken = true;
        let committing = self.sets.front().filter(|set| set.phase == Phase::Committing && !self.replay.is_done());
        if let Some(number) = committing.map(|set| set.plan.number) {
            self.sets.clear();
            self.post.main(ToMain::InDoubt { number });
        }
        self.fail(failure);
    }
}

const LETTERS_PER_TURN: usize = 1024;
const OUTSTANDING_MAX: usize = 2;
const NUMBER_BITS: u32 = 20;
