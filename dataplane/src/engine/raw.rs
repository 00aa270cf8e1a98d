//! Raw devices under a load: one pinned thread per peer, each with a port of its own, and a client that says what is done.
//!
//! ```text
//!   thread of a peer:   client's turn (reap, record, push) ─▶ submit, sleep ─▶ client's turn ...   until it is done
//!   main:               ticks every so often, until the last thread has ended
//! ```
//!
//! These are the threads, rings, buffers and clocks of all other work of the engine, without pages and metadata on the
//! devices. Nothing is shared but two flags, which a turn reads.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bireme_control::units::Nanos;
use core_affinity::CoreId;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::volumes::client::Step;
use super::{Config, EngineError, Handles, failed, main_port, report, sizing, threads};
use crate::buffer::{REGION_BYTES_MAX, Region};
use crate::device::{Device, DeviceError, Namespace};
use crate::message::Failure;
use crate::pool::{Member, Pool};
use crate::port::uring::{Bells, Effective, Method, SetupError, Uring, Wishes, queue_bytes};
use crate::port::{Bell, Next, Operation, Port, Request};
use crate::telemetry::{State, Stopwatch, TimeStates};

/// What one peer does with its devices.
pub trait Client<P: Port>: Send {
    /// Takes what has ended, as of `now`, and asks for more; nothing more when `stopping`.
    ///
    /// # Errors
    /// It cannot go on, and the run ends.
    fn turn(&mut self, port: &mut P, now: Nanos, stopping: bool) -> Result<Step, Failure>;

    /// What the turn has pushed is handed to the kernel, at `now`.
    fn handed_over(&mut self, now: Nanos);
}

/// What a run is built from.
#[derive(Debug)]
pub struct RawJob {
    /// The devices; requests name them by their places here.
    pub devices: Vec<Device>,
    /// Memory for the requests of one peer, in bytes.
    pub region_bytes: u64,
    /// The most requests that one peer has in flight.
    pub requests: u32,
    /// How each peer learns that requests have ended.
    pub methods: Vec<Method>,
}

/// A run that has ended, whatever it was that ended it.
#[derive(Debug)]
pub struct Ran<C> {
    /// Each peer.
    pub peers: Vec<Peer<C>>,
    /// What the whole process has used: all its threads, and the kernel for them.
    pub usage: Usage,
    /// Kernel workers seen.
    pub workers: u32,
    /// What was asked for and was changed, in sentences.
    pub notes: Vec<String>,
    /// The operator has interrupted it.
    pub stopped: bool,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time outside of the kernel.
    pub user: Nanos,
    /// CPU time in the kernel.
    pub system: Nanos,
    /// How often a thread gave up its core or lost it.
    pub switches: u64,
    /// Page faults that read from a device.
    pub major_faults: u64,
    /// Other page faults.
    pub minor_faults: u64,
}

impl Usage {
    /// Of this process so far.
    pub fn now() -> Usage {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Usage::default() };
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let time = |time: TimeVal| Nanos(count(time.tv_sec()) * 1_000_000_000 + count(time.tv_usec()) * 1000);
        Usage {
            user: time(usage.user_time()),
            system: time(usage.system_time()),
            switches: count(usage.voluntary_context_switches()) + count(usage.involuntary_context_switches()),
            major_faults: count(usage.major_page_faults()),
            minor_faults: count(usage.minor_page_faults()),
        }
    }

    /// What has come since.
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            user: self.user - before.user,
            system: self.system - before.system,
            switches: self.switches - before.switches,
            major_faults: self.major_faults - before.major_faults,
            minor_faults: self.minor_faults - before.minor_faults,
        }
    }

    /// CPU time.
    pub fn cpu(&self) -> Nanos {
        self.user + self.system
    }
}

/// One peer at the end.
#[derive(Debug)]
pub struct Peer<C> {
    /// Its client.
    pub client: C,
    /// The core that its thread was pinned to.
    pub core: Option<usize>,
    /// Where its time went.
    pub times: TimeStates,
    /// What the kernel granted its ring.
    pub effective: Effective,
    failure: Option<Failure>,
}

/// Lets one client per peer do its work, and calls `tick` at least every `interval` meanwhile, with
/// the time of the peers' clocks.
///
/// # Errors
/// A sentence for the operator.
pub fn drive<C: Client<Uring>>(
    job: &RawJob,
    config: &Config,
    handles: &Handles,
    clients: Vec<C>,
    interval: Duration,
    mut tick: impl FnMut(Nanos),
) -> Result<Ran<C>, EngineError> {
    let (cores, note) = threads::cores(config)?;
    fits(job, config.peers)?;
    let crew = Crew {
        job,
        config,
        handles,
        failing: AtomicBool::new(false),
        origin: Instant::now(),
        bells: Bells::new(config.peers),
    };
    let before = Usage::now();
    let (mut workers, mut watched) = (0, Instant::now());
    let peers: Option<Vec<Peer<C>>> = std::thread::scope(|scope| {
        let (mut gate, mut started) = (threads::Gate::new(), Vec::new());
        let (alive, ended) = channel::<()>();
        for ((client, index), &core) in clients.into_iter().zip(0u16..).zip(&cores) {
            let (start, alive, crew) = (gate.start(), alive.clone(), &crew);
            let body = move || {
                let _alive = alive;
                crew.live(index, core, client, start)
            };
            started.push(threads::spawn(scope, format!("peer {index}"), body)?);
        }
        drop(alive);
        gate.open()?;
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            if watched.elapsed() >= WORKERS_WATCHED {
                workers = workers.max(report::iou_workers());
                watched = Instant::now();
            }
            tick(since(crew.origin));
        }
        // All are joined before any is looked at.
        let peers: Vec<Option<Peer<C>>> = started.into_iter().map(|thread| thread.join().ok().flatten()).collect();
        Ok::<_, EngineError>(peers.into_iter().collect())
    })?;
    workers = workers.max(report::iou_workers());
    tick(since(crew.origin));
    let usage = Usage::now().since(before);
    let peers = peers.ok_or(EngineError::Died)?;
    if let Some(failure) = peers.iter().find_map(|peer| peer.failure) {
        let paths: Vec<PathBuf> = job.devices.iter().map(|device| device.path().into()).collect();
        return Err(failed(failure, &paths, None, "the run has ended".to_owned()));
    }
    let stopped = handles.stop.load(Ordering::Acquire);
    Ok(Ran { peers, usage, workers, notes: note.into_iter().collect(), stopped })
}

/// What each device holds that would be lost if it were overwritten, to follow "it"; `None` for blank ones. Nothing is
/// written.
///
/// # Errors
/// A sentence for the operator.
pub fn contents(devices: &[Device], config: &Config) -> Result<Vec<Option<String>>, EngineError> {
    let look = |device: &Device| {
        let bells = Bells::new(1);
        let mut port = main_port(&[Some(device.as_fd())], Instant::now(), &bells, Bell(0), config.hang_limit)?;
        let member = Member { path: device.path().into(), bytes: device.bytes() };
        Ok(Pool::content(&member, &mut port)?)
    };
    devices.iter().map(look).collect()
}

/// Tries each device with one read on a ring that polls: a queue that cannot be polled says so only when it is asked.
///
/// # Errors
/// A sentence for the operator.
pub fn try_polling(devices: &[Device], config: &Config) -> Result<(), EngineError> {
    for device in devices {
        let path = || device.path().to_owned();
        let mut port = Uring::new(&Wishes {
            files: &[Some(device.request_fd())],
            namespaces: &[device.namespace()],
            method: Method::Polling,
            region_bytes: 4096,
            limit: 1,
            weave_pieces: 0,
            origin: Instant::now(),
            bells: Bells::new(1),
            bell: Bell(0),
            patience: config.hang_limit,
        })?;
        let operation = Operation::Read(port.region().all());
        let request = Request { token: 0, file: 0, offset: 0, operation };
        port.push(request).expect("the port is empty");
        let ended = loop {
            if let Err(source) = port.submit(Next::Event) {
                return Err(DeviceError::Io { doing: "polling", path: path(), source }.into());
            }
            if let Some(ended) = port.reap() {
                break ended.result;
            }
        };
        match ended {
            Ok(_) => {}
            Err(libc::EOPNOTSUPP | libc::EINVAL) => return Err(DeviceError::NotPolled { path: path() }.into()),
            Err(errno) => {
                let source = io::Error::from_raw_os_error(errno);
                return Err(DeviceError::Io { doing: "polling", path: path(), source }.into());
            }
        }
    }
    Ok(())
}

/// Whether rings can register so much, and the process may lock it.
fn fits(job: &RawJob, peers: u16) -> Result<(), sizing::SizingError> {
    let (depth, bytes) = (job.requests, job.region_bytes);
    if bytes > u64::from(REGION_BYTES_MAX) || u64::from(depth) > sizing::REQUESTS_MAX {
        let slot_bytes = bytes / u64::from(depth.max(1));
        return Err(sizing::SizingError::Depth { depth, slot_bytes, bytes, requests: u64::from(depth) });
    }
    let region = usize::try_from(bytes).map_or(u64::MAX, |bytes| Region::mapped_bytes(bytes) as u64);
    let bytes = (region + queue_bytes(depth)) * u64::from(peers);
    match sizing::locked_memory_limit().filter(|&limit| bytes > limit) {
        Some(limit) => Err(sizing::SizingError::Locked { peers, depth, bytes, limit }),
        None => Ok(()),
    }
}

/// What the threads of one run share. It outlives them.
struct Crew<'a> {
    job: &'a RawJob,
    config: &'a Config,
    handles: &'a Handles,
    /// A peer cannot go on.
    failing: AtomicBool,
    origin: Instant,
    bells: Bells,
}

impl Crew<'_> {
    /// A peer's thread: pins itself, builds its port, and takes turns until its client is done.
    fn live<C: Client<Uring>>(
        &self,
        index: u16,
        core: Option<CoreId>,
        mut client: C,
        start: threads::Start,
    ) -> Option<Peer<C>> {
        // Before the memory is touched, so that it comes from this core's node.
        let core = core.filter(|&core| core_affinity::set_for_current(core)).map(|core| core.id);
        let mut port = start.wait(self.port(index))?;
        let effective = port.effective().clone();
        let mut stopwatch = Stopwatch::new(port.now(), State::Turn);
        let failure = self.take_turns(&mut port, &mut client, &mut stopwatch).err();
        if failure.is_some() {
            self.failing.store(true, Ordering::Release);
        }
        stopwatch.switch(port.now(), State::Idle);
        drain(&mut port, self.config.hang_limit);
        threads::take_out_system_time(&mut stopwatch);
        Some(Peer { client, core, times: stopwatch.totals(), effective, failure })
    }

    fn take_turns<C: Client<Uring>>(
        &self,
        port: &mut Uring,
        client: &mut C,
        stopwatch: &mut Stopwatch,
    ) -> Result<(), Failure> {
        let mut now = port.now();
        loop {
            let stopping = self.handles.stop.load(Ordering::Acquire);
            if self.failing.load(Ordering::Acquire) {
                return Ok(());
            }
            let (next, held) = match client.turn(port, now, stopping)? {
                Step::Done => return Ok(()),
                Step::On(next) => (next, false),
                Step::Held(until) => (Next::At(until), true),
            };
            let state = match (next, port.in_flight()) {
                (Next::Ready, _) => State::Kernel,
                (_, 0) if held => State::Throttled,
                (_, 0) => State::Idle,
                _ => State::Devices,
            };
            // The clock is read twice a turn: what the turn starts begins as it is handed over.
            now = port.now();
            client.handed_over(now);
            stopwatch.switch(now, state);
            port.submit(next).map_err(|error| Failure::Port { errno: error.raw_os_error().unwrap_or(libc::EIO) })?;
            now = port.now();
            stopwatch.switch(now, State::Turn);
        }
    }

    fn port(&self, index: u16) -> Result<Uring, SetupError> {
        let files: Vec<Option<BorrowedFd<'_>>> =
            self.job.devices.iter().map(|device| Some(device.request_fd())).collect();
        let namespaces: Vec<Option<Namespace>> = self.job.devices.iter().map(Device::namespace).collect();
        Uring::new(&Wishes {
            files: &files,
            namespaces: &namespaces,
            method: self.job.methods[usize::from(index)],
            region_bytes: usize::try_from(self.job.region_bytes).expect("at most 1 GiB"),
            limit: self.job.requests,
            weave_pieces: 0,
            origin: self.origin,
            bells: self.bells.clone(),
            bell: Bell(index),
            patience: self.config.hang_limit,
        })
    }
}

fn since(origin: Instant) -> Nanos {
    Nanos(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// How often kernel workers are counted.
const WORKERS_WATCHED: Duration = Duration::from_millis(50);

/// Waits for what is in flight: nobody else may use the devices before.
fn drain(port: &mut Uring, patience: Nanos) {
    let until = port.now() + patience;
    while port.in_flight() > 0 && port.now() < until && port.submit(Next::At(until)).is_ok() {
        while port.reap().is_some() {}
    }
}
