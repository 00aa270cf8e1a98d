//! Volumes on real devices: made, listed, removed; and opened, with one pinned thread per home that serves a client.
//!
//! ```text
//!   main: open the pool ─▶ open the volume (recovery, a new epoch) ─▶ keep ─▶ close volume and pool
//!                                                                      ▲ lost, failed, settled
//!   home threads:  client's turn ─▶ home's turn ─▶ submit ─────────────┘ health, stop
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::units::Nanos;
use core_affinity::CoreId;

use self::client::Share;
use self::driver::{Driver, ToHome, ToKeeper, letters_to_home, letters_to_keeper};
use self::keeper::{Halt, Keeper, Kept};
use super::threads::{self, Gate, Start};
use super::{Config, EngineError, Handles, Opened, failed, files, main_port, open, report, sizing};
use crate::buffer::REGION_BYTES_MAX;
use crate::device::Device;
use crate::outcome::PoolFacts;
use crate::pool::error::PoolError;
use crate::pool::volumes::{VolumeError, VolumeFacts};
use crate::pool::{Member, Pool, Shape};
use crate::port::Bell;
use crate::port::uring::{Bells, Effective, SetupError, Uring, Wishes};
use crate::queue::Mailbox;
use crate::telemetry::TimeStates;
use crate::volume::Volume;
use crate::volume::home::{Healed, Home, Options};
use crate::volume::recovery::Recovered;

pub mod client;
mod copier;
mod driver;
mod keeper;
pub mod mender;
#[cfg(test)]
mod tests;

pub use client::{Client, Step};
pub use copier::{Copier, Copy, Way};

/// Makes a volume that reads as zeros.
///
/// # Errors
/// A sentence for the operator. The volume is there, or it is not.
pub fn create_volume(devices: Vec<Device>, name: &str, bytes: u64, lanes: u16) -> Result<(), EngineError> {
    change(devices, Pool::open, |pool, port| pool.create_volume(name, bytes, lanes, port))
}

/// Removes a volume; what it holds is lost.
///
/// # Errors
/// A sentence for the operator.
pub fn delete_volume(devices: Vec<Device>, name: &str) -> Result<(), EngineError> {
    change(devices, Pool::open, |pool, port| pool.delete_volume(name, port))
}

/// The volumes of the pool on these devices; writes nothing.
///
/// # Errors
/// A sentence for the operator.
pub fn list_volumes(devices: Vec<Device>) -> Result<Vec<VolumeFacts>, EngineError> {
    let Opened { pool, .. } = open(devices, Config::default().hang_limit, Pool::open_read_only)?;
    Ok(pool.volumes()?)
}

/// Makes a new pool that holds nothing but one volume, whatever the devices held before: for measurements.
///
/// # Errors
/// A sentence for the operator.
pub fn fresh_volume(
    devices: Vec<Device>,
    shape: Shape,
    (name, bytes): (&str, u64),
    lanes: u16,
) -> Result<(), EngineError> {
    let make = |members: &[Member], port: &mut Uring| Pool::open_or_create(members, shape, true, port);
    change(devices, make, |pool, port| pool.create_volume(name, bytes, lanes, port))
}

/// Marks a member as failed: for measurements of what is left.
///
/// # Errors
/// A sentence for the operator.
pub fn fail_member(devices: Vec<Device>, member: u16) -> Result<(), EngineError> {
    change(devices, Pool::open, |pool, port| Ok(pool.fail(member, port).map(|_| ())?))
}

/// One change of the metadata, and the pool closed in order whatever became of it.
fn change(
    devices: Vec<Device>,
    how: impl FnOnce(&[Member], &mut Uring) -> Result<Pool, PoolError>,
    apply: impl FnOnce(&mut Pool, &mut Uring) -> Result<(), VolumeError>,
) -> Result<(), EngineError> {
    let patience = Config::default().hang_limit;
    let Opened { mut pool, devices, origin } = open(devices, patience, how)?;
    let mut port = main_port(&files(&devices), origin, &Bells::new(1), Bell(0), patience)?;
    pool.use_member_order();
    let changed = apply(&mut pool, &mut port);
    let closed = pool.close(&mut port);
    changed?;
    Ok(closed?)
}

/// What to open, and how.
#[derive(Debug)]
pub struct VolumeJob {
    /// The members in any order.
    pub devices: Vec<Device>,
    /// The volume.
    pub name: String,
    /// Bytes of one operation at most: a multiple of 4 KiB.
    pub operation_bytes: u32,
    /// The file that clients read or write besides, for messages.
    pub data_file: Option<PathBuf>,
}

/// A run that has ended well.
#[derive(Debug)]
pub struct Served<C> {
    /// Each home.
    pub homes: Vec<HomeOutcome<C>>,
    /// From the first turn to the end of the last client.
    pub elapsed: Nanos,
    /// From then on until nothing was left to recover.
    pub settling: Nanos,
    /// CPU time of the whole process meanwhile.
    pub cpu: Nanos,
    /// Kernel workers seen.
    pub workers: u32,
    /// What the opening before had left half done.
    pub recovered: Option<Recovered>,
    /// What was healed on the way.
    pub healed: Healed,
    /// What had been asked for and was changed, in sentences; and members that were lost on the way.
    pub notes: Vec<String>,
    /// Where the volume lies.
    pub pool: PoolFacts,
}

/// One home at the end.
#[derive(Debug)]
pub struct HomeOutcome<C> {
    /// Its client.
    pub client: C,
    /// The core that its thread was pinned to.
    pub core: Option<usize>,
    /// Where its time went.
    pub times: TimeStates,
    /// What the kernel granted its ring.
    pub effective: Effective,
    healed: Healed,
}

/// Opens a volume, lets one client per home do its work, and closes all in order.
///
/// # Errors
/// A sentence for the operator. What was acknowledged and flushed stays, whatever happened.
pub fn serve<C: Client<Uring>>(
    job: VolumeJob,
    config: &Config,
    handles: &Handles,
    mut client: impl FnMut(Share) -> C,
) -> Result<Served<C>, EngineError> {
    let (cores, note) = threads::cores(config)?;
    let Opened { mut pool, devices, origin } = open(job.devices, config.hang_limit, Pool::open)?;
    let bells = Bells::new(config.peers + 1);
    let mut port = main_port(&files(&devices), origin, &bells, Bell(config.peers), config.hang_limit)?;
    pool.use_member_order();
    let opened = open_volume(&mut pool, &job.name, config, job.operation_bytes, &mut port);
    let (volume, options, recovered) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // Nothing of the volume was touched, or the next opening recovers it once more.
            pool.close(&mut port)?;
            return Err(error);
        }
    };
    let mut notes: Vec<String> = note.into_iter().collect();
    if volume.homes < config.peers {
        notes.push(format!("volume '{}' was made for {} peers at most, and so many serve it", job.name, volume.homes));
    }
    let clients = (0..volume.homes).map(|home| client(Share::new(&volume, home))).collect();
    let paths = pool.paths()[..usize::from(pool.geometry().members())].to_vec();
    let data_file = job.data_file.as_deref();
    let crew = Crew { config, devices: &devices, cores, volume, options, origin, bells, paths: &paths, data_file };
    let (kept, homes, began, cpu) = crew.run(&mut pool, &mut port, handles, clients)?;
    let workers = report::iou_workers();
    notes.extend(kept.lost.iter().map(|(_, failure)| failure.sentence(&paths, None)));
    notes.extend(pool.notes().iter().cloned());
    let settled = crate::port::Port::now(&port);
    let facts = report::pool_facts(&pool);
    if let Some(halt) = kept.halt.as_ref().filter(|halt| !matches!(halt, Halt::Signal)) {
        return Err(crew.explain(halt));
    }
    pool.close_volume(&job.name, &mut port)?;
    pool.close(&mut port)?;
    if let Some(halt) = &kept.halt {
        return Err(crew.explain(halt));
    }
    let homes = homes.ok_or(EngineError::Died)?;
    let healed = homes.iter().fold(Healed::default(), |sum, home| Healed {
        blocks: sum.blocks + home.healed.blocks,
        lost: sum.lost + home.healed.lost,
    });
    Ok(Served {
        elapsed: kept.served_until.since(began),
        settling: settled.since(kept.served_until),
        homes,
        cpu,
        workers,
        recovered,
        healed,
        notes,
        pool: facts,
    })
}

/// A volume that is ready for its homes, how these are sized, and what had to be finished before.
fn open_volume(
    pool: &mut Pool,
    name: &str,
    config: &Config,
    operation_bytes: u32,
    port: &mut Uring,
) -> Result<(Volume, Options, Option<Recovered>), EngineError> {
    let operations = config.depth.map_or(Ok(OPERATIONS), u16::try_from).unwrap_or(u16::MAX);
    let request_bytes = u32::try_from(config.request_bytes).unwrap_or(u32::MAX);
    let (volume, recovered) = pool.open_volume(name, config.peers, port)?;
    let options = Options { operations, operation_bytes, pages: 0, request_bytes, hang_limit: config.hang_limit };
    Ok((volume.clone(), size(&volume, options)?, recovered))
}

/// As many pages' leaves in memory as the home has, within bounds, and within what may be registered.
fn size(volume: &Volume, options: Options) -> Result<Options, sizing::SizingError> {
    let page_bytes = volume.layout.leaf_bytes() * u64::from(volume.geometry.members());
    let most = (LEAVES_BYTES / page_bytes).max(u64::from(options.operations) * 2);
    let mine = (volume.frames.len() as u64).div_ceil(u64::from(volume.homes));
    let mut pages = u16::try_from(most.min(mine)).unwrap_or(u16::MAX).max(1);
    let limit =
        sizing::locked_memory_limit().map_or(u64::from(REGION_BYTES_MAX), |limit| limit / u64::from(volume.homes));
    loop {
        let sized = Options { pages, ..options };
        let bytes = Home::<Uring>::region_bytes(volume, sized);
        if bytes <= limit.min(u64::from(REGION_BYTES_MAX)) {
            return Ok(sized);
        }
        if pages == 1 {
            let (depth, slot_bytes) = (u32::from(options.operations), u64::from(options.operation_bytes));
            let requests = u64::from(Home::<Uring>::requests(volume, sized));
            return Err(sizing::SizingError::Depth { depth, slot_bytes, bytes, requests });
        }
        pages = (pages / 2).max(1);
    }
}

/// What the threads of one run share. It outlives them.
struct Crew<'a> {
    config: &'a Config,
    devices: &'a [Option<Device>],
    cores: Vec<Option<CoreId>>,
    volume: Volume,
    options: Options,
    origin: std::time::Instant,
    bells: Bells,
    paths: &'a [PathBuf],
    data_file: Option<&'a Path>,
}

/// What was kept, what each home leaves behind (`None`: a thread has died), when it began, and the CPU time.
type Ran<C> = (Kept, Option<Vec<HomeOutcome<C>>>, Nanos, Nanos);

impl Crew<'_> {
    /// Starts a thread for each client, keeps the metadata meanwhile, and ends with all threads joined.
    fn run<C: Client<Uring>>(
        &self,
        pool: &mut Pool,
        port: &mut Uring,
        handles: &Handles,
        clients: Vec<C>,
    ) -> Result<Ran<C>, EngineError> {
        let (homes, members) = (self.volume.homes, self.volume.geometry.members());
        let health = pool.health();
        let keeper = Arc::new(Mailbox::new(letters_to_keeper(homes, members), Bell(homes)));
        let mailbox = |home| Arc::new(Mailbox::new(letters_to_home(members), Bell(home)));
        let inboxes: Vec<Arc<Mailbox<ToHome>>> = (0..homes).map(mailbox).collect();
        std::thread::scope(|scope| {
            let mut gate = Gate::new();
            let mut threads = Vec::with_capacity(clients.len());
            for ((client, home), inbox) in clients.into_iter().zip(0..).zip(&inboxes) {
                let (start, mail) = (gate.start(), (inbox.clone(), keeper.clone()));
                let body = move || self.live(home, client, health, mail, start);
                threads.push(threads::spawn(scope, format!("home {home}"), body)?);
            }
            gate.open()?;
            let (cpu, began) = (report::cpu_time(), crate::port::Port::now(port));
            let has_ended = |home: usize| threads[home].is_finished();
            let serving = vec![true; inboxes.len()];
            let (homes, has_ended, kept) = (&inboxes, &has_ended, Kept::default());
            let kept = Keeper { pool, port, inbox: &keeper, homes, has_ended, handles, serving, kept }.keep();
            let cpu = report::cpu_time() - cpu;
            let error = kept.halt.as_ref().map(|halt| self.explain(halt));
            let watch = threads::Watch::start(self.config, error.as_ref());
            let join = |thread: ScopedJoinHandle<'_, _>| thread.join().ok().flatten();
            // All are joined before any is looked at.
            let homes: Vec<Option<HomeOutcome<C>>> = threads.into_iter().map(join).collect();
            let homes = homes.into_iter().collect();
            drop(watch);
            Ok((kept, homes, began, cpu))
        })
    }

    /// A home's thread: pins itself, builds its port and its home, and takes turns until it is done.
    fn live<C: Client<Uring>>(
        &self,
        index: u16,
        client: C,
        health: bireme_control::raid::health::Health,
        mail: (Arc<Mailbox<ToHome>>, Arc<Mailbox<ToKeeper>>),
        start: Start,
    ) -> Option<HomeOutcome<C>> {
        // Before the memory is touched, so that it comes from this core's node.
        let core = self.cores[usize::from(index)];
        let core = core.filter(|&core| core_affinity::set_for_current(core)).map(|core| core.id);
        let port = start.wait(self.port(index))?;
        let effective = port.effective().clone();
        let home = Home::new(self.volume.clone(), index, health, self.options, port);
        let mut driver = Driver::new(home, client, index, mail, self.config.hang_limit);
        while !driver.is_done() {
            let next = driver.turn();
            // After the last turn too: wake-ups leave with what is submitted.
            driver.rest(next);
        }
        let (home, client, mut stopwatch) = driver.into_parts();
        threads::take_out_system_time(&mut stopwatch);
        Some(HomeOutcome { client, core, times: stopwatch.totals(), effective, healed: home.healed() })
    }

    fn explain(&self, halt: &Halt) -> EngineError {
        let consequence = "what was acknowledged and flushed is there when the volume is opened again".to_owned();
        match halt {
            Halt::Signal => EngineError::Stopped("all that was acknowledged is durable".to_owned()),
            Halt::Failed(failure) => failed(*failure, self.paths, self.data_file, consequence),
            Halt::Pool(error) => EngineError::Failed { sentence: error.to_string(), consequence },
            Halt::Died => EngineError::Failed { sentence: DIED.to_owned(), consequence },
        }
    }

    fn port(&self, index: u16) -> Result<Uring, SetupError> {
        let files = &files(self.devices)[..usize::from(self.volume.geometry.members())];
        let region_bytes = Home::<Uring>::region_bytes(&self.volume, self.options);
        Uring::new(&Wishes {
            files,
            region_bytes: usize::try_from(region_bytes).expect("sized to at most 1 GiB"),
            limit: Home::<Uring>::requests(&self.volume, self.options),
            weave_pieces: 0,
            origin: self.origin,
            bells: self.bells.clone(),
            bell: Bell(index),
            patience: self.config.hang_limit,
        })
    }
}

const DIED: &str = "a thread of the engine has died: this is a fault of Bireme";
/// Operations of a home where no depth was asked for.
const OPERATIONS: u16 = 8;
/// Memory for leaves of one home: those of gigabytes of data.
const LEAVES_BYTES: u64 = 16 << 20;
const _: () = assert!(BLOCK_BYTES == 4096, "operations are counted in blocks of this size");
