//! Disks in memory whose contents are cheap to copy, and a port to them that notes what it was asked to write.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;
use bireme_dataplane::buffer::{Region, Span};
use bireme_dataplane::port::{Bell, Busy, Completion, Next, Operation, Port, Request};

/// What some disks hold; blocks that were never written are zero.
#[derive(Clone, Debug, Default)]
pub struct Disks(Vec<BTreeMap<u64, Rc<[u8; BLOCK]>>>);

impl Disks {
    /// So many blank ones.
    pub fn new(count: u16) -> Disks {
        Disks(vec![BTreeMap::new(); usize::from(count)])
    }

    /// A block.
    pub fn block(&self, disk: u16, number: u64) -> [u8; BLOCK] {
        self.0[usize::from(disk)].get(&number).map_or([0; BLOCK], |block| **block)
    }

    /// Does a write, or those of its sectors whose bits are set in `sectors`, counted from the start of each block.
    pub fn apply(&mut self, write: &Write, sectors: u8) {
        let disk = &mut self.0[usize::from(write.disk)];
        for (number, block) in (write.block..).zip(&write.data) {
            if sectors == u8::MAX {
                disk.insert(number, block.clone());
                continue;
            }
            let torn = Rc::make_mut(disk.entry(number).or_insert_with(|| Rc::new([0; BLOCK])));
            for sector in (0..8).filter(|sector| sectors >> sector & 1 == 1) {
                torn[sector * 512..][..512].copy_from_slice(&block[sector * 512..][..512]);
            }
        }
    }

    /// A new disk in the place of one.
    pub fn blank(&mut self, disk: u16) {
        self.0[usize::from(disk)].clear();
    }

    fn read(&self, disk: u16, offset: u64, out: &mut [u8]) {
        assert!(offset.is_multiple_of(BLOCK as u64) && out.len().is_multiple_of(BLOCK), "requests are whole blocks");
        let first = offset / BLOCK as u64;
        for (number, block) in (first..).zip(out.chunks_exact_mut(BLOCK)) {
            match self.0[usize::from(disk)].get(&number) {
                Some(bytes) => block.copy_from_slice(bytes.as_slice()),
                None => block.fill(0),
            }
        }
    }
}

/// A write as it was submitted.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where to.
    pub disk: u16,
    /// The first block.
    pub block: u64,
    /// The blocks.
    pub data: Vec<Rc<[u8; BLOCK]>>,
}

/// What one submit handed over.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Its writes.
    pub writes: Vec<Write>,
    /// The disks that it flushed: the writes of earlier batches are durable when it has ended.
    pub flushed: Members,
}

/// The batches of a port.
pub type Trace = Rc<RefCell<Vec<Batch>>>;

/// A port that answers at once, and remembers each batch.
#[derive(Debug)]
pub struct Recorder {
    /// The disks, as a reader sees them.
    pub disks: Disks,
    /// What was submitted so far. It stays within reach of those who have handed the port to somebody.
    pub trace: Trace,
    /// Disks that refuse every request.
    pub dead: Members,
    region: Region,
    now: Nanos,
    pushed: VecDeque<Request>,
    done: VecDeque<Completion>,
}

impl Recorder {
    /// A port to these disks.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn new(disks: Disks, region_bytes: usize) -> Recorder {
        let region = Region::new(region_bytes).expect("memory for a port");
        let (trace, dead, now) = (Trace::default(), Members::NONE, Nanos(1));
        Recorder { disks, trace, dead, region, now, pushed: VecDeque::new(), done: VecDeque::new() }
    }

    /// The same port at the beginning of another story.
    pub fn restart(&mut self, disks: Disks, dead: Members) {
        (self.disks, self.dead) = (disks, dead);
        self.trace = Trace::default();
        self.pushed.clear();
        self.done.clear();
    }

    fn execute(&mut self, request: Request, batch: &mut Batch) -> Result<u32, i32> {
        let disk = request.file;
        if self.dead.contains(disk) {
            return Err(libc::EIO);
        }
        let whole = |bytes: u32| usize::try_from(bytes).expect("small");
        match request.operation {
            Operation::Read(span) => self.disks.read(disk, request.offset, self.region.bytes_mut(span)),
            Operation::Write(span) => batch.writes.push(self.write(disk, request.offset, &[span])),
            Operation::WriteWoven(weave) => {
                let spans: Vec<Span> = weave.spans().collect();
                batch.writes.push(self.write(disk, request.offset, &spans));
            }
            Operation::ReadWoven(weave) => {
                let mut bytes = vec![0; whole(weave.bytes)];
                self.disks.read(disk, request.offset, &mut bytes);
                let mut rest = bytes.as_slice();
                for span in weave.spans() {
                    let (now, later) = rest.split_at(whole(span.bytes));
                    self.region.bytes_mut(span).copy_from_slice(now);
                    rest = later;
                }
            }
            Operation::Flush => batch.flushed = batch.flushed.with(disk),
            Operation::WriteThrough(_) | Operation::Trim { .. } => unreachable!("volumes ask for neither"),
        }
        Ok(request.operation.bytes())
    }

    fn write(&mut self, disk: u16, offset: u64, spans: &[Span]) -> Write {
        let bytes: Vec<u8> = spans.iter().flat_map(|&span| self.region.bytes(span)).copied().collect();
        assert!(offset.is_multiple_of(BLOCK as u64) && bytes.len().is_multiple_of(BLOCK), "requests are whole blocks");
        let data = bytes.as_chunks::<BLOCK>().0.iter().map(|block| Rc::new(*block)).collect();
        let write = Write { disk, block: offset / BLOCK as u64, data };
        self.disks.apply(&write, u8::MAX);
        write
    }
}

impl Port for Recorder {
    fn now(&self) -> Nanos {
        self.now
    }

    fn region(&self) -> &Region {
        &self.region
    }

    fn region_mut(&mut self) -> &mut Region {
        &mut self.region
    }

    fn push(&mut self, request: Request) -> Result<(), Busy> {
        self.pushed.push_back(request);
        Ok(())
    }

    fn wake(&mut self, _whom: Bell) {}

    fn submit(&mut self, _next: Next) -> io::Result<()> {
        self.now += Nanos(1000);
        let mut batch = Batch::default();
        while let Some(request) = self.pushed.pop_front() {
            let result = self.execute(request, &mut batch);
            self.done.push_back(Completion { token: request.token, result });
        }
        self.trace.borrow_mut().push(batch);
        Ok(())
    }

    fn gather(&mut self, _completions: u32, _within: Nanos) {}

    fn reap(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn in_flight(&self) -> usize {
        self.pushed.len() + self.done.len()
    }
}

const BLOCK: usize = 4096;
