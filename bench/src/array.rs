//! One volume on real devices under a closed loop of reads and writes: what `bench-array` measures.
//!
//! ```text
//!   new pool ─▶ volume ─▶ filled ─▶ (a member fails) ─▶ measured ─▶ (read back and compared)
//! ```
//!
//! Each peer keeps so many operations under way, within the pages that it is home to. Blocks that were never written cost
//! no request, so the volume is filled before. Every block carries what its place and the number of its last write make,
//! and so tells when it is not what was written last.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_control::raid::geometry::{Geometry, default_chunk};
use bireme_control::units::Nanos;
use bireme_dataplane::device::{Device, DeviceFacts, Purpose};
use bireme_dataplane::engine::arrays::{self, Whom};
use bireme_dataplane::engine::volumes::{self, Served, VolumeJob};
use bireme_dataplane::engine::{Config, Handles};
use bireme_dataplane::pool::Shape;
use bireme_dataplane::telemetry::Gauges;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::report::Measured;
use self::workload::{Load, Span, Stamps, Workload};
use crate::environment::Environment;

mod options;
mod report;
mod workload;

pub use options::{Options, Pattern, State};

/// Measures, and returns the table and the JSON.
///
/// # Errors
/// A sentence for the operator.
pub fn measure(options: &Options) -> Result<(String, Value), String> {
    let load = options.load()?;
    let bench = Bench::new(options)?;
    bench.prepare()?;
    let stamps = bench.stamps(load.block_bytes)?;
    let stamps = if options.no_fill { stamps } else { bench.run(&load.filling(), stamps)?.1 };
    let lost = bench.degrade()?;
    let (served, stamps) = bench.run(&load, stamps)?;
    let verified = if options.verify { Some(bench.verify(stamps)?) } else { None };
    let devices: Vec<DeviceFacts> = bench.open()?.iter().map(Device::facts).collect();
    let cores: Vec<usize> = served.homes.iter().filter_map(|home| home.core).collect();
    let environment = Environment::gather(&cores, &devices, Some(options.seed));
    let measured = Measured { options, load: &load, served: &served, lost, verified, environment: &environment };
    Ok((report::to_table(&measured), report::to_json(&measured)))
}

/// One volume, for as long as it is measured.
struct Bench<'a> {
    options: &'a Options,
    shape: Shape,
    handles: Handles,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Bench<'a>, String> {
        if !options.destroy_data {
            return Err("everything on the devices will be overwritten: permit it with --destroy-data".to_owned());
        }
        let (level, members) = (options.level()?, options.devices.len());
        let chunk = options.chunk.unwrap_or_else(|| default_chunk(level, members, options.page));
        let geometry = Geometry::new(level, members, chunk, options.page).map_err(sentence)?;
        if options.state == State::Degraded && !geometry.survives(&[LOST]) {
            return Err(format!("{level} keeps no data without a member: there is no --state degraded to measure"));
        }
        let handles = Handles { gauges: Arc::new(Gauges::new(0)), stop: Arc::new(AtomicBool::new(false)) };
        for signal in [SIGINT, SIGTERM] {
            // The second signal ends the process: the first has asked for an end in order.
            let asked = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, handles.stop.clone())
                .and_then(|_| signal_hook::flag::register(signal, handles.stop.clone()));
            asked.map_err(|error| format!("signals cannot be watched: {error}"))?;
        }
        Ok(Bench { options, shape: Shape { geometry }, handles })
    }

    fn open(&self) -> Result<Vec<Device>, String> {
        Device::open_all(&self.options.devices, Purpose::Write).map_err(sentence)
    }

    fn prepare(&self) -> Result<(), String> {
        let devices = self.open()?;
        arrays::create_array(&devices, self.shape, true).map_err(sentence)?;
        volumes::create_volume(devices, NAME, self.options.size, self.options.peers).map_err(sentence)
    }

    /// What each peer knows of its blocks.
    fn stamps(&self, block_bytes: u32) -> Result<Vec<Stamps>, String> {
        let blocks = self.options.size / 4096;
        if self.options.size < u64::from(block_bytes) {
            return Err(format!("a volume of {} bytes has no room for an operation: raise --size", self.options.size));
        }
        Ok((0..self.options.peers).map(|_| Stamps::new(self.options.seed, blocks)).collect())
    }

    /// Fails what the state asks for, and names it.
    fn degrade(&self) -> Result<Option<u16>, String> {
        if self.options.state == State::Healthy {
            return Ok(None);
        }
        arrays::fail_member(&self.open()?, &Whom::Index(LOST)).map_err(sentence)?;
        Ok(Some(LOST))
    }

    fn run(&self, load: &Load, stamps: Vec<Stamps>) -> Result<(Served<Workload>, Vec<Stamps>), String> {
        let job = VolumeJob {
            devices: self.open()?,
            name: NAME.to_owned(),
            operation_bytes: load.block_bytes,
            data_file: None,
        };
        let config = Config {
            peers: self.options.peers,
            cores: (!self.options.cores.is_empty()).then(|| self.options.cores.clone()),
            // One more for flushes.
            depth: Some(u32::from(self.options.depth) + 1),
            ..Config::default()
        };
        let mut stamps = stamps.into_iter();
        let client = |share| {
            let stamps = stamps.next().expect("one for each peer");
            Workload::new(load.clone(), share, stamps)
        };
        let mut served = volumes::serve(job, &config, &self.handles, client).map_err(sentence)?;
        let stamps = served.homes.iter_mut().map(|home| home.client.take_stamps()).collect();
        Ok((served, stamps))
    }

    /// Reads all back and compares it; the time that took.
    fn verify(&self, stamps: Vec<Stamps>) -> Result<Nanos, String> {
        let load = Load { span: Span::Once, ..Load::verifying(self.options.depth) };
        let (served, _) = self.run(&load, stamps)?;
        let wrong: Vec<u64> = served.homes.iter().filter_map(|home| home.client.figures().first_wrong).collect();
        match wrong.iter().min() {
            Some(block) => Err(format!(
                "block {block} of the volume does not hold what was written last: this is a fault of Bireme; keep the \
                 devices as they are"
            )),
            None => Ok(served.elapsed),
        }
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

const NAME: &str = "bench";
/// The member that fails.
const LOST: u16 = 0;
