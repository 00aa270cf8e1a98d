//! Schemes of reservation on a device: the same classes, requests and figures as in the model, with the rings, clocks and
//! balances of the data plane in the place of its link.
//!
//! ```text
//!   calibrate ─▶ rounds: every scheme in turn, each through every situation ─▶ outcomes of each round ─▶ their medians
//! ```
//!
//! What the link can do is what the scheme `none` gets out of it in the same round, with many requests in flight; link use
//! is relative to that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bireme_control::reservation::Terms;
use bireme_control::reservation::plan::Capacity;
use bireme_control::units::Nanos;
use bireme_dataplane::device::{Device, DeviceFacts, Kind, Purpose};
use bireme_dataplane::engine::raw::{self, RawJob};
use bireme_dataplane::engine::{Config, Handles};
use bireme_dataplane::port::uring::Method;
use bireme_dataplane::reservation::{Manager as Control, PERIOD};

use self::calibrate::Calibration;
use self::peer::{Peer, Task};
use super::demand::{Demand, Load};
use super::figures::Against;
use super::manager::Manager;
use super::record::Record;
use super::{Contender, Outcome, Rule, Scenario, Situation};
use crate::blkio::{DeviceNumber, Group};
use crate::device::addresses::Places;
use crate::device::opening::check_blank;
use crate::environment::Environment;
use crate::signals;
use crate::versus::throttle::Throttle;

mod calibrate;
mod peer;
mod report;

pub use report::{to_json, to_svg, to_table};

/// What is measured on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The device or file.
    pub device: PathBuf,
    /// Permit to overwrite what it holds.
    pub destroy_data: bool,
    /// Requests write; they read otherwise.
    pub writes: bool,
    /// The cores of the peers.
    pub cores: Vec<usize>,
    /// Each class has a peer of its own.
    pub split: bool,
    /// How often each scheme is measured.
    pub rounds: u16,
    /// What the device is taken to do, in bytes per second; it is measured otherwise.
    pub capacity: Option<u64>,
    /// Bytes in flight at most under `tags`; it is measured otherwise.
    pub window: Option<u64>,
    /// Requests of a backlogged class; more than may be in flight otherwise.
    pub depth: Option<usize>,
    /// Cap on what the device takes, in bytes per second.
    pub throttle: Option<u64>,
}

/// What was measured.
pub struct Measured {
    /// The classes, and the device as their link.
    pub scenario: Scenario,
    /// What the device was found to do.
    pub calibration: Calibration,
    /// By round, the outcomes of the contenders in their order.
    pub rounds: Vec<Vec<Outcome>>,
    /// Requests for which there was no room in the record or in their queue.
    pub lost: u64,
    /// Where it was measured.
    pub environment: Environment,
    plan: Plan,
}

/// Measures; `contenders` is told what was found of the device.
///
/// # Errors
/// A sentence for the operator.
pub fn measure(
    plan: Plan,
    scenario: Scenario,
    contenders: impl FnOnce(&Calibration) -> Vec<Contender>,
    situations: &[Situation],
) -> Result<Measured, String> {
    let bench = Bench::new(plan, scenario)?;
    let calibration = bench.calibrate()?;
    let contenders = contenders(&calibration);
    let in_flight = usize::try_from(calibration.window.div_ceil(bench.scenario.request)).unwrap_or(DEPTH_MAX);
    let deep = in_flight.saturating_mul(2).min(DEPTH_MAX).max(bench.scenario.depth);
    let depth = bench.plan.depth.unwrap_or(deep);
    let scenario = Scenario { link: calibration.rate, depth, phase_depth: depth, ..bench.scenario.clone() };
    let (mut rounds, mut lost) = (Vec::new(), 0);
    for _ in 0..bench.plan.rounds {
        let mut reference = None;
        let mut outcomes = Vec::new();
        for contender in &contenders {
            let mut found = Vec::new();
            for &situation in situations {
                let load = Load::new(&scenario, situation, None);
                let (mut record, missed) = bench.run(&scenario, contender.rule, situation, &load, &calibration)?;
                lost += missed;
                let (bytes, time) = (record.bytes(), record.until - record.from);
                if contender.rule == Rule::None && situation == Situation::Flood {
                    reference = Some(bytes as f64 * 1e9 / time.0.max(1) as f64);
                }
                let rate = reference.unwrap_or(calibration.rate as f64);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a time of minutes at most"
                )]
                let busy = Nanos((bytes as f64 * 1e9 / rate) as u64);
                record.busy = busy;
                found.push((situation, record, load));
            }
            outcomes.push(Outcome::new(&scenario, contender, found, Against::Delivered));
        }
        rounds.push(outcomes);
    }
    let environment = Environment::gather(&bench.plan.cores, &bench.facts, Some(scenario.seed));
    Ok(Measured { scenario, calibration, rounds, lost, environment, plan: bench.plan })
}

struct Bench {
    plan: Plan,
    scenario: Scenario,
    handles: Handles,
    device: Device,
    facts: Vec<DeviceFacts>,
    /// The cap is on as long as this lives.
    _throttle: Option<Throttle>,
}

impl Bench {
    fn new(plan: Plan, scenario: Scenario) -> Result<Bench, String> {
        let purpose = if plan.writes { Purpose::Write } else { Purpose::Read };
        let mut devices = Device::open_all(&[&plan.device], purpose).map_err(sentence)?;
        let config = Config { cores: cores(&plan), ..Config::default() };
        let facts = devices.iter().map(Device::facts).collect();
        if plan.writes && !plan.destroy_data {
            check_blank(&devices, &config)?;
        }
        let device = devices.pop().ok_or("no device was named")?;
        device.check_read().map_err(sentence)?;
        let unit = u64::from(device.alignment().offset.max(device.logical_block_bytes()));
        if let Some(bytes) = [scenario.request, scenario.high_request].iter().find(|bytes| *bytes % unit != 0) {
            let path = plan.device.display();
            return Err(format!(
                "{path} takes multiples of {unit} bytes, and requests of {bytes} are asked for: see --request"
            ));
        }
        if device.bytes() < scenario.request.max(scenario.high_request) {
            return Err(format!("{} has no room for a request of that size: see --request", plan.device.display()));
        }
        if plan.throttle.is_some() && !plan.writes {
            return Err("--throttle caps what is written: add --rw randwrite".to_owned());
        }
        let throttle =
            plan.throttle.map(|rate| Throttle::start(std::slice::from_ref(&plan.device), rate)).transpose()?;
        Ok(Bench { handles: signals::handles()?, device, facts, _throttle: throttle, plan, scenario })
    }

    /// One situation under one rule.
    fn run(
        &self,
        scenario: &Scenario,
        rule: Rule,
        situation: Situation,
        load: &Load,
        found: &Calibration,
    ) -> Result<(Record, u64), String> {
        let peers = if self.plan.split || rule == Rule::Kernel { wanting(load) } else { 1 };
        if let (Rule::Epoch { .. }, 2..) = (rule, peers) {
            return Err(
                "epochs are decided in one place: leave out --split, or name other schemes with --scheme".to_owned()
            );
        }
        let terms: Vec<Terms> = load.weights.iter().map(|&weight| Terms::weight(weight)).collect();
        let mut control = Control::new(&[found.capacity], &terms);
        let groups = if rule == Rule::Kernel { self.caps(load, situation, found)? } else { Vec::new() };
        let manager = |window: u64| match rule {
            Rule::Tags { .. } => Manager::shared(control.balances().clone(), terms.len(), window),
            Rule::Kernel => Manager::new(Rule::None, scenario.link, &load.weights),
            other => Manager::new(other, scenario.link, &load.weights),
        };
        let window = if let Rule::Tags { window, .. } = rule { window } else { u64::MAX };
        let classes = || load.demands.iter().enumerate().filter(|(_, demand)| **demand != Demand::None);
        let mut clients = Vec::new();
        if peers == 1 {
            let task = self.task(scenario, &load.demands);
            clients.push(Peer::new(task, load.demands.clone(), manager(window), groups.into_iter().next()));
        } else {
            let each = window / u64::from(peers);
            let mut groups = groups.into_iter();
            for (class, demand) in classes() {
                let mut own = vec![Demand::None; load.demands.len()];
                own[class] = *demand;
                clients.push(Peer::new(self.task(scenario, &own), own, manager(each), groups.next()));
            }
        }
        let shared = matches!(rule, Rule::Tags { .. });
        let period = if shared { Duration::from_nanos(PERIOD.0) } else { IDLE_PERIOD };
        let ran = self.drive(clients, period, |now| {
            if shared {
                control.step(now);
            }
        })?;
        Ok(merge(ran))
    }

    /// Runs peers to their end.
    fn drive(
        &self,
        clients: Vec<Peer>,
        period: Duration,
        tick: impl FnMut(Nanos),
    ) -> Result<Vec<(Record, u64)>, String> {
        let peers = u16::try_from(clients.len()).map_err(|_| "too many classes want a peer of their own".to_owned())?;
        let config = Config { peers, cores: cores(&self.plan), ..Config::default() };
        let job = RawJob {
            devices: vec![self.device.again().map_err(sentence)?],
            region_bytes: clients.iter().map(Peer::region_bytes).max().unwrap_or(0),
            requests: clients.iter().map(Peer::slots).max().unwrap_or(1),
            methods: vec![Method::Interrupts; usize::from(peers)],
        };
        let ran = raw::drive(&job, &config, &self.handles, clients, period, tick).map_err(sentence)?;
        if ran.stopped {
            return Err("stopped by a signal; what was measured until then is not reported".to_owned());
        }
        Ok(ran.peers.into_iter().map(|peer| peer.client.into_record()).collect())
    }

    fn task(&self, scenario: &Scenario, demands: &[Demand]) -> Task {
        let largest = scenario.request.max(scenario.high_request);
        let smallest = scenario.request.min(scenario.high_request);
        let slot_bytes = u32::try_from(largest.next_multiple_of(4096)).unwrap_or(u32::MAX);
        let depth = |demand: &Demand| match demand {
            Demand::None => 0,
            Demand::Backlog { depth, .. } | Demand::OnOff { depth, .. } => *depth,
            Demand::Random { .. } => SPARSE_DEPTH,
        };
        let slots =
            demands.iter().map(depth).sum::<usize>().min(SLOTS_BYTES_MAX / slot_bytes as usize).clamp(1, SLOTS_MAX);
        // Half as many again as the device was found to do.
        let requests = scenario.link as f64 * 1.5 / smallest as f64 * scenario.runtime.0 as f64 / 1e9;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of at most some millions")]
        let room = (requests as usize + 10_000).min(RECORDED_MAX);
        Task {
            writes: self.plan.writes,
            slot_bytes,
            slots: u32::try_from(slots).unwrap_or(1),
            places: Places { start: 0, step: largest, count: self.device.bytes() / largest },
            warm_up: WARM_UP,
            runtime: scenario.runtime,
            room,
            seed: scenario.seed,
        }
    }

    /// The control groups of the kernel as the rival: what an operator would cap each class at in this situation.
    fn caps(&self, load: &Load, situation: Situation, found: &Calibration) -> Result<Vec<Arc<Group>>, String> {
        if !self.plan.writes || self.device.kind() != Kind::Block {
            return Err("blkio caps what is written to block devices: name one, with --rw randwrite".to_owned());
        }
        let number = DeviceNumber::of(&self.plan.device, "--scheme blkio")?;
        let link = self.plan.throttle.unwrap_or(found.rate) as f64;
        let percent = f64::from(self.scenario.load_percent);
        let weights: f64 = classes_that_want(load).map(|class| f64::from(load.weights[class])).sum();
        let high = usize::from(self.scenario.high().0);
        let mut groups = Vec::new();
        for class in classes_that_want(load) {
            let share = match situation {
                Situation::Alone => 1.0,
                // All but what the high class wants, and for him twice that.
                Situation::Flood if class == high => 2.0 * percent / 100.0,
                Situation::Flood => 1.0 - percent / 100.0,
                Situation::Backlogged | Situation::OnOff | Situation::Many => f64::from(load.weights[class]) / weights,
            };
            let group = Group::new(&format!("bireme-reserve-{class}"), "--scheme blkio")?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of a device")]
            group.cap(&number, Some((link * share) as u64))?;
            groups.push(Arc::new(group));
        }
        Ok(groups)
    }

    fn calibrate(&self) -> Result<Calibration, String> {
        if let (Some(rate), Some(window)) = (self.plan.capacity, self.plan.window) {
            return Ok(Calibration { rate, capacity: Capacity::Paced(rate), window, steps: Vec::new() });
        }
        let mut found = calibrate::calibrate(&self.scenario, |scenario, depth| {
            let scenario = Scenario { depth, ..scenario.clone() };
            let mut demands = vec![Demand::None; scenario.weights.len()];
            demands[0] = Demand::Backlog { depth, bytes: scenario.request };
            let load = Load { weights: scenario.weights.clone(), demands };
            let none = Calibration::unknown();
            self.run(&scenario, Rule::None, Situation::Flood, &load, &none).map(|(record, _)| record)
        })?;
        if let Some(rate) = self.plan.capacity {
            found.capacity = Capacity::Paced(rate);
        }
        found.window = self.plan.window.unwrap_or(found.window);
        Ok(found)
    }
}

/// The records of all peers as one.
fn merge(ran: Vec<(Record, u64)>) -> (Record, u64) {
    let mut all = Record::default();
    let mut lost = 0;
    for (record, missed) in ran {
        lost += missed;
        (all.from, all.until) = (all.from.max(record.from), all.until.max(record.until));
        all.ended.extend(record.ended);
        all.returns.extend(record.returns);
    }
    all.ended.sort_by_key(|ended| ended.at);
    (all, lost)
}

fn classes_that_want(load: &Load) -> impl Iterator<Item = usize> + '_ {
    load.demands.iter().enumerate().filter(|(_, demand)| **demand != Demand::None).map(|(class, _)| class)
}

fn wanting(load: &Load) -> u16 {
    u16::try_from(classes_that_want(load).count()).unwrap_or(u16::MAX)
}

fn cores(plan: &Plan) -> Option<Vec<usize>> {
    (!plan.cores.is_empty()).then(|| plan.cores.clone())
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Of each run, not recorded.
const WARM_UP: Nanos = Nanos::from_millis(300);
/// Where nothing is to be controlled meanwhile.
const IDLE_PERIOD: Duration = Duration::from_millis(50);
/// Requests of a sparse class that are in flight at most.
const SPARSE_DEPTH: usize = 64;
/// Requests of a class that wait or are in flight.
const DEPTH_MAX: usize = 1024;
const SLOTS_MAX: usize = 4096;
/// Memory of one peer for requests.
const SLOTS_BYTES_MAX: usize = 256 << 20;
/// Requests of one run that are recorded, each of 32 bytes.
const RECORDED_MAX: usize = 20_000_000;
