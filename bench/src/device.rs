//! Devices under a load of their own: what `bench-device` measures.
//!
//! ```text
//!   devices opened and checked ─▶ peers: warm-up, measured time ─▶ intervals ─▶ live line, series, totals ─▶ report
//! ```
//!
//! The peers are those of the data plane: the same threads, rings, buffers and clocks.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bireme_control::units::Nanos;
use bireme_dataplane::device::{self, Device, DeviceFacts, Purpose, namespace};
use bireme_dataplane::engine::raw::{self, Ran, RawJob};
use bireme_dataplane::engine::{Config, Handles};
use bireme_dataplane::telemetry::Gauges;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::load::Load;
use self::recorder::{Direction, Exchange, Interval, Recorder};
use self::series::{Figures, Moment, Series};
use self::watch::Watch;
use self::workload::Workload;
use crate::environment::Environment;
use crate::throttled;

#[cfg(test)]
mod accuracy;
mod addresses;
mod arrivals;
mod fio_json;
mod hdr;
mod live;
mod load;
mod metrics;
mod options;
mod recorder;
mod report;
mod series;
mod sweep;
mod verdict;
mod watch;
mod workload;

pub use options::{Options, Pattern};
pub use watch::Watching;

/// Measures, and returns the table and the JSON.
///
/// # Errors
/// A sentence for the operator.
pub fn measure(options: &Options) -> Result<(String, serde_json::Value), String> {
    if options.sweep.is_some() || options.latency_target.is_some() {
        return sweep::run(options);
    }
    let load = options.load()?;
    let handles = handles()?;
    let config = Config {
        peers: options.peers,
        cores: (!options.cores.is_empty()).then(|| options.cores.clone()),
        ..Config::default()
    };
    let devices = open(options, &load, &config)?;
    let facts: Vec<DeviceFacts> = devices.iter().map(Device::facts).collect();
    let exchange = Exchange::new(options.peers);
    let clients = clients(options, &load, &devices, &exchange)?;
    let job = RawJob {
        devices,
        region_bytes: Workload::region_bytes(&load),
        requests: load.depth,
        methods: options.methods(),
    };
    let mut outputs = Outputs::new(options)?;
    let mut series = Series::new(options.peers, options.interval, Box::new(|moment, all| outputs.add(moment, all)));
    let mut watch = Watch::new(options, &load)?;
    let mut look = || {
        while exchange.take(|interval| {
            series.add(interval);
            watch.add(interval);
        }) {}
        watch.tick();
    };
    let held_back = throttled::held_back();
    let ran = raw::drive(&job, &config, &handles, clients, TICK, &mut look).map_err(sentence)?;
    let held_back = throttled::held_back().since(held_back);
    drop(watch);
    series.finish();
    let series = series.into_figures();
    outputs.finish()?;
    if let Some(path) = &options.hgrm {
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
    environment: &'a Environment,
}

/// The files that grow while the run goes on.
struct Outputs {
    hlog: Option<hdr::Log>,
    lines: Option<(PathBuf, BufWriter<File>, Option<io::Error>)>,
}

impl Outputs {
    fn new(options: &Options) -> Result<Outputs, String> {
        let hlog = options.hlog.as_deref().map(hdr::Log::create).transpose()?;
        let create = |path: &PathBuf| {
            let file = File::create(path).map_err(|error| cannot(path, &error))?;
            Ok::<_, String>((path.clone(), BufWriter::new(file), None))
        };
        Ok(Outputs { hlog, lines: options.intervals.as_ref().map(create).transpose()? })
    }

    fn add(&mut self, moment: &Moment, all: &Interval) {
        if let Some(log) = &mut self.hlog {
            log.add(moment, all);
        }
        if let Some((_, file, failed)) = &mut self.lines {
            // An error is told at the end: the run is not to suffer from it.
            let written =
                serde_json::to_writer(&mut *file, moment).map_err(io::Error::from).and_then(|()| writeln!(file));
            let written = written.and_then(|()| file.flush());
            *failed = failed.take().or(written.err());
        }
    }

    fn finish(self) -> Result<(), String> {
        if let Some((path, _, Some(error))) = &self.lines {
            return Err(cannot(path, error));
        }
        self.hlog.map_or(Ok(()), hdr::Log::finish)
    }
}

fn write_hgrms(path: &Path, series: &Figures) -> Result<(), String> {
    let used: Vec<Direction> =
        Direction::ALL.into_iter().filter(|&direction| series.latencies(direction).count() > 0).collect();
    for &direction in &used {
        let mut name = path.as_os_str().to_owned();
        if used.len() > 1 {
            name.push(format!(".{}", direction.name()));
        }
        hdr::write_hgrm(Path::new(&name), series.latencies(direction))?;
    }
    Ok(())
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

fn open(options: &Options, load: &Load, config: &Config) -> Result<Vec<Device>, String> {
    if options.devices.iter().any(|path| device::is_null(path)) {
        if options.devices.len() > 1 {
            return Err("the null device is measured alone: name it without others".to_owned());
        }
        if options.iopoll {
            return Err("the null device has no queue that can be polled: leave --iopoll out".to_owned());
        }
        if load.mix.reads > 0 {
            return Err("the null device has nothing to read: choose --rw write or randwrite".to_owned());
        }
        return Ok(vec![Device::open_null(&options.devices[0], NULL_BYTES).map_err(sentence)?]);
    }
    let purpose = if load.mix.writes() { Purpose::Write } else { Purpose::Read };
    // A namespace's character device is claimed and checked by its block device.
    let block: Vec<Option<PathBuf>> = options.devices.iter().map(|path| namespace::block_device(path)).collect();
    let paths: Vec<&Path> =
        options.devices.iter().zip(&block).map(|(own, block)| block.as_deref().unwrap_or(own)).collect();
    let mut devices = Device::open_all(&paths, purpose).map_err(sentence)?;
    for ((device, path), _) in devices.iter_mut().zip(&options.devices).zip(&block).filter(|(_, block)| block.is_some())
    {
        device.take_commands(path).map_err(sentence)?;
    }
    for device in &devices {
        device.check_read().map_err(sentence)?;
        let unit = device.alignment().offset.max(device.logical_block_bytes());
        if let Some((bytes, _)) = load.sizes.iter().find(|(bytes, _)| bytes % unit != 0) {
            let path = device.path().display();
            return Err(format!(
                "{path} takes multiples of {unit} bytes, and requests of {bytes} are asked for: see --bs"
            ));
        }
    }
    for device in &devices {
        let most = device.command_bytes_max().filter(|&most| load.largest() > most);
        if let Some(most) = most {
            let (path, largest) = (device.path().display(), load.largest());
            return Err(format!(
                "{path} takes commands of at most {most} bytes, and requests of {largest} are asked for: see --bs"
            ));
        }
    }
    if options.iopoll {
        if load.flush_every.is_some() && devices.iter().any(|device| device.namespace().is_none()) {
            return Err(
                "a ring that polls takes no flush: leave out --flush-every or --iopoll, or name the character \
                        device of an NVMe namespace (/dev/ng0n1), where a flush is a command like others"
                    .to_owned(),
            );
        }
        raw::try_polling(&devices, config).map_err(sentence)?;
    }
    if load.mix.writes() && !options.destroy_data {
        check_blank(&devices, config)?;
    }
    Ok(devices)
}

/// Devices that hold something are overwritten with permission only.
fn check_blank(devices: &[Device], config: &Config) -> Result<(), String> {
    let contents = raw::contents(devices, config).map_err(sentence)?;
    match devices.iter().zip(contents).find_map(|(device, content)| Some((device, content?))) {
        Some((device, content)) => {
            let path = device.path().display();
            Err(format!("{path} is not blank: it {content}; permit to overwrite it with --destroy-data"))
        }
        None => Ok(()),
    }
}

/// One client for each peer, with its share of the devices.
fn clients(options: &Options, load: &Load, devices: &[Device], exchange: &Exchange) -> Result<Vec<Workload>, String> {
    let (peers, count) = (usize::from(options.peers), devices.len());
    let client = |peer: usize| {
        let targets = share(peer, peers, count).map(|index| {
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

/// The devices that a peer works on.
fn share(peer: usize, peers: usize, devices: usize) -> impl Iterator<Item = usize> {
    (0..devices).filter(move |device| if peers > devices { peer % devices == *device } else { device % peers == peer })
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
