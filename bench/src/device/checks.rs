//! What a peer knows of the blocks that it has written, so that a read shows whether the device still has them.
//!
//! ```text
//!   claim ─▶ write: next stamp, contents made ─▶ in flight ─▶ release
//!        └─▶ read ─▶ in flight ─▶ each sector is what was written last ─▶ release
//! ```
//!
//! One word per block: the stamp of the last write, whether it is owed at all (a block that this run has not written, or has
//! trimmed, may hold anything), and whether a request is in flight to it. A second request to such a block waits: of two
//! writes at once nobody can say which one is last. Each peer has blocks of its own, so nothing is shared.

use std::path::{Path, PathBuf};

use super::addresses::Places;
use super::content::{Found, SECTOR, STAMP_MAX, Stamp, Writer};
use super::journal::{Debts, Owed};
use super::workload::Part;

/// The blocks of one peer on all its devices.
#[derive(Debug)]
pub(super) struct Checks {
    tables: Box<[Table]>,
    debts: Option<Debts>,
    counts: Verified,
    mismatch: Option<Mismatch>,
    /// The next block to read back: of which device, and which.
    back: (usize, usize),
}

/// The blocks of one device.
#[derive(Debug)]
struct Table {
    writer: Writer,
    start: u64,
    step: u64,
    words: Box<[u32]>,
}

/// How many blocks were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Verified {
    /// Read in the run, and what was written last.
    pub(super) in_run: u64,
    /// Read in the run, and not written before.
    pub(super) not_owed: u64,
    /// Read back at the end, and what was written last.
    pub(super) at_end: u64,
    /// Told to the journal as durable.
    pub(super) journalled: u64,
    /// Durable, and not told to the journal because it was behind.
    pub(super) left_out: u64,
}

/// A block that is not what was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) file: u32,
    /// Of the first wrong sector.
    pub(super) offset: u64,
    /// What is owed.
    pub(super) owed: Stamp,
    pub(super) found: Found,
    /// Other sectors of the block are right.
    pub(super) torn: bool,
}

impl Checks {
    /// For the blocks that requests of at most `largest` bytes at these places reach; nothing is allocated later.
    pub(super) fn new(run: u64, largest: u32, parts: &[Part], debts: Option<Debts>) -> Checks {
        let table = |&Part { file, places, .. }: &Part| Table {
            writer: Writer { run, device: u32::from(file) },
            start: places.start,
            step: places.step,
            words: vec![VOID; blocks(places, largest)].into_boxed_slice(),
        };
        let tables = parts.iter().map(table).collect();
        Checks { tables, debts, counts: Verified::default(), mismatch: None, back: (0, 0) }
    }

    /// What they take of the memory.
    pub(super) fn bytes(parts: &[Part], largest: u32) -> u64 {
        parts.iter().map(|part| blocks(part.places, largest) as u64 * 4).sum()
    }

    /// Takes the blocks of a request, or none of them if one is taken.
    pub(super) fn claim(&mut self, target: usize, offset: u64, bytes: u32) -> bool {
        let words = self.tables[target].words_mut(offset, bytes);
        let free = words.iter().all(|word| word & BUSY == 0);
        if free {
            words.iter_mut().for_each(|word| *word |= BUSY);
        }
        free
    }

    /// Makes what a write puts into its claimed blocks.
    pub(super) fn write(&mut self, target: usize, offset: u64, buffer: &mut [u8]) {
        let table = &mut self.tables[target];
        let (writer, step) = (table.writer, usize::try_from(table.step).expect("a part of the buffer"));
        let bytes = u32::try_from(buffer.len()).expect("a request");
        let words = table.words_mut(offset, bytes).iter_mut();
        for ((word, block), at) in words.zip(buffer.chunks_mut(step)).zip((offset..).step_by(step)) {
            let stamp = (*word + 1) & STAMP_MAX;
            *word = BUSY | stamp;
            writer.write(at, stamp, block);
        }
    }

    /// What the claimed blocks hold is not owed any more.
    pub(super) fn trim(&mut self, target: usize, offset: u64, bytes: u32) {
        self.tables[target].words_mut(offset, bytes).iter_mut().for_each(|word| *word |= VOID);
    }

    /// The request to these blocks has ended.
    pub(super) fn release(&mut self, target: usize, offset: u64, bytes: u32) {
        self.tables[target].words_mut(offset, bytes).iter_mut().for_each(|word| *word &= !BUSY);
    }

    /// A read of claimed blocks has shown this; `at_end` when it was read for this alone. Whether it is what is owed.
    pub(super) fn read(&mut self, target: usize, offset: u64, buffer: &[u8], at_end: bool) -> bool {
        let table = &self.tables[target];
        let (writer, step) = (table.writer, usize::try_from(table.step).expect("a part of the buffer"));
        let bytes = u32::try_from(buffer.len()).expect("a request");
        for ((word, block), at) in
            table.words[table.range(offset, bytes)].iter().zip(buffer.chunks(step)).zip((offset..).step_by(step))
        {
            if word & VOID != 0 {
                self.counts.not_owed += 1;
                continue;
            }
            if let Some(mismatch) = compare(writer, at, word & STAMP_MAX, block) {
                self.mismatch.get_or_insert(mismatch);
                return false;
            }
            *if at_end { &mut self.counts.at_end } else { &mut self.counts.in_run } += 1;
        }
        true
    }

    /// A write has ended: it will be owed when a flush has ended that begins after this, and is owed now if it went
    /// `through` the cache of the device.
    pub(super) fn wrote(&mut self, target: usize, offset: u64, bytes: u32, through: bool) {
        let Some(debts) = &mut self.debts else { return };
        let table = &self.tables[target];
        for (word, at) in table.words[table.range(offset, bytes)]
            .iter()
            .zip((offset..).step_by(usize::try_from(table.step).unwrap_or(1)))
        {
            let owed = Owed { device: table.writer.device, offset: at, stamp: word & STAMP_MAX };
            debts.wrote(target, owed, through);
        }
    }

    /// A flush is about to begin: what it makes durable, for its end.
    pub(super) fn flush_begins(&self, target: usize) -> u64 {
        self.debts.as_ref().map_or(0, |debts| debts.mark(target))
    }

    /// It has ended.
    pub(super) fn flush_ended(&mut self, target: usize, mark: u64) {
        if let Some(debts) = &mut self.debts {
            debts.settle(target, mark);
        }
    }

    /// The next block that is owed and was not read back: of which target, where, and how many bytes.
    pub(super) fn next_owed(&mut self) -> Option<(usize, u64, u32)> {
        while let Some(table) = self.tables.get(self.back.0) {
            let (target, from) = self.back;
            let found = table.words[from..].iter().position(|word| word & VOID == 0);
            match found {
                Some(ahead) => {
                    self.back.1 = from + ahead + 1;
                    let bytes = u32::try_from(table.step).expect("the bytes of a request");
                    return Some((target, table.start + (from + ahead) as u64 * table.step, bytes));
                }
                None => self.back = (target + 1, 0),
            }
        }
        None
    }

    /// The first block that was not what is owed.
    pub(super) fn mismatch(&self) -> Option<Mismatch> {
        self.mismatch
    }

    /// What was compared and told.
    pub(super) fn counts(&self) -> Verified {
        let (journalled, left_out) = self.debts.as_ref().map_or((0, 0), Debts::told);
        Verified { journalled, left_out, ..self.counts }
    }
}

impl Table {
    fn range(&self, offset: u64, bytes: u32) -> std::ops::Range<usize> {
        let first = usize::try_from((offset - self.start) / self.step).expect("an index into the table");
        first..first + usize::try_from(u64::from(bytes) / self.step).expect("an index into the table")
    }

    fn words_mut(&mut self, offset: u64, bytes: u32) -> &mut [u32] {
        let range = self.range(offset, bytes);
        &mut self.words[range]
    }
}

impl Verified {
    /// Of several peers.
    pub(super) fn merge(&mut self, other: Verified) {
        self.in_run += other.in_run;
        self.not_owed += other.not_owed;
        self.at_end += other.at_end;
        self.journalled += other.journalled;
        self.left_out += other.left_out;
    }
}

impl Mismatch {
    /// For the operator.
    pub(super) fn sentence(&self, paths: &[PathBuf]) -> String {
        let path = |device: u32| paths.get(device as usize).map_or(Path::new("another device"), |path| path).display();
        let owed = self.owed;
        let found = match self.found {
            Found::Written(stamp) => {
                let back = owed.wrapping_sub(stamp) & STAMP_MAX;
                match back > STAMP_MAX / 2 {
                    true => format!("write {stamp}, which is a later one than was asked for"),
                    false => format!("write {stamp}, which is older by {back}: the later one is lost"),
                }
            }
            Found::Zeroes => "zeroes".to_owned(),
            Found::Foreign => "bytes that no verified write has made".to_owned(),
            Found::OtherRun(run) => format!("what run {run:#x} has written, another run or one with another seed"),
            Found::Elsewhere { device, offset } => {
                format!("what was written to byte {offset} of {}: it went to the wrong place", path(device))
            }
            Found::Damaged => "a sector whose checksum does not fit: it was damaged".to_owned(),
        };
        let torn =
            if self.torn { "; other sectors of the same block are right: it is torn or damaged in part" } else { "" };
        format!(
            "{} at byte {}: write {owed} of its block is owed, and it holds {found}{torn}",
            path(self.file),
            self.offset
        )
    }
}

/// What is wrong with a block that must show this write.
fn compare(writer: Writer, offset: u64, owed: Stamp, block: &[u8]) -> Option<Mismatch> {
    let sectors = || (offset..).step_by(SECTOR).zip(block.as_chunks::<SECTOR>().0);
    let right = |(at, sector): &(u64, &[u8; SECTOR])| writer.judge(*at, sector) == Found::Written(owed);
    let (at, wrong) = sectors().find(|sector| !right(sector))?;
    let torn = sectors().any(|sector| right(&sector));
    Some(Mismatch { file: writer.device, offset: at, owed, found: writer.judge(at, wrong), torn })
}

/// All blocks that requests at these places reach.
fn blocks(places: Places, largest: u32) -> usize {
    let behind = (u64::from(largest) / places.step).saturating_sub(1);
    usize::try_from(places.count + behind).unwrap_or(usize::MAX)
}

/// Nothing is owed.
const VOID: u32 = 1 << 31;
/// A request is in flight.
const BUSY: u32 = 1 << 30;
const _: () = assert!(STAMP_MAX & (VOID | BUSY) == 0);

#[cfg(test)]
mod tests {
    use bireme_dataplane::port::TrimWay;

    use super::*;

    const PLACES: Places = Places { start: 1 << 20, step: 4096, count: 10 };
    const AT: u64 = (1 << 20) + 8192;

    fn part(file: u16, places: Places) -> Part {
        Part { file, places, trim: TrimWay::PunchHole }
    }

    fn checks() -> Checks {
        Checks::new(9, 16384, &[part(3, PLACES)], None)
    }

    /// Writes a block and returns what was sent to the device.
    fn write(checks: &mut Checks, offset: u64, bytes: u32) -> Vec<u8> {
        let mut buffer = vec![0; bytes as usize];
        assert!(checks.claim(0, offset, bytes));
        checks.write(0, offset, &mut buffer);
        checks.release(0, offset, bytes);
        buffer
    }

    #[test]
    fn what_was_written_last_is_right_and_all_else_is_named() {
        let mut checks = checks();
        let first = write(&mut checks, AT, 4096);
        assert!(checks.read(0, AT, &first, false));
        let second = write(&mut checks, AT, 4096);
        assert!(checks.read(0, AT, &second, true));
        let other = write(&mut checks, AT + 4096, 4096);
        let torn: Vec<u8> = [&second[..1024], &first[1024..]].concat();
        let mut flipped = second.clone();
        flipped[700] ^= 4;
        #[rustfmt::skip]
        let cases = [
            (first, 0, "is older by 1", false),
            (vec![0; 4096], 0, "zeroes", false),
            (vec![7; 4096], 0, "no verified write", false),
            (other, 0, "written to byte 1060864 of /c", false),
            (torn, 1024, "is older by 1", true),
            (flipped, 512, "checksum does not fit", true),
        ];
        let paths: Vec<PathBuf> = ["/x", "/y", "/z", "/c"].map(PathBuf::from).into();
        for (shown, at, want, torn) in cases {
            checks.mismatch = None;
            assert!(!checks.read(0, AT, &shown, false), "{want}");
            let mismatch = checks.mismatch().expect("told");
            assert_eq!((mismatch.offset, mismatch.owed, mismatch.torn), (AT + at, 2, torn), "{want}");
            let sentence = mismatch.sentence(&paths);
            assert!(sentence.starts_with(&format!("/c at byte {}", AT + at)) && sentence.contains(want), "{sentence}");
        }
        assert_eq!((checks.counts.in_run, checks.counts.at_end, checks.counts.not_owed), (1, 1, 0));
    }

    #[test]
    fn a_block_is_claimed_once_and_a_trimmed_one_owes_nothing() {
        let mut checks = checks();
        assert!(checks.claim(0, AT, 8192));
        assert!(!checks.claim(0, AT + 4096, 4096) && !checks.claim(0, AT - 4096, 16384));
        assert!(checks.claim(0, AT + 8192, 4096), "beside it");
        checks.release(0, AT, 8192);
        assert!(checks.claim(0, AT + 4096, 4096));
        checks.release(0, AT + 4096, 4096);

        assert!(checks.read(0, AT, &[1; 4096], false), "never written");
        write(&mut checks, AT, 4096);
        checks.trim(0, AT, 4096);
        assert!(checks.read(0, AT, &[1; 4096], false), "trimmed");
        let again = write(&mut checks, AT, 4096);
        assert_eq!(checks.tables[0].writer.judge(AT, &again.as_chunks().0[0]), Found::Written(2), "stamps go on");
        assert_eq!(checks.counts.not_owed, 2);
    }

    #[test]
    fn all_that_is_owed_is_read_back_once() {
        let two = Places { start: 0, step: 4096, count: 4 };
        let parts = [part(0, two), part(1, two)];
        let mut checks = Checks::new(9, 4096, &parts, None);
        assert_eq!(Checks::bytes(&parts, 8192), 40);
        for (target, offset) in [(0, 12288), (1, 0), (1, 8192)] {
            assert!(checks.claim(target, offset, 4096));
            checks.write(target, offset, &mut [0; 4096]);
        }
        let all: Vec<_> = std::iter::from_fn(|| checks.next_owed()).collect();
        assert_eq!(all, [(0, 12288, 4096), (1, 0, 4096), (1, 8192, 4096)]);
    }
}
