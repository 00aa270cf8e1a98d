//! Strategies of balance against each other; see `bench-balance --help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bireme_bench::balance::{self, Contender, PEERS_MAX, Scenario, Stall, arguments};
use bireme_control::balance::Minimum;
use bireme_control::units::Permille;
use clap::{Args, Parser};

/// Compares the strategies of balance: how close to the ideal unequal peers finish sets that they share.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The devices or files to measure on.
    #[arg(value_name = "DEVICE", conflicts_with = "simulate")]
    devices: Vec<PathBuf>,
    /// Run the production machines in a simulated world: no devices, the same figures on every computer.
    #[arg(long)]
    simulate: bool,
    /// The strategies to compare, by comma; all by default. measured-no-repeats and measured-not-early are for
    /// comparison only: the default strategy without its repeats at the end, and also without its early ask.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = arguments::parse_contender)]
    strategies: Vec<Contender>,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    #[command(flatten)]
    simulation: Simulation,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Simulation")]
struct Simulation {
    /// The table of known scenarios in place of one: 1:2, 1:4 and 1:8 at a delay of 1, and 1:4 at a delay of 10.
    #[arg(long, requires = "simulate", conflicts_with_all = ["speeds", "delay", "flip"])]
    table: bool,
    /// How fast each peer is, relative to the others, such as 1:8; 2 to 16 peers.
    #[arg(long, value_name = "LIST", default_value = "1:4", value_parser = Speeds::parse)]
    speeds: Speeds,
    /// Transfers of each set.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    transfers: u32,
    /// From an offer to its answer, in transfers of the slowest peer.
    #[arg(long, value_name = "TIME", default_value_t = 1.0, value_parser = arguments::parse_amount)]
    delay: f64,
    /// Transfers that each peer has in flight.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: u16,
    /// Data sets, one after the other.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    sets: u16,
    /// How much single transfers scatter: standard deviation over mean.
    #[arg(long, value_name = "CV", default_value_t = 0.0, value_parser = arguments::parse_scatter)]
    noise: f64,
    /// How much speeds wander: standard deviation of their logarithm.
    #[arg(long, value_name = "SIGMA", default_value_t = 0.0, value_parser = arguments::parse_scatter)]
    drift: f64,
    /// In the middle of this set, counted from 1, the speeds change places.
    #[arg(long, value_name = "SET", value_parser = clap::value_parser!(u16).range(1..))]
    flip: Option<u16>,
    /// How many of a thousand transfers take longer, and by how many transfers of the slowest peer, such as 2:50.
    #[arg(long, value_name = "PERMILLE:LENGTH", value_parser = arguments::parse_stall)]
    stall: Option<Stall>,
    /// Chance: the same seed gives the same figures.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Of the strategy ratio: the step of a ratio, in thousandths.
    #[arg(long, value_name = "PERMILLE", default_value = "50", value_parser = arguments::parse_permille)]
    increment: Permille,
    /// Of the strategy ratio: the largest portion not worth a hand-over, such as 1, 2% (of the set) or auto.
    #[arg(long, value_name = "N|PERCENT|auto", default_value = "1", value_parser = arguments::parse_minimum)]
    minimum: Minimum,
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
    if !cli.simulate {
        return Err("measuring on devices is not supported yet: use --simulate".to_owned());
    }
    let contenders = if cli.strategies.is_empty() { Contender::ALL.to_vec() } else { cli.strategies };
    let table = cli.simulation.table;
    let scenario = cli.simulation.scenario()?;
    let (text, json) = if table {
        let cell = |known: Scenario| {
            let scenario = Scenario { speeds: known.speeds, delay: known.delay, ..scenario.clone() };
            balance::simulate(&scenario, &contenders).map(|outcomes| (scenario, outcomes))
        };
        let cells = balance::known_scenarios().into_iter().map(cell).collect::<Result<Vec<_>, _>>()?;
        balance::side_by_side(&cells)
    } else {
        let outcomes = balance::simulate(&scenario, &contenders)?;
        (balance::to_table(&scenario, &outcomes), balance::to_json(&scenario, &outcomes))
    };
    let json = format!("{json:#}\n");
    match cli.json {
        Some(path) if path == Path::new("-") => print!("{json}"),
        Some(path) => {
            print!("{text}");
            std::fs::write(&path, json).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
        None => print!("{text}"),
    }
    Ok(())
}

impl Simulation {
    fn scenario(self) -> Result<Scenario, String> {
        if let Some(flip) = self.flip.filter(|&flip| flip > self.sets) {
            return Err(format!("there is no set {flip} to flip in: raise --sets ({}) or lower --flip", self.sets));
        }
        Ok(Scenario {
            speeds: self.speeds.0,
            transfers: u64::from(self.transfers),
            delay: self.delay,
            depth: usize::from(self.depth),
            sets: usize::from(self.sets),
            noise: self.noise,
            drift: self.drift,
            flip: self.flip.map(usize::from),
            stall: self.stall,
            seed: self.seed,
            increment: self.increment,
            minimum: self.minimum,
        })
    }
}
