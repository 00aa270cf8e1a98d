//! Start and stop: sizes the memory, pins the peers, builds the ports on their threads, wires the mailboxes.
//!
//! ```text
//!   main -- Prepare --> ledger -- Begin, Flush --> peers (one per core), who share the work among themselves
//!    ^                   |  ^                         |
//!    '---- Committed ----'  '------- Page, Flushed ---'        control: publishes orders on the board
//! ```
//!
//! [`offload`] writes sets, [`restore`] reads one, [`mend`] puts it right on the devices, [`volumes`] serves volumes. All
//! end with all threads joined and every device released, whatever
//! happened; what went wrong is one sentence. There is one exception, which is the kernel's: a thread whose flush is not
//! answered cannot end before it is, and [`Config::on_stuck`] is told.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bireme_control::balance::Rules;
use bireme_control::raid::geometry::GeometryError;
use bireme_control::units::{Nanos, PeerId};

use crate::device::file::{FileError, Input};
use crate::device::{Device, DeviceError};
use crate::message::Failure;
use crate::outcome::Outcome;
use crate::peer::Rate;
use crate::pool::error::PoolError;
use crate::pool::volumes::VolumeError;
use crate::pool::{Member, Pool, Shape, Standing};
use crate::port::Bell;
use crate::port::uring::{Bells, Method, SetupError, Uring, Wishes};
use crate::reservation::Promises;
use crate::telemetry::Gauges;

pub mod arrays;
pub mod bare;
mod crew;
mod mending;
mod metadata;
mod offloading;
pub mod raw;
mod report;
mod restoring;
pub mod sizing;
mod threads;
pub mod volumes;

pub use mending::{MendJob, Mending, end_rebuild, mend, mend_volume};
pub use metadata::{Metadata, Set, metadata};
pub use offloading::offload;
pub use restoring::restore;

/// How an engine is built.
#[derive(Clone)]
pub struct Config {
    /// How many peers.
    pub peers: u16,
    /// The cores that they are pinned to, in turn; all that the process may use otherwise.
    pub cores: Option<Vec<usize>>,
    /// Slots per peer; as many as is good and locked memory allows otherwise.
    pub depth: Option<u32>,
    /// Data of one slot at most; one request to each device otherwise, within 1 to 4 MiB.
    pub slot_bytes: Option<u64>,
    /// One request to a device at most.
    pub request_bytes: u64,
    /// How peers share the work.
    pub rules: Rules,
    /// Do not use what the peers of earlier runs have learnt.
    pub forget: bool,
    /// How fast a peer may be, by peer; those beyond the list go as fast as they can. For experiments with unequal peers.
    pub peer_rates: Vec<Option<Rate>>,
    /// What classes are promised.
    pub promises: Promises,
    /// Write the next set while one is being made durable. Without it each set is alone, as a measurement of one needs it.
    pub overlap: bool,
    /// A request that takes longer ends the run.
    pub hang_limit: Nanos,
    /// Called on each peer's thread before its first turn. Tests prove here what the data path does not do.
    pub on_peer_start: Option<PeerHook>,
    /// Called with the sentence of a run whose threads do not end, as the kernel keeps a thread whose flush a device does
    /// not answer. What returns from it waits for them, however long that takes.
    pub on_stuck: Option<fn(&str)>,
    /// Called on each peer's thread after its last turn, before it counts up and gives its memory back.
    pub on_peer_end: Option<PeerHook>,
}

/// See [`Config::on_peer_start`] and [`Config::on_peer_end`].
pub type PeerHook = Arc<dyn Fn(PeerId) + Send + Sync>;

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("peers", &self.peers).field("cores", &self.cores).finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            peers: 2,
            cores: None,
            depth: None,
            slot_bytes: None,
            request_bytes: 512 << 10,
            rules: Rules::default(),
            forget: false,
            peer_rates: Vec::new(),
            promises: Promises::default(),
            overlap: true,
            hang_limit: Nanos::from_secs(30),
            on_peer_start: None,
            on_stuck: None,
            on_peer_end: None,
        }
    }
}

impl Config {
    /// The sizes that are asked for.
    fn sizes(&self) -> sizing::Ask {
        sizing::Ask {
            depth: self.depth,
            slot_bytes: self.slot_bytes,
            request_bytes: self.request_bytes,
            peers: self.peers,
        }
    }
}

/// Where the data of an offload comes from.
#[derive(Debug)]
pub enum Source {
    /// Derived from a seed, this many bytes.
    Generated {
        /// The seed.
        seed: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Read from a file.
    File(Input),
}

/// What to write where.
#[derive(Debug)]
pub struct OffloadJob {
    /// The members in the order given.
    pub devices: Vec<Device>,
    /// The shape of the pool.
    pub shape: Shape,
    /// Whether foreign devices and other pools may be overwritten.
    pub destroy_data: bool,
    /// The data.
    pub source: Source,
    /// How many sets, one after the other.
    pub sets: u32,
}

/// What to read, and where to.
#[derive(Debug)]
pub struct RestoreJob {
    /// The members in any order.
    pub devices: Vec<Device>,
    /// The file to store the set in; it is compared only otherwise.
    pub output: Option<PathBuf>,
}

/// What the caller watches and how it interrupts.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Progress.
    pub gauges: Arc<Gauges>,
    /// Set to end the run in order.
    pub stop: Arc<AtomicBool>,
}

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No or too many peers.
    #[error("{0} peers cannot work: choose 1 to {PEERS_MAX}")]
    Peers(u16),
    /// A core that the process may not use.
    #[error("core {core} cannot be used: this process may run on cores {allowed}; see --cores")]
    Core {
        /// The core.
        core: usize,
        /// Those that it may use.
        allowed: String,
    },
    /// A shape that cannot be.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A size that cannot be.
    #[error(transparent)]
    Sizing(#[from] sizing::SizingError),
    /// A ring that cannot be had.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A device that must not be overwritten.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A pool that cannot be opened.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A volume that cannot be made or opened.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// An output that cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A thread that could not be started.
    #[error("a thread could not be started ({0}): raise the limit of processes (ulimit -u)")]
    Thread(std::io::Error),
    /// Nothing to write, or more than a set may have.
    #[error("a set of {bytes} bytes cannot be written: choose 1 byte to {most} bytes, or a larger --page")]
    SetSize {
        /// The size.
        bytes: u64,
        /// The most.
        most: u64,
    },
    /// There is no committed set.
    #[error("the pool on {first} holds no data set: nothing was ever committed to it")]
    Empty {
        /// The first device.
        first: PathBuf,
    },
    /// The operator has interrupted it.
    #[error("stopped by a signal; {0}")]
    Stopped(String),
    /// It failed on the way. The first part is the cause, the second what became of the sets.
    #[error("{sentence}; {consequence}")]
    Failed {
        /// The cause.
        sentence: String,
        /// What became of the sets.
        consequence: String,
    },
    /// All is done, and a device does not answer the last requests.
    #[error(
        "all sets were committed, but a device does not answer while the pool is closed: see the kernel log (dmesg); the \
         next opening repairs the rest"
    )]
    Unclosed,
    /// A thread panicked: a fault of ours.
    #[error("a thread of the engine has died: this is a fault of Bireme; nothing of the unfinished set was committed")]
    Died,
}

/// A pool as the engine has it: opened, with the devices in the order of its members, and then of its spares.
struct Opened {
    pool: Pool,
    devices: Vec<Option<Device>>,
    origin: Instant,
}

/// The files of these devices, with gaps for those that are absent.
fn files(devices: &[Option<Device>]) -> Vec<Option<BorrowedFd<'_>>> {
    devices.iter().map(|device| device.as_ref().map(Device::as_fd)).collect()
}

/// Opens the devices' pool with a port of this thread, which is closed again before the others are built.
fn open(
    devices: Vec<Device>,
    patience: Nanos,
    how: impl FnOnce(&[Member], &mut Uring) -> Result<Pool, PoolError>,
) -> Result<Opened, EngineError> {
    let origin = Instant::now();
    let members: Vec<Member> = devices.iter().map(member).collect();
    let files: Vec<_> = devices.iter().map(|device| Some(device.as_fd())).collect();
    let mut port = main_port(&files, origin, &Bells::new(1), Bell(0), patience)?;
    let pool = how(&members, &mut port)?;
    let mut given: Vec<Option<Device>> = devices.into_iter().map(Some).collect();
    let devices = pool.order().iter().map(|&index| given[index?].take()).collect();
    Ok(Opened { pool, devices, origin })
}

/// Whose these devices are, for callers that must know before they can say what they want.
///
/// # Errors
/// They are of different pools, or too few of one.
pub fn standing(devices: &[Device]) -> Result<Standing, EngineError> {
    let members: Vec<Member> = devices.iter().map(member).collect();
    let files: Vec<_> = devices.iter().map(|device| Some(device.as_fd())).collect();
    let patience = Config::default().hang_limit;
    let mut port = main_port(&files, Instant::now(), &Bells::new(1), Bell(0), patience)?;
    Ok(Pool::inspect(&members, &mut port)?)
}

fn member(device: &Device) -> Member {
    Member { path: device.path().to_owned(), bytes: device.bytes() }
}

/// A port for metadata: a few requests at a time, in memory that registers under any limit.
fn main_port(
    files: &[Option<BorrowedFd<'_>>],
    origin: Instant,
    bells: &Bells,
    bell: Bell,
    patience: Nanos,
) -> Result<Uring, SetupError> {
    let limit = metadata_requests(u16::try_from(files.len()).expect("few devices"));
    let bells = bells.clone();
    // A thread without devices only sleeps in its port.
    let region_bytes = if files.is_empty() { 4096 } else { METADATA_REGION };
    let region_bytes = usize::try_from(region_bytes).expect("small");
    Uring::new(&Wishes {
        files,
        namespaces: &[],
        method: Method::Interrupts,
        region_bytes,
        limit,
        weave_pieces: 0,
        origin,
        bells,
        bell,
        patience,
    })
}

/// Requests that a port for metadata can have under way.
fn metadata_requests(devices: u16) -> u32 {
    16 * u32::from(devices.max(1))
}

fn failed(failure: Failure, paths: &[PathBuf], input: Option<&std::path::Path>, consequence: String) -> EngineError {
    EngineError::Failed { sentence: failure.sentence(paths, input), consequence }
}

/// The result of a run.
pub type Ended = Result<Outcome, EngineError>;

/// The most peers of one engine.
pub const PEERS_MAX: u16 = 256;
const METADATA_REGION: u64 = 1 << 20;
