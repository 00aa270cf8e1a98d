//! The thread that owns the metadata: finds room for sets, counts what the peers report, commits.
//!
//! ```text
//!   Prepare ─▶ frames ─▶ writing ─ each page reported ─▶ flushing ─ all devices flushed ─▶ flushed
//!                                                                                          │ in order
//!   settled ◀─ all peers quiet ◀─ durable on all mirrors ◀─ replay ◀─ one transaction ◀────┘
//! ```
//!
//! The older set's frames are free when the newer is durable. Frames of a set that its map leaves out, because a page
//! was written twice in the end game, are free when the set has settled: until then somebody may still write to them.
//!
//! A member that is lost, by a peer or by the ledger itself, is marked as failed on all others before anything more is
//! committed; then the peers are told, and the run goes on, if the array survives it.
//!
//! A turn reads the inbox, moves the sets on, drives the replay and posts what there is to say. Nothing in it waits: a
//! letter that does not fit into a mailbox stays here until the next turn.
//!
//! Invariants:
//! - Frames of a set that anybody can read are in no plan.
//! - A set is committed only when each of its pages was reported, in the frame that the plan gave it or in a spare frame
//!   of the peer that repeated it; the first copy enters the map.
//! - Sets commit in the order of their numbers; a set begins when the one two before it has settled.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bireme_control::balance::Learnt;
use bireme_control::balance::{Rules, Strategy};
use bireme_control::units::{Extent, Nanos, PeerId};

use self::frames::Frames;
use self::living::Living;
use self::post::Post;
use self::roster::Roster;
use self::set::{Outstanding, Phase};
use self::task::Replay;
use crate::message::{Committed, Failure, Page, ToLedger, ToMain, ToPeer};
use crate::plan::{Origin, Plan};
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::port::{Next, Port};
use crate::queue::Mailbox;

pub(crate) mod errands;
pub(crate) mod frames;
pub(crate) mod image;
mod living;
mod losses;
mod post;
mod roster;
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

/// How the peers share the work of a set.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// By which rules.
    pub rules: Rules,
    /// What they have learnt so far.
    pub learnt: Learnt,
}

/// The owner of a pool's metadata. The files of its port are the members by index, and then the spares.
#[derive(Debug)]
pub struct Ledger<P: Port> {
    pool: Pool,
    port: P,
    inbox: Arc<Mailbox<ToLedger>>,
    post: Post,
    living: Living,
    sharing: Sharing,
    patience: Nanos,
    free: Frames,
    /// The frames of the newest committed set: free once the next is durable.
    held: Vec<Extent>,
    number_next: u64,
    sets: VecDeque<Outstanding>,
    /// Committed sets that have not settled.
    settling: VecDeque<Outstanding>,
    /// Sets that wait for the frames which an outstanding commit frees.
    waiting: VecDeque<(u32, u64, Origin)>,
    /// Plans stay here so that their last owner, who frees the memory, is never a peer.
    plans: Vec<Arc<Plan>>,
    replay: Replay,
    /// What is known of the members and not yet durable.
    roster: Roster,
    failed: bool,
    /// The port cannot be used any more.
    broken: bool,
    stopping: bool,
    stopped: bool,
}

impl<P: Port> Ledger<P> {
    /// A ledger for an open pool. A request that is not answered for longer than `patience` fails the run.
    pub fn new(mut pool: Pool, port: P, wiring: Wiring, sharing: Sharing, patience: Nanos) -> Ledger<P> {
        pool.use_member_order();
        let newest = pool.newest_set();
        let pages = newest.and_then(|set| pool.store().pages(set.number).ok()).unwrap_or_default();
        let held = frames::runs_of(pages.iter().map(|page| page.frame).collect());
        let devices = pool.rows().len();
        let memory = port.region().all().bytes - Roster::region_bytes(devices);
        Ledger {
            replay: pool.replay(memory),
            roster: Roster::new(memory, devices),
            free: pool.free_frames(),
            held,
            number_next: newest.map_or(1, |set| set.number + 1),
            living: Living::new(wiring.peers.len()),
            sharing,
            inbox: wiring.inbox,
            post: Post::new(wiring.peers, wiring.main),
            pool,
            port,
            patience,
            sets: VecDeque::new(),
            settling: VecDeque::new(),
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
        let more = self.read_inbox();
        self.reap();
        if let Some(failure) = self.replay.hung(now, self.patience).or_else(|| self.roster.hung(now, self.patience)) {
            self.give_up(failure);
        }
        self.drive_roster(now);
        self.finish_commit(now);
        self.start_commit();
        if !self.broken {
            self.replay.drive(&mut self.port, now);
        }
        let idle = self.is_settled() || self.broken;
        if self.stopping && idle && !self.stopped {
            self.stopped = true;
            self.post.main(ToMain::Stopped);
        }
        let posted = self.post.deliver(&mut self.port);
        if more || !posted || self.stopped || !self.inbox.doze() {
            return Next::Ready;
        }
        let oldest = [self.replay.oldest(), self.roster.oldest()].into_iter().flatten().min().filter(|_| !self.broken);
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

    /// Frames that no set holds: those of a set that has not settled, and that its map leaves out, are among them.
    pub fn frames_free(&self) -> u64 {
        let unsettled = self.settling.iter().flat_map(Outstanding::unused).map(|run| run.count);
        self.free.count() + unsettled.sum::<u64>()
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
        if !self.failed && self.is_settled() && self.port.in_flight() == 0 {
            self.pool.close(&mut self.port)?;
        }
        Ok(self.port)
    }

    /// A bounded number of letters; `true` when there may be more.
    fn read_inbox(&mut self) -> bool {
        for _ in 0..LETTERS_PER_TURN {
            let Some(letter) = self.inbox.take() else { return false };
            if let Err(failure) = self.hear(letter) {
                self.fail(failure);
            }
        }
        true
    }

    fn hear(&mut self, letter: ToLedger) -> Result<(), Failure> {
        if let ToLedger::Died { peer } = letter {
            self.post.forget(peer.index());
        }
        match letter {
            ToLedger::Stop => {
                self.stopping = true;
                self.tell_peers(&ToPeer::Stop);
            }
            ToLedger::Failed { failure, .. } => return Err(failure),
            _ if self.failed => {}
            ToLedger::Lost { member, failure } => self.heard_of_loss(member, failure)?,
            ToLedger::Prepare { sequence, bytes, origin } => {
                self.waiting.push_back((sequence, bytes, origin));
                if self.sets.len() + self.waiting.len() > OUTSTANDING_MAX {
                    return Err(Failure::Broken("more than two sets were begun at a time"));
                }
                self.prepare_waiting()?;
            }
            ToLedger::Page(page) => self.page(page)?,
            ToLedger::Learnt { peers: [low, high], pair } => self.sharing.learnt.note(low, high, pair),
            ToLedger::Flushed { sequence, whose, at } => self.set(sequence)?.flushed(whose, at)?,
            ToLedger::Quiet { sequence, peer } => {
                self.set(sequence)?.quiet(peer)?;
                self.settle()?;
            }
            ToLedger::Died { peer } if !self.stopping => self.died(peer)?,
            ToLedger::Died { .. } => {}
            ToLedger::LaidDown { peer, deaths } => {
                if self.living.laid_down(peer, deaths) {
                    self.deal()?;
                }
            }
        }
        Ok(())
    }

    fn tell_peers(&mut self, letter: &ToPeer) {
        self.living.peers().for_each(|peer| self.post.peer(peer.index(), letter.clone()));
    }

    fn set(&mut self, sequence: u32) -> Result<&mut Outstanding, Failure> {
        let mut sets = self.settling.iter_mut().chain(&mut self.sets);
        sets.find(|set| set.plan.sequence == sequence).ok_or(Failure::Broken("a report names a set that is not open"))
    }

    fn page(&mut self, page: Page) -> Result<(), Failure> {
        let sequence = page.sequence;
        if self.set(sequence)?.page(page)? {
            self.living.peers().for_each(|peer| self.post.peer(peer.index(), ToPeer::Flush { sequence, whose: peer }));
            self.living.dead().for_each(|whose| stand_in(&self.living, &mut self.post, sequence, whose));
        }
        Ok(())
    }

    /// A peer has died: others flush its devices, and all lay down their work, so that what is missing can be dealt out.
    fn died(&mut self, peer: PeerId) -> Result<(), Failure> {
        let before = self.living.stand_in();
        if !self.living.died(peer) {
            return Ok(());
        }
        if self.living.stand_in().is_none() {
            return Err(Failure::Broken("all peers have died"));
        }
        for set in &self.sets {
            let forsaken = |&whose: &PeerId| whose == peer || before == Some(peer);
            let forsaken = self.living.dead().filter(forsaken).filter(|&whose| set.awaits_flush_of(whose));
            forsaken.for_each(|whose| stand_in(&self.living, &mut self.post, set.plan.sequence, whose));
        }
        self.tell_peers(&ToPeer::LayDown { gone: peer });
        self.settle()
    }

    /// Nothing is in flight anywhere: the living take up what is missing, in equal parts.
    fn deal(&mut self) -> Result<(), Failure> {
        for set in self.sets.iter().filter(|set| set.phase == Phase::Writing) {
            let sequence = set.plan.sequence;
            let mut missing = VecDeque::from(set.missing());
            let mut left: u64 = missing.iter().map(|run| run.count).sum();
            let peers: Vec<PeerId> = self.living.peers().collect();
            for (index, peer) in peers.iter().enumerate() {
                let mut part = left / (peers.len() - index) as u64;
                left -= part;
                // A peer goes on when it has heard of the set, whether there is anything for it or not.
                self.post.peer(peer.index(), ToPeer::TakeUp { sequence, extent: Extent::default() });
                while part > 0
                    && let Some(run) = missing.front_mut()
                {
                    let extent = run.take_front(part);
                    part -= extent.count;
                    if run.is_empty() {
                        missing.pop_front();
                    }
                    self.post.peer(peer.index(), ToPeer::TakeUp { sequence, extent });
                }
            }
        }
        self.prepare_waiting()
    }

    /// Frees what sets that have settled leave over.
    fn settle(&mut self) -> Result<(), Failure> {
        while let Some(set) = self.settling.front().filter(|set| set.is_settled(self.living.alive())) {
            self.free.give_back(set.unused());
            self.settling.pop_front();
        }
        self.prepare_waiting()
    }

    /// Finds room for the sets that wait, in order.
    fn prepare_waiting(&mut self) -> Result<(), Failure> {
        while let Some(&(sequence, bytes, origin)) = self.waiting.front() {
            let settled = self.settling.front().is_none_or(|set| set.plan.sequence + 2 > sequence);
            if !settled || self.living.is_laying_down() {
                return Ok(());
            }
            let geometry = self.pool.geometry();
            let pages = bytes.div_ceil(u64::from(geometry.page_bytes()));
            let frame_bytes = u64::from(geometry.frame_member_bytes()) * u64::from(geometry.members());
            let Some(frames) = self.free.take(pages) else {
                if !self.sets.is_empty() || !self.settling.is_empty() {
                    return Ok(());
                }
                let (free, total) = (self.free.count() * frame_bytes, self.pool.layout().frames() * frame_bytes);
                return Err(Failure::NoSpace { need: pages.saturating_mul(frame_bytes), free, total });
            };
            self.waiting.pop_front();
            let number = self.number_next;
            self.number_next += 1;
            let generation = self.pool.generation() << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1);
            let spares = self.spares(pages).into();
            let strategy = self.sharing.rules.strategy;
            let shares = self.sharing.learnt.division(strategy, pages, self.living.alive());
            let frames = frames.into();
            let plan = Plan { sequence, number, generation, bytes, pages, frames, spares, shares, origin };
            let plan = Arc::new(plan);
            self.plans.push(plan.clone());
            self.sets.push_back(Outstanding::new(plan.clone(), self.living.alive().len()));
            self.tell_peers(&ToPeer::Begin(plan.clone()));
            self.post.main(ToMain::Prepared(plan));
        }
        Ok(())
    }

    /// Frames for repeats in the end game, where enough are free for another set of this size besides.
    fn spares(&mut self, pages: u64) -> Vec<Extent> {
        let peers = self.living.alive().len() as u64;
        let repeats = self.sharing.rules.repeat && self.sharing.rules.strategy == Strategy::Measured && peers > 1;
        let count = peers * SPARES_EACH;
        if !repeats || self.free.count() < pages + count {
            return Vec::new();
        }
        self.free.take(count).unwrap_or_default()
    }

    /// One transaction in memory for the oldest set, when it is flushed and none is being replayed.
    fn start_commit(&mut self) {
        // Who has said that it has stopped may still have letters to deliver, and hear of a set's last flush meanwhile.
        if self.failed || self.stopped || !self.is_settled() {
            return;
        }
        let Some(set) = self.sets.front_mut().filter(|set| set.phase == Phase::Flushed) else { return };
        set.phase = Phase::Committing;
        let committed = set.records().and_then(|(record, pages)| {
            let store = self.pool.store();
            store.commit(&record, &pages, &self.sharing.learnt).map_err(Failure::Store)?;
            Ok(self.pool.store().image().take_segments())
        });
        match committed {
            Ok(segments) => self.replay.extend(segments),
            Err(failure) => self.fail(failure),
        }
    }

    /// The transaction is durable on all mirrors, and who does not count is too: say so, and free what the set before held.
    fn finish_commit(&mut self, now: Nanos) {
        let committing = self.sets.front().is_some_and(|set| set.phase == Phase::Committing);
        if self.broken || !committing || !self.is_settled() {
            return;
        }
        let Some(set) = self.sets.pop_front() else { return };
        let old = std::mem::replace(&mut self.held, set.mapped());
        self.free.give_back(old);
        self.post.main(ToMain::Committed(Committed {
            sequence: set.plan.sequence,
            number: set.plan.number,
            written_at: set.written_at,
            flushed_at: set.flushed_at,
            committed_at: now,
            done: set.done.clone(),
            repeats: set.repeats,
            finished: set.finished.clone(),
        }));
        self.settling.push_back(set);
        if !self.failed
            && let Err(failure) = self.settle()
        {
            self.fail(failure);
        }
    }

    fn reap(&mut self) {
        while let Some(end) = self.port.reap() {
            if !self.broken {
                self.answered(end);
            }
        }
    }

    /// Nothing more is committed; a transaction that is being replayed still ends.
    fn fail(&mut self, failure: Failure) {
        if self.failed {
            return;
        }
        self.failed = true;
        let settled = self.is_settled();
        self.sets.retain(|set| set.phase == Phase::Committing && !settled);
        self.waiting.clear();
        self.post.main(ToMain::Failed(failure));
        self.tell_peers(&ToPeer::Stop);
    }

    /// The same, when the ledger's own devices cannot be used: the replay ends here.
    fn give_up(&mut self, failure: Failure) {
        self.broken = true;
        let committing = self.sets.front().filter(|set| set.phase == Phase::Committing && !self.is_settled());
        if let Some(number) = committing.map(|set| set.plan.number) {
            self.sets.clear();
            self.post.main(ToMain::InDoubt { number });
        }
        self.fail(failure);
    }
}

/// The living who stands in for the dead flushes this one's devices.
fn stand_in(living: &Living, post: &mut Post, sequence: u32, whose: PeerId) {
    if let Some(peer) = living.stand_in() {
        post.peer(peer.index(), ToPeer::Flush { sequence, whose });
    }
}

const LETTERS_PER_TURN: usize = 1024;
const OUTSTANDING_MAX: usize = 2;
/// Frames for repeats per peer and set.
const SPARES_EACH: u64 = 8;
const NUMBER_BITS: u32 = 20;
