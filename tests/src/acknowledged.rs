//! A client of a volume that writes at random, and says on standard output what it asks for and what was acknowledged.
//!
//! ```text
//!   + BLOCK BLOCKS VERSION    is asked for
//!   = BLOCK BLOCKS VERSION    is durable: the write was FUA and has ended, or a flush that came later has
//! ```
//!
//! A line is one system call, so whoever kills the process has all that was acknowledged before. Writes of one block may
//! overtake nothing: what is found later is the newest version that was acknowledged, or one that was asked for after it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_control::units::Nanos;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::volumes::client::{Classes, Share};
use bireme_dataplane::engine::volumes::{Client, Step, VolumeJob, serve};
use bireme_dataplane::engine::{Config, Handles};
use bireme_dataplane::message::Failure;
use bireme_dataplane::pattern::Pattern;
use bireme_dataplane::port::simulated::Random;
use bireme_dataplane::port::{Next, Port};
use bireme_dataplane::telemetry::Gauges;
use bireme_dataplane::volume::home::{Ended, Home, Operation};

/// What to write where.
#[derive(Clone, Debug)]
pub struct Job {
    /// The members.
    pub devices: Vec<PathBuf>,
    /// The volume.
    pub name: String,
    /// Places and data derive from it.
    pub seed: u64,
    /// How many writes each home is asked for.
    pub writes: u64,
}

/// Blocks that were written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The first.
    pub block: u64,
    /// How many.
    pub blocks: u32,
    /// The same for all of them, and larger for those that one home was asked for later.
    pub version: u64,
}

impl Written {
    /// What a block of these holds.
    pub fn content(seed: u64, version: u64, block: u64) -> Vec<u8> {
        let mut data = vec![0; 4096];
        Pattern::new(seed, version).fill(block, &mut data);
        data
    }

    /// A line, and whether it says that these were acknowledged; `None` for one that was cut short.
    pub fn parse(line: &str) -> Option<(Written, bool)> {
        let words: Vec<&str> = line.split(' ').collect();
        let &[sign, block, blocks, version, "."] = words.as_slice() else { return None };
        let (block, blocks, version) = (block.parse().ok()?, blocks.parse().ok()?, version.parse().ok()?);
        Some((Written { block, blocks, version }, sign == "="))
    }

    fn say(self, sign: char) {
        let Written { block, blocks, version } = self;
        // Nobody listens any more: then nothing is to be said.
        let _ = io::stdout().lock().write_all(format!("{sign} {block} {blocks} {version} .\n").as_bytes());
    }
}

/// Serves the volume until all is written.
///
/// # Errors
/// A sentence of Bireme's.
pub fn run(job: &Job) -> Result<(), String> {
    let devices = Device::open_all(&job.devices, Purpose::Write).map_err(|error| error.to_string())?;
    let volume = VolumeJob { devices, name: job.name.clone(), operation_bytes: BLOCKS_MAX * 4096, data_file: None };
    let handles = Handles { gauges: Arc::new(Gauges::new(0)), stop: Arc::new(AtomicBool::new(false)) };
    let scribe = |share, _: &Classes| Scribe::new(job, share);
    serve(volume, &Config::default(), &handles, scribe).map(|_| ()).map_err(|error| error.to_string())
}

/// The client of one home.
#[derive(Debug)]
struct Scribe {
    seed: u64,
    share: Share,
    random: Random,
    version: u64,
    left: u64,
    under_way: Vec<(Operation, Task)>,
    /// Ended, and not durable yet.
    loose: Vec<Written>,
}

#[derive(Debug)]
enum Task {
    Write { written: Written, fua: bool },
    Flush(Vec<Written>),
}

impl Scribe {
    fn new(job: &Job, share: Share) -> Scribe {
        let (seed, random) = (job.seed, Random::new(job.seed ^ share.block(0).0));
        Scribe { seed, share, random, version: 0, left: job.writes, under_way: Vec::new(), loose: Vec::new() }
    }

    fn start<P: Port>(&mut self, home: &mut Home<P>) {
        while let Some(operation) = home.begin() {
            let is_last = self.left == 0 && self.under_way.is_empty();
            let task = if self.loose.len() >= LOOSE_MAX || (is_last && !self.loose.is_empty()) {
                home.flush(operation);
                Task::Flush(std::mem::take(&mut self.loose))
            } else if self.left > 0 && self.share.blocks() > 0 {
                self.write(home, operation)
            } else {
                home.end(operation);
                return;
            };
            self.under_way.push((operation, task));
        }
    }

    fn write<P: Port>(&mut self, home: &mut Home<P>, operation: Operation) -> Task {
        let mine = self.share.blocks();
        let within = if self.random.chance(500_000) { mine } else { mine.div_ceil(8) };
        let (block, room) = self.share.block(self.random.below(within));
        let most = room.min(u64::from(BLOCKS_MAX));
        let blocks = if self.random.chance(600_000) { 1 } else { 1 + self.random.below(most) };
        (self.version, self.left) = (self.version + 1, self.left - 1);
        let blocks = u32::try_from(blocks).expect("few");
        let (written, fua) = (Written { block, blocks, version: self.version }, self.random.chance(500_000));
        let data = home.data_mut(operation, blocks * 4096);
        for (data, block) in data.chunks_mut(4096).zip(block..) {
            Pattern::new(self.seed, self.version).fill(block, data);
        }
        written.say('+');
        home.write(operation, block, blocks, fua);
        Task::Write { written, fua }
    }

    fn take<P: Port>(&mut self, home: &mut Home<P>, ended: Ended) -> Result<(), Failure> {
        let place = self.under_way.iter().position(|(operation, _)| *operation == ended.operation);
        let (operation, task) = self.under_way.swap_remove(place.expect("homes end what was asked of them"));
        ended.result?;
        match task {
            Task::Write { written, fua: true } => written.say('='),
            Task::Write { written, fua: false } => self.loose.push(written),
            Task::Flush(durable) => durable.into_iter().for_each(|written| written.say('=')),
        }
        home.end(operation);
        Ok(())
    }
}

impl<P: Port> Client<P> for Scribe {
    fn turn(&mut self, home: &mut Home<P>, _: Nanos, stopping: bool) -> Result<Step, Failure> {
        while let Some(ended) = home.reap() {
            self.take(home, ended)?;
        }
        if !stopping {
            self.start(home);
        }
        Ok(if self.under_way.is_empty() { Step::Done } else { Step::On(Next::Event) })
    }
}

const BLOCKS_MAX: u32 = 24;
const LOOSE_MAX: usize = 6;
