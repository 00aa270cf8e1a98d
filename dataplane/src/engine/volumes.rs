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

use self::client::{Classes, Share};
use self::driver::{Driver, ToHome, ToKeeper, letters_to_home, letters_to_keeper};
use self::keeper::{Halt, Keeper, Kept};
use super::sizing::{self, SizingError};
use super::threads::{self, Gate, Start};
use super::{
    Config, EngineError, Handles, METADATA_REGION, Opened, failed, files, main_port, metadata_requests, open, report,
};
use crate::buffer::{REGION_BYTES_MAX, Region};
use crate::device::Device;
use crate::outcome::PoolFacts;
use crate::pool::Pool;
use crate::pool::volumes::{VolumeError, VolumeFacts};
use crate::port::Bell;
use crate::port::uring::{Bells, Effective, Method, SetupError, Uring, Wishes, queue_bytes};
use crate::queue::Mailbox;
use crate::reservation::Manager;
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
    change(devices, |pool, port| pool.create_volume(name, bytes, lanes, port))
}

/// Removes a volume; what it holds is lost.
///
/// # Errors
/// A sentence for the operator.
pub fn delete_volume(devices: Vec<Device>, name: &str) -> Result<(), EngineError> {
    change(devices, |pool, port| pool.delete_volume(name, port))
}

/// The volumes of the pool on these devices; writes nothing.
///
/// # Errors
/// A sentence for the operator.
pub fn list_volumes(devices: Vec<Device>) -> Result<Vec<VolumeFacts>, EngineError> {
    let Opened { pool, .. } = open(devices, Config::default().hang_limit, Pool::open_read_only)?;
    Ok(pool.volumes()?)
}

/// One change of the metadata, and the pool closed in order whatever became of it.
fn change(
    devices: Vec<Device>,
    apply: impl FnOnce(&mut Pool, &mut Uring) -> Result<(), VolumeError>,
) -> Result<(), EngineError> {
    let patience = Config::default().hang_limit;
    let Opened { mut pool, devices, origin } = open(devices, patience, Pool::open)?;
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
    /// Why members were lost on the way; the notes have it too.
    pub losses: Vec<String>,
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
    mut client: impl FnMut(Share, &Classes) -> C,
) -> Result<Served<C>, EngineError> {
    let (cores, note) = threads::cores(config)?;
    let Opened { mut pool, devices, origin } = open(job.devices, config.hang_limit, Pool::open)?;
    let bells = Bells::new(config.peers + 1);
    let mut port = main_port(&files(&devices), origin, &bells, Bell(config.peers), config.hang_limit)?;
    pool.use_member_order();
    let opened = open_volume(&mut pool, &job.name, config, job.operation_bytes, &mut port);
    let (volume, options, recovered) = match opened {
        Ok(opened) => opened,
        Err(error) => return Err(untouched(pool, None, port, error)),
    };
    let mut notes: Vec<String> = note.into_iter().collect();
    if volume.homes < config.peers {
        notes.push(format!("volume '{}' was made for {} peers at most, and so many serve it", job.name, volume.homes));
    }
    if config.depth.is_none() && u32::from(options.operations) < OPERATIONS {
        notes.push(format!(
            "the limit of locked memory allows {} operations per peer, fewer than usual: run with sudo, or raise ulimit -l",
            options.operations
        ));
    }
    let reservation = config.promises.manager(1);
    let classes = Classes::new(reservation.as_ref());
    let clients = (0..volume.homes).map(|home| client(Share::new(&volume, home), &classes)).collect();
    let paths = pool.paths()[..usize::from(pool.geometry().members())].to_vec();
    let data_file = job.data_file.as_deref();
    let crew = Crew { config, devices: &devices, cores, volume, options, origin, bells, paths: &paths, data_file };
    let (kept, homes, began, cpu) = match crew.run(&mut pool, &mut port, handles, clients, reservation) {
        Ok(ran) => ran,
        Err(error) => return Err(untouched(pool, Some(&job.name), port, error)),
    };
    let workers = report::iou_workers();
    let losses: Vec<String> = kept.lost.iter().map(|(_, failure)| failure.sentence(&paths, None)).collect();
    notes.extend(losses.iter().cloned());
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
        losses,
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
    let (volume, recovered) = pool.open_volume(name, config.peers, port)?;
    match size(&volume, config, operation_bytes) {
        Ok(options) => Ok((volume, options, recovered)),
        Err(error) => {
            pool.close_volume(name, port)?;
            Err(error.into())
        }
    }
}

/// No home has begun: what is open is closed in order, and the error stays what it is.
fn untouched(mut pool: Pool, volume: Option<&str>, mut port: Uring, error: EngineError) -> EngineError {
    // What cannot be closed is repaired by the next opening.
    let closed = volume.map_or(Ok(()), |name| pool.close_volume(name, &mut port));
    let _ = closed.map(|()| pool.close(&mut port));
    error
}

/// The most operations and pages' leaves that are good and that may be registered; a depth that was given is never changed.
fn size(volume: &Volume, config: &Config, operation_bytes: u32) -> Result<Options, SizingError> {
    let request_bytes = u32::try_from(config.request_bytes).unwrap_or(u32::MAX);
    let options = Options { operations: 1, operation_bytes, pages: 1, request_bytes, hang_limit: config.hang_limit };
    let page_bytes = volume.layout.leaf_bytes() * u64::from(volume.geometry.members());
    let mine = (volume.frames.len() as u64).div_ceil(u64::from(volume.homes));
    let usual = config.depth.unwrap_or(OPERATIONS);
    let mut refused = None;
    let least = if config.depth.is_some() { usual } else { 1 };
    for depth in (least..=usual).rev() {
        let operations = u16::try_from(depth).unwrap_or(u16::MAX);
        let most = (LEAVES_BYTES / page_bytes).max(u64::from(depth) * 2).min(mine);
        let mut pages = u16::try_from(most).unwrap_or(u16::MAX).max(1);
        loop {
            let sized = Options { operations, pages, ..options };
            match fits(volume, sized) {
                Ok(()) => return Ok(sized),
                Err(error) => refused = Some(error),
            }
            if pages == 1 {
                break;
            }
            pages /= 2;
        }
    }
    Err(refused.expect("a depth is at least 1"))
}

/// Whether rings can register so much, and the process may lock it.
fn fits(volume: &Volume, options: Options) -> Result<(), SizingError> {
    let bytes = Home::<Uring>::region_bytes(volume, options);
    let requests = u64::from(Home::<Uring>::requests(volume, options));
    let (depth, peers) = (u32::from(options.operations), volume.homes);
    if bytes > u64::from(REGION_BYTES_MAX) || requests > sizing::REQUESTS_MAX {
        return Err(SizingError::Depth { depth, slot_bytes: u64::from(options.operation_bytes), bytes, requests });
    }
    let region = usize::try_from(bytes).map_or(u64::MAX, |bytes| Region::mapped_bytes(bytes) as u64);
    let queue = queue_bytes(u32::try_from(requests).unwrap_or(u32::MAX));
    let keeper = METADATA_REGION + queue_bytes(metadata_requests(volume.geometry.members()));
    let bytes = (region + queue) * u64::from(peers) + keeper;
    match sizing::locked_memory_limit().filter(|&limit| bytes > limit) {
        Some(limit) => Err(SizingError::Locked { peers, depth, bytes, limit }),
        None => Ok(()),
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
        reservation: Option<Manager>,
    ) -> Result<Ran<C>, EngineError> {
        let (homes, members) = (self.volume.homes, self.volume.geometry.members());
        let health = pool.health();
        let keeper = Arc::new(Mailbox::new(letters_to_keeper(homes, members), Bell(self.config.peers)));
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
            let kept =
                Keeper { pool, port, inbox: &keeper, homes, has_ended, handles, serving, reservation, kept }.keep();
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
            namespaces: &[],
            method: Method::Interrupts,
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
const OPERATIONS: u32 = 8;
/// Memory for leaves of one home: those of gigabytes of data.
const LEAVES_BYTES: u64 = 16 << 20;
const _: () = assert!(BLOCK_BYTES == 4096, "operations are counted in blocks of this size");
