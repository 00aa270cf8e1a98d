//! The pure mapping from chunks to members and rows, and back: Linux md's bytes.
//!
//! A *row* is one chunk of every member, at the same height. A *unit* is the smallest run of data chunks with redundancy
//! of its own; its chunks, copies and parities all lie on different members. A *stripe* is the smallest run of whole
//! rows that holds whole units: one row, but two where pairs of copies meet an odd number of members.
//!
//! ```text
//!   RAID 10 over 3                RAID 5 over 3                 RAID 50 over 6 in 2 groups
//!   row 0   0   0   1             row 0   0   1   P             row 0   0   1   P  |  2   3   P
//!   row 1   1   2   2             row 1   3   P   2             row 1   5   P   4  |  7   P   6
//!   unit: a chunk and its copy    unit: k chunks and parities   unit: k chunks and parities of one group
//!   stripe: 3 chunks in 2 rows    stripe: 2 chunks in a row     stripe: 4 chunks in a row
//! ```
//!
//! - Levels 0, 1 and 10 have 1, n and 2 copies: copy r of chunk i is number x = copies * i + r, on member x mod n, in
//!   row x div n.
//! - Levels 5 and 6 are left-symmetric: in row s, P lies on p = (n - 1) - (s mod n), Q on p + 1, and data chunk j on
//!   p + parities + j, all mod n. Q is the sum of g^j times chunk j.
//! - Levels 50 and 60 deal their units to groups in turn, and each group is a level 5 or 6. A unit has all its data in
//!   one contiguous run of the array, so it is still one whole write.
//!
//! Chunks and rows count from the start of an array. A frame holds whole stripes, so a page of a data set is rounded up
//! and the rest is zero; the chunks of frame f begin with `f * frame_chunks()`. A device has less than 2^64 bytes and a
//! chunk at least 4 KiB, so no product in here overflows.

use serde::{Deserialize, Serialize};

pub use super::level::Level;
use super::members::Members;

/// The shape of one array: level, members, chunk and page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    level: Level,
    members: u16,
    chunk_bytes: u32,
    page_bytes: u32,
}

/// A place in an array: one chunk of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which member of the array.
    pub member: u16,
    /// Which row of the array.
    pub row: u64,
}

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Data: the chunk itself, or as good a copy of it.
    Chunk {
        /// Which chunk of the array.
        chunk: u64,
        /// Which of its copies, from 0.
        copy: u16,
    },
    /// The sum of a unit's chunks.
    P {
        /// Which unit of the array.
        unit: u64,
    },
    /// The sum of a unit's chunks, each times its power of g.
    Q {
        /// Which unit of the array.
        unit: u64,
    },
}

impl Geometry {
    /// A shape whose figures were checked.
    pub fn new(level: Level, members: usize, chunk_bytes: u64, page_bytes: u64) -> Result<Geometry, GeometryError> {
        let count = u16::try_from(members).ok().filter(|n| (1..=MEMBERS_MAX).contains(n));
        let count = count.ok_or(GeometryError::Members(members))?;
        check_groups(level, count)?;
        let chunk = whole_blocks(chunk_bytes, CHUNK_BYTES_MAX).ok_or(GeometryError::Chunk(chunk_bytes))?;
        let page = whole_blocks(page_bytes, PAGE_BYTES_MAX).ok_or(GeometryError::Page(page_bytes))?;
        let geometry = Geometry { level, members: count, chunk_bytes: chunk, page_bytes: page };
        let chunks = u64::from(count) * u64::from(geometry.stripe_rows());
        if u64::from(chunk) * chunks > u64::from(PAGE_BYTES_MAX) {
            return Err(GeometryError::Stripe { chunks, chunk: chunk_bytes });
        }
        Ok(geometry)
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// How many devices.
    pub fn members(&self) -> u16 {
        self.members
    }

    /// Bytes of one chunk.
    pub fn chunk_bytes(&self) -> u32 {
        self.chunk_bytes
    }

    /// Bytes of one page of a data set.
    pub fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// Groups of members with parities of their own.
    pub fn groups(&self) -> u16 {
        self.level.groups()
    }

    /// How many devices a group has.
    pub fn group_members(&self) -> u16 {
        self.members / self.groups()
    }

    /// Parity chunks of a unit.
    pub fn parities(&self) -> u16 {
        self.level.parities()
    }

    /// How often a data chunk is stored.
    pub fn copies(&self) -> u16 {
        match self.level {
            Level::Raid1 => self.members,
            Level::Raid10 => 2,
            _ => 1,
        }
    }

    /// Data chunks of a unit: the k of a level with parity, and 1 otherwise.
    pub fn unit_chunks(&self) -> u16 {
        if self.parities() == 0 { 1 } else { self.group_members() - self.parities() }
    }

    /// Rows of a stripe.
    pub fn stripe_rows(&self) -> u32 {
        stripe(self.level, self.members).rows
    }

    /// Data chunks of a stripe.
    pub fn stripe_chunks(&self) -> u32 {
        stripe(self.level, self.members).chunks
    }

    /// Bytes of data of one stripe.
    pub fn stripe_bytes(&self) -> u32 {
        self.chunk_bytes * self.stripe_chunks()
    }

    /// Rows of one frame: those of the stripes that hold a whole page.
    pub fn frame_rows(&self) -> u32 {
        self.frame_stripes() * self.stripe_rows()
    }

    /// Data chunks of one frame.
    pub fn frame_chunks(&self) -> u32 {
        self.frame_stripes() * self.stripe_chunks()
    }

    /// Bytes of a frame on each member.
    pub fn frame_member_bytes(&self) -> u32 {
        self.frame_rows() * self.chunk_bytes
    }

    /// The unit that a chunk belongs to.
    pub fn unit_of(&self, chunk: u64) -> u64 {
        chunk / u64::from(self.unit_chunks())
    }

    /// The power of g that a chunk has in the Q of its unit.
    pub fn exponent(&self, chunk: u64) -> u16 {
        rest(chunk, self.unit_chunks())
    }

    /// Where a copy of a chunk lies.
    ///
    /// # Panics
    /// When the level keeps fewer copies.
    pub fn place(&self, chunk: u64, copy: u16) -> Place {
        assert!(copy < self.copies(), "{} has no copy {copy}", self.level);
        if self.parities() > 0 {
            return self.in_unit(self.unit_of(chunk), self.parities() + self.exponent(chunk));
        }
        let number = chunk * u64::from(self.copies()) + u64::from(copy);
        Place { member: rest(number, self.members), row: number / u64::from(self.members) }
    }

    /// Where the P of a unit lies, if the level has one.
    pub fn p(&self, unit: u64) -> Option<Place> {
        (self.parities() >= 1).then(|| self.in_unit(unit, 0))
    }

    /// Where the Q of a unit lies, if the level has one.
    pub fn q(&self, unit: u64) -> Option<Place> {
        (self.parities() == 2).then(|| self.in_unit(unit, 1))
    }

    /// What lies at a place.
    ///
    /// # Panics
    /// When there is no such member.
    pub fn content(&self, place: Place) -> Content {
        let Place { member, row } = place;
        assert!(member < self.members, "an array of {} has no member {member}", self.members);
        if self.parities() == 0 {
            let number = row * u64::from(self.members) + u64::from(member);
            return Content::Chunk { chunk: number / u64::from(self.copies()), copy: rest(number, self.copies()) };
        }
        let members = self.group_members();
        let unit = row * u64::from(self.groups()) + u64::from(member / members);
        let after_p = (member % members + members - self.p_in_group(row)) % members;
        match after_p.checked_sub(self.parities()) {
            Some(data) => Content::Chunk { chunk: unit * u64::from(self.unit_chunks()) + u64::from(data), copy: 0 },
            None if after_p == 0 => Content::P { unit },
            None => Content::Q { unit },
        }
    }

    /// The members that a unit lies on, with its copies or parities.
    pub fn unit_members(&self, unit: u64) -> Members {
        if self.parities() == 0 {
            return (0..self.copies()).map(|copy| self.place(unit, copy).member).collect();
        }
        let first = rest(unit, self.groups()) * self.group_members();
        (first..first + self.group_members()).collect()
    }

    /// Whether all data can still be had without these members. Members that the array does not have are not missed.
    pub fn survives(&self, lost: &[u16]) -> bool {
        let lost: Members = lost.iter().copied().filter(|&member| member < self.members).collect();
        let redundancy = if self.parities() > 0 { self.parities() } else { self.copies() - 1 };
        // Rows of an array repeat a stripe's pattern of which members share a unit.
        (0..u64::from(self.stripe_chunks() / u32::from(self.unit_chunks())))
            .all(|unit| (self.unit_members(unit) & lost).count() <= u32::from(redundancy))
    }

    fn frame_stripes(&self) -> u32 {
        self.page_bytes.div_ceil(self.stripe_bytes())
    }

    /// The place so far after the P of a unit of a level with parity.
    fn in_unit(&self, unit: u64, after_p: u16) -> Place {
        let (members, groups) = (self.group_members(), self.groups());
        let row = unit / u64::from(groups);
        let within = (self.p_in_group(row) + after_p) % members;
        Place { member: rest(unit, groups) * members + within, row }
    }

    fn p_in_group(&self, row: u64) -> u16 {
        self.group_members() - 1 - rest(row, self.group_members())
    }
}

/// The largest power of two up to 64 KiB that pads a page of `page_bytes` by at most 4 %; 4 KiB when none does.
pub fn default_chunk(level: Level, members: usize, page_bytes: u64) -> u64 {
    let members = u16::try_from(members).unwrap_or(MEMBERS_MAX).clamp(1, MEMBERS_MAX);
    // A shape that will be refused has no stripe; any chunk serves it.
    let chunks = check_groups(level, members).map_or(1, |()| u64::from(stripe(level, members).chunks));
    let padding = |stripe: u64| (stripe - page_bytes % stripe) % stripe;
    let fits = |&chunk: &u64| padding(chunk * chunks) * 25 <= page_bytes;
    [64 << 10, 32 << 10, 16 << 10, 8 << 10].into_iter().find(fits).unwrap_or(BLOCK_BYTES)
}

/// Why a shape cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// No members, or more than [`MEMBERS_MAX`].
    #[error("{0} devices cannot form an array: name 1 to {MEMBERS_MAX}")]
    Members(usize),
    /// Fewer members than the level needs.
    #[error("{level} needs at least {need} devices{}, and {have} were named: name more, or choose another level",
        in_groups(*level))]
    TooFew {
        /// The level.
        level: Level,
        /// The fewest.
        need: u32,
        /// How many there are.
        have: u16,
    },
    /// Groups of different sizes.
    #[error("{members} devices cannot be dealt to {groups} groups of one size: name a multiple of {groups}")]
    Uneven {
        /// How many members.
        members: u16,
        /// How many groups.
        groups: u16,
    },
    /// A level of groups with fewer than two.
    #[error("{level} stripes over groups, and {groups} cannot be striped over: choose 2 or more")]
    Groups {
        /// The level.
        level: Level,
        /// How many groups.
        groups: u16,
    },
    /// The chunk is no multiple of a block, or too large.
    #[error("a chunk of {0} bytes cannot be used: choose a multiple of 4 KiB, at most 16 MiB")]
    Chunk(u64),
    /// The page is no multiple of a block, or too large.
    #[error("a page of {0} bytes cannot be used: choose a multiple of 4 KiB, at most 64 MiB")]
    Page(u64),
    /// A stripe does not fit into the largest frame.
    #[error("{chunks} chunks of {chunk} bytes make a stripe of more than 64 MiB: choose a smaller --chunk")]
    Stripe {
        /// How many chunks, parities and copies included.
        chunks: u64,
        /// Bytes of a chunk.
        chunk: u64,
    },
}

fn in_groups(level: Level) -> String {
    match level {
        Level::Raid50 { groups } | Level::Raid60 { groups } => format!(" for {groups} groups"),
        _ => String::new(),
    }
}

fn check_groups(level: Level, members: u16) -> Result<(), GeometryError> {
    let groups = level.groups();
    if matches!(level, Level::Raid50 { .. } | Level::Raid60 { .. }) && groups < 2 {
        return Err(GeometryError::Groups { level, groups });
    }
    let need = u32::from(level.group_members_min()) * u32::from(groups);
    if u32::from(members) < need {
        return Err(GeometryError::TooFew { level, need, have: members });
    }
    if members.is_multiple_of(groups) { Ok(()) } else { Err(GeometryError::Uneven { members, groups }) }
}

/// Rows and data chunks of a stripe.
struct Stripe {
    rows: u32,
    chunks: u32,
}

fn stripe(level: Level, members: u16) -> Stripe {
    let members = u32::from(members);
    let data = members - u32::from(level.parities()) * u32::from(level.groups());
    match level {
        Level::Raid1 => Stripe { rows: 1, chunks: 1 },
        Level::Raid10 if members.is_multiple_of(2) => Stripe { rows: 1, chunks: members / 2 },
        Level::Raid10 => Stripe { rows: 2, chunks: members },
        _ => Stripe { rows: 1, chunks: data },
    }
}

fn whole_blocks(bytes: u64, most: u32) -> Option<u32> {
    let bytes = u32::try_from(bytes).ok()?;
    (bytes > 0 && bytes <= most && u64::from(bytes).is_multiple_of(BLOCK_BYTES)).then_some(bytes)
}

fn rest(number: u64, divisor: u16) -> u16 {
    u16::try_from(number % u64::from(divisor)).expect("a remainder is smaller than its divisor, a u16")
}

/// The unit of checksums, and the alignment of everything on a device.
pub const BLOCK_BYTES: u64 = 4096;
/// The most members of one array.
pub const MEMBERS_MAX: u16 = 64;
const CHUNK_BYTES_MAX: u32 = 16 << 20;
const PAGE_BYTES_MAX: u32 = 64 << 20;

#[cfg(test)]
mod tests;
