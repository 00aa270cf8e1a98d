//! What one peer does: takes what has ended, counts it, and starts what is due.
//!
//! ```text
//!   new ─▶ warm-up ─▶ measuring ─▶ ending ─▶ done
//!                                     └─▶ reading back what was written, where it is verified ─▶ done
//! ```
//!
//! The clock is read once for all that a turn takes, and once for all that it starts, just before these are handed over to
//! the kernel: a latency is as exact as one system call is long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bireme_control::reservation::LinkId;
use bireme_control::units::Nanos;
use bireme_dataplane::buffer::Span as Bytes;
use bireme_dataplane::engine::raw::Client;
use bireme_dataplane::engine::volumes::Step;
use bireme_dataplane::message::{Doing, Failure};
use bireme_dataplane::pattern::Pattern;
use bireme_dataplane::port::{Next, Operation, Port, Request, TrimWay};
use bireme_dataplane::reservation::Allowance;

use super::addresses::{Addresses, Places};
use super::arrivals::Schedule;
use super::checks::Checks;
use super::gathering::{self, Gathering};
use super::load::{Data, Load, Span, slot_bytes};
use crate::recording::recorder::{Direction, Recorder};

/// The client of one peer.
#[derive(Debug)]
pub(super) struct Workload {
    load: Load,
    /// Memory of one request.
    slot_bytes: u32,
    peer: u16,
    /// The devices that it works on, in turn.
    targets: Vec<Target>,
    turn: u16,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    /// Slots that were started in this turn.
    started: Vec<u32>,
    recorder: Recorder,
    schedule: Option<Schedule>,
    phase: Phase,
    /// What it has written, where that is verified.
    checks: Option<Box<Checks>>,
    /// What its class has at hand, where that is limited.
    allowance: Option<Allowance>,
    /// Drawn, and waiting for its class, or for a block that a request is in flight to.
    parked: Option<Parked>,
    /// Set by anybody when there is no more to measure.
    enough: Arc<AtomicBool>,
    /// Bytes asked for since the warm-up, and how many that are to be.
    asked: u64,
    limit: u64,
    /// Since when something is in flight that has not ended.
    waiting: Nanos,
    gathering: Gathering,
}

/// A peer's part of one device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) file: u16,
    pub(super) places: Places,
    pub(super) trim: TrimWay,
}

#[derive(Debug)]
struct Target {
    file: u16,
    trim: TrimWay,
    /// Writes since its last flush.
    unflushed: u32,
    addresses: Addresses,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Slot {
    began: Nanos,
    intended: Nanos,
    /// Of a flush: which writes it covers.
    offset: u64,
    bytes: u32,
    target: u16,
    task: Task,
}

/// What a request that cannot be started waits for.
#[derive(Clone, Copy, Debug)]
struct Parked {
    slot: Slot,
    /// Until when its class has no allowance for it; `None`: its class has let it go, and it waits for a block.
    held: Option<Nanos>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Move(Direction),
    Flush,
    /// Reads back.
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    WarmUp {
        until: Nanos,
    },
    Measuring {
        since: Nanos,
    },
    /// Nothing more is started.
    Ending,
    ReadingBack,
}

impl Workload {
    /// For a peer with these parts of devices.
    pub(super) fn new(
        load: Load,
        peer: u16,
        parts: &[Part],
        recorder: Recorder,
        checks: Option<Checks>,
        allowance: Option<Allowance>,
        enough: Arc<AtomicBool>,
    ) -> Workload {
        let depth = load.depth;
        let seed = |file: u16| load.seed ^ (u64::from(peer) << 32 | u64::from(file) << 16 | 1);
        let targets = parts.iter().map(|&Part { file, places, trim }| {
            let addresses = Addresses::new(places, load.order, seed(file));
            Target { file, trim, unflushed: 0, addresses }
        });
        let idle =
            Slot { began: Nanos::ZERO, intended: Nanos::ZERO, offset: 0, bytes: 0, target: 0, task: Task::Flush };
        Workload {
            targets: targets.collect(),
            turn: 0,
            slots: vec![idle; depth as usize].into_boxed_slice(),
            free: (0..depth).rev().collect(),
            started: Vec::with_capacity(depth as usize),
            recorder,
            schedule: None,
            phase: Phase::New,
            checks: checks.map(Box::new),
            allowance,
            parked: None,
            enough,
            asked: 0,
            limit: u64::MAX,
            waiting: Nanos::ZERO,
            gathering: Gathering::new(load.batch_complete, depth),
            slot_bytes: slot_bytes(load.largest()),
            load,
            peer,
        }
    }

    /// Bytes of memory that a peer needs.
    pub(super) fn region_bytes(load: &Load) -> u64 {
        u64::from(load.depth) * u64::from(slot_bytes(load.largest()))
    }

    /// What it has written and compared, where that is verified.
    pub(super) fn checks(&self) -> Option<&Checks> {
        self.checks.as_deref()
    }

    /// Fills the buffers, so that what is written is not compressible.
    fn fill<P: Port>(&self, port: &mut P) {
        if self.load.data != Data::Random {
            return;
        }
        let pattern = Pattern::new(self.load.seed, u64::from(self.peer));
        let all = port.region().all();
        let whole = Bytes::new(0, all.bytes / 4096 * 4096);
        for (block, bytes) in port.region_mut().bytes_mut(whole).chunks_mut(4096).enumerate() {
            pattern.fill(block as u64, bytes);
        }
    }

    fn begin<P: Port>(&mut self, port: &mut P) -> Nanos {
        self.fill(port);
        let now = port.now();
        let warm_up = self.load.warm_up > Nanos::ZERO;
        self.recorder.start(now, warm_up);
        self.schedule = Schedule::new(self.load.arrivals, self.load.seed ^ u64::from(self.peer), now);
        match warm_up {
            true => self.phase = Phase::WarmUp { until: now + self.load.warm_up },
            false => self.measure(now),
        }
        now
    }

    /// The measured time begins.
    fn measure(&mut self, now: Nanos) {
        self.asked = 0;
        self.limit = if let Span::Bytes(bytes) = self.load.span { bytes } else { u64::MAX };
        self.phase = Phase::Measuring { since: now };
    }

    /// Whether its time has come to the next phase.
    fn advance(&mut self, now: Nanos, stopping: bool) {
        match self.phase {
            Phase::ReadingBack => {}
            _ if stopping || self.enough.load(Ordering::Relaxed) => self.phase = Phase::Ending,
            Phase::WarmUp { until } if now >= until => {
                self.recorder.end_warm_up(now);
                self.measure(now);
            }
            Phase::Measuring { since } => {
                let over = match self.load.span {
                    Span::Time(time) => now.since(since) >= time,
                    Span::Bytes(_) => self.asked >= self.limit && self.parked.is_none(),
                };
                if over {
                    self.phase = Phase::Ending;
                }
            }
            _ => {}
        }
    }

    fn reap<P: Port>(&mut self, port: &mut P, now: Nanos) -> Result<(), Failure> {
        let mut count = 0;
        while let Some(end) = port.reap() {
            count += 1;
            let index = u32::try_from(end.token).expect("tokens are slots");
            let slot = self.slots[index as usize];
            let Slot { target, offset, bytes, .. } = slot;
            let (doing, all) = match slot.task {
                Task::Move(Direction::Read) | Task::Check => (Doing::Read, bytes),
                Task::Move(Direction::Write) => (Doing::Write, bytes),
                Task::Move(Direction::Trim) => (Doing::Trim, 0),
                Task::Flush => (Doing::Flush, 0),
            };
            let failure = |moved: u32, errno| {
                let file = self.targets[usize::from(target)].file;
                Failure::Device { doing, file, offset: offset + u64::from(moved), errno }
            };
            let moved = end.result.map_err(|errno| failure(0, errno))?;
            if moved != all {
                return Err(failure(moved, libc::EIO));
            }
            let current = self.recorder.current();
            match slot.task {
                Task::Flush => current.flushes.record(now.since(slot.began)),
                Task::Check => {}
                Task::Move(direction) => {
                    let figures = &mut current.directions[direction as usize];
                    figures.service.record(now.since(slot.began));
                    figures.bytes += u64::from(bytes);
                    if self.schedule.is_some() {
                        figures.response.record(now.since(slot.intended));
                    }
                }
            }
            if self.checks.is_some() {
                self.check(port, index, slot);
            }
            self.free.push(index);
            self.waiting = now;
        }
        if count > 0 {
            self.gathering.ended(now, count);
        }
        Ok(())
    }

    /// What has ended, for the table of what is owed. A block that is not what is owed ends the run.
    fn check<P: Port>(&mut self, port: &P, index: u32, slot: Slot) {
        let span = self.bytes(index, slot.bytes);
        let Some(checks) = &mut self.checks else { return };
        let Slot { offset, bytes, .. } = slot;
        let target = usize::from(slot.target);
        let right = match slot.task {
            Task::Move(Direction::Read) => checks.read(target, offset, port.region().bytes(span), false),
            Task::Check => checks.read(target, offset, port.region().bytes(span), true),
            Task::Move(Direction::Write) => {
                checks.wrote(target, offset, bytes, self.load.fua);
                true
            }
            Task::Move(Direction::Trim) => true,
            Task::Flush => {
                checks.flush_ended(target, offset);
                return;
            }
        };
        checks.release(target, offset, bytes);
        if !right {
            self.enough.store(true, Ordering::Relaxed);
        }
    }

    /// Starts what is due as long as there is room.
    fn start<P: Port>(&mut self, port: &mut P, now: Nanos) {
        while let Some(&index) = self.free.last() {
            let enough = self.asked >= self.limit && self.parked.is_none();
            if self.started.len() >= self.load.batch_submit as usize || enough {
                return;
            }
            let intended = match &self.schedule {
                None => now,
                Some(schedule) if schedule.next() > now => return,
                Some(schedule) => schedule.next(),
            };
            let slot = if self.checks.is_none() && self.allowance.is_none() {
                self.draw(intended)
            } else {
                match self.draw_free(port, index, intended, now) {
                    Some(slot) => slot,
                    None => return,
                }
            };
            self.push(port, index, slot);
            if slot.task != Task::Flush
                && let Some(schedule) = &mut self.schedule
            {
                schedule.advance();
                self.recorder.current().due += 1;
            }
        }
    }

    #[inline]
    fn push<P: Port>(&mut self, port: &mut P, index: u32, slot: Slot) {
        let (bytes, target) = (self.bytes(index, slot.bytes), &self.targets[usize::from(slot.target)]);
        let (offset, operation) = match slot.task {
            Task::Flush => (0, Operation::Flush),
            Task::Move(Direction::Read) | Task::Check => (slot.offset, Operation::Read(bytes)),
            Task::Move(Direction::Write) if self.load.fua => (slot.offset, Operation::WriteThrough(bytes)),
            Task::Move(Direction::Write) => (slot.offset, Operation::Write(bytes)),
            Task::Move(Direction::Trim) => (slot.offset, Operation::Trim { bytes: slot.bytes, way: target.trim }),
        };
        let request = Request { token: u64::from(index), file: target.file, offset, operation };
        port.push(request).expect("a port has a place for each slot");
        self.slots[index as usize] = slot;
        self.free.pop();
        self.started.push(index);
    }

    /// The next request that its class lets go and whose blocks no other one is in flight to, ready to be pushed; `None`
    /// while it has to wait.
    fn draw_free<P: Port>(&mut self, port: &mut P, index: u32, intended: Nanos, now: Nanos) -> Option<Slot> {
        let parked = self.parked.take();
        let paid = parked.is_some_and(|parked| parked.held.is_none());
        let mut slot = parked.map_or_else(|| self.draw(intended), |parked| parked.slot);
        if !paid && let Some(allowance) = &mut self.allowance {
            let link = LinkId(self.targets[usize::from(slot.target)].file);
            if let Err(until) = allowance.take(now, std::iter::once(link), u64::from(slot.bytes)) {
                self.parked = Some(Parked { slot, held: Some(until) });
                return None;
            }
        }
        let (target, span) = (usize::from(slot.target), self.bytes(index, slot.bytes));
        let Some(checks) = &mut self.checks else { return Some(slot) };
        if slot.task == Task::Flush {
            slot.offset = checks.flush_begins(target);
            return Some(slot);
        }
        if !checks.claim(target, slot.offset, slot.bytes) {
            self.parked = Some(Parked { slot, held: None });
            return None;
        }
        match slot.task {
            Task::Move(Direction::Write) => checks.write(target, slot.offset, port.region_mut().bytes_mut(span)),
            Task::Move(Direction::Trim) => checks.trim(target, slot.offset, slot.bytes),
            _ => {}
        }
        Some(slot)
    }

    /// Reads back what is owed, as long as there is room and nothing was wrong.
    fn read_back<P: Port>(&mut self, port: &mut P, now: Nanos, stopping: bool) {
        while let Some(&index) = self.free.last() {
            let checks = self.checks.as_mut().filter(|checks| !stopping && checks.mismatch().is_none());
            let Some((target, offset, bytes)) = checks.and_then(|checks| checks.next_owed()) else { return };
            let target = u16::try_from(target).expect("fewer than 65536 devices");
            self.push(port, index, Slot { began: now, intended: now, offset, bytes, target, task: Task::Check });
        }
    }

    fn bytes(&self, index: u32, bytes: u32) -> Bytes {
        Bytes::new(index * self.slot_bytes, bytes)
    }

    #[inline]
    fn draw(&mut self, intended: Nanos) -> Slot {
        let count = self.targets.len();
        let number = self.turn;
        let target = &mut self.targets[usize::from(number)];
        if self.load.flush_every.is_some_and(|every| target.unflushed >= every) {
            target.unflushed = 0;
            return Slot { began: intended, intended, offset: 0, bytes: 0, target: number, task: Task::Flush };
        }
        self.turn = if usize::from(number) + 1 == count { 0 } else { number + 1 };
        let offset = target.addresses.next();
        let bytes = match self.load.only_size() {
            Some(bytes) => bytes,
            None => self.load.size(target.addresses.below(100)),
        };
        let direction = match self.load.mix.only() {
            Some(direction) => direction,
            None => self.load.mix.direction(target.addresses.below(100)),
        };
        target.unflushed += u32::from(direction == Direction::Write);
        self.asked += u64::from(bytes);
        Slot { began: intended, intended, offset, bytes, target: number, task: Task::Move(direction) }
    }

    /// How long the peer may sleep.
    fn rest<P: Port>(&self, port: &mut P, now: Nanos) -> Step {
        if let Some(until) = self.held() {
            return Step::Held(until);
        }
        Step::On(self.next(port, now))
    }

    /// Until when its class holds it back.
    fn held(&self) -> Option<Nanos> {
        let waits = !matches!(self.phase, Phase::Ending | Phase::ReadingBack);
        self.parked.filter(|_| waits).and_then(|parked| parked.held)
    }

    fn next<P: Port>(&self, port: &mut P, now: Nanos) -> Next {
        let in_flight = port.in_flight();
        let held = matches!(self.phase, Phase::Ending | Phase::ReadingBack) || self.parked.is_some();
        if held || self.free.is_empty() {
            let most = u32::try_from(in_flight).unwrap_or(u32::MAX);
            let least = if held { self.load.batch_complete.unwrap_or(1) } else { self.gathering.least() };
            port.gather(least.min(most), gathering::LATE);
            return Next::Event;
        }
        match &self.schedule {
            // The batch is full and there is room.
            None => Next::Ready,
            Some(schedule) => match schedule.next().since(now) {
                // A thread that sleeps wakes up late: near its time it stays awake.
                wait if wait < AWAKE => Next::Ready,
                _ => Next::At(Nanos(schedule.next().0 - AWAKE.0)),
            },
        }
    }
}

impl<P: Port> Client<P> for Workload {
    fn turn(&mut self, port: &mut P, now: Nanos, stopping: bool) -> Result<Step, Failure> {
        let now = if self.phase == Phase::New { self.begin(port) } else { now };
        self.reap(port, now)?;
        self.advance(now, stopping);
        match self.phase {
            Phase::Ending if port.in_flight() == 0 => {
                self.recorder.finish(now);
                self.phase = Phase::ReadingBack;
                self.read_back(port, now, stopping);
            }
            Phase::ReadingBack => self.read_back(port, now, stopping),
            // What ends after the time is up belongs to the last interval.
            Phase::Ending => {}
            _ => {
                self.recorder.tick(now);
                self.start(port, now);
            }
        }
        if self.phase == Phase::ReadingBack && port.in_flight() == 0 {
            return Ok(Step::Done);
        }
        Ok(self.rest(port, now))
    }

    fn handed_over(&mut self, now: Nanos) {
        if self.started.is_empty() {
            return;
        }
        for index in self.started.drain(..) {
            self.slots[index as usize].began = now;
        }
        self.recorder.current().submissions += 1;
    }
}

/// How late a sleeping thread may wake up.
const AWAKE: Nanos = Nanos(100_000);

#[cfg(test)]
mod tests;
