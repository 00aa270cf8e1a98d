//! Devices under a load of their own: what `bench-device` measures.
//!
//! ```text
//!   devices opened and checked ─▶ peers: warm-up, measured time ─▶ intervals ─▶ live line, series, totals ─▶ report
//! ```
//!
//! The peers are those of the data plane: the same threads, rings, buffers and clocks.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bireme_control::units::Nanos;
use bireme_dataplane::device::{Device, DeviceFacts, Kind};
use bireme_dataplane::engine::Config;
use bireme_dataplane::engine::raw::{self, Ran, RawJob};
use bireme_dataplane::port::TrimWay;
use bireme_dataplane::reservation::{Allowance, Class, InForce};
use clap::ArgMatches;

use self::checks::{Checks, Mismatch, Verified};
use self::journal::{Debts, Journal};
use self::load::{Data, Load};
use self::steady::Steady;
use self::watch::Watch;
use self::workload::{Part, Workload};
use crate::environment::Environment;
use crate::recording::recorder::{Exchange, Interval, Recorder};
use crate::recording::series::{Figures, Moment, Series};
use crate::recording::{Outputs, write_hgrms};
use crate::{signals, throttled};

#[cfg(test)]
mod accuracy;
pub(crate) mod addresses;
mod arrivals;
mod checks;
mod content;
mod fio_json;
mod gathering;
mod job;
mod journal;
mod live;
mod load;
mod metrics;
pub(crate) mod opening;
mod options;
mod owed;
mod report;
mod steady;
mod sweep;
mod verdict;
mod watch;
mod workload;

pub use options::{Content, Options, Pattern};
pub use steady::Criterion;
pub use watch::Watching;

/// Does what the line says: one measurement, the jobs of a file one after another, or the check of a journal. `line` is what
/// the options were read from.
///
/// # Errors
/// A sentence for the operator.
pub fn run(options: &Options, line: &ArgMatches) -> Result<(String, serde_json::Value), String> {
    if let Some(journal) = &options.verify_journal {
        return owed::verify(journal, &options.devices);
    }
    let Some(path) = &options.job else { return measure(options) };
    let mut jobs = job::read(path, line)?;
    jobs.iter_mut().for_each(|job| job.watching.quiet |= options.watching.quiet);
    if let [only] = jobs.as_slice() {
        return measure(only);
    }
    let (mut texts, mut reports) = (String::new(), Vec::new());
    for options in &jobs {
        let (text, report) = measure(options).map_err(|error| format!("the job {}: {error}", options.name))?;
        texts.push_str(&format!("Job {}\n{text}\n", options.name));
        let interrupted = report["bireme"]["interrupted"] == true;
        reports.push(report);
        if interrupted {
            break;
        }
    }
    Ok((texts, fio_json::together(reports)))
}

/// Measures, and returns the table and the JSON.
///
/// # Errors
/// A sentence for the operator.
pub fn measure(options: &Options) -> Result<(String, serde_json::Value), String> {
    if options.sweep.is_some() || options.latency_target.is_some() {
        return sweep::run(options);
    }
    let (load, promises) = (options.load()?, options.promises()?);
    let handles = signals::handles()?;
    let config = Config {
        peers: options.peers,
        cores: (!options.cores.is_empty()).then(|| options.cores.clone()),
        ..Config::default()
    };
    let devices = opening::open(options, &load, &config)?;
    let facts: Vec<DeviceFacts> = devices.iter().map(Device::facts).collect();
    let shared =
        Shared { exchange: Exchange::new(options.peers), enough: Arc::new(AtomicBool::new(false)), run: run_number() };
    let path = options.journal.as_deref();
    let mut journal = path.map(|path| Journal::create(path, shared.run, load.step(), &options.devices)).transpose()?;
    let mut manager = promises.manager(devices.len());
    let allowance = manager.as_ref().map(|manager| manager.allowance(Class::Foreground));
    let clients = clients(options, &load, &devices, &shared, journal.as_ref(), allowance.as_ref())?;
    let job = RawJob {
        devices,
        region_bytes: Workload::region_bytes(&load),
        requests: load.depth,
        methods: options.methods(),
    };
    let mut outputs = Outputs::new(&options.recording)?;
    let steady = options.steady.map(|criterion| RefCell::new(Steady::new(criterion)));
    let sink = |moment: &Moment, all: &Interval| {
        outputs.add(moment, all);
        if let Some(steady) = &steady {
            steady.borrow_mut().add(moment);
            shared.enough.fetch_or(steady.borrow().reached().is_some(), Ordering::Relaxed);
        }
    };
    let mut series = Series::new(options.peers, options.recording.length(), Box::new(sink));
    let mut watch = Watch::new(options, &load)?;
    let mut look = |now: Nanos| {
        if let Some(manager) = &mut manager {
            manager.step(now);
        }
        while shared.exchange.take(|interval| {
            series.add(interval);
            watch.add(interval);
        }) {}
        watch.steady(steady.as_ref().map(|steady| steady.borrow().sentence()));
        watch.tick();
        if let Some(journal) = &mut journal {
            journal.drain();
        }
    };
    let held_back = throttled::held_back();
    let ran = raw::drive(&job, &config, &handles, clients, TICK, &mut look).map_err(sentence)?;
    let held_back = throttled::held_back().since(held_back);
    drop(watch);
    series.finish();
    let series = series.into_figures();
    let steady = steady.map(RefCell::into_inner);
    outputs.finish()?;
    journal.map_or(Ok(()), Journal::finish)?;
    let verified = verified(&ran, &options.devices)?;
    if let Some(path) = &options.recording.hgrm {
        write_hgrms(path, &series)?;
    }
    let cores: Vec<usize> = ran.peers.iter().filter_map(|peer| peer.core).collect();
    let environment = Environment::gather(&cores, &facts, Some(options.seed));
    let measured = Measured {
        options,
        load: &load,
        facts: &facts,
        ran: &ran,
        held_back,
        series: &series,
        steady: steady.as_ref(),
        verified,
        class: promises.in_force(Class::Foreground),
        environment: &environment,
    };
    Ok((report::to_table(&measured), fio_json::report(&measured, report::to_json(&measured))))
}

/// All that is known at the end.
struct Measured<'a> {
    options: &'a Options,
    load: &'a Load,
    facts: &'a [DeviceFacts],
    ran: &'a Ran<Workload>,
    /// How long a limit on the CPU time of this process has held it back.
    held_back: Nanos,
    series: &'a Figures,
    steady: Option<&'a Steady>,
    /// Where contents were verified, and nothing was wrong.
    verified: Option<Verified>,
    /// What its class was held to.
    class: Option<InForce>,
    environment: &'a Environment,
}

/// What the peers and the reporter share.
struct Shared {
    exchange: Exchange,
    enough: Arc<AtomicBool>,
    /// Tells what this run has written from what any other has.
    run: u64,
}

/// One client for each peer, with its share of the devices.
fn clients(
    options: &Options,
    load: &Load,
    devices: &[Device],
    shared: &Shared,
    journal: Option<&Journal>,
    allowance: Option<&Allowance>,
) -> Result<Vec<Workload>, String> {
    let parts = parts(options, load, devices)?;
    if load.data == Data::Verified {
        fits(parts.iter().map(|parts| Checks::bytes(parts, load.largest())).sum())?;
    }
    let client = |(parts, peer): (Vec<Part>, u16)| {
        let recorder = Recorder::new(shared.exchange.clone(), peer, options.recording.length());
        let blocks =
            u64::from(load.largest() / load.step()) * u64::from(load.flush_every.unwrap_or(0) + 2 * load.depth);
        let debts =
            journal.map(|journal| Debts::new(journal, parts.len(), usize::try_from(blocks).unwrap_or(usize::MAX)));
        let checks = (load.data == Data::Verified).then(|| Checks::new(shared.run, load.largest(), &parts, debts));
        Workload::new(load.clone(), peer, &parts, recorder, checks, allowance.cloned(), shared.enough.clone())
    };
    Ok(parts.into_iter().zip(0u16..).map(client).collect())
}

/// Refuses tables of stamps that would leave the machine without memory.
fn fits(bytes: u64) -> Result<(), String> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"));
    match line.and_then(|number| number.parse::<u64>().ok()).map(|kib| kib << 10) {
        Some(available) if bytes > available / 2 => Err(format!(
            "--verify needs {} for 4 bytes per block, and {} are available: choose a smaller --region, or a larger --bs",
            crate::size::print(bytes),
            crate::size::print(available),
        )),
        _ => Ok(()),
    }
}

fn run_number() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    content::mix(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) ^ u64::from(std::process::id()) << 40)
}

/// What was compared, if anything was; an error names what is wrong.
fn verified(ran: &Ran<Workload>, paths: &[PathBuf]) -> Result<Option<Verified>, String> {
    let mut all = None;
    for checks in ran.peers.iter().filter_map(|peer| peer.client.checks()) {
        if let Some(mismatch) = checks.mismatch() {
            return Err(Mismatch::sentence(&mismatch, paths));
        }
        all.get_or_insert_with(Verified::default).merge(checks.counts());
    }
    Ok(all)
}

/// Each peer's parts of the devices.
fn parts(options: &Options, load: &Load, devices: &[Device]) -> Result<Vec<Vec<Part>>, String> {
    let (peers, count) = (usize::from(options.peers), devices.len());
    let of_peer = |peer: usize| {
        let parts = share(peer, peers, count).map(|index| {
            let device = &devices[index];
            // Who else works on it, and which of them this one is.
            let (rank, sharing) = if peers > count { (peer / count, (peers - index).div_ceil(count)) } else { (0, 1) };
            let places = load.places(device.bytes(), rank as u64, sharing as u64);
            let file = u16::try_from(index).map_err(|_| "fewer than 65536 devices can be measured at once".to_owned())?;
            let places = places.ok_or_else(|| {
                let (path, bytes) = (device.path().display(), device.bytes());
                format!("{path} has {bytes} bytes, and no request fits into the part of it that is used: see --region and --bs")
            })?;
            let trim = if device.kind() == Kind::Block { TrimWay::Discard } else { TrimWay::PunchHole };
            Ok(Part { file, places, trim })
        });
        parts.collect()
    };
    (0..peers).map(of_peer).collect()
}

/// The devices that a peer works on.
fn share(peer: usize, peers: usize, devices: usize) -> impl Iterator<Item = usize> {
    (0..devices).filter(move |device| if peers > devices { peer % devices == *device } else { device % peers == peer })
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// How often the reporter looks.
const TICK: Duration = Duration::from_millis(50);
