//! What one peer does: takes what has ended, counts it, and starts what is due.
//!
//! The clock is read once for all that a turn takes, and once for all that it starts, just before these are handed over to
//! the kernel: a latency is as exact as one system call is long.

use bireme_control::units::Nanos;
use bireme_dataplane::buffer::Span as Bytes;
use bireme_dataplane::engine::raw::Client;
use bireme_dataplane::engine::volumes::Step;
use bireme_dataplane::message::{Doing, Failure};
use bireme_dataplane::pattern::Pattern;
use bireme_dataplane::port::{Next, Operation, Port, Request};

use super::addresses::{Addresses, Places};
use super::arrivals::Schedule;
use super::load::{Load, Span};
use super::recorder::{Direction, Recorder};

/// The client of one peer.
#[derive(Debug)]
pub(super) struct Workload {
    load: Load,
    peer: u16,
    /// The devices that it works on, in turn.
    targets: Vec<Target>,
    turn: usize,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    /// Slots that were started in this turn.
    started: Vec<u32>,
    recorder: Recorder,
    schedule: Option<Schedule>,
    phase: Phase,
    unflushed: u32,
    /// Bytes asked for since the warm-up.
    asked: u64,
    /// Since when something is in flight that has not ended.
    waiting: Nanos,
}

#[derive(Debug)]
struct Target {
    file: u16,
    addresses: Addresses,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Slot {
    began: Nanos,
    intended: Nanos,
    offset: u64,
    bytes: u32,
    file: u16,
    task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Move(Direction),
    Flush,
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
}

impl Workload {
    /// For a peer with these places on these files.
    pub(super) fn new(load: Load, peer: u16, targets: Vec<(u16, Places)>, recorder: Recorder) -> Workload {
        let depth = load.depth;
        let seed = |file: u16| load.seed ^ (u64::from(peer) << 32 | u64::from(file) << 16 | 1);
        let targets = targets
            .into_iter()
            .map(|(file, places)| Target { file, addresses: Addresses::new(places, load.order, seed(file)) });
        let idle = Slot { began: Nanos::ZERO, intended: Nanos::ZERO, offset: 0, bytes: 0, file: 0, task: Task::Flush };
        Workload {
            targets: targets.collect(),
            turn: 0,
            slots: vec![idle; depth as usize].into_boxed_slice(),
            free: (0..depth).rev().collect(),
            started: Vec::with_capacity(depth as usize),
            recorder,
            schedule: None,
            phase: Phase::New,
            unflushed: 0,
            asked: 0,
            waiting: Nanos::ZERO,
            load,
            peer,
        }
    }

    /// Bytes of memory that a peer needs.
    pub(super) fn region_bytes(load: &Load) -> u64 {
        u64::from(load.depth) * u64::from(load.largest())
    }

    /// Fills the buffers, so that what is written is not compressible.
    fn fill<P: Port>(&self, port: &mut P) {
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
        self.phase = match warm_up {
            true => Phase::WarmUp { until: now + self.load.warm_up },
            false => Phase::Measuring { since: now },
        };
        now
    }

    /// Whether its time has come to the next phase.
    fn advance(&mut self, now: Nanos, stopping: bool) {
        match self.phase {
            _ if stopping => self.phase = Phase::Ending,
            Phase::WarmUp { until } if now >= until => {
                self.recorder.end_warm_up(now);
                self.asked = 0;
                self.phase = Phase::Measuring { since: now };
            }
            Phase::Measuring { since } => {
                let over = match self.load.span {
                    Span::Time(time) => now.since(since) >= time,
                    Span::Bytes(bytes) => self.asked >= bytes,
                };
                if over {
                    self.phase = Phase::Ending;
                }
            }
            _ => {}
        }
    }

    fn reap<P: Port>(&mut self, port: &mut P, now: Nanos) -> Result<(), Failure> {
        while let Some(end) = port.reap() {
            let index = u32::try_from(end.token).expect("tokens are slots");
            let slot = self.slots[index as usize];
            let doing = match slot.task {
                Task::Move(Direction::Read) => Doing::Read,
                Task::Move(_) => Doing::Write,
                Task::Flush => Doing::Flush,
            };
            let Slot { file, offset, bytes, .. } = slot;
            let moved = end.result.map_err(|errno| Failure::Device { doing, file, offset, errno })?;
            let current = self.recorder.current();
            match slot.task {
                Task::Flush => current.flushes.record(now.since(slot.began)),
                Task::Move(_) if moved != bytes => {
                    return Err(Failure::Device { doing, file, offset: offset + u64::from(moved), errno: libc::EIO });
                }
                Task::Move(direction) => {
                    let figures = &mut current.directions[direction as usize];
                    figures.service.record(now.since(slot.began));
                    figures.bytes += u64::from(bytes);
                    if self.schedule.is_some() {
                        figures.response.record(now.since(slot.intended));
                    }
                }
            }
            self.free.push(index);
            self.waiting = now;
        }
        Ok(())
    }

    /// Starts what is due as long as there is room.
    fn start<P: Port>(&mut self, port: &mut P, now: Nanos) {
        while let Some(&index) = self.free.last() {
            if self.started.len() >= self.load.batch_submit as usize {
                return;
            }
            let intended = match &self.schedule {
                None => now,
                Some(schedule) if schedule.next() > now => return,
                Some(schedule) => schedule.next(),
            };
            let slot = self.draw(intended);
            let operation = match slot.task {
                Task::Flush => Operation::Flush,
                Task::Move(Direction::Read) => Operation::Read(self.bytes(index, slot.bytes)),
                Task::Move(_) => Operation::Write(self.bytes(index, slot.bytes)),
            };
            let request = Request { token: u64::from(index), file: slot.file, offset: slot.offset, operation };
            port.push(request).expect("a port has a place for each slot");
            self.slots[index as usize] = slot;
            self.free.pop();
            self.started.push(index);
            if slot.task != Task::Flush
                && let Some(schedule) = &mut self.schedule
            {
                schedule.advance();
                self.recorder.current().due += 1;
            }
        }
    }

    fn bytes(&self, index: u32, bytes: u32) -> Bytes {
        Bytes::new(index * self.load.largest(), bytes)
    }

    #[inline]
    fn draw(&mut self, intended: Nanos) -> Slot {
        let count = self.targets.len();
        let target = &mut self.targets[self.turn];
        if self.load.flush_every.is_some_and(|every| self.unflushed >= every) {
            self.unflushed = 0;
            let (began, offset, bytes, file) = (intended, 0, 0, target.file);
            return Slot { began, intended, offset, bytes, file, task: Task::Flush };
        }
        self.turn = if self.turn + 1 == count { 0 } else { self.turn + 1 };
        let offset = target.addresses.next();
        let bytes = match self.load.sizes.as_slice() {
            [(bytes, _)] => *bytes,
            sizes => draw_size(sizes, target.addresses.below(100)),
        };
        let direction = match self.load.mix.only() {
            Some(direction) => direction,
            None if target.addresses.chance(self.load.mix.reads) => Direction::Read,
            None => Direction::Write,
        };
        self.unflushed += u32::from(direction == Direction::Write);
        self.asked += u64::from(bytes);
        Slot { began: intended, intended, offset, bytes, file: target.file, task: Task::Move(direction) }
    }

    /// How long the peer may sleep.
    fn rest<P: Port>(&self, port: &mut P, now: Nanos) -> Next {
        let in_flight = port.in_flight();
        if self.phase == Phase::Ending || self.free.is_empty() {
            let least = u32::try_from(in_flight).unwrap_or(u32::MAX).min(self.load.batch_complete);
            port.gather(least);
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
        if self.phase == Phase::Ending {
            if port.in_flight() == 0 {
                self.recorder.finish(now);
                return Ok(Step::Done);
            }
        } else {
            // What ends after the time is up belongs to the last interval.
            self.recorder.tick(now);
            self.start(port, now);
        }
        Ok(Step::On(self.rest(port, now)))
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

fn draw_size(sizes: &[(u32, u64)], mut percent: u64) -> u32 {
    for &(bytes, share) in sizes {
        if percent < share {
            return bytes;
        }
        percent -= share;
    }
    sizes.last().map_or(0, |(bytes, _)| *bytes)
}

/// How late a sleeping thread may wake up.
const AWAKE: Nanos = Nanos(100_000);
