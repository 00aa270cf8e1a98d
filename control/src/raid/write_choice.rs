//! How a change of some blocks of a unit is written: what to read first, and what to write.
//!
//! A change is cut into row ranges: runs of 4 KiB block rows in which the same members change ([`row_ranges`]).
//!
//! ```text
//!                  member 0   member 1   P          change of blocks 2..4 of member 0 and 3..5 of member 1
//!   block row 2    new                   .          2..3 {0}
//!   block row 3    new        new        .          3..4 {0, 1}
//!   block row 4               new        .          4..5 {1}
//! ```
//!
//! Each range is then chosen for on its own ([`choose`]). With k data members, m of them changed, and π parities that
//! are not lost:
//!
//! - All changed: nothing need be read.
//! - No parity left: nothing depends on the rest; write the changed members that are not lost.
//! - *Read-modify-write* adds the difference of new and old data to the old parities. It reads m + π blocks and needs
//!   the old data of all changed members: it cannot be had where one of them is lost.
//! - *Reconstruct-write* computes the parities from all data. It reads the k - m others, none of which may be lost.
//! - Where neither can be had, or both read more, reconstruct-write first recovers the lost data from all that is left:
//!   k blocks, with as many parities among them as data members are lost. This is where a changed and an unchanged
//!   member are lost, and where a level with two parities changes all but the lost member.
//!
//! The fewest blocks win, and read-modify-write wins a tie. Levels of copies write every copy and read nothing.

use std::ops::Range;

use super::geometry::Geometry;
use super::members::Members;

/// How the parities of a row range come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the new data alone: all of it is new.
    FullStripe,
    /// From the old parities and the difference of old and new data.
    ReadModifyWrite,
    /// From the new data and that of the other members.
    ReconstructWrite,
    /// There are none, or they are lost.
    PlainWrite,
}

/// What to do for one row range; all sets are members, whose blocks lie in the unit's places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How the parities come about.
    pub way: Way,
    /// Whose blocks are read before anything is written.
    pub read: Members,
    /// Whose blocks are written.
    pub write: Members,
}

/// The way to write a range in which the blocks of `changed` are new; `None` when `lost` is more than the unit survives.
///
/// At a level of copies a unit is one chunk, and `changed` is any of its members.
///
/// # Panics
/// When nothing of the unit changes, or a member that does not hold data of it.
pub fn choose(geometry: &Geometry, unit: u64, changed: Members, lost: Members) -> Option<Choice> {
    let all = geometry.unit_members(unit);
    let parities = [geometry.p(unit), geometry.q(unit)].map(|place| place.map(|place| place.member));
    let data = all - parities.into_iter().flatten().collect();
    assert!(!changed.is_empty() && (changed - data).is_empty(), "a change is of data members of its unit");
    if geometry.parities() == 0 {
        let write = all - lost;
        return (!write.is_empty()).then_some(Choice { way: Way::PlainWrite, read: Members::NONE, write });
    }
    let lost_data = data & lost;
    let left = || parities.into_iter().flatten().filter(|&member| !lost.contains(member));
    let parity: Members = left().collect();
    if lost_data.count() > parity.count() {
        return None;
    }
    let others = data - changed;
    let helpers: Members = left().zip(lost_data.iter()).map(|(helper, _)| helper).collect();
    let ways = [
        (Way::PlainWrite, Members::NONE, parity.is_empty()),
        (Way::FullStripe, Members::NONE, others.is_empty()),
        (Way::ReadModifyWrite, changed | parity, (changed & lost).is_empty()),
        (Way::ReconstructWrite, others, (others & lost).is_empty()),
        (Way::ReconstructWrite, (data - lost) | helpers, true),
    ];
    // The first of the smallest: the order above decides a tie.
    let possible = ways.into_iter().filter(|&(.., possible)| possible);
    let (way, read, _) = possible.min_by_key(|(_, read, _)| read.count())?;
    Some(Choice { way, read, write: (changed - lost) | parity })
}

/// New blocks of one member's chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The member.
    pub member: u16,
    /// Which blocks of the chunk, counted from its start.
    pub blocks: Range<u32>,
}

/// The row ranges of a change in order, each with the members that change in it. Pieces may come in any order and
/// overlap.
pub fn row_ranges(pieces: &[Piece]) -> impl Iterator<Item = (Range<u32>, Members)> {
    let changed_at = |row: u32| -> Members {
        pieces.iter().filter(|piece| piece.blocks.contains(&row)).map(|piece| piece.member).collect()
    };
    let border_after = move |row: Option<u32>| {
        let borders = pieces.iter().flat_map(|piece| [piece.blocks.start, piece.blocks.end]);
        borders.filter(|&border| row.is_none_or(|row| border > row)).min()
    };
    let mut next = border_after(None);
    std::iter::from_fn(move || {
        while let Some(start) = next {
            let changed = changed_at(start);
            next = border_after(Some(start));
            while let Some(border) = next.filter(|&border| changed_at(border) == changed) {
                next = border_after(Some(border));
            }
            if let Some(end) = next.filter(|_| !changed.is_empty()) {
                return Some((start..end, changed));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests;
