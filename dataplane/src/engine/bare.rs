//! Bare rings under a load in order: the floor that everything else is measured from.
//!
//! Each peer has a pinned thread and a ring, and moves its bytes onto its devices in turn. Nothing is recorded, or, as the
//! next step of the ladder, one latency by two clock reads a turn.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

use bireme_control::units::Nanos;
use core_affinity::CoreId;

use super::raw::Usage;
use super::{Config, EngineError, failed, threads};
use crate::device::Device;
use crate::message::{Doing, Failure};
use crate::port::uring::{Bare, SetupError};
use crate::telemetry::Latencies;

/// What each peer does.
#[derive(Debug)]
pub struct BareJob<'a> {
    /// The devices; peer p works on those whose place has the remainder p by the number of peers.
    pub devices: &'a [Device],
    /// Bytes of one request; requests follow each other from the start of each device.
    pub request_bytes: u32,
    /// Requests of each peer in flight.
    pub requests: u32,
    /// Bytes of all peers together.
    pub bytes: u64,
    /// Whether devices are written; they are read otherwise.
    pub write: bool,
    /// Whether latencies are recorded.
    pub account: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Bared {
    /// Requests that have ended.
    pub operations: u64,
    /// From the first request to the last completion of the slowest peer.
    pub elapsed: Nanos,
    /// CPU time of the whole process meanwhile.
    pub cpu: Nanos,
    /// If they were recorded.
    pub latencies: Latencies,
}

/// Lets each peer move its part of the bytes.
///
/// # Errors
/// A sentence for the operator.
pub fn bare(job: &BareJob<'_>, config: &Config) -> Result<Bared, EngineError> {
    let (cores, _) = threads::cores(config)?;
    let mut before = Usage::default();
    let peers: Option<Vec<Result<Part, Failure>>> = std::thread::scope(|scope| {
        let (mut gate, mut started) = (threads::Gate::new(), Vec::new());
        for (&core, index) in cores.iter().zip(0..config.peers) {
            let start = gate.start();
            started.push(threads::spawn(scope, format!("bare {index}"), move || {
                live(job, config.peers, index, core, start)
            })?);
        }
        before = Usage::now();
        gate.open()?;
        Ok::<_, EngineError>(started.into_iter().map(|thread| thread.join().ok().flatten()).collect())
    })?;
    let cpu = Usage::now().since(before).cpu();
    let parts = peers.ok_or(EngineError::Died)?.into_iter().collect::<Result<Vec<Part>, Failure>>();
    let parts = parts.map_err(|failure| {
        let paths: Vec<PathBuf> = job.devices.iter().map(|device| device.path().into()).collect();
        failed(failure, &paths, None, "the run has ended".to_owned())
    })?;
    let mut latencies = Latencies::new();
    parts.iter().for_each(|part| latencies.merge(&part.latencies));
    Ok(Bared {
        operations: parts.iter().map(|part| part.operations).sum(),
        elapsed: parts.iter().map(|part| part.elapsed).max().unwrap_or_default(),
        cpu,
        latencies,
    })
}

/// One peer's.
struct Part {
    operations: u64,
    elapsed: Nanos,
    latencies: Latencies,
}

fn live(
    job: &BareJob<'_>,
    peers: u16,
    index: u16,
    core: Option<CoreId>,
    start: threads::Start,
) -> Option<Result<Part, Failure>> {
    // Before the memory is touched, so that it comes from this core's node.
    core.filter(|&core| core_affinity::set_for_current(core));
    let own: Vec<&Device> = job.devices.iter().skip(usize::from(index)).step_by(usize::from(peers)).collect();
    let mut ring = start.wait(ring(job, &own))?;
    Some(if job.account {
        transfer::<true>(job, peers, index, &own, &mut ring)
    } else {
        transfer::<false>(job, peers, index, &own, &mut ring)
    })
}

fn ring(job: &BareJob<'_>, own: &[&Device]) -> Result<Bare, SetupError> {
    let files: Vec<BorrowedFd<'_>> = own.iter().map(|device| device.request_fd()).collect();
    Bare::new(&files, job.requests, job.request_bytes)
}

/// The loop. Whether it records is known when it is compiled, so that the floor does not ask.
fn transfer<const ACCOUNT: bool>(
    job: &BareJob<'_>,
    peers: u16,
    index: u16,
    own: &[&Device],
    ring: &mut Bare,
) -> Result<Part, Failure> {
    let request = u64::from(job.request_bytes);
    let total = job.bytes / u64::from(peers) / request;
    let places: Vec<u64> = own.iter().map(|device| (device.bytes() / request).max(1)).collect();
    let mut next: Vec<u64> = vec![0; own.len()];
    let mut free: Vec<u32> = (0..job.requests).rev().collect();
    let mut began = vec![Nanos::ZERO; job.requests as usize];
    // For the sentence about one that fails: on which of its devices, and where.
    let mut asked_of = vec![(0, 0); job.requests as usize];
    let mut failure = None;
    let mut latencies = Latencies::new();
    let (mut asked, mut ended, mut file) = (0, 0, 0);
    let start = Instant::now();
    let now = || Nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let port = |error: io::Error| Failure::Port { errno: error.raw_os_error().unwrap_or(libc::EIO) };
    while ended < total && (failure.is_none() || ended < asked) {
        let handed = if ACCOUNT { now() } else { Nanos::ZERO };
        while asked < total
            && failure.is_none()
            && let Some(&slot) = free.last()
        {
            let place = next[file];
            if !ring.push(slot, u16::try_from(file).expect("few devices"), place * request, job.write) {
                break;
            }
            asked_of[slot as usize] = (file, place * request);
            next[file] = if place + 1 == places[file] { 0 } else { place + 1 };
            file = if file + 1 == own.len() { 0 } else { file + 1 };
            free.pop();
            if ACCOUNT {
                began[slot as usize] = handed;
            }
            asked += 1;
        }
        ring.enter(1).map_err(port)?;
        let back = if ACCOUNT { now() } else { Nanos::ZERO };
        while let Some((slot, result)) = ring.reap() {
            if result != Ok(job.request_bytes) {
                let (file, offset) = asked_of[slot as usize];
                let doing = if job.write { Doing::Write } else { Doing::Read };
                let file = index + u16::try_from(file).expect("few devices") * peers;
                failure.get_or_insert(Failure::Device {
                    doing,
                    file,
                    offset,
                    errno: result.err().unwrap_or(libc::EIO),
                });
            }
            if ACCOUNT {
                latencies.record(back.since(began[slot as usize]));
            }
            free.push(slot);
            ended += 1;
        }
    }
    failure.map_or(Ok(Part { operations: ended, elapsed: now(), latencies }), Err)
}
