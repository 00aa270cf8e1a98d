//! Schemes of bandwidth reservation against each other; see `bench-reserve --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use bireme_bench::reserve::{self, Contender, Rule, Scenario, Service, Situation, arguments};
use bireme_bench::{duration, report, size};
use bireme_control::reservation::Scheme;
use bireme_control::reservation::epoch::Booking;
use bireme_control::units::Nanos;
use clap::{Args, Parser};

/// Compares the schemes of bandwidth reservation: whether classes get their shares, how much of the link is used, how
/// long a high class waits beside a low one that floods the link, and how soon a class that comes back has its share.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Run the production schemes on a simulated link: no device, the same figures on every computer but for the
    /// processor time of a decision.
    #[arg(long)]
    simulate: bool,
    /// The schemes to compare, by comma: none, epoch, tags. Default: all.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = arguments::parse_scheme)]
    scheme: Vec<Scheme>,
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
    /// Requests of a backlogged class that wait or are in flight.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: u16,
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
    #[command(flatten)]
    simulation: Simulation,
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
    /// Size of the requests of the high class beside the flood. Default: that of all.
    #[arg(long, value_name = "SIZE", value_parser = arguments::parse_request)]
    high_request: Option<u64>,
    /// Of the scheme tags: bytes in flight at most. Default: one request, as the simulated link has no round trip.
    #[arg(long, value_name = "SIZE", value_parser = arguments::parse_request)]
    window: Option<u64>,
    /// Of the scheme tags: requests are cut into quanta of this size, but for those of the high class beside the flood.
    #[arg(long, value_name = "SIZE", value_parser = arguments::parse_request)]
    cut: Option<u64>,
    /// Classes of the scenario many, with weights from 1 to 4.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=256))]
    classes: u32,
    /// For how long the class of the scenario on-off is there; it is away half as long again at most.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    phase: Nanos,
    /// Simulated time of each scenario. Default: 200s; with --table 2000s.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    runtime: Option<Nanos>,
    /// Chance: the same seed gives the same figures.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
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
    if !cli.simulate {
        return Err("there is nothing to measure on: use --simulate".to_owned());
    }
    if cli.simulation.table {
        let runtime = cli.simulation.runtime.unwrap_or(TABLE_RUNTIME);
        let cells = reserve::known(cli.simulation.seed, runtime);
        let picture = cells.first().and_then(|cell| reserve::to_svg(&cell.scenario, &cell.outcomes));
        let (text, json) = reserve::known_report(&cells);
        return give(cli, &text, &json, picture);
    }
    let (scenario, contenders) = (scenario(cli)?, contenders(cli));
    let all: Vec<Situation> = cli.scenario.iter().flat_map(|situations| situations.0).copied().collect();
    let situations = if all.is_empty() { Situation::ALL.to_vec() } else { all };
    let outcomes = reserve::simulate(&scenario, &contenders, &situations);
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
    let Simulation { link, service, high_request, cut, classes, phase, runtime, seed, .. } = cli.simulation;
    let runtime = runtime.unwrap_or(RUNTIME);
    let smallest = cli.request.min(high_request.unwrap_or(u64::MAX)).min(cut.unwrap_or(u64::MAX));
    let requests = u128::from(link) * u128::from(runtime.0) / 1_000_000_000 / u128::from(smallest);
    if requests > REQUESTS_MAX {
        let most = u64::try_from(REQUESTS_MAX).unwrap_or(u64::MAX);
        let count = size::print_count(most as f64);
        return Err(format!("the link would carry more than {count} requests of {smallest} bytes: lower --runtime"));
    }
    Ok(Scenario {
        link,
        service,
        weights: cli.weights.0.clone(),
        request: cli.request,
        high_request: high_request.unwrap_or(cli.request),
        load_percent: cli.load,
        depth: usize::from(cli.depth),
        backlogged: cli.weights.0.len(),
        many: classes,
        phase,
        runtime,
        seed,
    })
}

fn contenders(cli: &Cli) -> Vec<Contender> {
    let booking = if cli.booking { Booking::Ahead } else { Booking::Off };
    let Simulation { window, cut, .. } = cli.simulation;
    let contender = |scheme| match scheme {
        Scheme::None => Contender { name: "none".to_owned(), rule: Rule::None },
        Scheme::Epoch => {
            let name = format!("epoch, {}{}", cli.epoch, if cli.booking { ", booking ahead" } else { "" });
            Contender { name, rule: Rule::Epoch { length: cli.epoch, booking } }
        }
        Scheme::Tags => {
            let window = window.unwrap_or(cut.unwrap_or(cli.request));
            Contender { name: format!("tags, window {}", size::print(window)), rule: Rule::Tags { window, cut } }
        }
    };
    let all = [Scheme::None, Scheme::Epoch, Scheme::Tags];
    let chosen = if cli.scheme.is_empty() { &all[..] } else { &cli.scheme };
    chosen.iter().copied().map(contender).collect()
}

const RUNTIME: Nanos = Nanos::from_secs(200);
const TABLE_RUNTIME: Nanos = Nanos::from_secs(2000);
/// What is recorded of each lies in memory.
const REQUESTS_MAX: u128 = 20_000_000;
