//! Several devices opened as one pool.
//!
//! ```text
//!   inspect   ours, blank or foreign, from the first and last 4 MiB of each device; writes nothing
//!   create    "creating" superblocks | metadata | superblocks         each step durable before the next
//!   open      new generation, unclean | first valid mirror over the others | the store's own repair
//!   close     the store's last words | clean superblocks
//! ```
//!
//! A crash while creating leaves devices that are ours and hold nothing, so the next attempt starts over. A crash
//! while opening leaves a pool that opens: a mirror that is being overwritten is marked in the superblocks before, and
//! is never read until the copy is durable.

use std::path::PathBuf;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::raid::health::Health;
use bireme_control::units::Nanos;

use self::error::{PoolError, device};
use self::inspect::{Device, look};
use crate::layout::{LENGTHS_BYTES, Layout, zones};
use crate::ledger::frames::Frames;
use crate::ledger::image::{Image, decode_length};
use crate::ledger::store::{SetRecord, Store};
use crate::ledger::task::Replay;
use crate::message::Failure;
use crate::port::blocking::Blocking;
use crate::port::{Next, Port};
use crate::superblock::{Entry, SUPERBLOCK_BYTES, State, Superblock, Uuid};

pub mod error;
mod inspect;
mod load;
#[cfg(test)]
mod tests;
pub mod volumes;

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
    /// All the members of one pool.
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
    newest: Superblock,
    /// Open until `close`.
    store: Option<Store>,
    /// The port's file of each member.
    files: Vec<u16>,
    order: Vec<usize>,
    paths: Vec<PathBuf>,
    /// Per member and end, which slot holds the newest superblock.
    slots: Vec<[u8; 2]>,
    /// The mirror that the store was read from.
    source: usize,
    free: Frames,
}

impl Pool {
    /// Whose the devices are; writes nothing. The port's files are the devices as given.
    pub fn inspect<P: Port>(members: &[Member], port: &mut P) -> Result<Standing, PoolError> {
        inspect::standing(members, &look(members, port)?)
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
        if members.len() != usize::from(shape.geometry.members()) {
            return Err(PoolError::Count { given: members.len(), want: shape.geometry.members() });
        }
        if shape.geometry.level() != Level::Raid0 {
            return Err(PoolError::Level(shape.geometry.level()));
        }
        let devices = look(members, port)?;
        let check_new = || {
            let layout = Layout::new(shape.geometry, smallest(members)).map_err(|error| too_small(members, error))?;
            load.check(shape.geometry, layout.frames(), layout.frames())
        };
        if destroy_data {
            check_new()?;
            inspect::wipe(members, port)?;
            return Pool::create(members, shape, Vec::new(), port);
        }
        match inspect::standing(members, &devices)? {
            Standing::Foreign { member, what } => {
                Err(PoolError::Foreign { path: members[member].path.clone(), what: inspect::holds(what) })
            }
            Standing::Blank => {
                check_new()?;
                Pool::create(members, shape, devices, port)
            }
            Standing::Ours { geometry, .. } if geometry != shape.geometry => {
                Err(PoolError::Geometry { have: inspect::describe(geometry), want: inspect::describe(shape.geometry) })
            }
            Standing::Ours { .. } => Pool::open_writable(members, devices, load, port),
        }
    }

    /// Opens the pool on these devices.
    pub fn open<P: Port>(members: &[Member], port: &mut P) -> Result<Pool, PoolError> {
        let devices = look(members, port)?;
        inspect::require_ours(members, &devices)?;
        Pool::open_writable(members, devices, Load::default(), port)
    }

    /// Opens the pool on these devices and writes nothing: what has to be repaired is repaired in memory.
    pub fn open_read_only<P: Port>(members: &[Member], port: &mut P) -> Result<Pool, PoolError> {
        let devices = look(members, port)?;
        inspect::require_ours(members, &devices)?;
        let pool = Pool::assemble(members, devices, port)?;
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
        Health::default()
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

    /// Per member, which of the given devices it is.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The paths by member.
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

    /// From now on the port's file of a member is its index.
    pub(crate) fn use_member_order(&mut self) {
        self.files = (0..self.newest.geometry.members()).collect();
    }

    /// A replay to all mirrors.
    pub(crate) fn replay<P: Port>(&self, port: &P) -> Replay {
        Replay::new(self.files.clone(), self.layout().metadata().start, port.region().all().bytes)
    }

    /// Ends the use of the pool: the store's last words, then clean superblocks.
    pub fn close<P: Port>(mut self, port: &mut P) -> Result<(), PoolError> {
        let mut replay = self.replay(port);
        let image = self.store().image().clone();
        // Closing the store writes: what it wrote is taken afterwards.
        self.store = None;
        replay.extend(image.take_segments());
        self.run(replay, port)?;
        self.newest.clean = true;
        self.write_superblocks(port)
    }

    /// On blank devices. What an attempt before left is overwritten as any superblock is: the newest one last.
    fn create<P: Port>(
        members: &[Member],
        shape: Shape,
        devices: Vec<Device>,
        port: &mut P,
    ) -> Result<Pool, PoolError> {
        let layout = Layout::new(shape.geometry, smallest(members)).map_err(|error| too_small(members, error))?;
        let uuid = new_uuid()?;
        let entry = |(member, index): (&Member, u8)| Entry {
            uuid: name_of_member(uuid, index),
            bytes: inspect::whole_blocks(member.bytes),
            state: State::Creating,
        };
        let mut slots = vec![[1; 2]; members.len()];
        let mut generation = 0;
        for (index, superblock, newest) in devices.into_iter().enumerate().filter_map(inspect::ours) {
            generation = superblock.generation.max(generation);
            slots[index] = newest;
        }
        let newest = Superblock {
            pool: uuid,
            generation,
            member: 0,
            members: members.iter().zip(0..).map(entry).collect(),
            geometry: shape.geometry,
            layout,
            clean: false,
        };
        let area = layout.image();
        let store = Store::create(Image::empty(uuid, area.end - area.start)).map_err(PoolError::Store)?;
        let count = shape.geometry.members();
        let mut pool = Pool {
            newest,
            store: Some(store),
            files: (0..count).collect(),
            order: (0..members.len()).collect(),
            paths: members.iter().map(|member| member.path.clone()).collect(),
            slots,
            source: 0,
            free: Frames::all_but(layout.frames(), Vec::new()).unwrap_or_default(),
        };
        pool.write_superblocks(port)?;
        pool.replay_store(port)?;
        pool.set_states(|_| State::Active);
        pool.write_superblocks(port)?;
        Ok(pool)
    }

    fn open_writable<P: Port>(
        members: &[Member],
        devices: Vec<Device>,
        load: Load,
        port: &mut P,
    ) -> Result<Pool, PoolError> {
        let mut pool = Pool::assemble(members, devices, port)?;
        let sets = pool.newest_set().map_or(0, |set| set.pages);
        load.check(pool.geometry(), pool.free.count(), pool.free.count() + sets)?;
        let source = pool.source;
        // Mirrors are the same after an orderly close, and then the first is the one that was read.
        let copy = !pool.newest.clean || source != 0;
        pool.newest.clean = false;
        if copy {
            pool.set_states(|member| if member == source { State::Active } else { State::Copying });
        }
        pool.write_superblocks(port)?;
        if copy {
            pool.copy_mirror(port)?;
            pool.set_states(|_| State::Active);
            pool.write_superblocks(port)?;
        }
        pool.replay_store(port)?;
        Ok(pool)
    }

    /// Orders the devices by member and reads the first mirror that is valid; writes nothing.
    fn assemble<P: Port>(members: &[Member], devices: Vec<Device>, port: &mut P) -> Result<Pool, PoolError> {
        let mut ordered: Vec<_> = devices.into_iter().enumerate().filter_map(inspect::ours).collect();
        ordered.sort_by_key(|(_, superblock, _)| superblock.member);
        let newest = ordered.iter().map(|(_, superblock, _)| superblock).max_by_key(|superblock| superblock.generation);
        let newest = newest.expect("the devices were found to be ours").clone();
        // Only what all agree on is clean: a crash while the mark was written may have left it on some.
        let clean = ordered.iter().all(|(_, superblock, _)| superblock.clean);
        let order: Vec<usize> = ordered.iter().map(|(device, ..)| *device).collect();
        let file = |device: &usize| u16::try_from(*device).expect("at most 64 members");
        let files: Vec<u16> = order.iter().map(file).collect();
        let mut found = None;
        for (member, entry) in newest.members.iter().enumerate() {
            if entry.state == State::Active
                && let Some((store, free)) = read_mirror(&newest, files[member], port)
            {
                found = Some((member, store, free));
                break;
            }
            if port.in_flight() > 0 {
                // The port gave up, not the device: another mirror cannot be read either.
                return Err(PoolError::Port(libc::EIO));
            }
        }
        let paths: Vec<_> = order.iter().map(|&device| members[device].path.clone()).collect();
        let (source, store, free) = found.ok_or_else(|| PoolError::NoMetadata { path: paths[0].clone() })?;
        let slots = ordered.iter().map(|(_, _, slots)| *slots).collect();
        Ok(Pool {
            newest: Superblock { clean, ..newest },
            store: Some(store),
            files,
            order,
            paths,
            slots,
            source,
            free,
        })
    }

    fn set_states(&mut self, state: impl Fn(usize) -> State) {
        let members = self.newest.members.iter_mut().enumerate();
        members.for_each(|(member, entry)| entry.state = state(member));
    }

    /// A new generation on all members, each in the slot that does not hold the newest at that end.
    fn write_superblocks<P: Port>(&mut self, port: &mut P) -> Result<(), PoolError> {
        self.newest.generation += 1;
        let mut blocking = Blocking::new(port);
        for member in 0..self.newest.geometry.members() {
            let index = usize::from(member);
            self.newest.member = member;
            let bytes = self.newest.encode();
            for (zone, slot) in zones(self.newest.members[index].bytes).into_iter().zip(&mut self.slots[index]) {
                *slot = 1 - *slot;
                let offset = zone + u64::from(*slot) * SUPERBLOCK_BYTES as u64;
                blocking.write(self.files[index], offset, &bytes).map_err(device(&self.paths[index]))?;
            }
        }
        self.flush_all(port)
    }

    /// The bytes of the source's mirror, as they were read, over the others.
    fn copy_mirror<P: Port>(&self, port: &mut P) -> Result<(), PoolError> {
        let place = self.layout().metadata();
        let mut lengths = vec![0; to_usize(LENGTHS_BYTES)];
        let mut blocking = Blocking::new(port);
        let source = self.source;
        let from = device(&self.paths[source]);
        blocking.read(self.files[source], place.start, &mut lengths).map_err(&from)?;
        let (_, length) = decode_length(self.newest.pool, &lengths)
            .ok_or_else(|| PoolError::NoMetadata { path: self.paths[source].clone() })?;
        let end = place.start + LENGTHS_BYTES + length.next_multiple_of(SUPERBLOCK_BYTES as u64);
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = place.start;
        while at < end.min(place.end) {
            let part = &mut buffer[..to_usize((end - at).min(COPY_BYTES as u64))];
            blocking.read(self.files[source], at, part).map_err(&from)?;
            for member in (0..self.files.len()).filter(|&member| member != source) {
                blocking.write(self.files[member], at, part).map_err(device(&self.paths[member]))?;
            }
            at += part.len() as u64;
        }
        self.flush_all(port)
    }

    fn flush_all<P: Port>(&self, port: &mut P) -> Result<(), PoolError> {
        let mut blocking = Blocking::new(port);
        let mut files = self.files.iter().zip(&self.paths);
        files.try_for_each(|(&file, path)| blocking.flush(file).map_err(device(path)))
    }

    /// What the store wrote, to all mirrors.
    fn replay_store<P: Port>(&self, port: &mut P) -> Result<(), PoolError> {
        let mut replay = self.replay(port);
        replay.extend(self.store().image().take_segments());
        self.run(replay, port)
    }

    fn run<P: Port>(&self, mut replay: Replay, port: &mut P) -> Result<(), PoolError> {
        while !replay.is_done() {
            replay.drive(port, Nanos::ZERO);
            let submitted = port.submit(Next::Event);
            submitted.map_err(|error| PoolError::Port(error.raw_os_error().unwrap_or(libc::EIO)))?;
            while let Some(end) = port.reap() {
                replay.ended(end).map_err(|failure| match failure {
                    Failure::Device { doing, file, offset, errno } => {
                        let member = self.files.iter().position(|&f| f == file).unwrap_or(0);
                        let fault = crate::port::blocking::Fault { doing, file, offset, errno };
                        device(&self.paths[member])(fault)
                    }
                    _ => PoolError::Port(libc::EIO),
                })?;
            }
        }
        Ok(())
    }
}

/// The store in a member's mirror and the free frames that follow from it; `None` when it cannot be trusted.
fn read_mirror<P: Port>(superblock: &Superblock, file: u16, port: &mut P) -> Option<(Store, Frames)> {
    let place = superblock.layout.metadata();
    let area = superblock.layout.image();
    let mut blocking = Blocking::new(port);
    let mut lengths = vec![0; to_usize(LENGTHS_BYTES)];
    blocking.read(file, place.start, &mut lengths).ok()?;
    let (sequence, length) = decode_length(superblock.pool, &lengths)?;
    if length > area.end - area.start {
        return None;
    }
    let mut bytes = vec![0; to_usize(length.next_multiple_of(SUPERBLOCK_BYTES as u64))];
    blocking.read(file, area.start, &mut bytes).ok()?;
    bytes.truncate(to_usize(length));
    let store = Store::open(Image::loaded(superblock.pool, area.end - area.start, bytes, sequence)).ok()?;
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

fn name_of_member(mut pool: Uuid, index: u8) -> Uuid {
    pool[15] = pool[15].wrapping_add(index).wrapping_add(1);
    pool
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("metadata fit into memory")
}

const COPY_BYTES: usize = 1 << 20;
