//! The rungs, and how each is climbed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_control::raid::geometry::Level;
use bireme_control::units::Nanos;
use bireme_dataplane::device::{self, Device, Purpose};
use bireme_dataplane::engine::bare::{BareJob, bare};
use bireme_dataplane::engine::{self, Config, Handles, OffloadJob, Source};
use bireme_dataplane::pool::Shape;
use bireme_dataplane::reservation::Promises;
use bireme_dataplane::telemetry::{Gauges, TimeStates};
use clap::{Args, Parser};
use serde_json::Value;

use super::{Options, Step, geometry, parity_level, sentence};
use crate::{array, device as raw};

/// A layer on top of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// Registered files and buffers, one system call a turn, nothing counted.
    Bare,
    /// Two clock reads a turn and a histogram.
    Accounting,
    /// The data plane's thread, port and client.
    Peer,
    /// The peer works in a class, on links that promise more than there is: as every rung above.
    Class,
    /// Data sets: generated, striped, every block with a checksum, committed.
    Stripe,
    /// The same with parity.
    Parity,
    /// The same level in place: a volume with its log.
    Volume,
}

impl Rung {
    /// Those that can be climbed.
    pub(super) fn all(null: bool) -> &'static [Rung] {
        const ALL: [Rung; 7] =
            [Rung::Bare, Rung::Accounting, Rung::Peer, Rung::Class, Rung::Stripe, Rung::Parity, Rung::Volume];
        if null { &ALL[..4] } else { &ALL }
    }

    /// In tables and JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Rung::Bare => "bare ring",
            Rung::Accounting => "+ accounting",
            Rung::Peer => "+ peer and slots",
            Rung::Class => "+ reservation class",
            Rung::Stripe => "+ stripe, checksums",
            Rung::Parity => "+ parity",
            Rung::Volume => "+ volume in place",
        }
    }
}

/// Climbs one rung once.
pub(super) fn climb(rung: Rung, options: &Options, stop: &Arc<AtomicBool>) -> Result<Step, String> {
    let before = written(options);
    let mut step = match rung {
        Rung::Bare => on_bare_ring(options, false)?,
        Rung::Accounting => on_bare_ring(options, true)?,
        Rung::Peer => on_peers(options, "")?,
        Rung::Class => on_peers(options, &format!(" --link-rate {LINK_RATE}"))?,
        Rung::Stripe => as_data_set(options, Level::Raid0, stop)?,
        Rung::Parity => as_data_set(options, parity_level(options), stop)?,
        Rung::Volume => in_place(options)?,
    };
    step.written = before.and_then(|before| {
        let bytes = written(options)?.saturating_sub(before);
        Some(bytes as f64 / step.bytes.max(1) as f64)
    });
    Ok(step)
}

fn config(options: &Options) -> Config {
    Config {
        peers: options.peers,
        cores: (!options.cores.is_empty()).then(|| options.cores.clone()),
        depth: Some(options.depth),
        request_bytes: options.request,
        ..Config::default()
    }
}

fn open(options: &Options) -> Result<Vec<Device>, String> {
    match options.devices.as_slice() {
        [path] if device::is_null(path) => Ok(vec![Device::open_null(path, NULL_BYTES).map_err(sentence)?]),
        paths => Device::open_all(paths, Purpose::Write).map_err(sentence),
    }
}

/// Of one peer in flight: as many on each of its devices as are asked for.
fn requests(options: &Options) -> u32 {
    let devices = options.devices.len().div_ceil(usize::from(options.peers));
    options.depth.saturating_mul(u32::try_from(devices).unwrap_or(u32::MAX)).min(DEPTH_MAX)
}

fn on_bare_ring(options: &Options, account: bool) -> Result<Step, String> {
    let devices = open(options)?;
    let request_bytes = u32::try_from(options.request).expect("checked");
    let (requests, bytes) = (requests(options), options.size);
    let job = BareJob { devices: &devices, request_bytes, requests, bytes, write: true, account };
    let done = bare(&job, &config(options)).map_err(sentence)?;
    let p99 = account.then(|| done.latencies.summary().p99);
    let bytes = done.operations * options.request;
    Ok(Step { bytes, elapsed: done.elapsed, cpu: done.cpu, p99, written: None, times: None })
}

/// Options of another bench binary, read from a line as an operator would write it.
#[derive(Parser)]
struct Line<T: Args> {
    #[command(flatten)]
    options: T,
}

fn line<T: Args>(options: &Options, words: &[String], devices: &[&str]) -> Result<T, String> {
    let mut all = vec!["bench-ladder".into()];
    all.extend(devices.iter().map(|word| (*word).into()));
    all.extend(options.devices.iter().map(|path| path.clone().into_os_string()));
    all.extend(words.iter().map(Into::into));
    if !options.cores.is_empty() {
        let cores: Vec<String> = options.cores.iter().map(usize::to_string).collect();
        all.extend(["--cores".into(), cores.join(",").into()]);
    }
    Line::try_parse_from(all).map(|line| line.options).map_err(sentence)
}

fn on_peers(options: &Options, class: &str) -> Result<Step, String> {
    let words = format!(
        "--rw write --bs {} --depth {} --peers {} --bytes {} --destroy-data{class}",
        options.request,
        requests(options),
        options.peers,
        options.size
    );
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let (_, json) = raw::measure(&line::<raw::Options>(options, &words, &[])?)?;
    let own = &json["bireme"];
    let cpu = number(own, "/cpu_ns/user")? + number(own, "/cpu_ns/system")?;
    let p99 = number(own, "/directions/write/service_ns/p99")?;
    Ok(Step {
        bytes: number(own, "/bytes")?,
        elapsed: Nanos(number(own, "/elapsed_ns")?),
        cpu: Nanos(cpu),
        p99: Some(Nanos(p99)),
        written: None,
        times: None,
    })
}

fn as_data_set(options: &Options, level: Level, stop: &Arc<AtomicBool>) -> Result<Step, String> {
    let job = OffloadJob {
        devices: open(options)?,
        shape: Shape { geometry: geometry(options, level)? },
        destroy_data: true,
        source: Source::Generated { seed: 1, bytes: options.size },
        sets: 1,
    };
    let handles = Handles { gauges: Arc::new(Gauges::new(options.devices.len())), stop: stop.clone() };
    let promises = Promises::new(&[], Some(LINK_RATE)).map_err(sentence)?;
    let config = Config { promises, ..config(options) };
    let outcome = engine::offload(job, &config, &handles).map_err(sentence)?;
    let mut times = TimeStates::default();
    outcome.peers.iter().for_each(|peer| times.merge(&peer.times));
    let p99 = Some(outcome.latency.summary().p99);
    Ok(Step {
        bytes: outcome.bytes,
        elapsed: outcome.elapsed,
        cpu: outcome.cpu,
        p99,
        written: None,
        times: Some(times),
    })
}

/// A volume takes a time, not a number of bytes: it is written from end to end for a second.
fn in_place(options: &Options) -> Result<Step, String> {
    let words = format!(
        "--destroy-data --raid {} --rw write --size {} --peers {} --depth {} --page {PAGE_BYTES} --runtime 1 --no-fill \
         --link-rate {LINK_RATE}",
        options.raid,
        options.size.next_multiple_of(PAGE_BYTES),
        options.peers,
        options.depth.saturating_mul(2)
    );
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let (_, json) = array::measure(&line::<array::Options>(options, &words, &["--device"])?)?;
    let p99 = Nanos(number(&json, "/operation/writes/latency_ns/p99")?);
    Ok(Step {
        bytes: number(&json, "/bytes")?,
        elapsed: Nanos(number(&json, "/elapsed_ns")?),
        cpu: Nanos(number(&json, "/cpu_ns")?),
        p99: Some(p99),
        written: None,
        times: None,
    })
}

fn number(json: &Value, pointer: &str) -> Result<u64, String> {
    json.pointer(pointer).and_then(Value::as_u64).ok_or_else(|| format!("a rung's report lacks {pointer}"))
}

/// Bytes that the kernel has given to the devices so far; `None` if one of them is no block device.
fn written(options: &Options) -> Option<u64> {
    options.devices.iter().map(|path| sectors_written(path)).sum::<Option<u64>>().map(|sectors| sectors * 512)
}

/// The seventh number of the block device's `stat`.
fn sectors_written(path: &Path) -> Option<u64> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = std::fs::metadata(path).ok().filter(|found| found.file_type().is_block_device())?;
    let (major, minor) = (nix::sys::stat::major(metadata.rdev()), nix::sys::stat::minor(metadata.rdev()));
    let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    text.split_whitespace().nth(6)?.parse().ok()
}

/// What the null device is taken to hold.
pub(super) const NULL_BYTES: u64 = 1 << 30;
/// The unit of data sets and volumes.
pub(super) const PAGE_BYTES: u64 = 4 << 20;
/// More bytes per second than any device or array does: what the classes cost, not what they hold back.
const LINK_RATE: u64 = 1 << 40;
const DEPTH_MAX: u32 = 16384;
