//! The strategies against each other on real devices, by peers that are made unequal.
//!
//! ```text
//!   warm-up                                   not counted: makes the pool, touches all memory
//!   fixed | pull | steal-half | ... | fixed   one round: what is judged, between two calibrations
//!   speeds of the peers, by the calibrations ──▶ ideal ──▶ how far over it each set ended
//! ```
//!
//! The ideal is the end of the last transfer if no peer were ever idle: it comes from runs that are not judged, in which
//! nothing is handed over, so a strategy that slows the peers down cannot hide it. With pairs two strategies run in turn
//! as users run them, and their throughput is compared pair by pair.

use std::path::PathBuf;

use bireme_control::balance::Minimum;
use bireme_control::units::{PeerId, Permille};
use bireme_dataplane::device::{Device, DeviceFacts, Purpose};
use serde_json::Value;

use crate::balance::Contender;
use crate::environment::Environment;

mod cost;
mod ideal;
mod options;
mod report;
mod rival;
mod rounds;
mod run;
#[cfg(test)]
mod tests;
mod unequal;

pub use options::{Common, Options};
pub use rival::spin;

/// What is measured on which devices, and what makes the peers unequal.
#[derive(Clone, Debug)]
struct Plan {
    devices: Vec<PathBuf>,
    bytes: u64,
    page: u64,
    contenders: Vec<Contender>,
    sets: u32,
    peers: u16,
    /// One per peer, in turn.
    cores: Vec<usize>,
    depth: Option<u32>,
    slot: Option<u64>,
    minimum: Minimum,
    increment: Permille,
    /// By peer, as the next; those beyond the list are not limited.
    rates: Vec<Option<u64>>,
    caps: Vec<Option<u64>>,
    capped_device: PathBuf,
    rival_of: Option<PeerId>,
    /// In the middle of this set, counted from 1, peers 0 and 1 change places.
    flip: Option<u32>,
    rounds: usize,
    pairs: Option<usize>,
}

impl Plan {
    fn transfers(&self) -> u64 {
        self.bytes.div_ceil(self.page)
    }
}

/// Measures; the answer is the comparison as text and as JSON, an error is a sentence for the operator.
pub fn measure(options: &Options, common: &Common) -> Result<(String, Value), String> {
    let plan = options.plan(common)?;
    // Open for a moment only: each run opens the devices anew, as a run of its own would.
    let devices = Device::open_all(&plan.devices, Purpose::Write).map_err(|error| error.to_string())?;
    let facts: Vec<DeviceFacts> = devices.iter().map(Device::facts).collect();
    drop(devices);
    let environment = Environment::gather(&plan.cores, &facts, Some(run::SEED));
    let mut stage = run::Stage::new(&plan)?;
    stage.warm_up()?;
    match plan.pairs {
        None => rounds::measure(&plan, &mut stage).map(|comparison| comparison.print(&plan, &environment)),
        Some(pairs) => cost::measure(&plan, &mut stage, pairs).map(|cost| cost.print(&plan, &environment)),
    }
}
