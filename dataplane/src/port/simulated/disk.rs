//! A disk with a volatile write cache: what reads show, and what a loss of power leaves.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use super::{Random, SECTOR};

/// The bytes of one disk; blocks that were never written take no memory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    bytes: u64,
    shown: Blocks,
    durable: Blocks,
    /// Writes since the last flush, in the order in which they took effect.
    cached: VecDeque<Cached>,
    /// How many writes have left the cache; with the cache's length the number of the next write.
    flushed: u64,
}

impl Disk {
    pub(super) fn new(bytes: u64) -> Disk {
        Disk { bytes, shown: Blocks::default(), durable: Blocks::default(), cached: VecDeque::new(), flushed: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        self.shown.read(offset, out);
    }

    pub(super) fn write(&mut self, offset: u64, data: Rc<[u8]>) {
        self.shown.write(offset, &data);
        self.cached.push_back(Cached { offset, data, lasting: false });
    }

    /// The same, and no loss of power takes it back. It keeps its place in the order: what was written before must not come
    /// over it later.
    pub(super) fn write_through(&mut self, offset: u64, data: Rc<[u8]>) {
        self.shown.write(offset, &data);
        self.cached.push_back(Cached { offset, data, lasting: true });
    }

    /// The number of the next write: a flush submitted now covers those before it.
    pub(super) fn mark(&self) -> u64 {
        self.flushed + self.cached.len() as u64
    }

    /// Where the writes lie that are not yet durable.
    pub(super) fn volatile(&self) -> Vec<Range<u64>> {
        let open = self.cached.iter().filter(|write| !write.lasting);
        open.map(|write| write.offset..write.offset + write.data.len() as u64).collect()
    }

    pub(super) fn flush(&mut self, mark: u64) {
        while self.flushed < mark
            && let Some(write) = self.cached.pop_front()
        {
            self.durable.write(write.offset, &write.data);
            self.flushed += 1;
        }
    }

    /// Each block of each cached write survives, is lost, or is torn between sectors.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        for Cached { offset, data, lasting } in std::mem::take(&mut self.cached) {
            let mut at = if lasting { data.len() } else { 0 };
            self.durable.write(offset, &data[..at]);
            while at < data.len() {
                let start = offset + at as u64;
                let room = usize::try_from(BLOCK - start % BLOCK).expect("at most a block");
                let end = data.len().min(at + room);
                match random.below(3) {
                    0 => {}
                    1 => self.durable.write(start, &data[at..end]),
                    _ => self.tear(start, &data[at..end], random),
                }
                at = end;
            }
        }
        self.shown = self.durable.clone();
        self.flushed = 0;
    }

    fn tear(&mut self, start: u64, data: &[u8], random: &mut Random) {
        for (index, sector) in data.chunks(512).enumerate() {
            if random.below(2) == 0 {
                self.durable.write(start + index as u64 * SECTOR, sector);
            }
        }
    }

    pub(super) fn poke(&mut self, offset: u64, data: &[u8]) {
        self.shown.write(offset, data);
        self.durable.write(offset, data);
    }
}

/// A write that no flush has made durable.
#[derive(Clone, Debug)]
struct Cached {
    offset: u64,
    data: Rc<[u8]>,
    /// It lasts without one.
    lasting: bool,
}

/// Sparse bytes. Blocks are shared between the shown and the durable state until one of them changes.
#[derive(Clone, Debug, Default)]
struct Blocks(BTreeMap<u64, Rc<[u8; 4096]>>);

impl Blocks {
    fn read(&self, offset: u64, out: &mut [u8]) {
        pieces(offset, out.len(), |block, within, range| match self.0.get(&block) {
            Some(bytes) => out[range].copy_from_slice(&bytes[within]),
            None => out[range].fill(0),
        });
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        pieces(offset, data.len(), |block, within, range| {
            let bytes = self.0.entry(block).or_insert_with(|| Rc::new([0; 4096]));
            Rc::make_mut(bytes)[within].copy_from_slice(&data[range]);
        });
    }
}

/// Calls with (block, range in the block, range in the buffer) for each block that `offset .. offset + bytes` touches.
fn pieces(offset: u64, bytes: usize, mut each: impl FnMut(u64, Range<usize>, Range<usize>)) {
    let mut at = 0;
    while at < bytes {
        let position = offset + at as u64;
        let within = usize::try_from(position % BLOCK).expect("less than a block");
        let length = (4096 - within).min(bytes - at);
        each(position / BLOCK, within..within + length, at..at + length);
        at += length;
    }
}

const BLOCK: u64 = 4096;
