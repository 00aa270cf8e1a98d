//! The threads of an engine: peers, control and ledger, each with a port that it builds itself.
//!
//! A ring belongs to the thread that has made it, so ports are built on their threads. Nobody takes a first turn before
//! all ports exist: a letter may wake anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{JoinHandle, Scope, ScopedJoinHandle};
use std::time::Duration;

use bireme_control::units::{Nanos, PeerId};
use core_affinity::CoreId;
use nix::sys::resource::{UsageWho, getrusage};

use super::{Config, EngineError, PEERS_MAX};
use crate::control_thread::Control;
use crate::desk::Desk;
use crate::ledger::Ledger;
use crate::outcome::PeerOutcome;
use crate::peer::Peer;
use crate::pool::error::PoolError;
use crate::port::uring::{Effective, SetupError, Uring};
use crate::port::{Next, Port};
use crate::requests::Traffic;
use crate::telemetry::{HandOvers, Healed, Latencies, State, Stopwatch, TimeStates};

/// Tells the threads to begin, or to leave because another could not.
pub(super) struct Start {
    ready: SyncSender<Result<(), SetupError>>,
    go: Receiver<bool>,
}

impl Start {
    /// Reports that this thread's port exists, and waits for the others. `None`: leave.
    pub(super) fn wait<T>(self, built: Result<T, SetupError>) -> Option<T> {
        let (mine, report) = match built {
            Ok(mine) => (Some(mine), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let Start { ready, go } = self;
        ready.send(report).ok()?;
        // The gate sees that a thread has died without a word by nobody being left to speak.
        drop(ready);
        mine.filter(|_| go.recv() == Ok(true))
    }
}

/// The caller's side of [`Start`].
pub(super) struct Gate {
    ready: Receiver<Result<(), SetupError>>,
    report: SyncSender<Result<(), SetupError>>,
    go: Vec<SyncSender<bool>>,
}

impl Gate {
    pub(super) fn new() -> Gate {
        let (report, ready) = sync_channel(usize::from(PEERS_MAX) + 2);
        Gate { ready, report, go: Vec::new() }
    }

    /// For one more thread.
    pub(super) fn start(&mut self) -> Start {
        let (sender, go) = sync_channel(1);
        self.go.push(sender);
        Start { ready: self.report.clone(), go }
    }

    /// Waits until all ports exist, then lets everybody go, or sends all home with the first error.
    pub(super) fn open(self) -> Result<(), EngineError> {
        drop(self.report);
        let reports: Vec<_> = self.ready.iter().take(self.go.len()).collect();
        let built = if reports.len() == self.go.len() { Ok(()) } else { Err(EngineError::Died) };
        let built = built.and(reports.into_iter().collect::<Result<(), _>>().map_err(EngineError::from));
        for go in &self.go {
            // A thread that has left already needs no word.
            let _ = go.send(built.is_ok());
        }
        built
    }
}

/// What a peer's thread leaves behind.
pub(super) struct PeerFigures {
    pub(super) outcome: PeerOutcome,
    pub(super) traffic: Box<[Traffic]>,
    pub(super) healed: Box<[Healed]>,
    pub(super) hand_overs: HandOvers,
    /// `None` of a peer that has died.
    pub(super) effective: Option<Effective>,
}

impl PeerFigures {
    /// Adds those of a later run of the same peer.
    pub(super) fn add(&mut self, next: PeerFigures) {
        let (mine, theirs) = (&mut self.outcome, next.outcome);
        mine.bytes += theirs.bytes;
        mine.transfers += theirs.transfers;
        // The mean over both, by their times.
        let time = |times: &TimeStates| times.elapsed().0 as f64;
        let all = (time(&mine.times) + time(&theirs.times)).max(1.0);
        let depth = mine.achieved_depth * time(&mine.times) + theirs.achieved_depth * time(&theirs.times);
        mine.achieved_depth = depth / all;
        mine.times.merge(&theirs.times);
        mine.latency.merge(&theirs.latency);
        for (mine, theirs) in self.traffic.iter_mut().zip(next.traffic) {
            mine.bytes += theirs.bytes;
            mine.writes += theirs.writes;
            mine.reads += theirs.reads;
        }
        self.healed.iter_mut().zip(next.healed).for_each(|(mine, theirs)| mine.add(theirs));
    }

    /// What is known of a peer whose thread has died.
    pub(super) fn of_dead(peer: PeerId, core: Option<CoreId>, transfers: u64) -> PeerFigures {
        let outcome = PeerOutcome {
            peer,
            core: core.map(|core| core.id),
            bytes: 0,
            transfers,
            times: TimeStates::default(),
            achieved_depth: 0.0,
            latency: Latencies::new(),
            died: true,
        };
        PeerFigures {
            outcome,
            traffic: Box::default(),
            healed: Box::default(),
            hand_overs: HandOvers::new(),
            effective: None,
        }
    }
}

/// A peer's thread: builds its port, pins itself, and takes turns until the peer is done.
pub(super) fn spawn_peer<'scope>(
    scope: &'scope Scope<'scope, '_>,
    id: PeerId,
    core: Option<CoreId>,
    config: &Config,
    start: Start,
    build: impl FnOnce() -> Result<Peer<Uring>, SetupError> + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, Option<PeerFigures>>, EngineError> {
    let (on_start, on_end) = (config.on_peer_start.clone(), config.on_peer_end.clone());
    let body = move || {
        // Before the memory is touched, so that it comes from this core's node.
        let pinned = core.filter(|&core| core_affinity::set_for_current(core)).map(|core| core.id);
        let mut peer = start.wait(build())?;
        if let Some(hook) = on_start {
            hook(id);
        }
        loop {
            let now = peer.now();
            let next = peer.turn(now);
            // After the last turn too: wake-ups leave with what is submitted.
            peer.rest(next);
            if peer.is_done(now) {
                break;
            }
        }
        if let Some(hook) = on_end {
            hook(id);
        }
        Some(figures(id, pinned, peer))
    };
    spawn(scope, format!("peer {}", id.0), body)
}

/// The ledger's thread. It closes the pool, and leaves the number of free frames behind.
pub(super) fn spawn_ledger<'scope>(
    scope: &'scope Scope<'scope, '_>,
    start: Start,
    build: impl FnOnce() -> Result<Ledger<Uring>, SetupError> + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, Option<Result<u64, PoolError>>>, EngineError> {
    let body = move || {
        let mut ledger = start.wait(build())?;
        while !ledger.is_stopped() {
            let next = ledger.turn(ledger.port().now());
            // After the last turn too: peers that it has told to stop may sleep until they are rung for. A port that
            // fails is told to the main thread by the ledger itself, in its next turns.
            let _ = ledger.rest(next);
        }
        let frames_free = ledger.frames_free();
        Some(ledger.close().map(|_| frames_free))
    };
    spawn(scope, "ledger".to_owned(), body)
}

/// Control's thread: steps each period until it is told to end.
pub(super) fn spawn_control<'scope>(
    scope: &'scope Scope<'scope, '_>,
    start: Start,
    mut control: Control,
    end: Arc<AtomicBool>,
    build: impl FnOnce() -> Result<Uring, SetupError> + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, ()>, EngineError> {
    let body = move || {
        let Some(mut port) = start.wait(build()) else { return };
        while !end.load(Ordering::Acquire) {
            let next = control.step(port.now());
            // A port that fails here costs the run its adaptation and nothing else; it cannot sleep, so it ends.
            if port.submit(Next::At(next)).is_err() {
                return;
            }
            while port.reap().is_some() {}
        }
    };
    spawn(scope, "control".to_owned(), body)
}

pub(super) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, EngineError> {
    std::thread::Builder::new().name(name).spawn_scoped(scope, body).map_err(EngineError::Thread)
}

/// Watches over the joining of threads that were told to end, until it is dropped. A thread leaves the kernel only when
/// its flush has been answered, and until then nobody can join it, though all that it had to do is done.
pub(super) struct Watch {
    ends: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Tells [`Config::on_stuck`] when this lives too long.
    pub(super) fn start(config: &Config, error: Option<&EngineError>) -> Option<Watch> {
        let on_stuck = config.on_stuck?;
        // Peers wait as long as the limit for what they have in flight, and look four times meanwhile. Without an error
        // the ledger still has a pool to close, a few requests one after the other.
        let nanos = if error.is_some() { config.hang_limit.0 / 2 * 3 } else { config.hang_limit.0.saturating_mul(4) };
        let limit = Duration::from_nanos(nanos) + SETTLING;
        let sentence = error.unwrap_or(&EngineError::Unclosed).to_string();
        let (ends, told) = sync_channel(0);
        let watch = move || {
            if told.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                on_stuck(&sentence);
            }
        };
        // Without a thread for it the run goes on unwatched.
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(watch).ok()?;
        Some(Watch { ends: Some(ends), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            // It ends as its channel has; one that panicked has said so.
            let _ = thread.join();
        }
    }
}

const SETTLING: Duration = Duration::from_millis(500);

/// The core of each peer, in turn. Without a list all that the process may use.
pub(super) fn cores(config: &Config) -> Result<(Vec<Option<CoreId>>, Option<String>), EngineError> {
    if config.peers == 0 || config.peers > PEERS_MAX {
        return Err(EngineError::Peers(config.peers));
    }
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let chosen: Vec<CoreId> = match &config.cores {
        None => allowed.clone(),
        Some(list) => {
            let find = |&core: &usize| {
                let found = allowed.iter().find(|id| id.id == core).copied();
                let names = || allowed.iter().map(|id| id.id.to_string()).collect::<Vec<_>>().join(",");
                found.ok_or_else(|| EngineError::Core { core, allowed: names() })
            };
            list.iter().map(find).collect::<Result<_, _>>()?
        }
    };
    let peers = usize::from(config.peers);
    let note = (peers > chosen.len() && !chosen.is_empty())
        .then(|| format!("{peers} peers share {} cores: they take turns, and figures of time overlap", chosen.len()));
    let core = |peer: usize| (!chosen.is_empty()).then(|| chosen[peer % chosen.len()]);
    Ok(((0..peers).map(core).collect(), note))
}

/// The thread's system time, which the kernel counts, is taken out of the states in which it was in the kernel.
pub(super) fn take_out_system_time(stopwatch: &mut Stopwatch) {
    let system = getrusage(UsageWho::RUSAGE_THREAD).map_or(Nanos::ZERO, |usage| {
        let time = usage.system_time();
        let nanos = |value: i64| u64::try_from(value).unwrap_or(0);
        Nanos(nanos(time.tv_sec()) * 1_000_000_000 + nanos(time.tv_usec()) * 1000)
    });
    let in_kernel = stopwatch.totals().of(State::Kernel);
    stopwatch.split(State::Devices, State::Kernel, system.since(in_kernel));
}

fn figures(id: PeerId, core: Option<usize>, peer: Peer<Uring>) -> PeerFigures {
    let (desk, hand_overs, transfers) = peer.into_figures();
    let Desk { requests, mut stopwatch, bytes, healed, .. } = desk;
    let now = requests.now();
    stopwatch.switch(now, State::Idle);
    take_out_system_time(&mut stopwatch);
    let (port, traffic, latency, depth) = requests.into_figures();
    let times = stopwatch.totals();
    let achieved_depth = depth.mean();
    let outcome = PeerOutcome { peer: id, core, bytes, transfers, times, achieved_depth, latency, died: false };
    let healed = healed.total().into();
    PeerFigures { outcome, traffic, healed, hand_overs, effective: Some(port.effective().clone()) }
}
