//! The 4 KiB that make a device a member of a pool, as bytes.
//!
//! Two slots at the start of the device and two before its end. A new superblock overwrites the slot that does not
//! hold the newest at that end, so a torn write leaves the one before. Each sector begins with the magic: a first write
//! to a blank device that was torn is then known as ours and not as somebody's data. Nothing in here is trusted before
//! the CRC and every figure have been checked.

use bireme_control::raid::geometry::{Geometry, Level, MEMBERS_MAX};
use bytemuck::{Pod, Zeroable};

use crate::checksum::crc32c;
use crate::layout::Layout;

/// The name of a pool, or of a member.
pub type Uuid = [u8; 16];

/// What one superblock says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The pool.
    pub pool: Uuid,
    /// Rises with each change; the newest wins.
    pub generation: u64,
    /// Which member this device is.
    pub member: u16,
    /// All members, in order.
    pub members: Vec<Entry>,
    /// How chunks are laid over the members.
    pub geometry: Geometry,
    /// What lies where.
    pub layout: Layout,
    /// Closed in order: the mirrors of the metadata are the same.
    pub clean: bool,
}

/// A member in the table of a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub uuid: Uuid,
    /// Its size when the pool was made.
    pub bytes: u64,
    /// Whether its mirror of the metadata may be trusted.
    pub state: State,
}

/// What a member's mirror of the metadata is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The pool is being made; there is nothing in it.
    Creating,
    /// In use.
    Active,
    /// Being overwritten with another member's.
    Copying,
}

impl Superblock {
    /// As it lies on the device.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = Raw::zeroed();
        raw.head.magic = MAGIC;
        raw.tables.iter_mut().for_each(|table| table.magic = MAGIC);
        raw.rest.iter_mut().for_each(|rest| rest.magic = MAGIC);
        let metadata = self.layout.metadata();
        raw.head.version = VERSION.to_le();
        raw.head.pool = self.pool;
        raw.head.generation = self.generation.to_le();
        raw.head.member = self.member.to_le();
        raw.head.members = self.geometry.members().to_le();
        raw.head.clean = u32::from(self.clean).to_le();
        let (level, groups) = level_code(self.geometry.level());
        (raw.head.level, raw.head.groups) = (level.to_le(), groups.to_le());
        raw.head.chunk_bytes = self.geometry.chunk_bytes().to_le();
        raw.head.page_bytes = self.geometry.page_bytes().to_le();
        raw.head.metadata_offset = metadata.start.to_le();
        raw.head.metadata_bytes = (metadata.end - metadata.start).to_le();
        raw.head.leaves_offset = self.layout.leaf_offset(0).to_le();
        raw.head.data_offset = self.layout.data_offset(0).to_le();
        raw.head.frames = self.layout.frames().to_le();
        for (row, entry) in raw.tables.iter_mut().flat_map(|table| &mut table.rows).zip(&self.members) {
            *row = Row { uuid: entry.uuid, bytes: entry.bytes.to_le(), state: entry.state.code().to_le(), zero: 0 };
        }
        raw.head.crc = crc32c(bytemuck::bytes_of(&raw)).to_le();
        bytemuck::bytes_of(&raw).to_vec()
    }

    /// The superblock in these bytes; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Superblock> {
        let raw = Raw::sound(bytes)?;
        let head = &raw.head;
        let count = u16::from_le(head.members);
        let level = level_of_code(u32::from_le(head.level), u32::from_le(head.groups))?;
        let chunk = u64::from(u32::from_le(head.chunk_bytes));
        let page = u64::from(u32::from_le(head.page_bytes));
        let geometry = Geometry::new(level, usize::from(count), chunk, page).ok()?;
        let rows = raw.tables.iter().flat_map(|table| &table.rows).take(usize::from(count));
        let members: Vec<Entry> = rows.map(Row::entry).collect::<Option<_>>()?;
        let smallest = members.iter().map(|entry| entry.bytes).min()?;
        let metadata_bytes = u64::from_le(head.metadata_bytes);
        let layout = Layout::recorded(geometry, u64::from_le(head.frames), metadata_bytes, smallest)?;
        let member = u16::from_le(head.member);
        let agrees = member < count
            && layout.metadata().start == u64::from_le(head.metadata_offset)
            && layout.leaf_offset(0) == u64::from_le(head.leaves_offset)
            && layout.data_offset(0) == u64::from_le(head.data_offset);
        agrees.then_some(Superblock {
            pool: head.pool,
            generation: u64::from_le(head.generation),
            member,
            members,
            geometry,
            layout,
            clean: u32::from_le(head.clean) == 1,
        })
    }

    /// Whether these bytes are a sound superblock of a level that this version does not know.
    pub fn is_of_unknown_level(bytes: &[u8]) -> bool {
        Raw::sound(bytes)
            .is_some_and(|raw| level_of_code(u32::from_le(raw.head.level), u32::from_le(raw.head.groups)).is_none())
    }

    /// Whether the pool was never finished: nothing can be in it.
    pub fn is_unfinished(&self) -> bool {
        self.members[usize::from(self.member)].state == State::Creating
    }
}

/// Whether a sector was written by us.
pub fn is_ours(sector: &[u8]) -> bool {
    sector.starts_with(&MAGIC)
}

/// A level as (number, groups); groups are 0 where a level has none.
fn level_code(level: Level) -> (u32, u32) {
    match level {
        Level::Raid0 => (0, 0),
        Level::Raid1 => (1, 0),
        Level::Raid10 => (10, 0),
        Level::Raid5 => (5, 0),
        Level::Raid6 => (6, 0),
        Level::Raid50 { groups } => (50, u32::from(groups)),
        Level::Raid60 { groups } => (60, u32::from(groups)),
    }
}

fn level_of_code(number: u32, groups: u32) -> Option<Level> {
    let groups = u16::try_from(groups).ok()?;
    let level = match (number, groups) {
        (0, 0) => Level::Raid0,
        (1, 0) => Level::Raid1,
        (10, 0) => Level::Raid10,
        (5, 0) => Level::Raid5,
        (6, 0) => Level::Raid6,
        (50, 2..) => Level::Raid50 { groups },
        (60, 2..) => Level::Raid60 { groups },
        _ => return None,
    };
    Some(level)
}

impl State {
    fn code(self) -> u32 {
        match self {
            State::Creating => 1,
            State::Active => 2,
            State::Copying => 3,
        }
    }

    fn from_code(code: u32) -> Option<State> {
        [State::Creating, State::Active, State::Copying].into_iter().find(|state| state.code() == code)
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Raw {
    head: Head,
    tables: [Table; 5],
    rest: [Rest; 2],
}

impl Raw {
    /// These bytes, if magic, version and CRC are right.
    fn sound(bytes: &[u8]) -> Option<Raw> {
        let mut raw: Raw = bytemuck::try_pod_read_unaligned(bytes.get(..SUPERBLOCK_BYTES)?).ok()?;
        let crc = u32::from_le(raw.head.crc);
        raw.head.crc = 0;
        let ours = raw.head.magic == MAGIC && u32::from_le(raw.head.version) == VERSION;
        (ours && crc32c(bytemuck::bytes_of(&raw)) == crc).then_some(raw)
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    version: u32,
    crc: u32,
    pool: Uuid,
    generation: u64,
    member: u16,
    members: u16,
    clean: u32,
    level: u32,
    chunk_bytes: u32,
    page_bytes: u32,
    groups: u32,
    metadata_offset: u64,
    metadata_bytes: u64,
    leaves_offset: u64,
    data_offset: u64,
    frames: u64,
    rest: [u8; 408],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Table {
    magic: [u8; 8],
    rows: [Row; 15],
    rest: [u8; 24],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Row {
    uuid: Uuid,
    bytes: u64,
    state: u32,
    zero: u32,
}

impl Row {
    fn entry(&self) -> Option<Entry> {
        let state = State::from_code(u32::from_le(self.state))?;
        Some(Entry { uuid: self.uuid, bytes: u64::from_le(self.bytes), state })
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Rest {
    magic: [u8; 8],
    rest: [u8; 504],
}

/// Bytes of a superblock, and of a slot.
pub const SUPERBLOCK_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"BIREME\x1A\x01";
const VERSION: u32 = 1;
const _: () = assert!(size_of::<Raw>() == SUPERBLOCK_BYTES && size_of::<Head>() == 512 && size_of::<Table>() == 512);
const _: () = assert!(MEMBERS_MAX as usize <= 5 * 15, "the table has a row for every member");

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn example(members: u16) -> Superblock {
        let geometry = Geometry::new(Level::Raid0, usize::from(members), 65536, 4 << 20).expect("a usable shape");
        let bytes = 64 << 20;
        let entry = |index: u16| Entry { uuid: [index.to_le_bytes()[0]; 16], bytes, state: State::Active };
        Superblock {
            pool: [7; 16],
            generation: 41,
            member: members - 1,
            members: (0..members).map(entry).collect(),
            geometry,
            layout: Layout::new(geometry, bytes).expect("room"),
            clean: true,
        }
    }

    #[test]
    fn it_comes_back_as_it_was_written() {
        for members in [1, 2, 16, 64] {
            let superblock = example(members);
            let bytes = superblock.encode();
            assert_eq!(Superblock::decode(&bytes), Some(superblock));
            assert!(bytes.chunks(512).all(is_ours), "each sector bears the magic");
        }
    }

    #[test]
    fn the_documented_offsets_hold() {
        let bytes = example(16).encode();
        assert_eq!(bytes[32..40], 41u64.to_le_bytes(), "generation");
        assert_eq!(bytes[40..44], [15, 0, 16, 0], "member, members");
        assert_eq!(bytes[1032..1048], [15; 16], "row 15 is the first of the third sector");
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..4096, change in 1u8..) {
            let mut bytes = example(3).encode();
            bytes[at] ^= change;
            prop_assert_eq!(Superblock::decode(&bytes), None);
        }

        #[test]
        fn garbage_with_a_sound_crc_never_panics(
            changes in proptest::collection::vec((8usize..4096, any::<u8>()), 1..40),
        ) {
            let mut bytes = example(3).encode();
            changes.iter().for_each(|&(at, byte)| bytes[at] = byte);
            bytes[12..16].fill(0);
            let crc = crc32c(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            let _ = Superblock::decode(&bytes);
            let _ = Superblock::decode(&bytes[..100]);
        }
    }
}
