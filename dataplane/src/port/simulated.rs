//! Simulated devices behind the same port: one virtual clock, one seed, and every fault that a device may show.
//!
//! ```text
//!   World ── clock, seed, faults, disks ──┬── Simulated (a peer's port)
//!     next_event / advance_to             ├── Simulated (another peer's)
//!                                         └── Simulated (the ledger's)
//! ```
//!
//! A request is *started* by `submit`, which draws its fate: when it ends, how many bytes it moves, whether it fails. It
//! takes effect when the clock reaches its end, so requests overtake each other. Starting one is a *step*, and faults
//! are placed by the number of the step: a test counts the steps of a run, then cuts the power at each of them.
//!
//! `submit` does not block. The driver of a simulation turns all its actors and then moves the clock to
//! [`World::next_event`]. One exception serves code that waits on the spot ([`blocking`](super::blocking)):
//! `submit(Next::Event)` with nothing to reap moves the clock to this port's own next end. Actors driven by a
//! simulation therefore submit with [`Next::Ready`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use bireme_control::units::Nanos;

use self::disk::Disk;
pub use self::random::Random;
use self::sent::{Sent, is_write, spans};
use self::state::{NEVER, State, UnderWay, Work};
use super::in_flight::{InFlight, Ticket};
use super::{Bell, Busy, Completion, Next, Operation, Port, Request};
use crate::buffer::Region;

mod disk;
mod random;
mod sent;
mod state;
#[cfg(test)]
mod tests;

/// The disks, the clock and the seed that the ports of one simulation share. A clone is a handle to the same world.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<State>>);

impl World {
    /// Blank disks of these sizes, at time 0.
    pub fn new(seed: u64, disk_sizes: &[u64]) -> World {
        let disks = disk_sizes.iter().map(|&bytes| Disk::new(bytes)).collect();
        World::with(Random::new(seed), Nanos::ZERO, disks)
    }

    fn with(random: Random, now: Nanos, disks: Vec<Disk>) -> World {
        World(Rc::new(RefCell::new(State::new(random, now, disks))))
    }

    /// A port over all the disks: `request.file` is the index of a disk.
    pub fn port(&self, region_bytes: usize, limit: u32) -> Simulated {
        let disks: Vec<_> = (0..self.0.borrow().disks.len()).collect();
        self.port_to(&disks, region_bytes, limit)
    }

    /// A port over some of them: `request.file` is an index into `disks`.
    ///
    /// # Panics
    /// When the machine has no memory for the region.
    pub fn port_to(&self, disks: &[usize], region_bytes: usize, limit: u32) -> Simulated {
        let mut state = self.0.borrow_mut();
        state.ended.push(VecDeque::new());
        state.unreaped.push(0);
        Simulated {
            world: self.clone(),
            index: state.ended.len() - 1,
            disks: disks.into(),
            region: Region::new(region_bytes).expect("memory for a simulated port"),
            sent: Sent::new(region_bytes),
            in_flight: InFlight::new(limit),
            pushed: Vec::with_capacity(limit as usize),
            done: VecDeque::with_capacity(limit as usize),
            rung: Vec::new(),
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Nanos {
        self.0.borrow().now
    }

    /// When the next request ends; `None` when none ever will without a new one.
    pub fn next_event(&self) -> Option<Nanos> {
        let due = self.0.borrow().under_way.first_key_value().map(|((due, _), _)| *due);
        due.filter(|&due| due != NEVER)
    }

    /// Moves the clock, never backwards; requests that end by then take effect in the order of their ends.
    pub fn advance_to(&self, time: Nanos) {
        self.0.borrow_mut().advance_to(time);
    }

    /// How many requests have been started.
    pub fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    /// How often `bell` was rung: a wake-up leaves with the next submit of the port that was asked for it.
    pub fn wakes(&self, bell: Bell) -> u64 {
        self.0.borrow().wakes.get(&bell.0).copied().unwrap_or(0)
    }

    /// The request started as step `step` (the first is 1) ends with `errno`.
    pub fn fail_at(&self, step: u64, errno: i32) {
        self.0.borrow_mut().faults.errno_at.insert(step, errno);
    }

    /// This 4 KiB block of a disk cannot be read until it is written.
    pub fn bad_block(&self, disk: usize, offset: u64) {
        self.0.borrow_mut().faults.bad_blocks.insert((disk, offset / BLOCK));
    }

    /// This disk acknowledges flushes and writes through its cache, and leaves everything in the cache.
    pub fn forget_flushes(&self, disk: usize) {
        self.0.borrow_mut().faults.forgetful.insert(disk);
    }

    /// So many requests of a million end with EIO.
    pub fn error_rate(&self, per_million: u32) {
        self.0.borrow_mut().faults.errors_per_million = per_million;
    }

    /// So many reads and writes of a million move fewer bytes than asked.
    pub fn short_rate(&self, per_million: u32) {
        self.0.borrow_mut().faults.short_per_million = per_million;
    }

    /// So many requests of a million take up to `most` longer.
    pub fn stall_rate(&self, per_million: u32, most: Nanos) {
        let faults = &mut self.0.borrow_mut().faults;
        (faults.stalls_per_million, faults.stall_max) = (per_million, most);
    }

    /// Requests take exactly these times from now on, in the order in which they are started, and again from the start of
    /// the list.
    pub fn latencies(&self, latencies: Vec<Nanos>) {
        self.0.borrow_mut().faults.latencies = latencies;
    }

    /// What would end between these points in time ends at the second.
    pub fn pause(&self, from: Nanos, to: Nanos) {
        self.0.borrow_mut().faults.pause = Some((from, to));
    }

    /// Requests to this disk that are started from now on are never answered.
    pub fn hang(&self, disk: usize) {
        self.0.borrow_mut().faults.hung.insert(disk);
    }

    /// The same for the disk that step `step` goes to, from that step on.
    pub fn hang_at(&self, step: u64) {
        self.0.borrow_mut().faults.hang_at = Some(step);
    }

    /// A disk dies: it answers everything with EIO from now on, until it is replaced.
    pub fn kill(&self, disk: usize) {
        self.0.borrow_mut().kill(disk);
    }

    /// The same as step `step` is about to start.
    pub fn kill_at(&self, step: u64, disk: usize) {
        self.0.borrow_mut().faults.die_at.insert(step, disk);
    }

    /// Whether a disk is dead.
    pub fn is_dead(&self, disk: usize) -> bool {
        self.0.borrow().faults.dead.contains(&disk)
    }

    /// A dead disk answers again, with what it held.
    pub fn revive(&self, disk: usize) {
        self.0.borrow_mut().faults.dead.remove(&disk);
    }

    /// Requests of this port take so many times as long from now on.
    pub fn slow(&self, port: PortNumber, times: u64) {
        self.0.borrow_mut().faults.slow.insert(port.0, times);
    }

    /// The thread that owns this port dies at its so many-th call from now on: it unwinds with [`Died`].
    pub fn die_at_call(&self, port: PortNumber, calls: u64) {
        self.0.borrow_mut().faults.calls_left.insert(port.0, calls);
    }

    /// The power fails as step `step` is about to start.
    pub fn power_off_at(&self, step: u64) {
        self.0.borrow_mut().faults.power_off_at = Some(step);
    }

    /// The power fails now: no port answers any more, and every submit is an error.
    pub fn power_off(&self) {
        self.0.borrow_mut().off = true;
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.0.borrow().off
    }

    /// The world after the power came back: disks hold what survived, all faults but dead disks are gone, the clock goes on.
    pub fn reboot(&self) -> World {
        let mut state = self.0.borrow_mut();
        state.off = true;
        let mut random = Random::new(state.random.bits());
        let mut disks = state.disks.clone();
        for work in state.under_way.values() {
            if let Work::Write { offset, data, .. } = &work.work {
                disks[work.disk].write(*offset, data.clone());
            }
        }
        disks.iter_mut().for_each(|disk| disk.lose_power(&mut random));
        let next = World::with(random, state.now, disks);
        next.0.borrow_mut().faults.dead = state.faults.dead.clone();
        next
    }

    /// The world of the next process: what was under way has ended, nothing is lost, and all faults but dead disks are gone.
    pub fn restart(&self) -> World {
        let mut state = self.0.borrow_mut();
        state.off = true;
        let random = Random::new(state.random.bits());
        let mut disks = state.disks.clone();
        for work in state.under_way.values() {
            if let Work::Write { offset, data, .. } = &work.work {
                disks[work.disk].write(*offset, data.clone());
            }
        }
        let next = World::with(random, state.now, disks);
        next.0.borrow_mut().faults.dead = state.faults.dead.clone();
        next
    }

    /// Puts a blank disk of this size in the place of another.
    pub fn replace(&self, disk: usize, bytes: u64) {
        let mut state = self.0.borrow_mut();
        state.disks[disk] = Disk::new(bytes);
        state.faults.dead.remove(&disk);
    }

    /// From now on requests are noted as they start.
    pub fn watch(&self) {
        self.0.borrow_mut().watched = Some(Vec::new());
    }

    /// The requests that were started since the last call, while somebody watches.
    pub fn take_started(&self) -> Vec<Started> {
        self.0.borrow_mut().watched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether a port has answers that were not reaped.
    pub fn has_answers(&self, port: PortNumber) -> bool {
        self.0.borrow().unreaped[port.0] > 0
    }

    /// Where a disk was written and a loss of power may show something else.
    pub fn volatile(&self, disk: usize) -> Vec<Range<u64>> {
        let state = self.0.borrow();
        let mut ranges = state.disks[disk].volatile();
        for work in state.under_way.values().filter(|work| work.disk == disk) {
            if let Work::Write { offset, data, .. } = &work.work {
                ranges.push(*offset..*offset + data.len() as u64);
            }
        }
        ranges
    }

    /// What a read of a disk would show now, for tests.
    pub fn peek(&self, disk: usize, offset: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        self.0.borrow().disks[disk].read(offset, &mut out);
        out
    }

    /// Changes a disk behind everybody's back, durably, for tests.
    pub fn poke(&self, disk: usize, offset: u64, data: &[u8]) {
        self.0.borrow_mut().disks[disk].poke(offset, data);
    }
}

/// A request as it was started.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// Counted from 1.
    pub step: u64,
    /// Whose.
    pub port: PortNumber,
    /// Where to.
    pub disk: usize,
    /// What.
    pub request: Request,
    /// What its end will be.
    pub result: Result<u32, i32>,
    /// When.
    pub due: Nanos,
}

/// With what a thread unwinds that was to die, see [`World::die_at_call`].
#[derive(Clone, Copy, Debug)]
pub struct Died;

/// A port among those of its world, in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortNumber(pub usize);

/// One port of a simulated world.
#[derive(Debug)]
pub struct Simulated {
    world: World,
    index: usize,
    /// The disk of each file.
    disks: Box<[usize]>,
    region: Region,
    sent: Sent,
    in_flight: InFlight,
    pushed: Vec<(Ticket, Request)>,
    done: VecDeque<Completion>,
    /// Wake-ups that leave with the next submit.
    rung: Vec<Bell>,
}

impl Simulated {
    /// Which port of its world this is.
    pub fn number(&self) -> PortNumber {
        PortNumber(self.index)
    }

    /// The owner may die at each call, but not between a letter and its wake-up: nothing can fail there.
    fn called(&self) {
        if self.world.0.borrow_mut().faults.dies_now(self.index) {
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    fn start_pushed(&mut self) -> io::Result<()> {
        let mut state = self.world.0.borrow_mut();
        for bell in self.rung.drain(..) {
            *state.wakes.entry(bell.0).or_default() += 1;
        }
        if state.off {
            return Err(power_is_off());
        }
        for (ticket, request) in self.pushed.drain(..) {
            let disk = self.disks.get(usize::from(request.file)).copied();
            state.start(self.index, ticket, disk, &request, &self.sent.gather(&request))?;
        }
        Ok(())
    }

    fn collect(&mut self) {
        let mut state = self.world.0.borrow_mut();
        let now = state.now;
        state.advance_to(now);
        for ended in std::mem::take(&mut state.ended[self.index]) {
            let request = self.in_flight.leave(ended.ticket, &mut self.region).expect("it was entered when pushed");
            if is_write(&request) {
                spans(&request).for_each(|span| self.sent.take_back(span));
                self.done.push_back(Completion { token: request.token, result: ended.result });
                continue;
            }
            let mut rest = ended.read.as_slice();
            for span in spans(&request) {
                let bytes = rest.len().min(span.bytes as usize);
                let (now, later) = rest.split_at(bytes);
                let part = span.part(0, u32::try_from(bytes).expect("no more than the span"));
                self.region.bytes_mut(part).copy_from_slice(now);
                rest = later;
            }
            self.done.push_back(Completion { token: request.token, result: ended.result });
        }
    }

    fn next_of_mine(&self) -> Option<Nanos> {
        let state = self.world.0.borrow();
        let mine = |(key, work): (&(Nanos, u64), &UnderWay)| (work.port == self.index).then_some(key.0);
        state.under_way.iter().find_map(mine).filter(|&due| due != NEVER)
    }
}

impl Port for Simulated {
    fn now(&self) -> Nanos {
        self.world.now()
    }

    fn region(&self) -> &Region {
        &self.region
    }

    fn region_mut(&mut self) -> &mut Region {
        &mut self.region
    }

    fn push(&mut self, request: Request) -> Result<(), Busy> {
        self.called();
        if is_write(&request) && self.in_flight.has_room() {
            spans(&request).for_each(|span| self.sent.send(span, &self.region));
        }
        let ticket = self.in_flight.enter(request, &mut self.region)?;
        self.pushed.push((ticket, request));
        Ok(())
    }

    fn wake(&mut self, whom: Bell) {
        self.rung.push(whom);
        self.called();
    }

    fn gather(&mut self, _completions: u32, _within: Nanos) {}

    fn submit(&mut self, next: Next) -> io::Result<()> {
        self.called();
        self.start_pushed()?;
        self.collect();
        if next == Next::Event && self.done.is_empty() && self.in_flight.len() > 0 {
            // A disk that hangs: nothing will ever end, and whoever waits on the spot must not wait for ever.
            let due = self.next_of_mine().ok_or_else(|| io::Error::from_raw_os_error(libc::ETIMEDOUT))?;
            self.world.advance_to(due);
            self.collect();
        }
        Ok(())
    }

    fn reap(&mut self) -> Option<Completion> {
        self.called();
        let done = self.done.pop_front()?;
        self.world.0.borrow_mut().unreaped[self.index] -= 1;
        Some(done)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len() + self.done.len()
    }
}

impl Drop for Simulated {
    /// As from the ring of a thread that dies, what was pushed leaves. No kernel touches the memory of a simulation, so
    /// what is still lent may go.
    fn drop(&mut self) {
        if std::thread::panicking() && self.world.0.try_borrow_mut().is_ok() {
            // Nobody is left to hear of an error.
            let _ = self.start_pushed();
        }
        self.in_flight.clear(&mut self.region);
    }
}

fn power_is_off() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;
