//! Puts together what a run reports.

use std::path::PathBuf;

use bireme_control::balance::{HandOver, Strategy};
use bireme_control::units::Nanos;
use nix::sys::resource::{UsageWho, getrusage};

use super::threads::PeerFigures;
use crate::array::Array;
use crate::outcome::{Balance, Death, DeviceOutcome, Kind, Outcome, PoolFacts, RingFacts, SetOutcome};
use crate::pool::Pool;
use crate::reservation::InForce;
use crate::superblock::Entry;
use crate::telemetry::{HandOvers, Latencies};

/// The points in time of one set.
#[derive(Clone, Debug, Default)]
pub(super) struct SetTimes {
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) prepared: Nanos,
    pub(super) written: Nanos,
    pub(super) flushed: Nanos,
    pub(super) committed: Nanos,
    /// Pages of the first division, by peer.
    pub(super) divided: Vec<u64>,
    /// Pages in the map, by the peer that wrote them.
    pub(super) done: Vec<u64>,
    /// Pages in the map that are repeats.
    pub(super) repeats: u64,
    /// When the last of a peer's pages in the map was written, by peer.
    pub(super) finished: Vec<Nanos>,
}

/// A run that has ended well, as the engine saw it.
pub(super) struct Ran {
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    pub(super) began: Nanos,
    pub(super) sets: Vec<SetTimes>,
    pub(super) cpu: Nanos,
    pub(super) workers: u32,
    pub(super) figures: Vec<PeerFigures>,
    pub(super) strategy: Strategy,
    pub(super) deaths: Vec<Death>,
    /// The members, as they were when the run ended.
    pub(super) devices: Vec<DeviceOutcome>,
    pub(super) array: Array,
    pub(super) depth_asked: Option<u32>,
    pub(super) pool: PoolFacts,
    pub(super) classes: Vec<InForce>,
    pub(super) notes: Vec<String>,
}

pub(super) fn outcome(mut ran: Ran) -> Outcome {
    let ended = ran.sets.iter().map(|set| set.committed).max().unwrap_or(ran.began);
    let written = ran.sets.iter().map(|set| set.written).max().unwrap_or(ran.began);
    let mut devices = std::mem::take(&mut ran.devices);
    let mut latency = Latencies::new();
    for peer in &ran.figures {
        latency.merge(&peer.outcome.latency);
        for (sum, traffic) in devices.iter_mut().zip(&peer.traffic) {
            sum.bytes += traffic.bytes;
            sum.writes += traffic.writes;
            sum.reads += traffic.reads;
        }
        devices.iter_mut().zip(&peer.healed).for_each(|(sum, healed)| sum.healed.add(*healed));
    }
    let (ring, balance) = (ring_facts(&ran), balance(&ran));
    Outcome {
        kind: ran.kind,
        bytes: ran.bytes,
        elapsed: ended.since(ran.began),
        write: written.since(ran.began),
        cpu: ran.cpu,
        sets: sets(&ran.sets, ran.began),
        peers: ran.figures.into_iter().map(|peer| peer.outcome).collect(),
        balance,
        devices,
        latency,
        ring,
        pool: ran.pool,
        classes: ran.classes,
        notes: ran.notes,
    }
}

/// A set's time starts when it has its frames and the one before it is written: peers turn to it then.
fn sets(times: &[SetTimes], began: Nanos) -> Vec<SetOutcome> {
    let mut free = began;
    let mut outcomes = Vec::with_capacity(times.len());
    for (index, set) in times.iter().enumerate() {
        let start = if index == 0 { began } else { set.prepared.max(free) };
        free = set.written;
        outcomes.push(SetOutcome {
            number: set.number,
            bytes: set.bytes,
            start: start.since(began),
            elapsed: set.committed.since(start),
            write: set.written.since(start),
            flush: set.flushed.since(set.written),
            commit: set.committed.since(set.flushed),
            divided: set.divided.clone(),
            done: set.done.clone(),
            finished: set.finished.iter().map(|at| at.since(start)).collect(),
        });
    }
    outcomes
}

/// What the peers' logs say together, in the order of time.
fn balance(ran: &Ran) -> Balance {
    let logs = || ran.figures.iter().map(|peer| &peer.hand_overs);
    let from_first_fill = |hand_over: &HandOver| HandOver { at: hand_over.at.since(ran.began), ..*hand_over };
    let mut hand_overs: Vec<HandOver> = logs().flat_map(|log| log.list()).map(from_first_fill).collect();
    hand_overs.sort_by_key(|hand_over| hand_over.at);
    let mut round_trip = Latencies::new();
    logs().for_each(|log| round_trip.merge(log.round_trip()));
    let death = |death: &Death| Death { at: death.at.since(ran.began), ..*death };
    Balance {
        strategy: ran.strategy,
        hand_overs,
        left_out: logs().map(HandOvers::left_out).sum(),
        messages: logs().map(HandOvers::messages).sum(),
        round_trip,
        repeated: logs().map(HandOvers::repeated).sum(),
        repeats_won: ran.sets.iter().map(|set| set.repeats).sum(),
        deaths: ran.deaths.iter().map(death).collect(),
    }
}

fn ring_facts(ran: &Ran) -> RingFacts {
    let effective = ran.figures.iter().find_map(|peer| peer.effective.as_ref());
    let Some(effective) = effective else { return RingFacts::default() };
    let names = |flags: &[&str]| flags.iter().map(|&flag| flag.to_owned()).collect();
    let opcodes = match effective.woven_fixed {
        true => "READV_FIXED/WRITEV_FIXED",
        false => "READV/WRITEV: the kernel lacks READV_FIXED and WRITEV_FIXED (Linux 6.15)",
    };
    RingFacts {
        device_flags: names(&effective.device_flags),
        refused_flags: names(&effective.refused_flags),
        event_flags: names(&effective.event_flags),
        opcodes: format!("READ_FIXED/WRITE_FIXED for devices, {opcodes} for the data file"),
        registered_files: effective.registered_files > 0,
        registered_buffers: effective.registered_bytes > 0,
        paging: effective.paging.to_owned(),
        depth_asked: ran.depth_asked.unwrap_or(super::sizing::DEPTH),
        depth: u32::from(ran.array.slots),
        slot_bytes: u64::from(ran.array.slot_data_bytes()),
        request_bytes: u64::from(ran.array.request_bytes),
        iou_workers: ran.workers,
    }
}

/// The members with their states, before anything was moved.
pub(super) fn devices(pool: &Pool) -> Vec<DeviceOutcome> {
    let members = usize::from(pool.geometry().members());
    let facts = pool.rows().iter().zip(pool.present()).zip(pool.paths()).take(members);
    let device = |((entry, present), path): ((&Entry, Option<_>), &PathBuf)| {
        let absent = present.is_none() && entry.state.counts();
        let state = if absent { "absent" } else { entry.state.word() };
        DeviceOutcome { path: path.clone(), state, ..DeviceOutcome::default() }
    };
    facts.map(device).collect()
}

pub(super) fn pool_facts(pool: &Pool) -> PoolFacts {
    let geometry = pool.geometry();
    PoolFacts {
        uuid: pool.name(),
        level: geometry.level().to_string(),
        members: usize::from(geometry.members()),
        chunk_bytes: u64::from(geometry.chunk_bytes()),
        page_bytes: u64::from(geometry.page_bytes()),
        frames: pool.layout().frames(),
        frames_free: 0,
    }
}

/// CPU time of the process so far, user and system.
pub(super) fn cpu_time() -> Nanos {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Nanos::ZERO };
    let nanos = |value: i64| u64::try_from(value).unwrap_or(0);
    let times = [usage.user_time(), usage.system_time()];
    Nanos(times.iter().map(|time| nanos(time.tv_sec()) * 1_000_000_000 + nanos(time.tv_usec()) * 1000).sum())
}

/// Kernel threads that work off what a ring could not do without blocking.
pub(super) fn iou_workers() -> u32 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let named = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let workers =
        tasks.flatten().filter(|task| task.path().is_dir()).map(named).filter(|name| name.starts_with("iou-wrk"));
    u32::try_from(workers.count()).unwrap_or(u32::MAX)
}
