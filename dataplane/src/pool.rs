//! Several devices opened as one pool.
//!
//! ```text
//!   inspect   ours, blank or foreign, from the first and last 4 MiB of each device; writes nothing
//!   create    "creating" superblocks | metadata | superblocks         each step durable before the next
//!   open      roll call | new generation, unclean | first valid mirror over the others | the store's own repair
//!   close     the store's last words | clean superblocks
//! ```
//!
//! Members may be missing as long as the array survives it. Whoever opens the pool for writing then marks them as
//! failed, durably on all that are there, before anything else is written: so they are stale when they come back.
//!
//! A crash while creating leaves devices that are ours and hold nothing, so the next attempt starts over. A crash
//! while opening leaves a pool that opens: a mirror that is being overwritten is marked in the superblocks before, and
//! is never read until the copy is durable.

use std::path::PathBuf;

use bireme_control::raid::geometry::Geometry;
use bireme_control::raid::health::Health;

use self::error::{PoolError, device};
use self::inspect::{Device, look};
use self::roll::{Found, Place, Roll, call};
use crate::layout::{LENGTHS_BYTES, Layout};
use crate::ledger::frames::Frames;
use crate::ledger::image::{Image, decode_length};
use crate::ledger::store::{SetRecord, Store};
use crate::port::Port;
use crate::port::blocking::{Blocking, Fault};
use crate::superblock::{Entry, ROWS_MAX, SUPERBLOCK_BYTES, State, Superblock, Uuid};

mod change;
pub mod error;
mod inspect;
mod load;
mod mirrors;
mod roll;
#[cfg(test)]
mod tests;
pub mod volumes;

pub(crate) use change::Inscription;
pub use change::Replacement;

pub use load::Load;

/// A device as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, for messages.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// What a pool should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Level, members, chunk and page.
    pub geometry: Geometry,
}

/// Whose the devices are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody's: the first and last 4 MiB are zero, or hold a pool that was never finished.
    Blank,
    /// Members of one pool, and enough of them.
    Ours {
        /// The pool.
        uuid: Uuid,
        /// Its shape.
        geometry: Geometry,
    },
    /// One of them is somebody's.
    Foreign {
        /// Which of the given devices.
        member: usize,
        /// What was recognised.
        what: &'static str,
    },
}

/// An open pool.
#[derive(Debug)]
pub struct Pool {
    /// The newest table; which device's it is means nothing here.
    newest: Superblock,
    /// Open until `close`.
    store: Option<Store>,
    /// By row: the members, then the spares.
    places: Vec<Option<Place>>,
    /// Whom the last durable table counts as members: enough of them must hold the next one.
    quorum: Vec<Uuid>,
    order: Vec<Option<usize>>,
    paths: Vec<PathBuf>,
    /// The member whose mirror the store was read from.
    source: usize,
    free: Frames,
    notes: Vec<String>,
}

impl Pool {
    /// Whose the devices are; writes nothing. The port's files are the devices as given.
    pub fn inspect<P: Port>(members: &[Member], port: &mut P) -> Result<Standing, PoolError> {
        Ok(call(members, look(members, port)?)?.standing())
    }

    /// Opens the pool on these devices, or makes one if they are blank.
    pub fn open_or_create<P: Port>(
        members: &[Member],
        shape: Shape,
        destroy_data: bool,
        port: &mut P,
    ) -> Result<Pool, PoolError> {
        Pool::open_or_create_for(members, shape, destroy_data, Load::default(), port)
    }

    /// The same, for a load that must fit: if it does not, nothing is written.
    pub fn open_or_create_for<P: Port>(
        members: &[Member],
        shape: Shape,
        destroy_data: bool,
        load: Load,
        port: &mut P,
    ) -> Result<Pool, PoolError> {
        let check_count = || match members.len() == usize::from(shape.geometry.members()) {
            true => Ok(()),
            false => Err(PoolError::Count { given: members.len(), want: shape.geometry.members() }),
        };
        if destroy_data {
            check_count()?;
            return Pool::make(members, shape, None, load, port);
        }
        match call(members, look(members, port)?)? {
            Found::Foreign { member, what } => {
                Err(PoolError::Foreign { path: members[member].path.clone(), what: inspect::holds(what) })
            }
            Found::Blank(traces) => {
                check_count()?;
                Pool::make(members, shape, Some(traces), load, port)
            }
            Found::Ours(roll) if roll.newest.geometry != shape.geometry => Err(PoolError::Geometry {
                have: inspect::describe(roll.newest.geometry),
                want: inspect::describe(shape.geometry),
            }),
            Found::Ours(roll) => Pool::open_writable(roll, load, port),
        }
    }

    /// Makes a pool on blank devices, or on any with `destroy_data`. Those after the members of the shape are spares.
    pub fn create<P: Port>(
        members: &[Member],
        shape: Shape,
        destroy_data: bool,
        port: &mut P,
    ) -> Result<Pool, PoolError> {
        let traces = match call(members, look(members, port)?) {
            _ if destroy_data => None,
            Ok(Found::Blank(traces)) => Some(traces),
            Ok(Found::Foreign { member, what }) => {
                return Err(PoolError::Foreign { path: members[member].path.clone(), what: inspect::holds(what) });
            }
            Ok(Found::Ours(_)) => {
                let what = "is a part of a Bireme pool already".to_owned();
                return Err(PoolError::Foreign { path: members[0].path.clone(), what });
            }
            Err(error) => return Err(error),
        };
        Pool::make(members, shape, traces, Load::default(), port)
    }

    /// Opens the pool on these devices.
    pub fn open<P: Port>(members: &[Member], port: &mut P) -> Result<Pool, PoolError> {
        Pool::open_writable(Pool::require_ours(members, port)?, Load::default(), port)
    }

    /// Opens the pool on these devices and writes nothing: what has to be repaired is repaired in memory.
    pub fn open_read_only<P: Port>(members: &[Member], port: &mut P) -> Result<Pool, PoolError> {
        let pool = Pool::assemble(Pool::require_ours(members, port)?, port)?;
        pool.store().image().take_segments();
        Ok(pool)
    }

    /// What lies where on each member.
    pub fn layout(&self) -> Layout {
        self.newest.layout
    }

    /// The shape of the array.
    pub fn geometry(&self) -> Geometry {
        self.newest.geometry
    }

    /// Which members count.
    pub fn health(&self) -> Health {
        roll::health(&self.newest, &self.places)
    }

    /// Whole sentences that the operator should know: who is absent, failed or stale.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The devices in the newest table: the members in order, then the spares.
    pub fn rows(&self) -> &[Entry] {
        &self.newest.rows
    }

    /// The path of each row's device; `None` where it is absent.
    pub fn present(&self) -> impl Iterator<Item = Option<&PathBuf>> {
        self.places.iter().map(|place| place.as_ref().map(|place| &place.path))
    }

    /// The generation of each row's device, as it was found or written last.
    pub fn generations(&self) -> impl Iterator<Item = Option<u64>> {
        self.places.iter().map(|place| place.as_ref().map(|place| place.generation))
    }

    /// The generation of this opening: no earlier one has used it.
    pub fn generation(&self) -> u64 {
        self.newest.generation
    }

    /// The pool's name.
    pub fn uuid(&self) -> Uuid {
        self.newest.pool
    }

    /// The pool's name in hexadecimal.
    pub fn name(&self) -> String {
        self.uuid().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Frames that no set held when the pool was opened.
    pub fn frames_free(&self) -> u64 {
        self.free.count()
    }

    /// As the pool was opened: per member, and then per spare, which of the given devices it is; `None` of one that must
    /// not be used.
    pub fn order(&self) -> &[Option<usize>] {
        &self.order
    }

    /// As the pool was opened: the paths by member, and then by spare. One that must not be used is named by its index.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The newest committed set.
    pub fn newest_set(&self) -> Option<SetRecord> {
        self.store().newest().ok().flatten()
    }

    /// The metadata.
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("a pool that was closed is gone")
    }

    /// Its free frames, for the ledger.
    pub(crate) fn free_frames(&self) -> Frames {
        self.free.clone()
    }

    /// From now on the port's file of a member is its index, and those of the spares follow.
    pub(crate) fn use_member_order(&mut self) {
        for (place, file) in self.places.iter_mut().zip(0..) {
            place.iter_mut().for_each(|place| place.file = file);
        }
    }

    /// Ends the use of the pool: the store's last words, then clean superblocks.
    pub fn close<P: Port>(mut self, port: &mut P) -> Result<(), PoolError> {
        let image = self.store().image().clone();
        // Closing the store writes: what it wrote is taken afterwards.
        self.store = None;
        self.replay_image(&image, port)?;
        self.newest.clean = true;
        self.write_superblocks(port)
    }

    /// On devices that nobody's data is on, or all data of which is to be lost: then there are no traces to respect. What
    /// an attempt before left is overwritten as any superblock is: the newest one last.
    fn make<P: Port>(
        members: &[Member],
        shape: Shape,
        traces: Option<Vec<Device>>,
        load: Load,
        port: &mut P,
    ) -> Result<Pool, PoolError> {
        let layout = Layout::new(shape.geometry, smallest(members)).map_err(|error| too_small(members, error))?;
        load.check(shape.geometry, layout.frames(), layout.frames())?;
        if members.len() > usize::from(ROWS_MAX) {
            return Err(PoolError::Count { given: members.len(), want: ROWS_MAX });
        }
        if traces.is_none() {
            members.iter().zip(0..).try_for_each(|(member, file)| inspect::wipe(member, file, port))?;
        }
        for (member, file) in members.iter().zip(0..) {
            // As in an opening: an attempt before may have left superblocks that are not durable.
            Blocking::new(port).flush(file).map_err(device(&member.path))?;
        }
        let uuid = new_uuid()?;
        let entry = |member: &Member| {
            let bytes = inspect::whole_blocks(member.bytes);
            Ok(Entry { uuid: new_uuid()?, bytes, state: State::Creating, failed_at: 0 })
        };
        let place = |(given, member): (usize, &Member)| {
            let file = u16::try_from(given).expect("few devices");
            Place { given, file, path: member.path.clone(), slots: [1; 2], generation: 0 }
        };
        let mut places: Vec<Place> = members.iter().enumerate().map(place).collect();
        for (trace, place) in traces.into_iter().flatten().zip(&mut places) {
            if let Device::Unfinished(superblock, slots) = trace {
                (place.generation, place.slots) = (superblock.generation, slots);
            }
        }
        let area = layout.image();
        let newest = Superblock {
            pool: uuid,
            generation: places.iter().map(|place| place.generation).max().unwrap_or(0),
            device: uuid,
            rows: members.iter().map(entry).collect::<Result<_, PoolError>>()?,
            geometry: shape.geometry,
            layout,
            watermark: 0,
            clean: false,
        };
        let store = Store::create(Image::empty(uuid, area.end - area.start)).map_err(PoolError::Store)?;
        let free = Frames::all_but(layout.frames(), Vec::new()).unwrap_or_default();
        let mut pool = Pool::over(newest, places.into_iter().map(Some).collect(), (0, store, free), Vec::new());
        pool.write_superblocks(port)?;
        pool.replay_store(port)?;
        let count = usize::from(shape.geometry.members());
        for (row, entry) in pool.newest.rows.iter_mut().enumerate() {
            entry.state = if row < count { State::Active } else { State::Spare };
        }
        pool.write_superblocks(port)?;
        Ok(pool)
    }

    fn over(
        newest: Superblock,
        places: Vec<Option<Place>>,
        (source, store, free): (usize, Store, Frames),
        notes: Vec<String>,
    ) -> Pool {
        let mut pool = Pool {
            order: Vec::new(),
            paths: (0..places.len()).map(|row| PathBuf::from(format!("(member {row})"))).collect(),
            quorum: newest.counted_members().collect(),
            newest,
            store: Some(store),
            places,
            source,
            free,
            notes,
        };
        pool.note_order();
        pool
    }

    /// Which device is which, for those who build ports. One that was lost on the way keeps its path.
    fn note_order(&mut self) {
        self.order = self.places.iter().map(|place| place.as_ref().map(|place| place.given)).collect();
        self.paths.truncate(self.places.len());
        for (path, place) in self.paths.iter_mut().zip(&self.places) {
            place.iter().for_each(|place| path.clone_from(&place.path));
        }
    }

    /// The roll of a pool, for callers that want nothing else.
    fn require_ours<P: Port>(members: &[Member], port: &mut P) -> Result<Roll, PoolError> {
        let none = |index: usize, what| PoolError::NoPool { path: members[index].path.clone(), what };
        match call(members, look(members, port)?)? {
            Found::Ours(roll) => Ok(roll),
            Found::Foreign { member, what } => Err(none(member, inspect::holds(what))),
            Found::Blank(_) => Err(none(0, "is blank".to_owned())),
        }
    }

    fn open_writable<P: Port>(roll: Roll, load: Load, port: &mut P) -> Result<Pool, PoolError> {
        let behind = |place: &Place| place.generation < roll.newest.generation;
        // A crash while the mark was written may have left it on some; and whoever was absent has an old mirror.
        let clean = roll.newest.clean && !roll.places.iter().flatten().any(behind);
        let mut pool = Pool::assemble(roll, port)?;
        let sets = pool.newest_set().map_or(0, |set| set.pages);
        load.check(pool.geometry(), pool.free.count(), pool.free.count() + sets)?;
        pool.fail_absent();
        // The newest superblocks may be those of a process that was killed before it flushed them: others must not be
        // written beside them before they are durable, or a loss of power could tear both.
        if !clean {
            pool.flush_all(port)?;
        }
        // Mirrors are the same after an orderly close, and then the first is the one that was read.
        let copy = !clean || pool.active().next() != Some(pool.source);
        pool.newest.clean = false;
        while copy && !pool.even_mirrors(port)? {
            // The member whose mirror was read is lost: the others are as good.
            (pool.source, pool.store, pool.free) = {
                let (source, store, free) = read_metadata(&pool.newest, &pool.places, port)?;
                (source, Some(store), free)
            };
        }
        if !copy {
            pool.write_superblocks(port)?;
        }
        pool.replay_store(port)?;
        pool.note_order();
        Ok(pool)
    }

    /// Reads the first mirror that is valid; writes nothing.
    fn assemble<P: Port>(roll: Roll, port: &mut P) -> Result<Pool, PoolError> {
        let Roll { newest, places, notes } = roll;
        let metadata = read_metadata(&newest, &places, port)?;
        Ok(Pool::over(newest, places, metadata, notes))
    }
}

/// The first mirror that is valid: whose, the store in it, and the free frames.
fn read_metadata<P: Port>(
    newest: &Superblock,
    places: &[Option<Place>],
    port: &mut P,
) -> Result<(usize, Store, Frames), PoolError> {
    let active = |(row, place): (usize, &Option<Place>)| {
        place.as_ref().filter(|_| newest.rows[row].state == State::Active).map(|place| (row, place.file))
    };
    let mut refused = None;
    for (row, file) in places.iter().enumerate().filter_map(active) {
        match read_mirror(newest, file, port) {
            Ok(Some((store, free))) => return Ok((row, store, free)),
            Ok(None) => {}
            Err(fault) => refused = refused.or(Some((row, fault))),
        }
        if port.in_flight() > 0 {
            // The port gave up, not the device: another mirror cannot be read either.
            return Err(PoolError::Port(libc::EIO));
        }
    }
    // What could not be read may be what is to be trusted: then that is the cause.
    let path = |place: Option<&Place>| place.map(|place| place.path.clone()).unwrap_or_default();
    Err(match refused {
        Some((row, fault)) => PoolError::Device { path: path(places[row].as_ref()), fault },
        None => PoolError::NoMetadata { path: path(places.iter().flatten().next()) },
    })
}

/// The store in a member's mirror and the free frames that follow from it; `None` when it cannot be trusted.
fn read_mirror<P: Port>(superblock: &Superblock, file: u16, port: &mut P) -> Result<Option<(Store, Frames)>, Fault> {
    let place = superblock.layout.metadata();
    let area = superblock.layout.image();
    let mut blocking = Blocking::new(port);
    let mut lengths = vec![0; to_usize(LENGTHS_BYTES)];
    blocking.read(file, place.start, &mut lengths)?;
    let length = decode_length(superblock.pool, &lengths).filter(|(_, length)| *length <= area.end - area.start);
    let Some((sequence, length)) = length else { return Ok(None) };
    let mut bytes = vec![0; to_usize(length.next_multiple_of(SUPERBLOCK_BYTES as u64))];
    blocking.read(file, area.start, &mut bytes)?;
    bytes.truncate(to_usize(length));
    Ok(read_store(superblock, Image::loaded(superblock.pool, area.end - area.start, bytes, sequence)))
}

fn read_store(superblock: &Superblock, image: Image) -> Option<(Store, Frames)> {
    let store = Store::open(image).ok()?;
    let mut used = Vec::new();
    for set in store.sets().ok()? {
        let pages = store.pages(set.number).ok()?;
        let whole = pages.len() as u64 == set.pages
            && set.bytes.div_ceil(u64::from(superblock.geometry.page_bytes())) == set.pages;
        if !whole {
            return None;
        }
        used.extend(pages.iter().map(|page| page.frame));
    }
    used.extend(volumes::frames_of(&store, superblock)?);
    let free = Frames::all_but(superblock.layout.frames(), used)?;
    Some((store, free))
}

fn smallest(members: &[Member]) -> u64 {
    members.iter().map(|member| member.bytes).min().unwrap_or(0)
}

fn too_small(members: &[Member], why: crate::layout::LayoutError) -> PoolError {
    let member = members.iter().min_by_key(|member| member.bytes).expect("a pool has members");
    PoolError::TooSmall { path: member.path.clone(), why }
}

/// A name that no other pool has.
fn new_uuid() -> Result<Uuid, PoolError> {
    let mut uuid = Uuid::default();
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut uuid));
    read.map(|()| uuid).map_err(PoolError::Random)
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("metadata fit into memory")
}
