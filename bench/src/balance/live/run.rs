//! One run of the engine on the devices, under one strategy.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bireme_control::raid::geometry::{Geometry, Level, default_chunk};
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::{self, Config, Handles, OffloadJob, Source};
use bireme_dataplane::outcome::Outcome;
use bireme_dataplane::pool::Shape;
use bireme_dataplane::telemetry::Gauges;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use super::Plan;
use super::rival::Rival;
use super::unequal::Unequal;
use crate::balance::Contender;

/// Where runs take place. Dropping it takes back all that makes the peers unequal, and the watch over signals.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    plan: &'a Plan,
    geometry: Geometry,
    unequal: Unequal,
    rival: Option<Rival>,
    /// Set by Ctrl-C and SIGTERM: the run under way ends in order, and no other begins.
    stop: Arc<AtomicBool>,
    signals: Vec<SigId>,
}

/// How a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Each set alone, so that its makespan is its own.
    Alone {
        /// In the middle of this set, counted from 1, peers 0 and 1 change places.
        flip: Option<u32>,
    },
    /// As users run it: a set is written while the one before it becomes durable.
    Overlapped,
}

impl<'a> Stage<'a> {
    pub(super) fn new(plan: &'a Plan) -> Result<Stage<'a>, String> {
        let members = plan.devices.len();
        let geometry = Geometry::new(Level::Raid0, members, default_chunk(Level::Raid0, members, plan.page), plan.page);
        let geometry = geometry.map_err(|error| error.to_string())?;
        let (unequal, stop) = (Unequal::start(plan)?, Arc::new(AtomicBool::new(false)));
        let mut stage = Stage { plan, geometry, unequal, rival: None, stop, signals: Vec::new() };
        for signal in [SIGINT, SIGTERM] {
            let id = flag::register(signal, Arc::clone(&stage.stop));
            stage.signals.push(id.map_err(|error| format!("signals cannot be watched: {error}"))?);
        }
        let core = |peer: bireme_control::units::PeerId| plan.cores[peer.index() % plan.cores.len()];
        stage.rival = plan.rival_of.map(|peer| Rival::start(core(peer))).transpose()?;
        Ok(stage)
    }

    /// Makes the pool, which the operator has consented to, and touches all memory, by peers that nothing limits. The
    /// runs that follow write into this pool and no other.
    pub(super) fn warm_up(&self) -> Result<(), String> {
        let config = self.config(Contender::Pull, How::Alone { flip: None });
        let gauges = Arc::new(Gauges::new(self.plan.devices.len()));
        self.offload(&config, WARM_UP_SETS, &gauges, true).map(drop)
    }

    /// Runs so many sets under a strategy, by peers that are as unequal as the plan says.
    pub(super) fn run(&mut self, contender: Contender, sets: u32, how: How) -> Result<Outcome, String> {
        self.unequal.set(false)?;
        let mut config = self.config(contender, how);
        self.unequal.apply(&mut config);
        let gauges = Arc::new(Gauges::new(self.plan.devices.len()));
        let outcome = match how {
            How::Alone { flip: Some(set) } => self.run_with_flip(&config, sets, &gauges, set)?,
            How::Alone { flip: None } | How::Overlapped => self.offload(&config, sets, &gauges, false)?,
        };
        self.unequal.check()?;
        self.rival.as_mut().map_or(Ok(()), Rival::check)?;
        match outcome.peers.iter().find(|peer| peer.died) {
            Some(peer) => Err(format!("{} died under {}: nothing can be compared", peer.peer, contender.name())),
            None => Ok(outcome),
        }
    }

    fn run_with_flip(&self, config: &Config, sets: u32, gauges: &Arc<Gauges>, set: u32) -> Result<Outcome, String> {
        let (ends, ended) = channel();
        let half = self.plan.bytes / 2;
        let (outcome, flipped) = std::thread::scope(|scope| {
            let watcher = scope.spawn(move || {
                let is_time = half_of_set_is_written(gauges, u64::from(set) - 1, half, &ended);
                is_time.then(|| self.unequal.set(true))
            });
            let outcome = self.offload(config, sets, gauges, false);
            drop(ends);
            (outcome, watcher.join())
        });
        let late = || format!("set {set} was over before the peers could change places: choose a larger --size");
        match (outcome, flipped) {
            (Err(sentence), _) => Err(sentence),
            (Ok(outcome), Ok(Some(flipped))) => flipped.map(|()| outcome),
            (Ok(_), Ok(None)) => Err(late()),
            (Ok(_), Err(_)) => Err("the thread that lets the peers change places has died: this is a fault".to_owned()),
        }
    }

    fn offload(&self, config: &Config, sets: u32, gauges: &Arc<Gauges>, destroy_data: bool) -> Result<Outcome, String> {
        let devices = Device::open_all(&self.plan.devices, Purpose::Write).map_err(|error| error.to_string())?;
        let job = OffloadJob {
            devices,
            shape: Shape { geometry: self.geometry },
            destroy_data,
            source: Source::Generated { seed: SEED, bytes: self.plan.bytes },
            sets,
        };
        let handles = Handles { gauges: Arc::clone(gauges), stop: Arc::clone(&self.stop) };
        engine::offload(job, config, &handles).map_err(|error| error.to_string())
    }

    fn config(&self, contender: Contender, how: How) -> Config {
        let plan = self.plan;
        Config {
            peers: plan.peers,
            cores: Some(plan.cores.clone()),
            depth: plan.depth,
            slot_bytes: plan.slot,
            rules: contender.rules(plan.minimum, plan.increment),
            // What one strategy or one round has learnt must not help the next.
            forget: true,
            overlap: how == How::Overlapped,
            ..Config::default()
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for &signal in &self.signals {
            low_level::unregister(signal);
        }
    }
}

/// Waits until so many sets are visible and then this much of the next one is written; `false`: the run ended before.
fn half_of_set_is_written(gauges: &Gauges, sets_before: u64, bytes: u64, ended: &Receiver<()>) -> bool {
    let mut bytes_before = None;
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if gauges.sets_done() < sets_before {
            continue;
        }
        let total = gauges.total();
        if total - *bytes_before.get_or_insert(total) >= bytes {
            return gauges.sets_done() == sets_before;
        }
    }
    false
}

/// Of the generated data.
pub(super) const SEED: u64 = 1;
/// A pool keeps two sets at a time, one beside the other: with these both places were written.
const WARM_UP_SETS: u32 = 2;
/// How late a flip may be noticed.
const LOOK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_comes_in_the_middle_of_its_set() {
        let gauges = Gauges::new(1);
        let (_ends, ended) = channel();
        let gauges = &gauges;
        std::thread::scope(|scope| {
            let watcher = scope.spawn(move || half_of_set_is_written(gauges, 1, 100, &ended));
            gauges.add(0, 1000);
            gauges.set_done();
            // What the watcher has seen of the next set before it looks first is not counted: add until it is enough.
            while !watcher.is_finished() {
                gauges.add(0, 1);
                std::thread::yield_now();
            }
            assert!(watcher.join().expect("no panic"));
            assert!(gauges.total() >= 1100, "the bytes of sets before do not count");
        });
        let (_, ended) = channel();
        assert!(!half_of_set_is_written(gauges, 9, 100, &ended), "the run ended before");
    }
}
