//! One job on one set of devices, climbing the layers of Bireme: what each one costs, and what is left of the devices.
//!
//! ```text
//!   bare ring ─▶ + accounting ─▶ + peer and slots ─▶ + class ─▶ + stripe and checksums ─▶ + parity ─▶ + volume in place
//!      └────────────────────────────── all of them in turn, several rounds, medians ──────────────────────────┘
//! ```
//!
//! Every rung is the real thing: the bare ring is a loop of its own, all others are the code that runs in production.
//! Checksums cannot be left out of a data set; where their time goes is told by the peers' own time states.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bireme_control::raid::geometry::{Geometry, Level, default_chunk};
use bireme_control::units::Nanos;
use bireme_dataplane::device::{self, Device, Purpose};
use bireme_dataplane::telemetry::TimeStates;
use clap::Args;
use serde_json::Value;

use crate::environment::Environment;
use crate::{signals, size};

mod ceiling;
mod report;
mod rungs;

use rungs::Rung;

/// The line.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The devices or files; everything on them is overwritten. On /dev/null only the first four rungs can be climbed.
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<PathBuf>,
    /// Permit to overwrite the devices; without it nothing is run.
    #[arg(long)]
    pub destroy_data: bool,
    /// Data of each rung in each round.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size::parse)]
    pub size: u64,
    /// One request to a device.
    #[arg(long, value_name = "SIZE", default_value = "512KiB", value_parser = size::parse)]
    pub request: u64,
    /// Requests in flight on each device.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub depth: u32,
    /// How many peers, each a thread with a core of its own; not more than devices.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub peers: u16,
    /// The cores of the peers, by comma. Default: all that this process may use, in turn.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// The level of the rungs with parity: 5 or 6.
    #[arg(long, value_name = "LEVEL", default_value = "5", value_parser = ["5", "6"])]
    pub raid: String,
    /// How often the whole ladder is climbed; figures are medians.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,
}

/// One rung in one round.
#[derive(Clone, Debug)]
struct Step {
    /// Data moved.
    bytes: u64,
    elapsed: Nanos,
    /// Of the whole process.
    cpu: Nanos,
    p99: Option<Nanos>,
    /// What block devices were given for each byte of data, as the kernel has counted it.
    written: Option<f64>,
    /// Where the peers' time went, of the rungs that are data sets.
    times: Option<TimeStates>,
}

/// All rounds of one rung.
#[derive(Clone, Debug)]
struct Climbed {
    rung: Rung,
    steps: Vec<Step>,
}

/// What was found.
struct Ladder<'a> {
    options: &'a Options,
    climbed: Vec<Climbed>,
    /// Bytes per second that the peers' cores copy in memory: read and written.
    memory: f64,
    geometry: Option<Geometry>,
    environment: Environment,
}

/// Climbs, and returns the table and the JSON.
///
/// # Errors
/// A sentence for the operator.
pub fn measure(options: &Options) -> Result<(String, Value), String> {
    let null = options.devices.iter().any(|path| device::is_null(path));
    check(options, null)?;
    let geometry = (!null).then(|| geometry(options, parity_level(options))).transpose()?;
    let rungs = Rung::all(null);
    let facts: Vec<_> = if null {
        vec![Device::open_null(&options.devices[0], rungs::NULL_BYTES).map_err(sentence)?.facts()]
    } else {
        let devices = Device::open_all(&options.devices, Purpose::Write).map_err(sentence)?;
        devices.iter().map(Device::facts).collect()
    };
    let mut climbed: Vec<Climbed> = rungs.iter().map(|&rung| Climbed { rung, steps: Vec::new() }).collect();
    let stop = signals::handles()?.stop;
    for round in 0..=options.rounds {
        for one in &mut climbed {
            let step = rungs::climb(one.rung, options, &stop)?;
            if stop.load(Ordering::Acquire) {
                return Err(
                    "interrupted by a signal: a ladder that was not climbed to its end tells nothing".to_owned()
                );
            }
            // The first round warms the devices and their memory up.
            if round > 0 {
                eprintln!(
                    "round {round} of {}: {}, {}",
                    options.rounds,
                    one.rung.name(),
                    size::print_rate(size::rate(step.bytes, step.elapsed))
                );
                one.steps.push(step);
            }
        }
    }
    let environment = Environment::gather(&options.cores, &facts, None);
    let memory = ceiling::copy_rate(options.peers, &options.cores);
    let ladder = Ladder { options, climbed, memory, geometry, environment };
    Ok((report::to_table(&ladder), report::to_json(&ladder)))
}

fn check(options: &Options, null: bool) -> Result<(), String> {
    let count = options.devices.len();
    if null && count > 1 {
        return Err("the null device is measured alone: name it without others".to_owned());
    }
    if !null && !options.destroy_data {
        return Err("everything on the devices will be overwritten: permit it with --destroy-data".to_owned());
    }
    if !null && count < 3 {
        return Err(format!("a ladder up to parity needs at least three devices, and {count} are named"));
    }
    if usize::from(options.peers) > count {
        return Err(format!("{} peers cannot share {count} devices: ask for fewer --peers", options.peers));
    }
    let fits = options.request.is_multiple_of(4096) && (4096..=4 << 20).contains(&options.request);
    if !fits || options.request > options.size {
        return Err("one --request is a multiple of 4KiB up to 4MiB, and not more than --size".to_owned());
    }
    Ok(())
}

fn parity_level(options: &Options) -> Level {
    if options.raid == "6" { Level::Raid6 } else { Level::Raid5 }
}

fn geometry(options: &Options, level: Level) -> Result<Geometry, String> {
    let chunk = default_chunk(level, options.devices.len(), rungs::PAGE_BYTES);
    Geometry::new(level, options.devices.len(), chunk, rungs::PAGE_BYTES).map_err(sentence)
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}
