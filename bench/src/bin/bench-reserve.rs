//! Schemes of bandwidth reservation against each other; see `bench-reserve --help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bireme_bench::reserve::arguments::{self, Choice};
use bireme_bench::reserve::{self, Contender, Rule, Scenario, Service, Situation, live};
use bireme_bench::{duration, report, size};
use bireme_control::reservation::Scheme;
use bireme_control::reservation::epoch::Booking;
use bireme_control::units::Nanos;
use clap::{Args, Parser};

/// Compares the schemes of bandwidth reservation: whether classes get their shares, how much of the link is used, how
/// long a high class waits beside a low one that floods the link, and how soon a class that comes back has its share.
///
/// On a device, what it can do is measured first; then each scheme takes its turn, round by round. Each class sends its
/// requests to random places of the device.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The device or file to measure on.
    #[arg(value_name = "PATH", required_unless_present = "simulate", conflicts_with = "simulate")]
    device: Option<PathBuf>,
    /// Run the production schemes on a simulated link: no device, the same figures on every computer but for the
    /// processor time of a decision.
    #[arg(long)]
    simulate: bool,
    /// The schemes to compare, by comma: none, epoch, tags, and on devices blkio: caps of the kernel, as an operator would
    /// choose them for each scenario. Default: all but blkio.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = arguments::parse_scheme)]
    scheme: Vec<Choice>,
    /// What the classes do, by comma: flood (the lowest floods the link, the highest asks now and then), backlogged (all
    /// want more than there is), on-off (the highest comes and goes beside a flood), many (see --classes). Default: all.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = Situations::parse)]
    scenario: Vec<Situations>,
    /// Weights of the classes, the lowest class first.
    #[arg(long, value_name = "LIST", default_value = "1:2:3", value_parser = Weights::parse)]
    weights: Weights,
    /// Size of requests.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = arguments::parse_request)]
    request: u64,
    /// What the high class wants beside the flood, in percent of the link.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=99))]
    load: u8,
    /// Requests of a backlogged class that wait or are in flight. Default: 40; on a device twice as many as are in flight at
    /// most, if that is more: a class is backlogged where some of its requests wait.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: Option<u16>,
    /// Length of the epochs of the scheme epoch.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    epoch: Nanos,
    /// Of the scheme epoch: what is missing in a pool is taken from the next ones.
    #[arg(long)]
    booking: bool,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Draw who had what of the link in the scenario on-off, as an SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Size of the requests of the high class beside the flood. Default: that of all.
    #[arg(long, value_name = "SIZE", value_parser = arguments::parse_request)]
    high_request: Option<u64>,
    /// Of the scheme tags: bytes in flight at most. Default: on a device what was found to be enough; simulated one request,
    /// as the simulated link has no round trip.
    #[arg(long, value_name = "SIZE", value_parser = arguments::parse_request)]
    window: Option<u64>,
    /// Classes of the scenario many, with weights from 1 to 4.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=256))]
    classes: u32,
    /// For how long the class of the scenario on-off is there; it is away half as long again at most. Default: 5s; on a
    /// device 500ms.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    phase: Option<Nanos>,
    /// Time of each scenario. Default: 200s; with --table 2000s; on a device 5s.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    runtime: Option<Nanos>,
    /// Chance: the same seed gives the same requests, and in a simulation the same figures.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    simulation: Simulation,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "On a device")]
struct Live {
    /// Permit to overwrite a device or file that holds something; a blank one needs no permission.
    #[arg(long, conflicts_with = "simulate")]
    destroy_data: bool,
    /// What requests do: randwrite or randread.
    #[arg(long, conflicts_with = "simulate", value_name = "WAY", default_value = "randwrite",
          value_parser = ["randwrite", "randread"])]
    rw: String,
    /// The cores of the peers, by comma. Default: all that this process may use, in turn.
    #[arg(long, conflicts_with = "simulate", value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Give each class a peer of its own, each a thread with a core and a ring; one peer serves all classes otherwise.
    #[arg(long, conflicts_with = "simulate")]
    split: bool,
    /// How often each scheme is measured, in turn with the others.
    #[arg(long, conflicts_with = "simulate", value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// What the device can do per second, shared by the classes. Default: it is measured.
    #[arg(long, conflicts_with = "simulate", value_name = "RATE", value_parser = arguments::parse_rate)]
    capacity: Option<u64>,
    /// Let the kernel cap what the device takes per second (blkio of cgroup v1), as a slow device to try this on.
    #[arg(long, conflicts_with = "simulate", value_name = "RATE", value_parser = arguments::parse_rate)]
    throttle: Option<u64>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Simulation")]
struct Simulation {
    /// The known comparison in place of a scenario: 500 MB/s, weights 1:2:3, a flood of 64 MB requests; a high class
    /// with 10 % and 2 % of the link in requests of 64 MB, and 10 % in requests of 4 MB. Takes --runtime and --seed only.
    #[arg(long, requires = "simulate", conflicts_with_all = ["scheme", "scenario", "weights", "request", "load", "depth",
          "epoch", "booking", "link", "high_request", "window", "cut", "classes", "phase", "service"])]
    table: bool,
    /// What the link carries per second.
    #[arg(long, value_name = "RATE", default_value = "500000000", value_parser = arguments::parse_rate)]
    link: u64,
    /// How the link serves several requests: sharing (all at the same speed) or fifo (one after the other).
    #[arg(long, value_name = "WAY", default_value = "sharing", value_parser = arguments::parse_service)]
    service: Service,
    /// Of the scheme tags: requests are cut into quanta of this size, but for those of the high class beside the flood.
    #[arg(long, value_name = "SIZE", value_parser = arguments::parse_request)]
    cut: Option<u64>,
}

/// Lists that clap takes for one value.
#[derive(Clone, Debug)]
struct Weights(Vec<u32>);

#[derive(Clone, Copy, Debug)]
struct Situations(&'static [Situation]);

impl Weights {
    fn parse(text: &str) -> Result<Weights, String> {
        arguments::parse_weights(text).map(Weights)
    }
}

impl Situations {
    fn parse(text: &str) -> Result<Situations, String> {
        arguments::parse_situations(text).map(Situations)
    }
}

fn main() -> ExitCode {
    match compare(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-reserve: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn compare(cli: &Cli) -> Result<(), String> {
    if let Some(device) = &cli.device {
        return measure(cli, device);
    }
    if cli.simulation.table {
        let runtime = cli.runtime.unwrap_or(TABLE_RUNTIME);
        let cells = reserve::known(cli.seed, runtime);
        let picture = cells.first().and_then(|cell| reserve::to_svg(&cell.scenario, &cell.outcomes));
        let (text, json) = reserve::known_report(&cells);
        return give(cli, &text, &json, picture);
    }
    if cli.scheme.contains(&Choice::Blkio) {
        return Err(
            "blkio caps what is written to a block device, and nothing is in a simulation: name a device".to_owned()
        );
    }
    let window = cli.window.unwrap_or(cli.simulation.cut.unwrap_or(cli.request));
    let (scenario, contenders) = (scenario(cli)?, contenders(cli, window));
    let outcomes = reserve::simulate(&scenario, &contenders, &situations(cli));
    let picture = reserve::to_svg(&scenario, &outcomes);
    give(cli, &reserve::to_table(&scenario, &outcomes), &reserve::to_json(&scenario, &outcomes), picture)
}

fn give(cli: &Cli, text: &str, json: &serde_json::Value, picture: Option<String>) -> Result<(), String> {
    if let Some(file) = &cli.svg {
        let picture = picture.ok_or("there is nothing to draw: --svg shows the scenario on-off")?;
        report::give_svg(&picture, file)?;
    }
    report::give(text, json, cli.json.as_deref())
}

fn scenario(cli: &Cli) -> Result<Scenario, String> {
    let Simulation { link, service, cut, .. } = cli.simulation;
    let (high_request, runtime) = (cli.high_request, cli.runtime.unwrap_or(RUNTIME));
    let smallest = cli.request.min(high_request.unwrap_or(u64::MAX)).min(cut.unwrap_or(u64::MAX));
    let requests = u128::from(link) * u128::from(runtime.0) / 1_000_000_000 / u128::from(smallest);
    if requests > REQUESTS_MAX {
        let most = u64::try_from(REQUESTS_MAX).unwrap_or(u64::MAX);
        let count = size::print_count(most as f64);
        return Err(format!("the link would carry more than {count} requests of {smallest} bytes: lower --runtime"));
    }
    Ok(Scenario { link, service, phase: cli.phase.unwrap_or(PHASE), ..classes(cli, runtime) })
}

/// What the classes want, wherever that is.
fn classes(cli: &Cli, runtime: Nanos) -> Scenario {
    Scenario {
        weights: cli.weights.0.clone(),
        request: cli.request,
        high_request: cli.high_request.unwrap_or(cli.request),
        load_percent: cli.load,
        depth: cli.depth.map_or(Scenario::default().depth, usize::from),
        backlogged: cli.weights.0.len(),
        many: cli.classes,
        runtime,
        seed: cli.seed,
        ..Scenario::default()
    }
}

fn contenders(cli: &Cli, window: u64) -> Vec<Contender> {
    let booking = if cli.booking { Booking::Ahead } else { Booking::Off };
    let contender = |choice| match choice {
        Choice::Scheme(Scheme::None) => Contender { name: "none".to_owned(), rule: Rule::None },
        Choice::Scheme(Scheme::Epoch) => {
            let name = format!("epoch, {}{}", cli.epoch, if cli.booking { ", booking ahead" } else { "" });
            Contender { name, rule: Rule::Epoch { length: cli.epoch, booking } }
        }
        Choice::Scheme(Scheme::Tags) => {
            let name = format!("tags, window {}", size::print(window));
            Contender { name, rule: Rule::Tags { window, cut: cli.simulation.cut } }
        }
        Choice::Blkio => Contender { name: "blkio, caps".to_owned(), rule: Rule::Kernel },
    };
    let all = [Scheme::None, Scheme::Epoch, Scheme::Tags].map(Choice::Scheme);
    let chosen = if cli.scheme.is_empty() { &all[..] } else { &cli.scheme };
    chosen.iter().copied().map(contender).collect()
}

/// On a device.
fn measure(cli: &Cli, device: &Path) -> Result<(), String> {
    let Live { destroy_data, rw, cores, split, rounds, capacity, throttle } = &cli.live;
    let plan = live::Plan {
        device: device.to_owned(),
        destroy_data: *destroy_data,
        writes: rw == "randwrite",
        cores: cores.clone(),
        split: *split,
        rounds: *rounds,
        capacity: *capacity,
        window: cli.window,
        depth: cli.depth.map(usize::from),
        throttle: *throttle,
    };
    let runtime = cli.runtime.unwrap_or(LIVE_RUNTIME);
    let scenario = Scenario { phase: cli.phase.unwrap_or(LIVE_PHASE), ..classes(cli, runtime) };
    let measured = live::measure(plan, scenario, |found| contenders(cli, found.window), &situations(cli))?;
    give(cli, &live::to_table(&measured), &live::to_json(&measured), live::to_svg(&measured))
}

fn situations(cli: &Cli) -> Vec<Situation> {
    let all: Vec<Situation> = cli.scenario.iter().flat_map(|situations| situations.0).copied().collect();
    if all.is_empty() { Situation::ALL.to_vec() } else { all }
}

const RUNTIME: Nanos = Nanos::from_secs(200);
const LIVE_RUNTIME: Nanos = Nanos::from_secs(5);
const PHASE: Nanos = Nanos::from_secs(5);
const LIVE_PHASE: Nanos = Nanos::from_millis(500);
const TABLE_RUNTIME: Nanos = Nanos::from_secs(2000);
/// What is recorded of each lies in memory.
const REQUESTS_MAX: u128 = 20_000_000;
