//! What operators write for a measurement on devices; the comments are what `--help` shows.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bireme_control::balance::Minimum;
use bireme_control::units::{PeerId, Permille};
use clap::Args;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::Plan;
use crate::balance::Contender;
use crate::peer_rate::{self, PeerRate};
use crate::size;

/// The part of the line on devices.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "On devices")]
pub struct Options {
    /// The devices or files to measure on. Everything on them is overwritten.
    #[arg(value_name = "DEVICE", conflicts_with = "simulate", help_heading = "Arguments")]
    devices: Vec<PathBuf>,
    /// Permit to overwrite the devices; without it nothing is run.
    #[arg(long, conflicts_with = "simulate")]
    destroy_data: bool,
    /// Data of each set. The devices must have room for two sets.
    #[arg(long, conflicts_with = "simulate", value_parser = size::parse, default_value = "1GiB")]
    size: u64,
    /// The unit of balance. A measurement is no finer than what the slowest peer needs for one.
    #[arg(long, conflicts_with = "simulate", value_name = "SIZE", value_parser = size::parse, default_value = "1MiB")]
    page: u64,
    /// How many peers.
    #[arg(long, conflicts_with = "simulate", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(2..=256))]
    peers: u16,
    /// The cores of the peers, by comma. Default: all that this process may use, in turn.
    #[arg(long, conflicts_with = "simulate", value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Data of one slot at most.
    #[arg(long, conflicts_with = "simulate", value_name = "SIZE", value_parser = size::parse)]
    slot: Option<u64>,
    /// Let peer N, counted from 0, move at most this much per second, such as 1=400MiB/s; several by comma.
    #[arg(long = "peer-rate", conflicts_with = "simulate", value_name = "N=SIZE", value_delimiter = ',',
          value_parser = peer_rate::parse)]
    peer_rates: Vec<PeerRate>,
    /// Cap what peer N writes to one device at this much per second, such as 1=100MiB/s; several by comma (cgroup v1, as
    /// root). As pages lie on all devices, the peer gets about so much times their number.
    #[arg(long = "throttle-peer", conflicts_with = "simulate", value_name = "N=SIZE", value_delimiter = ',',
          value_parser = peer_rate::parse)]
    throttle_peers: Vec<PeerRate>,
    /// The device for --throttle-peer. Default: the first.
    #[arg(long, requires = "throttle_peers", value_name = "DEVICE")]
    throttle_device: Option<PathBuf>,
    /// Let a process that only spins compete for the core of peer N.
    #[arg(long, conflicts_with = "simulate", value_name = "N")]
    compete: Option<u16>,
    /// Measure everything so many times in turn; figures are medians.
    #[arg(long, conflicts_with = "simulate", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Compare the throughput of exactly two --strategies instead, in so many pairs of runs, with sets that overlap as
    /// they do in use. Six or more give an interval.
    #[arg(long, conflicts_with_all = ["simulate", "rounds"], value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=999))]
    pairs: Option<u16>,
}

/// What measurements on devices and simulations have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// What to compare; empty: the usual.
    pub contenders: Vec<Contender>,
    /// How many sets of each run, if the operator said so.
    pub sets: Option<u16>,
    /// In the middle of this set, counted from 1, the speeds change places.
    pub flip: Option<u16>,
    /// What a peer keeps under way, if the operator said so.
    pub depth: Option<u16>,
    /// `ratio`: the largest portion that is not worth a hand-over.
    pub minimum: Minimum,
    /// `ratio`: by how much a ratio is stepped.
    pub increment: Permille,
}

impl Options {
    /// Whether devices were named.
    pub fn is_given(&self) -> bool {
        !self.devices.is_empty()
    }

    /// What to do, if it makes sense; an error is a sentence.
    pub(super) fn plan(&self, common: &Common) -> Result<Plan, String> {
        let first = self.devices.first().ok_or("there is nothing to measure on: name devices")?;
        if !self.destroy_data {
            return Err("everything on the devices will be overwritten: permit it with --destroy-data".to_owned());
        }
        let cores = if self.cores.is_empty() { allowed_cores()? } else { self.cores.clone() };
        if self.cores.iter().collect::<BTreeSet<_>>().len() < self.cores.len() {
            return Err("--cores names a core twice: give each peer a core of its own".to_owned());
        }
        self.check_peers()?;
        let sets = u32::from(common.sets.unwrap_or(SETS));
        let plan = Plan {
            devices: self.devices.clone(),
            bytes: self.size,
            page: self.page,
            contenders: if common.contenders.is_empty() { USUAL.to_vec() } else { common.contenders.clone() },
            sets,
            peers: self.peers,
            cores,
            depth: common.depth.map(u32::from),
            slot: self.slot,
            minimum: common.minimum,
            increment: common.increment,
            rates: peer_rate::by_peer(RATE, &self.peer_rates, self.peers)?,
            caps: peer_rate::by_peer(THROTTLE, &self.throttle_peers, self.peers)?,
            capped_device: self.throttle_device.clone().unwrap_or_else(|| first.clone()),
            rival_of: self.compete.map(PeerId),
            flip: common.flip.map(u32::from),
            rounds: usize::from(self.rounds),
            pairs: self.pairs.map(usize::from),
        };
        check(&plan)?;
        Ok(plan)
    }

    fn check_peers(&self) -> Result<(), String> {
        match self.compete {
            Some(peer) => peer_rate::check_peer("--compete", PeerId(peer), self.peers),
            None => Ok(()),
        }
    }
}

/// What one option alone does not show.
fn check(plan: &Plan) -> Result<(), String> {
    let fewest = FEWEST_EACH * u64::from(plan.peers);
    let transfers = plan.bytes.checked_div(plan.page).unwrap_or(0);
    if transfers < fewest {
        let sizes = (size::print(plan.bytes), size::print(plan.page));
        return Err(format!(
            "a set of {} in pages of {} has {transfers} transfers, and {} peers need {fewest} to share them: choose a \
             larger --size or a smaller --page",
            sizes.0, sizes.1, plan.peers
        ));
    }
    if !plan.devices.contains(&plan.capped_device) {
        let name = plan.capped_device.display();
        return Err(format!("--throttle-device {name} is none of the devices to measure on: name one of these"));
    }
    let is_limited = |limits: &[Option<u64>]| limits.iter().take(2).any(Option::is_some);
    match plan.flip {
        Some(set) if set > plan.sets => {
            Err(format!("there is no set {set} to flip in: raise --sets ({}) or lower --flip", plan.sets))
        }
        Some(_) if plan.pairs.is_some() => {
            Err("--flip has no meaning with --pairs, which compare whole runs: leave one of them out".to_owned())
        }
        Some(_) if plan.rival_of.is_some() => {
            Err("--flip cannot move the process of --compete to another core: leave one of them out".to_owned())
        }
        Some(_) if !is_limited(&plan.rates) && !is_limited(&plan.caps) => {
            Err(format!("--flip swaps the limits of peers 0 and 1, and they have none: add {RATE} or {THROTTLE}"))
        }
        _ if plan.pairs.is_some() && plan.contenders.len() != 2 => {
            Err("--pairs compares two strategies: name them, such as --strategies measured,pull".to_owned())
        }
        _ => Ok(()),
    }
}

/// The cores that this process may use.
fn allowed_cores() -> Result<Vec<usize>, String> {
    let unknown =
        |errno: nix::errno::Errno| format!("the cores of this process are unknown: {}; use --cores", errno.desc());
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(unknown)?;
    Ok((0..CpuSet::count()).filter(|&core| set.is_set(core) == Ok(true)).collect())
}

/// `fixed` is measured anyway, by the calibrations.
const USUAL: [Contender; 4] = [Contender::Pull, Contender::StealHalf, Contender::Ratio, Contender::Measured];
const SETS: u16 = 10;
/// Of a peer's equal part, so that its speed can be measured at all.
const FEWEST_EACH: u64 = 8;
const RATE: &str = "--peer-rate";
pub(super) const THROTTLE: &str = "--throttle-peer";
