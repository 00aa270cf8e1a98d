//! The 4 KiB that make a device a member of a pool, as bytes.
//!
//! Two slots at the start of the device and two before its end. A new superblock overwrites the slot that does not
//! hold the newest at that end, so a torn write leaves the one before. Each sector begins with the magic: a first write
//! to a blank device that was torn is then known as ours and not as somebody's data. Nothing in here is trusted before
//! the CRC and every figure have been checked.
//!
//! A superblock names its own device, and holds the table of all: the members in their order, then the spares. A device
//! that has failed stays in its row until another takes its place; one whose name is in no row is not of the pool any
//! more. A name is never used for two devices, nor for one that comes back.

use bireme_control::raid::geometry::{Geometry, Level, MEMBERS_MAX};
use bytemuck::{Pod, Zeroable};

use crate::checksum::crc32c;
use crate::layout::Layout;

/// The name of a pool, or of a device in it.
pub type Uuid = [u8; 16];

/// What one superblock says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The pool.
    pub pool: Uuid,
    /// Rises with each change; the newest wins.
    pub generation: u64,
    /// The device that it lies on: one of the rows.
    pub device: Uuid,
    /// The members in order, then the spares.
    pub rows: Vec<Entry>,
    /// How chunks are laid over the members.
    pub geometry: Geometry,
    /// What lies where.
    pub layout: Layout,
    /// Frames below this are whole on members that are being rebuilt.
    pub watermark: u64,
    /// Closed in order: the mirrors of the metadata are the same.
    pub clean: bool,
}

/// A device in the table of a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub uuid: Uuid,
    /// Its size when it became a part of the pool.
    pub bytes: u64,
    /// What it is worth.
    pub state: State,
    /// The generation with which it was marked as failed; 0 of any other.
    pub failed_at: u64,
}

/// What a device of a pool is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The pool is being made; there is nothing in it.
    Creating,
    /// In use.
    Active,
    /// In use, but its mirror of the metadata is being overwritten with another member's.
    Copying,
    /// Nothing on it counts: others went on without it.
    Failed,
    /// Being filled: only frames below the watermark count, and its mirror does not.
    Rebuilding,
    /// Waits to take a failed member's place; it holds a mirror that does not count.
    Spare,
}

impl Superblock {
    /// As it lies on the device.
    ///
    /// # Panics
    /// When it has more rows than the table.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = Raw::zeroed();
        raw.head.magic = MAGIC;
        raw.tables.iter_mut().for_each(|table| table.magic = MAGIC);
        raw.rest.magic = MAGIC;
        let metadata = self.layout.metadata();
        raw.head.version = VERSION.to_le();
        raw.head.pool = self.pool;
        raw.head.generation = self.generation.to_le();
        raw.head.rows = u16::try_from(self.rows.len()).expect("few rows").to_le();
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
        raw.head.device = self.device;
        raw.head.watermark = self.watermark.to_le();
        assert!(self.rows.len() <= usize::from(ROWS_MAX), "{} rows do not fit the table", self.rows.len());
        for (row, entry) in raw.tables.iter_mut().flat_map(|table| &mut table.rows).zip(&self.rows) {
            let (bytes, state) = (entry.bytes.to_le(), entry.state.code().to_le());
            *row = Row { uuid: entry.uuid, bytes, state, zero: 0, failed_at: entry.failed_at.to_le() };
        }
        raw.head.crc = crc32c(bytemuck::bytes_of(&raw)).to_le();
        bytemuck::bytes_of(&raw).to_vec()
    }

    /// The superblock in these bytes; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Superblock> {
        let raw = Raw::sound(bytes)?;
        let head = &raw.head;
        if !head.is_known() {
            return None;
        }
        let level = level_of_code(u32::from_le(head.level), u32::from_le(head.groups))?;
        let chunk = u64::from(u32::from_le(head.chunk_bytes));
        let page = u64::from(u32::from_le(head.page_bytes));
        let geometry = Geometry::new(level, usize::from(u16::from_le(head.members)), chunk, page).ok()?;
        let rows = raw.tables.iter().flat_map(|table| &table.rows).take(usize::from(u16::from_le(head.rows)));
        let rows: Vec<Entry> = rows.map(Row::entry).collect::<Option<_>>()?;
        let smallest = rows.iter().map(|entry| entry.bytes).min()?;
        let metadata_bytes = u64::from_le(head.metadata_bytes);
        let layout = Layout::recorded(geometry, u64::from_le(head.frames), metadata_bytes, smallest)?;
        let agrees = layout.metadata().start == u64::from_le(head.metadata_offset)
            && layout.leaf_offset(0) == u64::from_le(head.leaves_offset)
            && layout.data_offset(0) == u64::from_le(head.data_offset);
        let superblock = Superblock {
            pool: head.pool,
            generation: u64::from_le(head.generation),
            device: head.device,
            rows,
            geometry,
            layout,
            watermark: u64::from_le(head.watermark),
            clean: u32::from_le(head.clean) == 1,
        };
        (agrees && superblock.agrees()).then_some(superblock)
    }

    /// Whether these bytes are a sound superblock that this version cannot read.
    pub fn is_unknown(bytes: &[u8]) -> bool {
        Raw::sound(bytes).is_some_and(|raw| !raw.head.is_known())
    }

    /// The row of a device.
    pub fn row_of(&self, device: Uuid) -> Option<usize> {
        self.rows.iter().position(|entry| entry.uuid == device)
    }

    /// What the device that it lies on is worth.
    pub fn own(&self) -> Entry {
        self.rows[self.row_of(self.device).expect("a superblock is made and decoded with its device in a row")]
    }

    /// Whether the pool was never finished: nothing can be in it.
    pub fn is_unfinished(&self) -> bool {
        self.own().state == State::Creating
    }

    /// The members and spares that count, by name.
    pub fn counted(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.rows.iter().filter(|entry| entry.state != State::Failed).map(|entry| entry.uuid)
    }

    /// The members that count, by name.
    pub fn counted_members(&self) -> impl Iterator<Item = Uuid> + '_ {
        let members = self.rows.iter().take(usize::from(self.geometry.members()));
        members.filter(|entry| entry.state.counts()).map(|entry| entry.uuid)
    }

    /// Whether the table fits the geometry and itself.
    fn agrees(&self) -> bool {
        let members = usize::from(self.geometry.members());
        let in_place = |(row, entry): (usize, &Entry)| match entry.state {
            State::Creating => true,
            State::Spare => row >= members,
            _ => row < members,
        };
        let creating = self.rows.iter().filter(|entry| entry.state == State::Creating).count();
        let apart = |row: usize| self.rows[..row].iter().all(|other| other.uuid != self.rows[row].uuid);
        self.rows.len() >= members
            && self.rows.len() <= usize::from(ROWS_MAX)
            && (creating == 0 || creating == self.rows.len())
            && self.rows.iter().enumerate().all(in_place)
            && (0..self.rows.len()).all(apart)
            && self.row_of(self.device).is_some()
            && self.watermark <= self.layout.frames()
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
            State::Failed => 4,
            State::Rebuilding => 5,
            State::Spare => 6,
        }
    }

    fn from_code(code: u32) -> Option<State> {
        let all = [State::Creating, State::Active, State::Copying, State::Failed, State::Rebuilding, State::Spare];
        all.into_iter().find(|state| state.code() == code)
    }

    /// Whether what lies on the device counts for frames below the watermark.
    pub fn counts(self) -> bool {
        matches!(self, State::Active | State::Copying | State::Rebuilding)
    }

    /// As a word of a sentence.
    pub fn word(self) -> &'static str {
        match self {
            State::Creating => "creating",
            State::Active | State::Copying => "active",
            State::Failed => "failed",
            State::Rebuilding => "rebuilding",
            State::Spare => "spare",
        }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Raw {
    head: Head,
    tables: [Table; 6],
    rest: Rest,
}

impl Raw {
    /// These bytes, if magic and CRC are right.
    fn sound(bytes: &[u8]) -> Option<Raw> {
        let mut raw: Raw = bytemuck::try_pod_read_unaligned(bytes.get(..SUPERBLOCK_BYTES)?).ok()?;
        let crc = u32::from_le(raw.head.crc);
        raw.head.crc = 0;
        (raw.head.magic == MAGIC && crc32c(bytemuck::bytes_of(&raw)) == crc).then_some(raw)
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
    rows: u16,
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
    device: Uuid,
    watermark: u64,
    features: u64,
    rest: [u8; 376],
}

impl Head {
    /// Whether this version may make sense of the rest.
    fn is_known(&self) -> bool {
        let known = u32::from_le(self.version) == VERSION && self.features == 0;
        known && level_of_code(u32::from_le(self.level), u32::from_le(self.groups)).is_some()
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Table {
    magic: [u8; 8],
    rows: [Row; 12],
    rest: [u8; 24],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Row {
    uuid: Uuid,
    bytes: u64,
    state: u32,
    zero: u32,
    failed_at: u64,
}

impl Row {
    fn entry(&self) -> Option<Entry> {
        let state = State::from_code(u32::from_le(self.state))?;
        let (bytes, failed_at) = (u64::from_le(self.bytes), u64::from_le(self.failed_at));
        Some(Entry { uuid: self.uuid, bytes, state, failed_at })
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
const VERSION: u32 = 2;
/// The most devices of a pool, spares included.
pub const ROWS_MAX: u16 = MEMBERS_MAX;
const _: () = assert!(size_of::<Raw>() == SUPERBLOCK_BYTES && size_of::<Head>() == 512 && size_of::<Table>() == 512);
const _: () = assert!(ROWS_MAX as usize <= 6 * 12, "the table has a row for every device");

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn example(members: u16, spares: u16) -> Superblock {
        let geometry = Geometry::new(Level::Raid0, usize::from(members), 65536, 4 << 20).expect("a usable shape");
        let bytes = 64 << 20;
        let entry = |row: u16| {
            let (state, failed_at) = match row {
                _ if row >= members => (State::Spare, 0),
                1 => (State::Failed, 40),
                2 => (State::Rebuilding, 0),
                _ => (State::Active, 0),
            };
            Entry { uuid: [row.to_le_bytes()[0]; 16], bytes, state, failed_at }
        };
        let rows: Vec<Entry> = (0..members + spares).map(entry).collect();
        Superblock {
            pool: [7; 16],
            generation: 41,
            device: rows[rows.len() - 1].uuid,
            rows,
            geometry,
            layout: Layout::new(geometry, bytes).expect("room"),
            watermark: 3,
            clean: true,
        }
    }

    #[test]
    fn it_comes_back_as_it_was_written() {
        for (members, spares) in [(1, 0), (2, 1), (16, 0), (60, 4), (64, 0)] {
            let superblock = example(members, spares);
            let bytes = superblock.encode();
            assert_eq!(Superblock::decode(&bytes), Some(superblock));
            assert!(bytes.chunks(512).all(is_ours), "each sector bears the magic");
        }
    }

    #[test]
    fn the_documented_offsets_hold() {
        let bytes = example(14, 2).encode();
        assert_eq!(bytes[32..40], 41u64.to_le_bytes(), "generation");
        assert_eq!(bytes[40..44], [16, 0, 14, 0], "rows, members");
        assert_eq!(bytes[104..120], [15; 16], "device");
        assert_eq!(bytes[120..128], 3u64.to_le_bytes(), "watermark");
        let failed = 512 + 8 + 40;
        assert_eq!(bytes[failed + 24..failed + 28], [4, 0, 0, 0], "row 1 has failed");
        assert_eq!(bytes[failed + 32..failed + 40], 40u64.to_le_bytes(), "with this generation");
        assert_eq!(bytes[1032..1048], [12; 16], "row 12 is the first of the third sector");
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        type Change = fn(&mut Superblock);
        let cases: [(&str, Change); 7] = [
            ("a pool that is made in part", |it| it.rows[3].state = State::Creating),
            ("a device in no row", |it| it.device = [99; 16]),
            ("one name in two rows", |it| it.rows[0].uuid = it.rows[3].uuid),
            ("a spare among the members", |it| it.rows[0].state = State::Spare),
            ("a member among the spares", |it| it.rows[4].state = State::Active),
            ("fewer rows than members", |it| it.rows.truncate(3)),
            ("a watermark past the end", |it| it.watermark = it.layout.frames() + 1),
        ];
        for (why, change) in cases {
            let mut superblock = example(4, 1);
            superblock.device = superblock.rows[0].uuid;
            change(&mut superblock);
            assert_eq!(Superblock::decode(&superblock.encode()), None, "{why}");
        }
    }

    #[test]
    fn what_a_newer_version_has_written_is_known_as_such() {
        // Version, a feature, and a level.
        for (at, value) in [(8, 3), (128, 1), (48, 7)] {
            let mut bytes = example(3, 0).encode();
            bytes[at] = value;
            bytes[12..16].fill(0);
            let crc = crc32c(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            assert!(Superblock::is_unknown(&bytes) && Superblock::decode(&bytes).is_none());
        }
        assert!(!Superblock::is_unknown(&example(3, 0).encode()));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..4096, change in 1u8..) {
            let mut bytes = example(3, 1).encode();
            bytes[at] ^= change;
            prop_assert_eq!(Superblock::decode(&bytes), None);
        }

        #[test]
        fn garbage_with_a_sound_crc_never_panics(
            changes in proptest::collection::vec((8usize..4096, any::<u8>()), 1..40),
        ) {
            let mut bytes = example(3, 1).encode();
            changes.iter().for_each(|&(at, byte)| bytes[at] = byte);
            bytes[12..16].fill(0);
            let crc = crc32c(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            let _ = Superblock::decode(&bytes).map(|superblock| superblock.own());
            let _ = Superblock::decode(&bytes[..100]);
        }
    }
}
