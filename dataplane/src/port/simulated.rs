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
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;

use bireme_control::units::Nanos;

use self::disk::Disk;
use super::in_flight::{InFlight, Ticket};
use super::{Bell, Busy, Completion, Next, Operation, Port, Request};
use crate::buffer::{Region, Span};

mod disk;
#[cfg(test)]
mod tests;

/// The disks, the clock and the seed that the ports of one simulation share. A clone is a handle to the same world.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<State>>);

impl World {
    /// Blank disks of these sizes, at time 0.
    pub fn new(seed: u64, disk_sizes: &[u64]) -> World {
        let disks = disk_sizes.iter().map(|&bytes| Disk::new(bytes)).collect();
        World::with(Random(seed), Nanos::ZERO, disks)
    }

    fn with(random: Random, now: Nanos, disks: Vec<Disk>) -> World {
        World(Rc::new(RefCell::new(State {
            now,
            random,
            disks,
            steps: 0,
            off: false,
            power_off_at: None,
            faults: BTreeMap::new(),
            errors_per_million: 0,
            short_per_million: 20_000,
            hung: BTreeSet::new(),
            under_way: BTreeMap::new(),
            ended: Vec::new(),
            wakes: BTreeMap::new(),
        })))
    }

    /// A port over all the disks: `request.file` is the index of a disk.
    ///
    /// # Panics
    /// When the machine has no memory for the region.
    pub fn port(&self, region_bytes: usize, limit: u32) -> Simulated {
        let mut state = self.0.borrow_mut();
        state.ended.push(VecDeque::new());
        Simulated {
            world: self.clone(),
            index: state.ended.len() - 1,
            region: Region::new(region_bytes).expect("memory for a simulated port"),
            sent: Sent { bytes: vec![0; region_bytes], requests: vec![0; region_bytes.div_ceil(BLOCK)] },
            in_flight: InFlight::new(limit),
            pushed: Vec::with_capacity(limit as usize),
            done: VecDeque::with_capacity(limit as usize),
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

    /// How often [`Port::wake`] was called for `bell`.
    pub fn wakes(&self, bell: Bell) -> u64 {
        self.0.borrow().wakes.get(&bell.0).copied().unwrap_or(0)
    }

    /// The request started as step `step` (the first is 1) ends with `errno`.
    pub fn fail_at(&self, step: u64, errno: i32) {
        self.0.borrow_mut().faults.insert(step, errno);
    }

    /// So many requests of a million end with EIO.
    pub fn error_rate(&self, per_million: u32) {
        self.0.borrow_mut().errors_per_million = per_million;
    }

    /// So many reads and writes of a million move fewer bytes than asked.
    pub fn short_rate(&self, per_million: u32) {
        self.0.borrow_mut().short_per_million = per_million;
    }

    /// Requests to this disk that are started from now on are never answered.
    pub fn hang(&self, disk: usize) {
        self.0.borrow_mut().hung.insert(disk);
    }

    /// The power fails as step `step` is about to start.
    pub fn power_off_at(&self, step: u64) {
        self.0.borrow_mut().power_off_at = Some(step);
    }

    /// The power fails now: no port answers any more, and every submit is an error.
    pub fn power_off(&self) {
        self.0.borrow_mut().off = true;
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.0.borrow().off
    }

    /// The world after the power came back: disks hold what survived, all faults are gone, the clock goes on.
    pub fn reboot(&self) -> World {
        let mut state = self.0.borrow_mut();
        state.off = true;
        let mut random = Random(state.random.next());
        let mut disks = state.disks.clone();
        for work in state.under_way.values() {
            if let Work::Write { offset, data } = &work.work {
                disks[work.disk].write(*offset, data.clone());
            }
        }
        disks.iter_mut().for_each(|disk| disk.lose_power(&mut random));
        World::with(random, state.now, disks)
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

#[derive(Debug)]
struct State {
    now: Nanos,
    random: Random,
    disks: Vec<Disk>,
    steps: u64,
    off: bool,
    power_off_at: Option<u64>,
    faults: BTreeMap<u64, i32>,
    errors_per_million: u32,
    short_per_million: u32,
    hung: BTreeSet<usize>,
    /// By the time of its end; the step makes the key unique.
    under_way: BTreeMap<(Nanos, u64), UnderWay>,
    /// Per port, what has ended and was not yet collected by it.
    ended: Vec<VecDeque<Ended>>,
    wakes: BTreeMap<u16, u64>,
}

#[derive(Debug)]
struct UnderWay {
    port: usize,
    ticket: Ticket,
    disk: usize,
    errno: Option<i32>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Read {
        offset: u64,
        bytes: u32,
    },
    Write {
        offset: u64,
        data: Rc<[u8]>,
    },
    /// Makes the writes up to this mark durable.
    Flush {
        mark: u64,
    },
}

#[derive(Debug)]
struct Ended {
    ticket: Ticket,
    result: Result<u32, i32>,
    read: Vec<u8>,
}

impl State {
    fn advance_to(&mut self, time: Nanos) {
        while let Some(entry) = self.under_way.first_entry() {
            let (due, _) = *entry.key();
            if due > time || due == NEVER || self.off {
                break;
            }
            let work = entry.remove();
            self.now = self.now.max(due);
            self.end(work);
        }
        self.now = self.now.max(time);
    }

    fn end(&mut self, work: UnderWay) {
        let disk = &mut self.disks[work.disk];
        let mut read = Vec::new();
        let moved = match work.work {
            Work::Read { offset, bytes } => {
                read.resize(bytes as usize, 0);
                disk.read(offset, &mut read);
                bytes
            }
            Work::Write { offset, data } => {
                disk.write(offset, data.clone());
                u32::try_from(data.len()).expect("a request is smaller than a region")
            }
            Work::Flush { mark } => {
                if work.errno.is_none() {
                    disk.flush(mark);
                }
                0
            }
        };
        let result = work.errno.map_or(Ok(moved), Err);
        self.ended[work.port].push_back(Ended { ticket: work.ticket, result, read });
    }

    /// Draws the fate of one request.
    fn start(&mut self, port: usize, ticket: Ticket, request: &Request, region: &[u8]) -> io::Result<()> {
        self.steps += 1;
        if self.power_off_at == Some(self.steps) {
            self.off = true;
        }
        if self.off {
            return Err(power_is_off());
        }
        let disk = usize::from(request.file);
        let bytes = request.operation.bytes();
        let aligned = request.offset.is_multiple_of(SECTOR) && u64::from(bytes).is_multiple_of(SECTOR);
        let fits = self
            .disks
            .get(disk)
            .is_some_and(|d| request.offset.checked_add(u64::from(bytes)).is_some_and(|end| end <= d.bytes()));
        let mut errno = self.faults.get(&self.steps).copied();
        if errno.is_none() && self.random.chance(self.errors_per_million) {
            errno = Some(libc::EIO);
        }
        if !fits || !aligned {
            let ended = Ended { ticket, result: Err(libc::EINVAL), read: Vec::new() };
            self.ended[port].push_back(ended);
            return Ok(());
        }
        let moved = self.draw_bytes(bytes, errno.is_some());
        let work = match request.operation {
            Operation::Read(_) | Operation::ReadWoven(_) => Work::Read { offset: request.offset, bytes: moved },
            Operation::Write(_) | Operation::WriteWoven(_) => {
                Work::Write { offset: request.offset, data: Rc::from(&region[..moved as usize]) }
            }
            Operation::Flush => Work::Flush { mark: self.disks[disk].mark() },
        };
        let span = if matches!(work, Work::Flush { .. }) { 400_000 } else { 200_000 };
        let latency = Nanos(10_000 + self.random.below(span) + u64::from(bytes) / 4);
        let due = if self.hung.contains(&disk) { NEVER } else { self.now + latency };
        self.under_way.insert((due, self.steps), UnderWay { port, ticket, disk, errno, work });
        Ok(())
    }

    /// All of the bytes, or at times fewer: whole sectors, and at least one unless the request fails.
    fn draw_bytes(&mut self, bytes: u32, fails: bool) -> u32 {
        let sectors = u64::from(bytes) / SECTOR;
        let least = u64::from(!fails);
        if sectors > least && (fails || self.random.chance(self.short_per_million)) {
            let some = least + self.random.below(sectors - least);
            return u32::try_from(some * SECTOR).expect("fewer bytes than asked");
        }
        bytes
    }
}

/// One port of a simulated world.
#[derive(Debug)]
pub struct Simulated {
    world: World,
    index: usize,
    region: Region,
    sent: Sent,
    in_flight: InFlight,
    pushed: Vec<(Ticket, Request)>,
    done: VecDeque<Completion>,
}

impl Simulated {
    fn start_pushed(&mut self) -> io::Result<()> {
        let mut state = self.world.0.borrow_mut();
        if state.off {
            return Err(power_is_off());
        }
        for (ticket, request) in self.pushed.drain(..) {
            let mut bytes = Vec::new();
            if is_write(&request) {
                spans(&request).for_each(|span| bytes.extend_from_slice(&self.sent.bytes[range(span)]));
            }
            state.start(self.index, ticket, &request, &bytes)?;
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
        if is_write(&request) && self.in_flight.has_room() {
            spans(&request).for_each(|span| self.sent.send(span, &self.region));
        }
        let ticket = self.in_flight.enter(request, &mut self.region)?;
        self.pushed.push((ticket, request));
        Ok(())
    }

    fn wake(&mut self, whom: Bell) {
        *self.world.0.borrow_mut().wakes.entry(whom.0).or_default() += 1;
    }

    fn gather(&mut self, _completions: u32) {}

    fn submit(&mut self, next: Next) -> io::Result<()> {
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
        self.done.pop_front()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len() + self.done.len()
    }
}

impl Drop for Simulated {
    /// No kernel touches the memory of a simulation, so what is still lent may go.
    fn drop(&mut self) {
        self.in_flight.clear(&mut self.region);
    }
}

/// What the disks see of memory that is lent for writes. Nobody can look at lent memory, and several requests may share
/// it; it does not change meanwhile, so a copy from before it was lent shows the same.
#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    /// Per block of the region, how many writes hold it.
    requests: Vec<u8>,
}

impl Sent {
    fn send(&mut self, span: Span, region: &Region) {
        for block in blocks(span) {
            if self.requests[block] == 0 {
                let end = ((block + 1) * BLOCK).min(self.bytes.len());
                let whole = block * BLOCK..end;
                let offset = u32::try_from(whole.start).expect("a region is addressed with 32 bits");
                let bytes = u32::try_from(whole.len()).expect("a block");
                self.bytes[whole].copy_from_slice(region.bytes(Span::new(offset, bytes)));
            }
            self.requests[block] += 1;
        }
    }

    fn take_back(&mut self, span: Span) {
        blocks(span).for_each(|block| self.requests[block] -= 1);
    }
}

fn is_write(request: &Request) -> bool {
    matches!(request.operation, Operation::Write(_) | Operation::WriteWoven(_))
}

fn range(span: Span) -> std::ops::Range<usize> {
    span.offset as usize..span.offset as usize + span.bytes as usize
}

fn blocks(span: Span) -> std::ops::Range<usize> {
    range(span).start / BLOCK..range(span).end.div_ceil(BLOCK)
}

fn spans(request: &Request) -> impl Iterator<Item = Span> + use<> {
    let (whole, woven) = match request.operation {
        Operation::Read(span) | Operation::Write(span) => (Some(span), None),
        Operation::ReadWoven(weave) | Operation::WriteWoven(weave) => (None, Some(weave)),
        Operation::Flush => (None, None),
    };
    whole.into_iter().chain(woven.into_iter().flat_map(|weave| weave.spans()))
}

fn power_is_off() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

/// SplitMix64: small, seeded, and good enough to draw fates.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        crate::checksum::mix(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }
}

/// The end of a request to a disk that hangs.
const NEVER: Nanos = Nanos(u64::MAX);
const SECTOR: u64 = 512;
const BLOCK: usize = 4096;
