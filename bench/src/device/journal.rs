//! Which writes a device owes after a crash, in a file that survives it.
//!
//! ```text
//!   peer: write ended ─▶ waits for a flush that begins after that ─▶ flush ended ─▶ queue ─▶ reporter ─▶ file
//!         write through the cache ended ──────────────────────────────────────────▶
//! ```
//!
//! Only what is durable is told: a write is owed when it had ended before a flush began that has ended, or when it was one
//! through the cache. What a killed process has not told any more is owed less than it could be, and never wrongly; and what
//! was asked for later than the newest owed write is known by its stamp and checksum alone, so submissions need not be told.
//! The file begins with a line of JSON, and has then 20 bytes for each owed block:
//!
//! ```text
//!   offset 8 | stamp 4 | device 4 | crc32c of these and of the run 4
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bireme_dataplane::checksum::crc32c;
use crossbeam::queue::ArrayQueue;
use serde::{Deserialize, Serialize};

use super::content::{Stamp, is_since};

/// A block that must show this write or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) device: u32,
    pub(super) offset: u64,
    pub(super) stamp: Stamp,
}

/// One peer's side.
#[derive(Debug)]
pub(super) struct Debts {
    queue: Arc<ArrayQueue<Owed>>,
    /// By target, writes that have ended and that no flush has made durable, in the order of their ends.
    waiting: Box<[Waiting]>,
    limit: usize,
    told: u64,
    left_out: u64,
}

#[derive(Debug)]
struct Waiting {
    writes: VecDeque<Owed>,
    /// How many have left it: with its length the number of the next write.
    settled: u64,
}

impl Debts {
    /// For so many targets, and so many blocks each between two flushes; a block beyond that is not told.
    pub(super) fn new(journal: &Journal, targets: usize, limit: usize) -> Debts {
        let limit = limit.min(WAITING_MAX);
        let waiting = (0..targets).map(|_| Waiting { writes: VecDeque::with_capacity(limit), settled: 0 });
        Debts { queue: journal.queue.clone(), waiting: waiting.collect(), limit, told: 0, left_out: 0 }
    }

    /// A write has ended.
    pub(super) fn wrote(&mut self, target: usize, owed: Owed, through: bool) {
        let writes = &mut self.waiting[target].writes;
        match through {
            true => self.tell(owed),
            false if writes.len() < self.limit => writes.push_back(owed),
            false => self.left_out += 1,
        }
    }

    /// The number of the next write: a flush that begins now covers those before it.
    pub(super) fn mark(&self, target: usize) -> u64 {
        self.waiting[target].settled + self.waiting[target].writes.len() as u64
    }

    /// A flush has ended that began at this mark.
    pub(super) fn settle(&mut self, target: usize, mark: u64) {
        while self.waiting[target].settled < mark
            && let Some(owed) = self.waiting[target].writes.pop_front()
        {
            self.waiting[target].settled += 1;
            self.tell(owed);
        }
    }

    /// How many blocks were told, and how many were not because the reporter was behind.
    pub(super) fn told(&self) -> (u64, u64) {
        (self.told, self.left_out)
    }

    fn tell(&mut self, owed: Owed) {
        let counter = if self.queue.push(owed).is_ok() { &mut self.told } else { &mut self.left_out };
        *counter += 1;
    }
}

/// The reporter's side.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    run: u64,
    queue: Arc<ArrayQueue<Owed>>,
    bytes: Vec<u8>,
    failed: Option<io::Error>,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The version of the format.
    bireme_journal: u32,
    pub(super) run: u64,
    pub(super) block_bytes: u32,
    /// In the order of their numbers.
    pub(super) devices: Vec<PathBuf>,
}

impl Journal {
    /// A new file: an existing one may be all that tells of a crash.
    pub(super) fn create(path: &Path, run: u64, block_bytes: u32, devices: &[PathBuf]) -> Result<Journal, String> {
        let mut file = File::create_new(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!(
                    "{} exists already, and may tell what devices owe: remove it, or name another --journal",
                    path.display()
                )
            }
            _ => cannot_write(path, &error),
        })?;
        let devices = devices.iter().map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone())).collect();
        let header = Header { bireme_journal: VERSION, run, block_bytes, devices };
        let line = serde_json::to_string(&header).map_err(|error| cannot_write(path, &error.into()))?;
        writeln!(file, "{line}").map_err(|error| cannot_write(path, &error))?;
        let queue = Arc::new(ArrayQueue::new(QUEUE));
        Ok(Journal { path: path.to_owned(), file, run, queue, bytes: Vec::with_capacity(QUEUE * RECORD), failed: None })
    }

    /// Writes down what the peers have told. After an error nothing more: the file stays what it is.
    pub(super) fn drain(&mut self) {
        self.bytes.clear();
        for _ in 0..QUEUE {
            let Some(owed) = self.queue.pop() else { break };
            self.bytes.extend_from_slice(&encode(self.run, owed));
        }
        if self.failed.is_none() && !self.bytes.is_empty() {
            self.failed = self.file.write_all(&self.bytes).err();
        }
    }

    /// What is left, and whether all was written.
    pub(super) fn finish(mut self) -> Result<(), String> {
        self.drain();
        let failed = self.failed.take().or_else(|| self.file.sync_all().err());
        failed.map_or(Ok(()), |error| Err(cannot_write(&self.path, &error)))
    }
}

/// What a journal tells.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) header: Header,
    /// The newest owed write of each block, in the order of devices and offsets.
    pub(super) owed: Vec<Owed>,
    pub(super) records: u64,
    /// Records that were damaged, or not written to their end.
    pub(super) unreadable: u64,
}

impl Told {
    /// Reads a journal.
    pub(super) fn read(path: &Path) -> Result<Told, String> {
        let cannot = |error: io::Error| format!("{} cannot be read: {error}", path.display());
        let no_journal = || format!("{} is no journal of bench-device: name the file of --journal", path.display());
        let mut file = BufReader::new(File::open(path).map_err(cannot)?);
        let mut line = Vec::new();
        (&mut file).take(HEADER_MAX).read_until(b'\n', &mut line).map_err(cannot)?;
        let header: Header = serde_json::from_slice(&line).map_err(|_| no_journal())?;
        let sound = header.block_bytes > 0 && header.block_bytes.is_multiple_of(512) && header.block_bytes <= BLOCK_MAX;
        if header.bireme_journal != VERSION || !sound {
            return Err(no_journal());
        }
        let (mut newest, mut records, mut unreadable) = (BTreeMap::new(), 0, 0);
        let mut record = Vec::with_capacity(RECORD);
        loop {
            record.clear();
            match (&mut file).take(RECORD as u64).read_to_end(&mut record).map_err(cannot)? {
                0 => break,
                RECORD => {}
                _ => {
                    unreadable += 1;
                    break;
                }
            }
            match decode(header.run, &record).filter(|owed| (owed.device as usize) < header.devices.len()) {
                None => unreadable += 1,
                Some(owed) => {
                    records += 1;
                    let stamp = newest.entry((owed.device, owed.offset)).or_insert(owed.stamp);
                    if is_since(owed.stamp, *stamp) {
                        *stamp = owed.stamp;
                    }
                }
            }
        }
        let owed = newest.into_iter().map(|((device, offset), stamp)| Owed { device, offset, stamp }).collect();
        Ok(Told { header, owed, records, unreadable })
    }
}

fn encode(run: u64, owed: Owed) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&owed.offset.to_le_bytes());
    record[8..12].copy_from_slice(&owed.stamp.to_le_bytes());
    record[12..16].copy_from_slice(&owed.device.to_le_bytes());
    let check = check(run, &record[..16]);
    record[16..].copy_from_slice(&check.to_le_bytes());
    record
}

fn decode(run: u64, record: &[u8]) -> Option<Owed> {
    let word = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let offset = u64::from_le_bytes(record.get(..8)?.try_into().ok()?);
    let (stamp, device) = (word(8)?, word(12)?);
    (word(16)? == check(run, &record[..16])).then_some(Owed { device, offset, stamp })
}

fn check(run: u64, bytes: &[u8]) -> u32 {
    let mut all = [0; 24];
    all[..8].copy_from_slice(&run.to_le_bytes());
    all[8..].copy_from_slice(bytes);
    crc32c(&all)
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

const VERSION: u32 = 1;
const RECORD: usize = 20;
const HEADER_MAX: u64 = 1 << 20;
const BLOCK_MAX: u32 = 16 << 20;
/// What peers tell between two looks of the reporter.
const QUEUE: usize = 1 << 17;
/// Blocks of one target between two flushes.
const WAITING_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(offset: u64, stamp: Stamp) -> Owed {
        Owed { device: 0, offset, stamp }
    }

    fn journal(folder: &Path) -> Journal {
        Journal::create(&folder.join("journal"), 7, 4096, &["/dev/null".into()]).expect("a file")
    }

    #[test]
    fn only_what_had_ended_before_a_flush_began_is_owed_when_it_has_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = journal(folder.path());
        let mut debts = Debts::new(&journal, 1, 4);
        debts.wrote(0, owed(0, 1), false);
        let first = debts.mark(0);
        debts.wrote(0, owed(4096, 1), false);
        let second = debts.mark(0);
        debts.wrote(0, owed(8192, 1), false);
        debts.wrote(0, owed(12288, 1), true);
        let told =
            |debts: &mut Debts| std::iter::from_fn(|| debts.queue.pop()).map(|owed| owed.offset).collect::<Vec<_>>();
        assert_eq!(told(&mut debts), [12288], "through the cache");
        debts.settle(0, second);
        assert_eq!(told(&mut debts), [0, 4096]);
        debts.settle(0, first);
        assert_eq!(told(&mut debts), [0; 0], "an older flush ends later");
        (0..4).for_each(|block| debts.wrote(0, owed(block * 4096, 2), false));
        assert_eq!(debts.told(), (3, 1), "there is room for four, and one was waiting");
        let mark = debts.mark(0);
        debts.settle(0, mark);
        journal.drain();
        journal.finish().expect("written");
        let told = Told::read(&folder.path().join("journal")).expect("a journal");
        assert_eq!((told.records, told.unreadable), (4, 0));
        assert_eq!(told.owed, [owed(0, 2), owed(4096, 2), owed(8192, 2)]);
    }

    #[test]
    fn a_journal_that_was_cut_off_or_damaged_owes_less_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let mut journal = journal(folder.path());
        for stamp in 1..=3 {
            journal.queue.push(owed(4096 * u64::from(stamp), stamp)).expect("room");
        }
        journal.drain();
        drop(journal);
        let whole = std::fs::read(&path).expect("a file");
        std::fs::write(&path, &whole[..whole.len() - 3]).expect("written");
        let told = Told::read(&path).expect("a journal");
        assert_eq!((told.records, told.unreadable, told.owed.len()), (2, 1, 2));
        let mut damaged = whole.clone();
        damaged[whole.len() - RECORD - 5] ^= 1;
        std::fs::write(&path, &damaged).expect("written");
        let told = Told::read(&path).expect("a journal");
        assert_eq!((told.records, told.unreadable), (2, 1));
        assert_eq!(told.owed, [owed(4096, 1), owed(12288, 3)]);
    }

    #[test]
    fn what_is_no_journal_is_refused_and_what_exists_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        for text in ["", "{}", "{\"bireme_journal\":1,\"run\":1,\"block_bytes\":0,\"devices\":[]}\n", "\u{0}\u{1}"] {
            std::fs::write(&path, text).expect("written");
            let error = Told::read(&path).expect_err("refused");
            assert!(error.contains("is no journal"), "{error}");
        }
        let error = Journal::create(&path, 1, 4096, &[]).expect_err("it exists");
        assert!(error.contains("exists already"), "{error}");
    }
}
