//! The closed loop of one peer: as soon as an operation has ended, the next one begins.
//!
//! A run may be parted while it goes on. What was asked before is then counted apart from what was asked after.

use bireme_control::units::Nanos;
use bireme_dataplane::engine::volumes::client::{ARRAY, Share};
use bireme_dataplane::message::Failure;
use bireme_dataplane::pattern::Pattern;
use bireme_dataplane::port::Port;
use bireme_dataplane::reservation::Allowance;
use bireme_dataplane::telemetry::Latencies;
use bireme_dataplane::volume::home::{Ended, Home, Operation};

use crate::recording::recorder::Direction;

/// What is done.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) block_bytes: u32,
    pub(super) depth: u16,
    pub(super) random: bool,
    pub(super) read_percent: u64,
    pub(super) fua: bool,
    pub(super) flush_every: Option<u32>,
    pub(super) span: Span,
    /// Reads are compared with what was written last.
    pub(super) compare: bool,
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// So long, starting over when all blocks were had.
    Time(Nanos),
    /// Until all blocks were had once.
    Once,
}

impl Load {
    /// Writes everything once, in large operations, so that every block is there.
    pub(super) fn filling(&self) -> Load {
        let block_bytes = self.block_bytes.max(LARGE);
        Load { block_bytes, random: false, read_percent: 0, span: Span::Once, fua: false, flush_every: None, ..*self }
    }

    /// Reads everything once and compares it.
    pub(super) fn verifying(depth: u16) -> Load {
        let (span, read_percent) = (Span::Once, 100);
        Load {
            block_bytes: LARGE,
            depth,
            random: false,
            read_percent,
            fua: false,
            flush_every: None,
            span,
            compare: true,
        }
    }
}

/// How often each block of a home was written.
#[derive(Debug)]
pub(super) struct Stamps {
    seed: u64,
    writes: Vec<u32>,
}

impl Stamps {
    /// Of a volume of which nothing was written; a home has at most all its blocks.
    pub(super) fn new(seed: u64, blocks: u64) -> Stamps {
        Stamps { seed, writes: vec![0; usize::try_from(blocks).expect("blocks are counted in memory")] }
    }

    /// The next content of a block.
    fn fill(&mut self, block: u64, data: &mut [u8]) {
        let stamp = &mut self.writes[usize::try_from(block).expect("inside the volume")];
        *stamp = stamp.wrapping_add(1).max(1);
        Pattern::new(self.seed, u64::from(*stamp)).fill(block, data);
    }

    fn is_right(&self, block: u64, data: &[u8]) -> bool {
        match self.writes[usize::try_from(block).expect("inside the volume")] {
            0 => data.iter().all(|&byte| byte == 0),
            stamp => Pattern::new(self.seed, u64::from(stamp)).matches(block, data),
        }
    }
}

/// What one peer has counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) reads: Latencies,
    pub(super) writes: Latencies,
    pub(super) flushes: Latencies,
    pub(super) bytes: u64,
}

/// The reads and writes of one home.
#[derive(Debug)]
pub(super) struct Workload {
    load: Load,
    share: Share,
    stamps: Option<Stamps>,
    /// Of what was asked before the run was parted, and after.
    figures: [Figures; 2],
    parted: Option<Nanos>,
    /// The first block that was not what was written last.
    first_wrong: Option<u64>,
    /// At most so many as the depth.
    under_way: Vec<UnderWay>,
    began: Option<Nanos>,
    /// An operation has ended last.
    ended: Nanos,
    cursor: u64,
    drawn: u64,
    unflushed: u32,
    allowance: Option<Allowance>,
    /// Drawn, and waits until then for the allowance of the class.
    parked: Option<(u64, u32)>,
    held: Option<Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    operation: Operation,
    task: Task,
    asked: Nanos,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Read { block: u64, blocks: u32 },
    Write { blocks: u32 },
    Flush,
}

/// An operation that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// `None` of a flush.
    pub(super) direction: Option<Direction>,
    pub(super) bytes: u64,
    pub(super) took: Nanos,
}

impl Workload {
    pub(super) fn new(load: Load, share: Share, stamps: Stamps, allowance: Option<Allowance>) -> Workload {
        Workload {
            under_way: Vec::with_capacity(usize::from(load.depth)),
            drawn: share.block(0).0 << 32,
            load,
            share,
            stamps: Some(stamps),
            figures: Default::default(),
            parted: None,
            first_wrong: None,
            began: None,
            ended: Nanos::ZERO,
            cursor: 0,
            unflushed: 0,
            allowance,
            parked: None,
            held: None,
        }
    }

    /// What was counted before the run was parted and after, and how long each part was.
    pub(super) fn parts(&self) -> [(&Figures, Nanos); 2] {
        let [before, after] = &self.figures;
        let began = self.began.unwrap_or(self.ended);
        let parted = self.parted.unwrap_or(self.ended).min(self.ended);
        [(before, parted.since(began)), (after, self.ended.since(parted))]
    }

    /// Bytes read and written.
    pub(super) fn bytes(&self) -> u64 {
        self.figures.iter().map(|figures| figures.bytes).sum()
    }

    /// The first block that was not what was written last.
    pub(super) fn first_wrong(&self) -> Option<u64> {
        self.first_wrong
    }

    /// Parts the run, if it was not yet.
    pub(super) fn part(&mut self, now: Nanos) {
        self.parted.get_or_insert(now);
    }

    /// Whether an operation is under way, or waits for the allowance of the class.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty() || self.held.is_some()
    }

    /// Nothing more is started.
    pub(super) fn stop(&mut self) {
        self.held = None;
    }

    /// Until when the allowance of the class holds it back.
    pub(super) fn held(&self) -> Option<Nanos> {
        self.held
    }

    fn is_over(&self, now: Nanos) -> bool {
        matches!((self.load.span, self.began), (Span::Time(time), Some(began)) if now.since(began) >= time)
    }

    /// When the oldest operation that is under way was asked.
    pub(super) fn oldest(&self) -> Option<Nanos> {
        self.under_way.iter().map(|under_way| under_way.asked).min()
    }

    /// For the next run.
    pub(super) fn take_stamps(&mut self) -> Stamps {
        self.stamps.take().expect("a client's stamps are taken once")
    }

    fn stamps(&mut self) -> &mut Stamps {
        self.stamps.as_mut().expect("they are taken at the end")
    }

    /// The next place; `None` when there is none, or time is up.
    fn place(&mut self, now: Nanos) -> Option<(u64, u32)> {
        let began = *self.began.get_or_insert(now);
        let (mine, step) = (self.share.blocks(), u64::from(self.load.block_bytes / 4096));
        match self.load.span {
            _ if mine == 0 => return None,
            Span::Time(time) if now.since(began) >= time => return None,
            Span::Once if self.cursor >= mine => return None,
            _ => {}
        }
        let index = if self.load.random {
            self.draw() % mine.div_ceil(step) * step
        } else {
            let index = self.cursor % mine;
            self.cursor += self.share.block(index).1.min(step);
            index
        };
        let (block, room) = self.share.block(index);
        Some((block, u32::try_from(room.min(step)).expect("an operation is small")))
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let seed = self.stamps().seed;
        scramble(scramble(seed) ^ self.drawn)
    }

    /// Keeps as many operations under way as it may, until time is up.
    pub(super) fn start<P: Port>(&mut self, home: &mut Home<P>, now: Nanos) {
        self.held = None;
        while self.under_way.len() < usize::from(self.load.depth) {
            let Some(operation) = home.begin() else { return };
            if self.load.flush_every.is_some_and(|every| self.unflushed >= every) {
                self.unflushed = 0;
                home.flush(operation);
                self.under_way.push(UnderWay { operation, task: Task::Flush, asked: now });
                continue;
            }
            let parked = self.parked.take().filter(|_| !self.is_over(now));
            let Some((block, blocks)) = parked.or_else(|| self.place(now)) else {
                home.end(operation);
                return;
            };
            let bytes = u64::from(blocks) * 4096;
            let allowed = self.allowance.as_mut().map(|all| all.take(now, std::iter::once(ARRAY), bytes));
            if let Some(Err(until)) = allowed {
                home.end(operation);
                (self.parked, self.held) = (Some((block, blocks)), Some(until));
                return;
            }
            let reads = match self.load.read_percent {
                0 => false,
                100 => true,
                percent => self.draw() % 100 < percent,
            };
            let task = if reads {
                home.read(operation, block, blocks);
                Task::Read { block, blocks }
            } else {
                self.fill(block, home.data_mut(operation, blocks * 4096));
                home.write(operation, block, blocks, self.load.fua);
                self.unflushed += 1;
                Task::Write { blocks }
            };
            self.under_way.push(UnderWay { operation, task, asked: now });
        }
    }

    fn fill(&mut self, block: u64, data: &mut [u8]) {
        let stamps = self.stamps();
        data.chunks_mut(4096).zip(block..).for_each(|(data, block)| stamps.fill(block, data));
    }

    /// Counts an operation that has ended.
    pub(super) fn take<P: Port>(&mut self, home: &mut Home<P>, now: Nanos, ended: Ended) -> Result<Taken, Failure> {
        let place = self.under_way.iter().position(|under_way| under_way.operation == ended.operation);
        let UnderWay { operation, task, .. } =
            self.under_way.swap_remove(place.expect("homes end what was asked of them"));
        ended.result?;
        self.ended = now;
        let took = now.since(ended.asked);
        let is_after = self.parted.is_some_and(|parted| ended.asked >= parted);
        let figures = &mut self.figures[usize::from(is_after)];
        let (direction, bytes) = match task {
            Task::Read { blocks, .. } => (Some(Direction::Read), u64::from(blocks) * 4096),
            Task::Write { blocks } => (Some(Direction::Write), u64::from(blocks) * 4096),
            Task::Flush => (None, 0),
        };
        match direction {
            Some(Direction::Read) => figures.reads.record(took),
            Some(_) => figures.writes.record(took),
            None => figures.flushes.record(took),
        }
        figures.bytes += bytes;
        if let Task::Read { block, blocks } = task
            && self.load.compare
        {
            self.compare(block, home.data(operation, blocks * 4096));
        }
        home.end(operation);
        Ok(Taken { direction, bytes, took })
    }

    fn compare(&mut self, block: u64, data: &[u8]) {
        let stamps = self.stamps.as_ref().expect("they are taken at the end");
        let wrong = data.chunks(4096).zip(block..).find(|(data, block)| !stamps.is_right(*block, data));
        self.first_wrong = self.first_wrong.or(wrong.map(|(_, block)| block));
    }
}

/// The output function of splitmix64: each bit of the input flips about half of those of the output.
fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// An operation that fills or verifies.
const LARGE: u32 = 1 << 20;
