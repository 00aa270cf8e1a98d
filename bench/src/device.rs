//! Devices under a load of their own: what `bench-device` measures.
//!
//! ```text
//!   devices opened and checked ─▶ peers: warm-up, measured time ─▶ intervals ─▶ live line, series, totals ─▶ report
//! ```
//!
//! The peers are those of the data plane: the same threads, rings, buffers and clocks. What they do is the
//! [`workload`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bireme_control::units::Nanos;
use bireme_dataplane::device::{self, Device, DeviceFacts, Purpose};
use bireme_dataplane::engine::raw::{self, Ran, RawJob};
use bireme_dataplane::engine::{Config, Handles};
use bireme_dataplane::telemetry::Gauges;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::load::Load;
use self::recorder::{Exchange, Interval, Recorder};
use self::workload::Workload;
use crate::environment::Environment;

mod addresses;
mod arrivals;
mod load;
mod options;
mod recorder;
mod report;
mod workload;

pub use options::{Options, Pattern};

/// Measures, and returns the table and the JSON.
///
/// # Errors
/// A sentence for the operator.
pub fn measure(options: &Options) -> Result<(String, serde_json::Value), String> {
    let load = options.load()?;
    let devices = open(options, &load)?;
    let facts: Vec<DeviceFacts> = devices.iter().map(Device::facts).collect();
    let exchange = Exchange::new(options.peers);
    let clients = clients(options, &load, &devices, &exchange)?;
    let handles = handles()?;
    let config = Config {
        peers: options.peers,
        cores: (!options.cores.is_empty()).then(|| options.cores.clone()),
        ..Config::default()
    };
    let job = RawJob { devices, region_bytes: Workload::region_bytes(&load), requests: load.depth };
    let mut series = Series::default();
    let mut look = || while exchange.take(|interval| series.add(interval)) {};
    let ran = raw::drive(&job, &config, &handles, clients, TICK, &mut look).map_err(sentence)?;
    let cores: Vec<usize> = ran.peers.iter().filter_map(|peer| peer.core).collect();
    let environment = Environment::gather(&cores, &facts, Some(options.seed));
    let measured =
        Measured { options, load: &load, facts: &facts, ran: &ran, series: &series, environment: &environment };
    Ok((report::to_table(&measured), report::to_json(&measured)))
}

/// All that is known at the end.
struct Measured<'a> {
    options: &'a Options,
    load: &'a Load,
    facts: &'a [DeviceFacts],
    ran: &'a Ran<Workload>,
    series: &'a Series,
    environment: &'a Environment,
}

/// What the peers have counted together.
#[derive(Debug, Default)]
struct Series {
    /// The measured time, all peers.
    total: Interval,
    began: Option<Nanos>,
    ended: Nanos,
}

impl Series {
    fn add(&mut self, interval: &Interval) {
        if interval.warm_up {
            return;
        }
        self.total.merge(interval);
        self.began = Some(self.began.map_or(interval.from, |began| began.min(interval.from)));
        self.ended = self.ended.max(interval.to);
    }

    /// The measured time.
    fn elapsed(&self) -> Nanos {
        self.ended.since(self.began.unwrap_or(self.ended))
    }
}

fn open(options: &Options, load: &Load) -> Result<Vec<Device>, String> {
    if options.devices.iter().any(|path| device::is_null(path)) {
        if options.devices.len() > 1 {
            return Err("the null device is measured alone: name it without others".to_owned());
        }
        if load.mix.reads > 0 {
            return Err("the null device has nothing to read: choose --rw write or randwrite".to_owned());
        }
        return Ok(vec![Device::open_null(&options.devices[0], NULL_BYTES).map_err(sentence)?]);
    }
    let purpose = if load.mix.writes() { Purpose::Write } else { Purpose::Read };
    let devices = Device::open_all(&options.devices, purpose).map_err(sentence)?;
    for device in &devices {
        let unit = device.alignment().offset.max(device.logical_block_bytes());
        if let Some((bytes, _)) = load.sizes.iter().find(|(bytes, _)| bytes % unit != 0) {
            let path = device.path().display();
            return Err(format!(
                "{path} takes multiples of {unit} bytes, and requests of {bytes} are asked for: see --bs"
            ));
        }
    }
    Ok(devices)
}

/// One client for each peer, with its share of the devices.
fn clients(options: &Options, load: &Load, devices: &[Device], exchange: &Exchange) -> Result<Vec<Workload>, String> {
    let (peers, count) = (usize::from(options.peers), devices.len());
    let client = |peer: usize| {
        let own =
            (0..count).filter(|device| if peers > count { peer % count == *device } else { device % peers == peer });
        let targets = own.map(|index| {
            let device = &devices[index];
            // Who else works on it, and which of them this one is.
            let (rank, sharing) = if peers > count { (peer / count, (peers - index).div_ceil(count)) } else { (0, 1) };
            let places = load.places(device.bytes(), rank as u64, sharing as u64);
            let file = u16::try_from(index).map_err(|_| "fewer than 65536 devices can be measured at once".to_owned())?;
            let places = places.ok_or_else(|| {
                let (path, bytes) = (device.path().display(), device.bytes());
                format!("{path} has {bytes} bytes, and no request fits into the part of it that is used: see --region and --bs")
            })?;
            Ok((file, places))
        });
        let targets = targets.collect::<Result<Vec<_>, String>>()?;
        let peer = u16::try_from(peer).expect("few peers");
        let recorder = Recorder::new(exchange.clone(), peer, options.interval.max(TICK_NANOS));
        Ok(Workload::new(load.clone(), peer, targets, recorder))
    };
    (0..peers).map(client).collect()
}

fn handles() -> Result<Handles, String> {
    let handles = Handles { gauges: Arc::new(Gauges::new(0)), stop: Arc::new(AtomicBool::new(false)) };
    for signal in [SIGINT, SIGTERM] {
        // The second signal ends the process: the first has asked for an end in order.
        let asked = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, handles.stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, handles.stop.clone()));
        asked.map_err(|error| format!("signals cannot be watched: {error}"))?;
    }
    Ok(handles)
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What the null device is taken to hold.
const NULL_BYTES: u64 = 1 << 30;
/// How often the reporter looks.
const TICK: Duration = Duration::from_millis(50);
/// Intervals are not shorter than that.
const TICK_NANOS: Nanos = Nanos::from_millis(50);
