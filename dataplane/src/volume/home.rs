//! The part of a volume that one peer is home to, over that peer's port.
//!
//! ```text
//!   begin ─▶ data_mut ─▶ write ┐                     ┌─▶ reap ─▶ end
//!   begin ─▶ read ─────────────┼─▶ turn .. submit .. ┼─▶ reap ─▶ data ─▶ end
//!   begin ─▶ flush ────────────┘                     └─▶ reap ─▶ end
//! ```
//!
//! The one who drives it calls `turn`, then submits through the port, as a peer does. Nothing here blocks, allocates after
//! `new`, or knows a clock but the port's.

use std::sync::Arc;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use self::drain::Drain;
use self::filling::Filling;
use self::heading::Heads;
use self::leafing::Bounces;
use self::memory::Memory;
use self::operations::{Operations, What};
use super::Volume;
use super::flushes::Flushes;
use super::intents::Intents;
use super::lane::Lane;
use super::leaves::Leaves;
use super::map::Map;
use super::work::Works;
use crate::message::Failure;
use crate::parity::Kernels;
use crate::port::{self, Next, Port};
use crate::requests::{Ask, Requests};
use crate::telemetry::Gauges;

mod change;
mod clearing;
mod cut;
mod drain;
mod filling;
mod gather;
mod heading;
mod leafing;
mod losses;
mod memory;
mod operations;
mod parities;
mod steps;
mod suspects;
mod waiting;

/// The pages of a volume that one peer is home to.
#[derive(Debug)]
pub struct Home<P> {
    map: Map,
    index: u16,
    health: Health,
    options: Options,
    memory: Memory,
    kernels: Kernels,
    requests: Requests<P, Waiter>,
    operations: Operations,
    works: Works,
    leaves: Leaves,
    bounces: Bounces,
    flushes: Flushes,
    lane: Lane,
    /// Of the last record.
    sequence: u64,
    drain: Drain,
    heads: Heads,
    intents: Intents,
    filling: Filling,
    /// Members that have refused a request, and whose loss is not yet durable.
    doubt: Members,
    /// All that ever refused a request: whatever takes their place in the array, this port does not reach it.
    dead: Members,
    /// What each member refused first.
    failures: Box<[Option<Failure>]>,
    /// How often each member has refused to read.
    refusals: Box<[u16]>,
    /// Why nothing can go on.
    broken: Option<Failure>,
    healed: Healed,
    /// Two shards that are being brought back.
    scratch: Box<[u8]>,
    /// The CRC of a block that was never written.
    zero_crc: u32,
    stuck_check: Nanos,
}

/// Who waits for a request.
#[derive(Clone, Copy, Debug)]
enum Waiter {
    Work { work: u16, member: u16 },
    Leaves { bounce: u16, member: u16 },
    Head { member: u16 },
    Flush { member: u16 },
}

impl<P: Port> Home<P> {
    /// Bytes that the region of the port must have.
    pub fn region_bytes(volume: &Volume, options: Options) -> u64 {
        (0..volume.homes).map(|index| Memory::new(&Map::new(volume.clone()), index, options).bytes()).max().unwrap_or(0)
    }

    /// Requests that the port must take at a time.
    pub fn requests(volume: &Volume, options: Options) -> u32 {
        let of = |index| Memory::new(&Map::new(volume.clone()), index, options).requests(volume, options);
        (0..volume.homes).map(of).max().unwrap_or(0)
    }

    /// Home number `index` of a volume that was recovered, and has a new epoch since. Files of the port are members by
    /// index.
    ///
    /// # Panics
    /// When options or lanes are too small for the volume, or the port for them.
    pub fn new(volume: Volume, index: u16, health: Health, options: Options, port: P) -> Home<P> {
        let map = Map::new(volume);
        let memory = Memory::new(&map, index, options);
        let members = map.geometry().members();
        let limit = u16::try_from(memory.requests(&map.volume, options)).expect("fewer than 65,536 requests");
        assert!(u64::from(port.region().all().bytes) >= memory.bytes(), "the region is smaller than region_bytes");
        let (pages, homes) = (map.pages(), u64::from(map.volume.homes));
        let home_pages = (pages + homes - 1 - u64::from(index).min(pages + homes - 1)) / homes;
        let table = usize::try_from(home_pages).expect("a table has an entry for each page");
        Home {
            index,
            health,
            options,
            memory,
            kernels: Kernels::detect(),
            operations: Operations::new(options.operations),
            works: Works::new(memory.works),
            leaves: Leaves::new(options.pages, members, map.frame, table),
            bounces: Bounces::new(memory.bounces),
            flushes: Flushes::new(members),
            lane: Lane::new(&map.volume, index),
            sequence: 0,
            drain: Drain::new(),
            heads: Heads::new(),
            intents: Intents::new(home_pages),
            filling: Filling::new(options.operations, table),
            doubt: Members::NONE,
            dead: Members::NONE,
            failures: vec![None; usize::from(members)].into_boxed_slice(),
            refusals: vec![0; usize::from(members)].into_boxed_slice(),
            broken: None,
            healed: Healed::default(),
            scratch: vec![0; 2 * memory.shard_bytes()].into_boxed_slice(),
            zero_crc: suspects::zero_crc(),
            stuck_check: Nanos::ZERO,
            requests: Requests::new(port, members, limit, Arc::new(Gauges::new(usize::from(members)))),
            map,
        }
    }

    /// Takes a free operation with its buffer.
    pub fn begin(&mut self) -> Option<Operation> {
        self.operations.begin()
    }

    /// The first bytes of its buffer, to fill before a write.
    pub fn data_mut(&mut self, operation: Operation, bytes: u32) -> &mut [u8] {
        let span = self.memory.operation(operation.0).part(0, bytes);
        self.requests.port().region_mut().bytes_mut(span)
    }

    /// The first bytes of its buffer, after a read has ended.
    pub fn data(&self, operation: Operation, bytes: u32) -> &[u8] {
        self.requests.region().bytes(self.memory.operation(operation.0).part(0, bytes))
    }

    /// Reads blocks of pages that this is home to.
    ///
    /// # Panics
    /// When they are not, or do not fit into the buffer.
    pub fn read(&mut self, operation: Operation, block: u64, blocks: u32) {
        self.check(operation, block, blocks);
        self.ask_for(operation, What::Read, (block, blocks));
    }

    /// Writes blocks of pages that this is home to. With `fua` they are durable when it has ended.
    ///
    /// # Panics
    /// As `read`.
    pub fn write(&mut self, operation: Operation, block: u64, blocks: u32, fua: bool) {
        self.check(operation, block, blocks);
        self.ask_for(operation, What::Write { fua }, (block, blocks));
    }

    /// All writes of this home that have ended are durable when it has ended.
    pub fn flush(&mut self, operation: Operation) {
        self.ask_for(operation, What::Flush, (0, 0));
    }

    /// As a flush, and nothing is left to recover: for closing.
    pub fn settle(&mut self, operation: Operation) {
        self.ask_for(operation, What::Settle, (0, 0));
    }

    /// Fills what members that are being rebuilt hold of a page. From then on they take part in its writes.
    ///
    /// # Panics
    /// When this is not home to the page.
    pub fn rebuild(&mut self, operation: Operation, page: u64) {
        self.check(operation, page * u64::from(self.map.page), 1);
        self.ask_for(operation, What::Rebuild, (page, 0));
    }

    /// Reads all of a page, parity and copies included; heals and counts what is wrong.
    ///
    /// # Panics
    /// When this is not home to the page.
    pub fn scrub(&mut self, operation: Operation, page: u64) {
        self.check(operation, page * u64::from(self.map.page), 1);
        self.ask_for(operation, What::Scrub, (page, 0));
    }

    /// The next operation that has ended.
    pub fn reap(&mut self) -> Option<Ended> {
        self.operations.reap()
    }

    /// Gives an operation back.
    pub fn end(&mut self, operation: Operation) {
        self.operations.end(operation);
    }

    /// Takes in what has ended and starts what can be.
    pub fn turn(&mut self, now: Nanos) -> Next {
        while let Some(done) = self.requests.finish(now) {
            self.finished(done);
        }
        self.look_for_stuck(now);
        while self.step(now) {}
        while let Some(member) = self.flushes.begin(self.living()) {
            let ask = Ask { file: member, offset: 0, operation: port::Operation::Flush, needed: 0, by_block: false };
            self.requests.start(now, Waiter::Flush { member }, ask);
        }
        let stuck = (self.requests.in_flight() > 0).then_some(self.stuck_check);
        match (self.operations.has_ended(), [stuck, self.next_drain()].into_iter().flatten().min()) {
            (true, _) => Next::Ready,
            (false, Some(time)) => Next::At(time.max(now + Nanos(1))),
            (false, None) => Next::Event,
        }
    }

    /// Hands the requests over, and waits as told.
    pub fn submit(&mut self, next: Next) {
        if let Err(error) = self.requests.port().submit(next) {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            self.broken.get_or_insert(Failure::Port { errno });
        }
    }

    /// A member that has refused a request, and how. Whoever keeps the metadata makes that durable, then tells the new
    /// health.
    pub fn lost(&self) -> Option<(u16, Failure)> {
        let member = self.doubt.iter().next()?;
        self.failures[usize::from(member)].map(|failure| (member, failure))
    }

    /// A member's loss is durable, or one counts again.
    pub fn set_health(&mut self, health: Health) {
        if !(health.rebuilding - self.health.rebuilding).is_empty() {
            self.filling.begin_again();
        }
        self.health = health;
        self.doubt = self.doubt - health.lost - health.rebuilding;
        self.forget_gone();
        self.check_survival();
    }

    /// What was healed so far.
    pub fn healed(&self) -> Healed {
        self.healed
    }

    /// The time, as the port tells it.
    pub fn now(&self) -> Nanos {
        self.requests.now()
    }

    /// Requests that have not been answered.
    pub fn in_flight(&self) -> usize {
        self.requests.in_flight()
    }

    /// Wakes a thread that sleeps in its port, with the next submit.
    pub fn wake(&mut self, whom: port::Bell) {
        self.requests.port().wake(whom);
    }

    /// The port, at the end.
    pub fn into_port(self) -> P {
        self.requests.into_figures().0
    }

    fn ask_for(&mut self, operation: Operation, what: What, range: (u64, u32)) {
        let now = self.requests.now();
        self.operations.ask(operation, what, range, now, self.works.last_ticket());
    }

    /// One round over everything that can go on; whether anything did.
    fn step(&mut self, now: Nanos) -> bool {
        let mut stepped = self.cut(now);
        for index in 0..self.works.count() {
            stepped |= self.advance(now, index);
        }
        stepped |= self.go_on_draining(now);
        stepped |= self.go_on_heading(now);
        for index in 0..self.operations.count() {
            stepped |= self.go_on_waiting(now, index);
        }
        stepped
    }
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: u32 = BLOCK_BYTES as u32;

/// How a home is sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Operations under way at most.
    pub operations: u16,
    /// Bytes of one operation at most: a multiple of 4 KiB.
    pub operation_bytes: u32,
    /// Pages whose leaves are kept in memory.
    pub pages: u16,
    /// Bytes of one request to a device at most.
    pub request_bytes: u32,
    /// A request that takes longer is a failure.
    pub hang_limit: Nanos,
}

/// An operation under way: a buffer, and what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation(u16);

/// An operation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub operation: Operation,
    /// What became of it. A failed read has returned nothing; after a failed write each block is old or new.
    pub result: Result<(), Failure>,
    /// When it was asked.
    pub asked: Nanos,
}

/// What was found and healed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Blocks that were not what was written, and are again.
    pub blocks: u64,
    /// Blocks that could not be brought back; reads of them fail.
    pub lost: u64,
}
