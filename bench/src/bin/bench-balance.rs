//! Strategies of balance against each other; see `bench-balance --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use bireme_bench::balance::{self, Contender, PEERS_MAX, Scenario, Stall, arguments, live};
use bireme_bench::report;
use bireme_control::balance::Minimum;
use bireme_control::units::Permille;
use clap::{Args, Parser};
use serde_json::Value;

/// Compares the strategies of balance: how close to the ideal unequal peers finish sets that they share.
///
/// On devices the ideal comes from the speeds that the peers show in calibrations before and after.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Run the production machines in a simulated world: no devices, the same figures on every computer.
    #[arg(long)]
    simulate: bool,
    /// The strategies to compare, by comma. Default: all; on devices pull, steal-half, ratio and measured, as the
    /// calibrations show fixed anyway. measured-no-repeats and measured-not-early are for comparison only: the default
    /// strategy without its repeats at the end, and also without its early ask.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = arguments::parse_contender)]
    strategies: Vec<Contender>,
    /// Data sets, one after the other. Default: 30; on devices 10.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    sets: Option<u16>,
    /// In the middle of this set, counted from 1, the speeds change places; on devices the limits of peers 0 and 1.
    #[arg(long, value_name = "SET", value_parser = clap::value_parser!(u16).range(1..))]
    flip: Option<u16>,
    /// Transfers that each peer has in flight, default 1; on devices slots, which hold a page or a part of one, and by
    /// default as many as `bireme offload` takes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: Option<u16>,
    /// Of the strategy ratio: the step of a ratio, in thousandths.
    #[arg(long, value_name = "PERMILLE", default_value = "50", value_parser = arguments::parse_permille)]
    increment: Permille,
    /// Of the strategy ratio: the largest portion not worth a hand-over, such as 1, 2% (of the set) or auto.
    #[arg(long, value_name = "N|PERCENT|auto", default_value = "1", value_parser = arguments::parse_minimum)]
    minimum: Minimum,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// What the process of --compete is started with.
    #[arg(long, value_name = "CORE", hide = true, exclusive = true)]
    spin_on: Option<usize>,
    #[command(flatten)]
    devices: live::Options,
    #[command(flatten)]
    simulation: Simulation,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Simulation")]
struct Simulation {
    /// The table of known scenarios in place of one: 1:2, 1:4 and 1:8 at a delay of 1, and 1:4 at a delay of 10.
    #[arg(long, conflicts_with_all = ["devices", "speeds", "delay", "flip"])]
    table: bool,
    /// How fast each peer is, relative to the others, such as 1:8; 2 to 16 peers.
    #[arg(long, conflicts_with = "devices", value_name = "LIST", default_value = "1:4", value_parser = Speeds::parse)]
    speeds: Speeds,
    /// Transfers of each set.
    #[arg(long, conflicts_with = "devices", value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    transfers: u32,
    /// From an offer to its answer, in transfers of the slowest peer.
    #[arg(long, conflicts_with = "devices", value_name = "TIME", default_value_t = 1.0,
          value_parser = arguments::parse_amount)]
    delay: f64,
    /// How much single transfers scatter: standard deviation over mean.
    #[arg(long, conflicts_with = "devices", value_name = "CV", default_value_t = 0.0,
          value_parser = arguments::parse_scatter)]
    noise: f64,
    /// How much speeds wander: standard deviation of their logarithm.
    #[arg(long, conflicts_with = "devices", value_name = "SIGMA", default_value_t = 0.0,
          value_parser = arguments::parse_scatter)]
    drift: f64,
    /// How many of a thousand transfers take longer, and by how many transfers of the slowest peer, such as 2:50.
    #[arg(long, conflicts_with = "devices", value_name = "PERMILLE:LENGTH", value_parser = arguments::parse_stall)]
    stall: Option<Stall>,
    /// Chance: the same seed gives the same figures.
    #[arg(long, conflicts_with = "devices", value_name = "N", default_value_t = 1)]
    seed: u64,
}
/// A list that clap takes for one value.
#[derive(Clone, Debug)]
struct Speeds(Vec<f64>);

impl Speeds {
    fn parse(text: &str) -> Result<Speeds, String> {
        arguments::parse_speeds(text).map(Speeds)
    }
}

const _: () = assert!(PEERS_MAX == 16, "the help of --speeds names the bound");

fn main() -> ExitCode {
    match compare(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-balance: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn compare(cli: Cli) -> Result<(), String> {
    if let Some(core) = cli.spin_on {
        return live::spin(core);
    }
    let Cli { strategies, sets, flip, depth, minimum, increment, .. } = cli;
    let common = live::Common { contenders: strategies, sets, flip, depth, minimum, increment };
    let (text, json) = match (cli.simulate, cli.devices.is_given()) {
        (true, _) => simulate(&cli.simulation, common)?,
        (false, true) => live::measure(&cli.devices, &common)?,
        (false, false) => return Err("there is nothing to measure on: name devices, or use --simulate".to_owned()),
    };
    report::give(&text, &json, cli.json.as_deref())
}

fn simulate(simulation: &Simulation, common: live::Common) -> Result<(String, Value), String> {
    let scenario = simulation.scenario(&common)?;
    let contenders = if common.contenders.is_empty() { Contender::ALL.to_vec() } else { common.contenders };
    if !simulation.table {
        let outcomes = balance::simulate(&scenario, &contenders)?;
        return Ok((balance::to_table(&scenario, &outcomes), balance::to_json(&scenario, &outcomes)));
    }
    let cell = |known: Scenario| {
        let scenario = Scenario { speeds: known.speeds, delay: known.delay, ..scenario.clone() };
        balance::simulate(&scenario, &contenders).map(|outcomes| (scenario, outcomes))
    };
    let cells = balance::known_scenarios().into_iter().map(cell).collect::<Result<Vec<_>, _>>()?;
    Ok(balance::side_by_side(&cells))
}

impl Simulation {
    fn scenario(&self, common: &live::Common) -> Result<Scenario, String> {
        let sets = common.sets.unwrap_or(SETS);
        if let Some(flip) = common.flip.filter(|&flip| flip > sets) {
            return Err(format!("there is no set {flip} to flip in: raise --sets ({sets}) or lower --flip"));
        }
        Ok(Scenario {
            speeds: self.speeds.0.clone(),
            transfers: u64::from(self.transfers),
            delay: self.delay,
            depth: common.depth.map_or(1, usize::from),
            sets: usize::from(sets),
            noise: self.noise,
            drift: self.drift,
            flip: common.flip.map(usize::from),
            stall: self.stall,
            seed: self.seed,
            increment: common.increment,
            minimum: common.minimum,
        })
    }
}

const SETS: u16 = 30;
