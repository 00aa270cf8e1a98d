//! The pure mapping from the chunks of a frame to members and rows.
//!
//! Level 0 is Linux md's: chunk i lies on member i mod n, in row i div n. A frame holds whole rows, so a page of a
//! data set is rounded up to whole stripes, and the rest is zero.
//!
//! ```text
//!             member 0   member 1   member 2
//!   row 0     chunk 0    chunk 1    chunk 2      one stripe
//!   row 1     chunk 3    chunk 4    chunk 5
//! ```

use serde::{Deserialize, Serialize};

/// How chunks are laid over the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Striping without redundancy.
    Raid0,
}

/// The shape of one array: level, members, chunk and page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    level: Level,
    members: u16,
    chunk_bytes: u32,
    page_bytes: u32,
}

/// Why a shape cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// No members, or more than [`MEMBERS_MAX`].
    #[error("{0} devices cannot form an array: name 1 to {MEMBERS_MAX}")]
    Members(usize),
    /// The chunk is no multiple of a block, or too large.
    #[error("a chunk of {0} bytes cannot be used: choose a multiple of 4 KiB, at most 16 MiB")]
    Chunk(u64),
    /// The page is no multiple of a block, or too large.
    #[error("a page of {0} bytes cannot be used: choose a multiple of 4 KiB, at most 64 MiB")]
    Page(u64),
    /// A stripe does not fit into the largest frame.
    #[error("{members} chunks of {chunk} bytes make a stripe of more than 64 MiB: choose a smaller --chunk")]
    Stripe {
        /// How many members.
        members: usize,
        /// Bytes of a chunk.
        chunk: u64,
    },
}

impl Geometry {
    /// A shape whose figures were checked.
    pub fn new(level: Level, members: usize, chunk_bytes: u64, page_bytes: u64) -> Result<Geometry, GeometryError> {
        let count = u16::try_from(members).ok().filter(|n| (1..=MEMBERS_MAX).contains(n));
        let count = count.ok_or(GeometryError::Members(members))?;
        let chunk = whole_blocks(chunk_bytes, CHUNK_BYTES_MAX).ok_or(GeometryError::Chunk(chunk_bytes))?;
        let page = whole_blocks(page_bytes, PAGE_BYTES_MAX).ok_or(GeometryError::Page(page_bytes))?;
        if u64::from(chunk) * u64::from(count) > u64::from(PAGE_BYTES_MAX) {
            return Err(GeometryError::Stripe { members, chunk: chunk_bytes });
        }
        Ok(Geometry { level, members: count, chunk_bytes: chunk, page_bytes: page })
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

    /// Bytes of one stripe: one chunk of every member.
    pub fn stripe_bytes(&self) -> u32 {
        self.chunk_bytes * u32::from(self.members)
    }

    /// Stripes of one frame: those that hold a whole page.
    pub fn frame_rows(&self) -> u32 {
        self.page_bytes.div_ceil(self.stripe_bytes())
    }

    /// Bytes of a frame on each member.
    pub fn frame_member_bytes(&self) -> u32 {
        self.frame_rows() * self.chunk_bytes
    }

    /// Where a chunk of a frame lies.
    pub fn place(&self, chunk: u32) -> Place {
        let members = u32::from(self.members);
        let member = u16::try_from(chunk % members).expect("a remainder is smaller than its divisor, a u16");
        Place { member, row: chunk / members }
    }
}

/// The largest power of two up to 64 KiB that pads a page of `page_bytes` over `members` by at most 4 %; 4 KiB when
/// none does.
pub fn default_chunk(members: usize, page_bytes: u64) -> u64 {
    let members = members.max(1) as u64;
    let padded = |chunk: u64| page_bytes.div_ceil(chunk * members) * chunk * members;
    let fits = |&chunk: &u64| (padded(chunk) - page_bytes) * 25 <= page_bytes;
    [64 << 10, 32 << 10, 16 << 10, 8 << 10].into_iter().find(fits).unwrap_or(BLOCK_BYTES)
}

/// A chunk's place in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which member of the array.
    pub member: u16,
    /// Which row of the frame.
    pub row: u32,
}

fn whole_blocks(bytes: u64, most: u32) -> Option<u32> {
    let bytes = u32::try_from(bytes).ok()?;
    (bytes > 0 && bytes <= most && u64::from(bytes).is_multiple_of(BLOCK_BYTES)).then_some(bytes)
}

/// The unit of checksums, and the alignment of everything on a device.
pub const BLOCK_BYTES: u64 = 4096;
/// The most members of one array.
pub const MEMBERS_MAX: u16 = 64;
const CHUNK_BYTES_MAX: u32 = 16 << 20;
const PAGE_BYTES_MAX: u32 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_0_is_a_bijection_onto_members_and_rows() {
        for members in [1usize, 2, 3, 5, 64] {
            let geometry = Geometry::new(Level::Raid0, members, 65536, 4 << 20).expect("a usable shape");
            let chunks = geometry.frame_rows() * u32::from(geometry.members());
            let mut seen = std::collections::BTreeSet::new();
            for chunk in 0..chunks {
                let place = geometry.place(chunk);
                assert!(place.member < geometry.members() && place.row < geometry.frame_rows());
                assert!(seen.insert((place.member, place.row)), "chunk {chunk} shares its place");
                assert_eq!(place.row * u32::from(geometry.members()) + u32::from(place.member), chunk);
            }
        }
    }

    #[test]
    fn the_default_chunk_pads_little() {
        #[rustfmt::skip]
        let cases = [
            // members, page, chunk
            (1, 4 << 20, 65536), (2, 4 << 20, 65536), (4, 4 << 20, 65536),
            (3, 4 << 20, 65536), (5, 4 << 20, 65536), (7, 4 << 20, 32768), (60, 64 << 10, 4096),
        ];
        for (members, page, want) in cases {
            assert_eq!(default_chunk(members, page), want, "{members} members, page {page}");
        }
    }

    #[test]
    fn figures_that_cannot_work_are_refused() {
        let shape = |members, chunk, page| Geometry::new(Level::Raid0, members, chunk, page);
        assert_eq!(shape(0, 65536, 4 << 20), Err(GeometryError::Members(0)));
        assert_eq!(shape(65, 65536, 4 << 20), Err(GeometryError::Members(65)));
        assert_eq!(shape(2, 5000, 4 << 20), Err(GeometryError::Chunk(5000)));
        assert_eq!(shape(2, 65536, 0), Err(GeometryError::Page(0)));
        assert!(matches!(shape(64, 16 << 20, 4 << 20), Err(GeometryError::Stripe { .. })));
    }
}
