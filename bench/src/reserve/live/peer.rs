//! What one peer does while classes share a device: requests arrive, wait for the manager's word, and go.
//!
//! ```text
//!   demand ──▶ queue of its class ──▶ [ manager: the head may go, or not yet ] ──▶ ring ──▶ ended ──▶ record
//! ```
//!
//! It is the closed loop of the model with the device and the clock of this machine in their places. A latency runs from
//! when a request was asked for, not from when the manager let it go.

use std::collections::VecDeque;

use bireme_control::reservation::ClassId;
use bireme_control::units::Nanos;
use bireme_dataplane::buffer::Span;
use bireme_dataplane::engine::raw::Client;
use bireme_dataplane::engine::volumes::Step;
use bireme_dataplane::message::{Doing, Failure};
use bireme_dataplane::pattern::Pattern;
use bireme_dataplane::port::{Next, Operation, Port, Request};

use crate::blkio::Group;
use crate::device::addresses::{Addresses, Order, Places};
use crate::random;
use crate::reserve::demand::Demand;
use crate::reserve::manager::{Manager, Pick};
use crate::reserve::record::{Ended, Record};

/// The classes of one peer.
pub(super) struct Peer {
    task: Task,
    classes: Vec<Asker>,
    manager: Manager,
    /// The control group that its thread is in, where the kernel is to hold it back.
    group: Option<std::sync::Arc<Group>>,
    slots: Box<[Option<Slot>]>,
    free: Vec<u32>,
    addresses: Addresses,
    began: Option<Nanos>,
    record: Record,
    /// Requests that ended and had no place in the record, or arrived and had none in their queue.
    lost: u64,
}

/// What is the same for all.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) writes: bool,
    /// Memory of one request.
    pub(super) slot_bytes: u32,
    pub(super) slots: u32,
    pub(super) places: Places,
    pub(super) warm_up: Nanos,
    pub(super) runtime: Nanos,
    /// Requests that may be recorded.
    pub(super) room: usize,
    pub(super) seed: u64,
}

/// One class: what it wants, and what of that waits.
struct Asker {
    demand: Demand,
    waiting: VecDeque<Nanos>,
    in_flight: usize,
    /// When the next one arrives, of those at random, or when it comes or goes.
    next: Option<Nanos>,
    is_on: bool,
    drawn: u64,
}

#[derive(Clone, Copy)]
struct Slot {
    class: ClassId,
    bytes: u32,
    arrived: Nanos,
}

impl Peer {
    pub(super) fn new(
        task: Task,
        demands: Vec<Demand>,
        manager: Manager,
        group: Option<std::sync::Arc<Group>>,
    ) -> Peer {
        let asker = |demand: Demand| {
            let room = match demand {
                Demand::Random { .. } => ARRIVALS_MAX,
                Demand::Backlog { depth, .. } | Demand::OnOff { depth, .. } => 2 * depth,
                Demand::None => 0,
            };
            Asker { demand, waiting: VecDeque::with_capacity(room), in_flight: 0, next: None, is_on: false, drawn: 0 }
        };
        let mut record = Record::default();
        // Touched now, so that no page is missing later.
        let nobody = Ended { class: ClassId(0), bytes: 0, arrived: Nanos::ZERO, at: Nanos::ZERO };
        record.ended.resize(task.room, nobody);
        record.ended.clear();
        record.returns.reserve(RETURNS_MAX);
        Peer {
            classes: demands.into_iter().map(asker).collect(),
            manager,
            group,
            slots: vec![None; task.slots as usize].into_boxed_slice(),
            free: (0..task.slots).rev().collect(),
            addresses: Addresses::new(task.places, Order::Uniform, task.seed),
            began: None,
            record,
            lost: 0,
            task,
        }
    }

    /// Memory for its requests, and how many these are at most.
    pub(super) fn region_bytes(&self) -> u64 {
        u64::from(self.task.slot_bytes) * u64::from(self.task.slots)
    }

    pub(super) fn slots(&self) -> u32 {
        self.task.slots
    }

    /// What was seen, and how many requests there was no room for.
    pub(super) fn into_record(self) -> (Record, u64) {
        (self.record, self.lost)
    }

    fn begin<P: Port>(&mut self, port: &mut P) -> Result<Nanos, Failure> {
        if let Some(group) = &self.group {
            group.take_thread().map_err(|_| Failure::Broken("its thread cannot enter its control group"))?;
        }
        let pattern = Pattern::new(self.task.seed, 0);
        let all = port.region().all();
        let whole = Span::new(0, all.bytes / 4096 * 4096);
        for (block, bytes) in port.region_mut().bytes_mut(whole).chunks_mut(4096).enumerate() {
            pattern.fill(block as u64, bytes);
        }
        let now = port.now();
        self.began = Some(now);
        self.record.from = now + self.task.warm_up;
        self.record.until = self.record.from + self.task.runtime;
        for class in 0..self.classes.len() {
            match self.classes[class].demand {
                Demand::None => {}
                Demand::Backlog { .. } => self.fill(class, now),
                Demand::Random { .. } | Demand::OnOff { .. } => self.next(class, now),
            }
        }
        Ok(now)
    }

    /// A backlog is as long as it is to be.
    fn fill(&mut self, class: usize, now: Nanos) {
        let (Demand::Backlog { depth, .. } | Demand::OnOff { depth, .. }) = self.classes[class].demand else { return };
        while self.classes[class].waiting.len() + self.classes[class].in_flight < depth {
            self.arrive(class, now);
        }
    }

    fn arrive(&mut self, class: usize, at: Nanos) {
        let asker = &mut self.classes[class];
        if asker.waiting.len() == asker.waiting.capacity() {
            self.lost += 1;
            return;
        }
        asker.waiting.push_back(at);
        if asker.waiting.len() == 1 {
            self.manager.ask(at, id(class), bytes_of(asker.demand));
        }
    }

    /// When something happens next to a class, counted from `from`.
    fn next(&mut self, class: usize, from: Nanos) {
        let asker = &mut self.classes[class];
        asker.drawn += 1;
        let (seed, stream) = (self.task.seed, class as u64);
        let pause = match asker.demand {
            Demand::Random { pause_ns, .. } => random::exponential(seed, stream, asker.drawn, pause_ns),
            Demand::OnOff { on, .. } if asker.is_on => on.0 as f64,
            Demand::OnOff { off, spread, .. } => {
                off.0 as f64 + random::uniform(seed, stream, asker.drawn) * spread.0 as f64
            }
            Demand::None | Demand::Backlog { .. } => return,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "pauses are above 0 and below years"
        )]
        let pause = Nanos(pause as u64);
        asker.next = Some(from + pause);
    }

    /// What has happened to the classes by now.
    fn happen(&mut self, now: Nanos) {
        for class in 0..self.classes.len() {
            while let Some(at) = self.classes[class].next.filter(|&at| at <= now) {
                match self.classes[class].demand {
                    Demand::Random { .. } => self.arrive(class, at),
                    Demand::OnOff { .. } => {
                        let asker = &mut self.classes[class];
                        asker.is_on = !asker.is_on;
                        if asker.is_on {
                            if at >= self.record.from && self.record.returns.len() < RETURNS_MAX {
                                self.record.returns.push(at);
                            }
                            self.fill(class, at);
                        }
                    }
                    Demand::None | Demand::Backlog { .. } => {}
                }
                self.next(class, at);
            }
        }
    }

    fn reap<P: Port>(&mut self, port: &mut P, now: Nanos) -> Result<(), Failure> {
        while let Some(ended) = port.reap() {
            let index = u32::try_from(ended.token).expect("tokens are slots");
            let slot = self.slots[index as usize].take().expect("what ends was started");
            let doing = if self.task.writes { Doing::Write } else { Doing::Read };
            match ended.result {
                Ok(bytes) if bytes == slot.bytes => {}
                Ok(_) => return Err(Failure::Device { doing, file: 0, offset: 0, errno: 0 }),
                Err(errno) => return Err(Failure::Device { doing, file: 0, offset: 0, errno }),
            }
            self.free.push(index);
            let Slot { class, bytes, arrived } = slot;
            let bytes = u64::from(bytes);
            self.manager.done(class, bytes);
            self.classes[class.index()].in_flight -= 1;
            if now >= self.record.from && now < self.record.until {
                if self.record.ended.len() < self.task.room {
                    self.record.ended.push(Ended { class, bytes, arrived, at: now });
                } else {
                    self.lost += 1;
                }
            }
            match self.classes[class.index()].demand {
                Demand::Backlog { .. } => self.fill(class.index(), now),
                Demand::OnOff { .. } if self.classes[class.index()].is_on => self.fill(class.index(), now),
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts whatever the manager lets go; until when it does not otherwise.
    fn serve<P: Port>(&mut self, port: &mut P, now: Nanos) -> Option<Nanos> {
        while let Some(&index) = self.free.last() {
            let class = match self.manager.pick(now) {
                Pick::Grant(class) => class,
                Pick::Wait(until) => return Some(until),
                Pick::Idle => return None,
            };
            let asker = &mut self.classes[class.index()];
            let arrived = asker.waiting.pop_front()?;
            let bytes = bytes_of(asker.demand);
            asker.in_flight += 1;
            if !asker.waiting.is_empty() {
                self.manager.ask(now, class, bytes);
            }
            let bytes = u32::try_from(bytes).expect("requests are small");
            let span = Span::new(index * self.task.slot_bytes, bytes);
            let operation = if self.task.writes { Operation::Write(span) } else { Operation::Read(span) };
            let request = Request { token: u64::from(index), file: 0, offset: self.addresses.next(), operation };
            port.push(request).expect("a port has a place for each slot");
            self.slots[index as usize] = Some(Slot { class, bytes, arrived });
            self.free.pop();
        }
        None
    }
}

impl<P: Port> Client<P> for Peer {
    fn turn(&mut self, port: &mut P, now: Nanos, stopping: bool) -> Result<Step, Failure> {
        let now = if self.began.is_none() { self.begin(port)? } else { now };
        self.reap(port, now)?;
        if stopping || now >= self.record.until {
            return Ok(if port.in_flight() == 0 { Step::Done } else { Step::On(Next::Event) });
        }
        self.happen(now);
        let held = self.serve(port, now);
        let arrives = self.classes.iter().filter_map(|asker| asker.next);
        let next = arrives.chain(held).min().unwrap_or(self.record.until).min(self.record.until);
        let in_flight = u32::try_from(port.in_flight()).unwrap_or(u32::MAX);
        if in_flight > 0 {
            port.gather((in_flight / GATHERED).max(1), GATHERED_WITHIN);
        }
        Ok(Step::On(match next.since(now) {
            // Whoever looks all the time takes what ends one by one, and hands over one by one: with something in flight it
            // costs the device more than the lateness of a wake-up.
            wait if in_flight > 0 && wait > SHORT => Next::At(next),
            // A thread that sleeps wakes up late: near its time it stays awake.
            wait if wait < AWAKE => Next::Ready,
            _ => Next::At(Nanos(next.0 - AWAKE.0)),
        }))
    }

    fn handed_over(&mut self, _: Nanos) {}
}

fn bytes_of(demand: Demand) -> u64 {
    match demand {
        Demand::None => 0,
        Demand::Backlog { bytes, .. } | Demand::Random { bytes, .. } | Demand::OnOff { bytes, .. } => bytes,
    }
}

fn id(class: usize) -> ClassId {
    ClassId(u16::try_from(class).expect("there are few classes"))
}

/// Requests at random that may wait: those of some seconds.
const ARRIVALS_MAX: usize = 1 << 20;
const RETURNS_MAX: usize = 1 << 12;
/// How late a sleeping thread may wake up.
const AWAKE: Nanos = Nanos(100_000);
/// A wake-up serves this part of what is in flight, if so much ends soon: each one costs the device's side an interrupt. With a
/// quarter a loop device is some 4 % slower at windows of 8.
const GATHERED: u32 = 2;
const GATHERED_WITHIN: Nanos = Nanos(20_000);
/// Not worth going to sleep for.
const SHORT: Nanos = Nanos(3_000);
