//! The pieces of operations under way: each is a change, a read or a check of some rows of one unit, and locks them.
//!
//! ```text
//!   Locked ─▶ Leaves ─▶ Gather ─▶ Heal ────────────────────────────────────────────────────▶ free    a read
//!                          └────▶ Record ─▶ Recorded ─▶ InPlace ─▶ Written ────────────────▶ free    a write with a log
//!                          └────▶ Intent ─────────────▶ InPlace ─▶ Written ────────────────▶ free    a write with a bitmap
//! ```
//!
//! Rows are locked in the order in which pieces were made; reads share them. A piece holds its lock until its blocks are
//! durable in place, so that no two records of one row ever matter at the same time.

use bireme_control::raid::members::Members;
use bireme_control::raid::write_choice::Way;

use super::lane::Room;
use crate::message::Failure;

/// What is done with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Some data is wanted.
    Read,
    /// Some data is new.
    Write,
    /// Everything is read, and healed.
    Scrub,
    /// What some members lack is computed and written.
    Rebuild,
}

/// What a piece waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its rows.
    Locked,
    /// The leaves of its page.
    Leaves,
    /// Blocks that are read.
    Gather,
    /// Blocks that are healed.
    Heal,
    /// Room in the log, or the record to be written.
    Record,
    /// The record to be durable.
    Recorded,
    /// The bit of its region to be durable.
    Intent,
    /// Zeros to be written where nothing was, to be durable, to have their leaves, and these to be durable.
    Clear,
    Zeroed,
    Marked,
    Marking,
    /// The blocks to be written.
    InPlace,
    /// The blocks to be durable.
    Written,
}

impl Stage {
    /// Whether the region of the piece was announced, where there is no log.
    pub(super) fn is_announced(self) -> bool {
        use Stage::{Clear, InPlace, Marked, Marking, Written, Zeroed};
        matches!(self, Clear | Zeroed | Marked | Marking | InPlace | Written)
    }
}

/// One piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Rises with each piece.
    pub(super) ticket: u64,
    pub(super) kind: Kind,
    /// Whose piece.
    pub(super) operation: u16,
    /// The operation knows what became of it.
    pub(super) answered: bool,
    pub(super) fua: bool,
    pub(super) page: u64,
    pub(super) frame: u64,
    pub(super) unit: u64,
    /// The first row, as a block of the chunk.
    pub(super) row: u32,
    pub(super) rows: u32,
    /// Members whose data is wanted, or new, or lacking.
    pub(super) members: Members,
    pub(super) stage: Stage,
    /// Requests that have not been answered.
    pub(super) outstanding: u16,
    /// Where the leaves of its page are, pinned.
    pub(super) entry: Option<u16>,
    pub(super) gather: Gather,
    pub(super) change: Change,
}

/// What is known of the blocks that are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gather {
    /// Members whose blocks must be known.
    pub(super) want: Members,
    /// Members that nothing was or will be asked of.
    pub(super) gone: Members,
    /// Members whose blocks were asked for.
    pub(super) asked: Members,
    /// Members whose blocks were compared with their leaves.
    pub(super) checked: Members,
    /// Members whose blocks are to be written again.
    pub(super) heal: Members,
    /// A bit for each row whose leaves do not agree.
    pub(super) suspect: u16,
    /// By shard, a bit for each row whose block is not what was written.
    pub(super) bad: [u16; SHARDS_MAX],
    /// The first thing that went wrong.
    pub(super) failure: Option<Failure>,
}

/// How a change is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) way: Way,
    /// Members whose blocks are written.
    pub(super) write: Members,
    /// Those of them that hold parity.
    pub(super) parities: Members,
    /// Members that the record lies on.
    pub(super) mirrors: Members,
    /// Members that should have been written to, and were not.
    pub(super) skipped: Members,
    /// Writes up to this tick must be durable.
    pub(super) tick: u64,
    /// Where the record lies.
    pub(super) room: Option<Room>,
    /// How far a page is cleared: a unit of it, and a row.
    pub(super) cursor: (u64, u32),
    /// Whether the new parities are known.
    pub(super) computed: bool,
    /// Whether the requests of this stage were made.
    pub(super) begun: bool,
}

impl Work {
    /// Of the rows `row .. row + rows`, waiting for its lock.
    pub(super) fn new(kind: Kind, operation: u16, page: u64, rows: Rows) -> Work {
        let none = Members::NONE;
        Work {
            ticket: 0,
            kind,
            operation,
            answered: false,
            fua: false,
            page,
            frame: rows.frame,
            unit: rows.unit,
            row: rows.row,
            rows: rows.rows,
            members: rows.members,
            stage: Stage::Locked,
            outstanding: 0,
            entry: None,
            gather: Gather {
                want: none,
                gone: none,
                asked: none,
                checked: none,
                heal: none,
                suspect: 0,
                bad: [0; SHARDS_MAX],
                failure: None,
            },
            change: Change {
                way: Way::PlainWrite,
                write: none,
                parities: none,
                mirrors: none,
                skipped: none,
                tick: 0,
                room: None,
                cursor: (0, 0),
                computed: false,
                begun: false,
            },
        }
    }

    /// Whether both want some rows, and one of them changes them.
    fn conflicts(&self, other: &Work) -> bool {
        let overlap = self.row < other.row + other.rows && other.row < self.row + self.rows;
        self.unit == other.unit && overlap && !(self.kind == Kind::Read && other.kind == Kind::Read)
    }
}

/// Some rows of a unit, and some of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) frame: u64,
    pub(super) unit: u64,
    pub(super) row: u32,
    pub(super) rows: u32,
    pub(super) members: Members,
}

/// All pieces of a home.
#[derive(Debug)]
pub(super) struct Works {
    works: Box<[Option<Work>]>,
    free: Vec<u16>,
    tickets: u64,
}

impl Works {
    pub(super) fn new(count: u16) -> Works {
        Works { works: vec![None; usize::from(count)].into_boxed_slice(), free: (0..count).rev().collect(), tickets: 0 }
    }

    /// Takes up a piece.
    ///
    /// # Panics
    /// When there is no room.
    pub(super) fn begin(&mut self, work: Work) {
        let index = self.free.pop().expect("whoever makes a piece has looked for room");
        self.tickets += 1;
        self.works[usize::from(index)] = Some(Work { ticket: self.tickets, ..work });
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.works.len()).expect("counted with 16 bits")
    }

    /// A piece under way.
    pub(super) fn at(&mut self, index: u16) -> &mut Work {
        self.works[usize::from(index)].as_mut().expect("only pieces under way are named")
    }

    /// The same, if there is one.
    pub(super) fn find(&self, index: u16) -> Option<&Work> {
        self.works[usize::from(index)].as_ref()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Work> {
        self.works.iter().flatten()
    }

    /// Ends a piece and unlocks its rows.
    pub(super) fn end(&mut self, index: u16) -> Work {
        self.free.push(index);
        self.works[usize::from(index)].take().expect("only pieces under way are ended")
    }

    /// Whether a piece must wait for one that was made before it.
    pub(super) fn is_blocked(&self, index: u16) -> bool {
        let Some(work) = self.find(index) else { return false };
        self.all().any(|other| other.ticket < work.ticket && other.conflicts(work))
    }

    /// Whether a piece that was made before it waits for room in the log.
    pub(super) fn overtakes_for_room(&self, index: u16) -> bool {
        let Some(work) = self.find(index) else { return false };
        let waits = |other: &Work| other.stage == Stage::Record && other.change.computed && !other.change.begun;
        self.all().any(|other| other.ticket < work.ticket && waits(other))
    }

    /// The last ticket that was given.
    pub(super) fn last_ticket(&self) -> u64 {
        self.tickets
    }
}

pub(super) const SHARDS_MAX: usize = bireme_control::raid::geometry::MEMBERS_MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    fn work(kind: Kind, unit: u64, row: u32, rows: u32) -> Work {
        Work::new(kind, 0, 0, Rows { frame: 0, unit, row, rows, members: Members::NONE })
    }

    #[test]
    fn rows_are_locked_in_order_and_shared_by_reads() {
        let mut works = Works::new(6);
        for piece in [
            work(Kind::Read, 5, 0, 4),
            work(Kind::Read, 5, 2, 4),
            work(Kind::Write, 5, 3, 1),
            work(Kind::Read, 5, 3, 1),
            work(Kind::Write, 5, 6, 1),
            work(Kind::Write, 6, 0, 8),
        ] {
            works.begin(piece);
        }
        let blocked = |works: &Works| (0..6).filter(|&index| works.is_blocked(index)).collect::<Vec<_>>();
        assert_eq!(blocked(&works), [2, 3], "the write waits for both reads, the read behind it for the write");
        works.end(0);
        assert_eq!(blocked(&works), [2, 3]);
        works.end(1);
        assert_eq!(blocked(&works), [3]);
        works.begin(work(Kind::Write, 5, 3, 1));
        works.end(2);
        assert_eq!(blocked(&works), [1], "who came later waits longer, in whatever place");
        assert!(works.has_room());
    }
}
