//! One volume on real devices under a closed loop of reads and writes: what `bench-array` measures.
//!
//! ```text
//!   new pool ─▶ volume ─▶ filled ─▶ (a member fails) ─▶ measured ─▶ (read back and compared)
//!                            └─▶ measured ─▶ a member is replaced ─▶ measured while it is rebuilt ─┘
//! ```
//!
//! Each peer keeps so many operations under way, within the pages that it is home to. Blocks that were never written cost
//! no request, so the volume is filled before. Every block carries what its place and the number of its last write make,
//! and so tells when it is not what was written last.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use bireme_control::raid::geometry::{Geometry, default_chunk};
use bireme_control::units::Nanos;
use bireme_dataplane::device::{Device, DeviceFacts, Purpose};
use bireme_dataplane::engine::arrays::{self, Whom};
use bireme_dataplane::engine::volumes::client::Classes;
use bireme_dataplane::engine::volumes::{self, Served, VolumeJob, mender};
use bireme_dataplane::engine::{self, Config, Handles, Mending};
use bireme_dataplane::pool::Shape;
use bireme_dataplane::reservation::{Class, InForce, Promises};
use serde_json::Value;

use self::report::Measured;
use self::worker::{Rebuild, Worker};
use self::workload::{Load, Span, Stamps, Workload};
use crate::environment::Environment;
use crate::recording::recorder::{Exchange, Recorder};
use crate::recording::{self, Figures};
use crate::signals;

mod options;
mod phase;
mod report;
mod worker;
mod workload;

pub use options::{Options, Pattern, State};

/// Measures, and returns the table and the JSON.
///
/// # Errors
/// A sentence for the operator.
pub fn measure(options: &Options) -> Result<(String, Value), String> {
    let load = options.load()?;
    let mut bench = Bench::new(options)?;
    bench.prepare()?;
    let stamps = bench.stamps(load.block_bytes)?;
    let stamps = if options.no_fill { stamps } else { bench.unmeasured(&load.filling(), stamps)?.1 };
    let rebuilds = options.state == State::Rebuilding;
    let (healthy, stamps) = match rebuilds {
        true => bench.run(&load, stamps).map(|(served, stamps)| (Some(served), stamps))?,
        false => (None, stamps),
    };
    let lost = bench.lose()?;
    let (mut served, stamps, series) = bench.recorded(&load, stamps, rebuilds)?;
    if rebuilds {
        bench.end_rebuild()?;
        // It was said when the rebuild began.
        served.notes.retain(|note| !note.contains("is not rebuilt yet"));
    }
    let verified = if options.verify { Some(bench.verify(stamps)?) } else { None };
    let devices: Vec<DeviceFacts> = bench.open()?.iter().map(Device::facts).collect();
    let cores: Vec<usize> = served.homes.iter().filter_map(|home| home.core).collect();
    let environment = &Environment::gather(&cores, &devices, Some(options.seed));
    let healthy = healthy.as_ref();
    let measured = Measured {
        options,
        load: &load,
        served: &served,
        series: &series,
        healthy,
        lost,
        verified,
        classes: bench.in_force(),
        environment,
    };
    Ok((report::to_table(&measured), report::to_json(&measured)))
}

/// One volume, for as long as it is measured.
struct Bench<'a> {
    options: &'a Options,
    /// The members, as long as they are some.
    devices: Vec<PathBuf>,
    shape: Shape,
    promises: Promises,
    handles: Handles,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Bench<'a>, String> {
        if !options.destroy_data {
            return Err("everything on the devices will be overwritten: permit it with --destroy-data".to_owned());
        }
        options.check_rebuild()?;
        let (level, members) = (options.level()?, options.devices.len());
        let chunk = options.chunk.unwrap_or_else(|| default_chunk(level, members, options.page));
        let geometry = Geometry::new(level, members, chunk, options.page).map_err(sentence)?;
        if options.state != State::Healthy && !geometry.survives(&[LOST]) {
            let state = options.state.name();
            return Err(format!("{level} keeps no data without a member: there is no --state {state} to measure"));
        }
        check_spare(options)?;
        let promises = options.classes.promises()?;
        let (handles, devices) = (signals::handles()?, options.devices.clone());
        Ok(Bench { options, devices, shape: Shape { geometry }, promises, handles })
    }

    fn open(&self) -> Result<Vec<Device>, String> {
        Device::open_all(&self.devices, Purpose::Write).map_err(sentence)
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

    /// Fails what the state asks for, and names it; a spare takes its place if there is one.
    fn lose(&mut self) -> Result<Option<u16>, String> {
        if self.options.state == State::Healthy {
            return Ok(None);
        }
        arrays::fail_member(&self.open()?, &Whom::Index(LOST)).map_err(sentence)?;
        if let Some(spare) = &self.options.spare {
            self.devices.remove(usize::from(LOST));
            let with = Device::open(spare, Purpose::Write).map_err(sentence)?;
            arrays::replace_member(&self.open()?, &Whom::Index(LOST), &with, true).map_err(sentence)?;
            self.devices.push(spare.clone());
        }
        Ok(Some(LOST))
    }

    /// Puts a load on the volume that nobody is told of: what classes are promised is for those that are measured.
    fn unmeasured(&self, load: &Load, stamps: Vec<Stamps>) -> Result<(Served<Worker>, Vec<Stamps>), String> {
        self.serve(load, stamps, false, None, &Promises::default())
    }

    /// Puts a load on the volume.
    fn run(&self, load: &Load, stamps: Vec<Stamps>) -> Result<(Served<Worker>, Vec<Stamps>), String> {
        self.serve(load, stamps, false, None, &self.promises)
    }

    /// The same, recorded by interval.
    fn recorded(
        &self,
        load: &Load,
        stamps: Vec<Stamps>,
        rebuilds: bool,
    ) -> Result<(Served<Worker>, Vec<Stamps>, Figures), String> {
        let exchange = Exchange::new(self.options.peers);
        let run = || self.serve(load, stamps, rebuilds, Some(&exchange), &self.promises);
        let recorded = recording::while_running(&self.options.recording, self.options.peers, &exchange, None, run);
        recorded.map(|((served, stamps), series)| (served, stamps, series))
    }

    fn serve(
        &self,
        load: &Load,
        stamps: Vec<Stamps>,
        rebuilds: bool,
        exchange: Option<&Exchange>,
        promises: &Promises,
    ) -> Result<(Served<Worker>, Vec<Stamps>), String> {
        let job = VolumeJob {
            devices: self.open()?,
            name: NAME.to_owned(),
            operation_bytes: load.block_bytes,
            data_file: None,
        };
        // The healthy array is measured with as many as are needed later: it is to differ in nothing else.
        let of_rebuild = if self.options.state == State::Rebuilding { mender::AT_A_TIME } else { 0 };
        // One more for flushes.
        let depth = u32::from(self.options.depth) + 1 + u32::try_from(of_rebuild).expect("few");
        let config = Config { depth: Some(depth), promises: promises.clone(), ..self.config() };
        let (speed, going_on) = (self.options.speed(), Arc::new(AtomicU16::new(0)));
        let mut stamps = stamps.into_iter();
        let mut peers = 0u16..;
        let length = self.options.recording.length();
        let client = |share, classes: &Classes| {
            let stamps = stamps.next().expect("one for each peer");
            let peer = peers.next().expect("few peers");
            let recorder = exchange.map(|exchange| Recorder::new(exchange.clone(), peer, length));
            let rebuild = rebuilds.then(|| Rebuild::new(share, classes, speed, &going_on));
            Worker {
                workload: Workload::new(load.clone(), share, stamps, classes.allowance(Class::Foreground)),
                rebuild,
                recorder,
            }
        };
        let mut served = volumes::serve(job, &config, &self.handles, client).map_err(sentence)?;
        let stamps = served.homes.iter_mut().map(|home| home.client.workload.take_stamps()).collect();
        Ok((served, stamps))
    }

    fn config(&self) -> Config {
        let cores = (!self.options.cores.is_empty()).then(|| self.options.cores.clone());
        Config { peers: self.options.peers, cores, ..Config::default() }
    }

    /// What holds those back that work beside each other in what is reported.
    fn in_force(&self) -> Vec<InForce> {
        let rebuild = (self.options.state == State::Rebuilding).then_some(Class::Rebuild);
        [Some(Class::Foreground), rebuild].into_iter().flatten().filter_map(|of| self.promises.in_force(of)).collect()
    }

    /// The spare is whole, and a member as the others are.
    fn end_rebuild(&self) -> Result<(), String> {
        let all = engine::end_rebuild(self.open()?, &[NAME.to_owned()], &self.config()).map_err(sentence)?;
        if all { Ok(()) } else { Err("the rebuild has left something out: this is a fault of Bireme".to_owned()) }
    }

    /// Reads all back and compares it; the time that took. After a rebuild, parities and copies too.
    fn verify(&self, stamps: Vec<Stamps>) -> Result<Nanos, String> {
        let load = Load { span: Span::Once, ..Load::verifying(self.options.depth) };
        let (served, _) = self.unmeasured(&load, stamps)?;
        let wrong: Vec<u64> = served.homes.iter().filter_map(|home| home.client.workload.first_wrong()).collect();
        if let Some(block) = wrong.iter().min() {
            return Err(format!(
                "block {block} of the volume does not hold what was written last: this is a fault of Bireme; keep the \
                 devices as they are"
            ));
        }
        if self.options.state != State::Rebuilding {
            return Ok(served.elapsed);
        }
        let config = self.config();
        let scrubbed =
            engine::mend_volume(self.open()?, NAME, Mending::Scrub, &config, &self.handles).map_err(sentence)?;
        let healed = [served.healed, scrubbed.healed].map(|healed| healed.blocks + healed.lost);
        match healed.iter().sum() {
            0 => Ok(served.elapsed + scrubbed.elapsed),
            blocks => Err(format!(
                "{blocks} blocks of the array were not as they should be after the rebuild: this is a fault of Bireme, or \
                 of a device"
            )),
        }
    }
}

/// Whether the spare is another device, and large enough: before anything is written, and before an hour was measured.
fn check_spare(options: &Options) -> Result<(), String> {
    let Some(spare) = &options.spare else { return Ok(()) };
    let all: Vec<&PathBuf> = options.devices.iter().chain([spare]).collect();
    let mut devices = Device::open_all(&all, Purpose::Write).map_err(sentence)?;
    let have = devices.pop().map_or(0, |spare| spare.bytes());
    match devices.iter().min_by_key(|device| device.bytes()) {
        Some(least) if have < least.bytes() => Err(format!(
            "the spare {} has {have} bytes, and the smallest device, {}, {}: name a spare that is at least as large",
            spare.display(),
            least.path().display(),
            least.bytes()
        )),
        _ => Ok(()),
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

const NAME: &str = "bench";
/// The member that fails.
const LOST: u16 = 0;
