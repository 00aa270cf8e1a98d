//! What a world holds, and how a request starts and ends in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;

use bireme_control::units::Nanos;

use super::disk::Disk;
use super::{BLOCK, Operation, PortNumber, Random, Request, SECTOR, Started, Ticket, power_is_off};

#[derive(Debug)]
pub(super) struct State {
    pub(super) now: Nanos,
    pub(super) random: Random,
    pub(super) disks: Vec<Disk>,
    pub(super) steps: u64,
    pub(super) off: bool,
    pub(super) faults: Faults,
    /// By the time of its end; the step makes the key unique.
    pub(super) under_way: BTreeMap<(Nanos, u64), UnderWay>,
    /// Per port, what has ended and was not yet collected by it.
    pub(super) ended: Vec<VecDeque<Ended>>,
    /// Per port, how many answers it has not reaped.
    pub(super) unreaped: Vec<usize>,
    pub(super) wakes: BTreeMap<u16, u64>,
    /// What was started, while somebody watches.
    pub(super) watched: Option<Vec<Started>>,
}

/// What goes wrong, and when.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) power_off_at: Option<u64>,
    pub(super) errno_at: BTreeMap<u64, i32>,
    pub(super) hang_at: Option<u64>,
    pub(super) hung: BTreeSet<usize>,
    /// Disks that die, by the step at which they do.
    pub(super) die_at: BTreeMap<u64, usize>,
    pub(super) dead: BTreeSet<usize>,
    /// Blocks of disks that cannot be read.
    pub(super) bad_blocks: BTreeSet<(usize, u64)>,
    pub(super) errors_per_million: u32,
    pub(super) short_per_million: u32,
    pub(super) stalls_per_million: u32,
    pub(super) stall_max: Nanos,
    /// What requests take, in turn and again from the start; drawn if there are none.
    pub(super) latencies: Vec<Nanos>,
    /// Nothing ends from the first point in time to the second.
    pub(super) pause: Option<(Nanos, Nanos)>,
    /// By port, how many times as long its requests take.
    pub(super) slow: BTreeMap<usize, u64>,
    /// By port, after how many more calls its owner dies.
    pub(super) calls_left: BTreeMap<usize, u64>,
}

impl Faults {
    /// Counts a call of a port.
    pub(super) fn dies_now(&mut self, port: usize) -> bool {
        let Some(left) = self.calls_left.get_mut(&port) else { return false };
        *left = left.saturating_sub(1);
        *left == 0 && self.calls_left.remove(&port).is_some()
    }
}

#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) port: usize,
    ticket: Ticket,
    pub(super) disk: usize,
    errno: Option<i32>,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
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
pub(super) struct Ended {
    pub(super) ticket: Ticket,
    pub(super) result: Result<u32, i32>,
    pub(super) read: Vec<u8>,
}

impl State {
    /// A world at rest.
    pub(super) fn new(random: Random, now: Nanos, disks: Vec<Disk>) -> State {
        let faults = Faults {
            power_off_at: None,
            errno_at: BTreeMap::new(),
            hang_at: None,
            hung: BTreeSet::new(),
            die_at: BTreeMap::new(),
            dead: BTreeSet::new(),
            bad_blocks: BTreeSet::new(),
            errors_per_million: 0,
            short_per_million: 20_000,
            stalls_per_million: 0,
            stall_max: Nanos::ZERO,
            latencies: Vec::new(),
            pause: None,
            slow: BTreeMap::new(),
            calls_left: BTreeMap::new(),
        };
        State {
            now,
            random,
            disks,
            steps: 0,
            off: false,
            faults,
            under_way: BTreeMap::new(),
            ended: Vec::new(),
            unreaped: Vec::new(),
            wakes: BTreeMap::new(),
            watched: None,
        }
    }

    pub(super) fn advance_to(&mut self, time: Nanos) {
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
        self.answer(work.port, Ended { ticket: work.ticket, result, read });
    }

    fn answer(&mut self, port: usize, ended: Ended) {
        self.ended[port].push_back(ended);
        self.unreaped[port] += 1;
    }

    /// Draws the fate of one request to a disk.
    pub(super) fn start(
        &mut self,
        port: usize,
        ticket: Ticket,
        disk: Option<usize>,
        request: &Request,
        data: &[u8],
    ) -> io::Result<()> {
        self.steps += 1;
        if self.faults.power_off_at == Some(self.steps) {
            self.off = true;
        }
        if self.off {
            return Err(power_is_off());
        }
        if let Some(disk) = self.faults.die_at.remove(&self.steps) {
            self.kill(disk);
        }
        let fate = self.draw_fate(port, disk, request);
        if let Some(watched) = &mut self.watched {
            let (disk, result, due) = (disk.unwrap_or(usize::MAX), fate.result, fate.due);
            watched.push(Started { step: self.steps, port: PortNumber(port), disk, request: *request, result, due });
        }
        let (Some(disk), false) = (disk, fate.refused) else {
            self.answer(port, Ended { ticket, result: Err(libc::EINVAL), read: Vec::new() });
            return Ok(());
        };
        let work = match request.operation {
            Operation::Read(_) | Operation::ReadWoven(_) => Work::Read { offset: request.offset, bytes: fate.moved },
            Operation::Write(_) | Operation::WriteWoven(_) => {
                for block in blocks(request.offset, fate.moved) {
                    self.faults.bad_blocks.remove(&(disk, block));
                }
                Work::Write { offset: request.offset, data: Rc::from(&data[..fate.moved as usize]) }
            }
            Operation::Flush => Work::Flush { mark: self.disks[disk].mark() },
        };
        let errno = fate.result.err();
        self.under_way.insert((fate.due, self.steps), UnderWay { port, ticket, disk, errno, work });
        Ok(())
    }

    /// A disk answers everything with EIO from now on, what is under way included: that may have moved some bytes or none.
    pub(super) fn kill(&mut self, disk: usize) {
        self.faults.dead.insert(disk);
        for work in self.under_way.values_mut().filter(|work| work.disk == disk) {
            work.errno = Some(libc::EIO);
        }
    }

    fn draw_fate(&mut self, port: usize, disk: Option<usize>, request: &Request) -> Fate {
        let bytes = request.operation.bytes();
        let mut errno = self.faults.errno_at.get(&self.steps).copied();
        if errno.is_none() && self.random.chance(self.faults.errors_per_million) {
            errno = Some(libc::EIO);
        }
        if disk.is_some_and(|disk| self.faults.dead.contains(&disk)) {
            let due = self.now + Nanos(10_000);
            return Fate { moved: 0, result: Err(libc::EIO), due, refused: false };
        }
        if let (None, Some(disk), Operation::Read(_) | Operation::ReadWoven(_)) = (errno, disk, request.operation) {
            let is_bad = |block| self.faults.bad_blocks.contains(&(disk, block));
            errno = blocks(request.offset, bytes).any(is_bad).then_some(libc::ENODATA);
        }
        let end = disk.and_then(|disk| self.disks.get(disk)).map(Disk::bytes);
        let room = end.and_then(|end| end.checked_sub(request.offset));
        let reads = matches!(request.operation, Operation::Read(_) | Operation::ReadWoven(_));
        // Whoever reads past the end of a file gets what is before it.
        let possible = if reads { u64::from(bytes).min(room.unwrap_or(0)) } else { u64::from(bytes) };
        let aligned = request.offset.is_multiple_of(SECTOR) && u64::from(bytes).is_multiple_of(SECTOR);
        if !aligned || room.is_none_or(|room| room < possible) {
            return Fate { moved: 0, result: Err(libc::EINVAL), due: self.now, refused: true };
        }
        let possible = u32::try_from(possible).expect("no more than was asked for");
        let moved = self.draw_bytes(possible, errno.is_some());
        let span = if request.operation == Operation::Flush { 400_000 } else { 200_000 };
        let mut latency = Nanos(10_000 + self.random.below(span) + u64::from(bytes) / 4);
        if !self.faults.latencies.is_empty() {
            let count = self.faults.latencies.len() as u64;
            let turn = usize::try_from((self.steps - 1) % count).expect("less than the length of a list");
            latency = self.faults.latencies[turn];
        }
        latency.0 *= self.faults.slow.get(&port).copied().unwrap_or(1);
        if self.faults.stalls_per_million > 0 && self.random.chance(self.faults.stalls_per_million) {
            latency += Nanos(self.random.below(self.faults.stall_max.0));
        }
        if self.faults.hang_at == Some(self.steps) {
            self.faults.hung.extend(disk);
        }
        let hangs = disk.is_some_and(|disk| self.faults.hung.contains(&disk));
        let due = match self.faults.pause {
            _ if hangs => NEVER,
            Some((from, to)) if (from..to).contains(&(self.now + latency)) => to,
            _ => self.now + latency,
        };
        Fate { moved, result: errno.map_or(Ok(moved), Err), due, refused: false }
    }

    /// All of the bytes, or at times fewer: whole sectors, and at least one unless the request fails.
    fn draw_bytes(&mut self, bytes: u32, fails: bool) -> u32 {
        let sectors = u64::from(bytes) / SECTOR;
        let least = u64::from(!fails);
        if sectors > least && (fails || self.random.chance(self.faults.short_per_million)) {
            let some = least + self.random.below(sectors - least);
            return u32::try_from(some * SECTOR).expect("fewer bytes than asked");
        }
        bytes
    }
}

/// The blocks that a request touches.
fn blocks(offset: u64, bytes: u32) -> impl Iterator<Item = u64> {
    offset / BLOCK..(offset + u64::from(bytes)).div_ceil(BLOCK)
}

/// What becomes of one request.
struct Fate {
    moved: u32,
    result: Result<u32, i32>,
    due: Nanos,
    /// It never reaches a disk.
    refused: bool,
}

/// The end of a request to a disk that hangs.
pub(super) const NEVER: Nanos = Nanos(u64::MAX);
