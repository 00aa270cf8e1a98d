//! What each command does: builds the configuration, runs the engine, prints the reports.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_bench::environment::Environment;
use bireme_bench::recording::{self, Figures, Recording};
use bireme_bench::report;
use bireme_bench::size;
use bireme_control::raid::geometry::{Geometry, GeometryError, MEMBERS_MAX, default_chunk};
use bireme_dataplane::device::file::Input;
use bireme_dataplane::device::{Device, DeviceFacts, Purpose};
use bireme_dataplane::engine::{self, Config, Handles, OffloadJob, RestoreJob, Source};
use bireme_dataplane::outcome::Outcome;
use bireme_dataplane::peer::Rate;
use bireme_dataplane::pool::{Shape, Standing};
use bireme_dataplane::telemetry::Gauges;
use bireme_dataplane::telemetry::recorder::Exchange;
use clap::Parser;
use serde_json::Value;

use self::reports::Outlets;
use crate::cli::{Cli, Command, Export, Lab, LabDown, LabUp, Offload, Restore, Tuning};
use crate::lab;
use crate::live::Live;
use crate::signals::SignalWatch;

mod array;
mod compare;
mod reports;
mod scratch;
mod volume;

/// The whole command: reads its line, runs it, and says in one line why it failed.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Of a comparison 1 is an answer, so that a failure is something else.
    let failure = if matches!(cli.command, Command::Compare(_)) { ExitCode::from(2) } else { ExitCode::FAILURE };
    run(&cli).unwrap_or_else(|sentence| {
        eprintln!("bireme: {sentence}");
        failure
    })
}

/// Runs a command; an error is a sentence for the operator.
pub fn run(cli: &Cli) -> Result<ExitCode, String> {
    let done = match &cli.command {
        Command::Offload(arguments) => offload(arguments),
        Command::Restore(arguments) => restore(arguments),
        Command::Export(arguments) => export(arguments),
        Command::Volume(command) => volume::run(command),
        Command::Array(command) => array::run(command),
        Command::Compare(arguments) => return compare::run(arguments),
        Command::Report(arguments) => compare::draw(arguments),
        Command::Lab(Lab::Up(arguments)) => lab_up(arguments),
        Command::Lab(Lab::Down(arguments)) => lab_down(arguments),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn offload(arguments: &Offload) -> Result<(), String> {
    let tuned = config(&arguments.tuning)?;
    let config = Config {
        rules: arguments.sharing.rules()?,
        forget: arguments.sharing.forget,
        peer_rates: arguments.sharing.rates(tuned.peers)?.into_iter().map(|rate| rate.map(Rate::new)).collect(),
        ..tuned
    };
    let source = match &arguments.input {
        Some(path) => Source::File(Input::open(path).map_err(sentence)?),
        None => Source::Generated { seed: arguments.seed, bytes: arguments.size },
    };
    let bytes = match &source {
        Source::File(input) => input.bytes(),
        Source::Generated { bytes, .. } => *bytes,
    };
    let is_scratch = arguments.devices.is_empty();
    if arguments.devices.len() > usize::from(MEMBERS_MAX) {
        return Err(sentence(GeometryError::Members(arguments.devices.len())));
    }
    let named = Device::open_all(&arguments.devices, Purpose::Write).map_err(sentence)?;
    let count = if is_scratch { scratch::FILES } else { members(&named, arguments.destroy_data)? };
    let level = arguments.raid.level()?;
    let chunk = arguments.chunk.unwrap_or_else(|| default_chunk(level, count, arguments.page));
    let geometry = Geometry::new(level, count, chunk, arguments.page).map_err(sentence)?;
    let paths = match is_scratch {
        true => scratch::create(geometry, bytes, arguments.sets)?,
        false => arguments.devices.clone(),
    };
    let devices = match is_scratch {
        true => Device::open_all(&paths, Purpose::Write).map_err(sentence)?,
        false => named,
    };
    if let Source::File(input) = &source {
        input.check_apart(&devices).map_err(sentence)?;
    }
    let outlets = Outlets::open(&arguments.reports, &devices)?;
    let facts: Vec<DeviceFacts> = devices.iter().map(Device::facts).collect();
    let job = OffloadJob {
        devices,
        shape: Shape { geometry },
        destroy_data: arguments.destroy_data || is_scratch,
        source,
        sets: arguments.sets,
    };
    let total = bytes.saturating_mul(u64::from(arguments.sets));
    let run = |handles: &Handles| engine::offload(job, &config, handles);
    let (mut outcome, recorded) = recorded(count, total, config.peers, &arguments.reports.recording, run)?;
    let seed = arguments.input.is_none().then_some(arguments.seed);
    if is_scratch {
        outcome.notes.push(scratch::note(&paths));
    }
    let verified = match is_scratch || arguments.verify {
        true => Some(read_back(&paths, None, &config, bytes)?),
        false => None,
    };
    print(&outcome, &recorded, verified.as_ref(), &facts, seed, outlets)
}

/// How many members the pool on these devices has, or will have: some may be missing, and others be spares.
fn members(devices: &[Device], destroy_data: bool) -> Result<usize, String> {
    if destroy_data {
        return Ok(devices.len());
    }
    match engine::standing(devices).map_err(sentence)? {
        Standing::Ours { geometry, .. } => Ok(usize::from(geometry.members())),
        _ => Ok(devices.len()),
    }
}

fn restore(arguments: &Restore) -> Result<(), String> {
    let devices = Device::open_all(&arguments.devices, Purpose::Read).map_err(sentence)?;
    let outlets = Outlets::open(&arguments.reports, &devices)?;
    let facts: Vec<DeviceFacts> = devices.iter().map(Device::facts).collect();
    let config = config(&arguments.tuning)?;
    let count = members(&devices, false)?;
    let job = RestoreJob { devices, output: arguments.output.clone() };
    let run = |handles: &Handles| engine::restore(job, &config, handles);
    let (outcome, recorded) = recorded(count, 0, config.peers, &arguments.reports.recording, run)?;
    print(&outcome, &recorded, None, &facts, None, outlets)
}

/// Reads the newest set back and compares it.
fn read_back(paths: &[PathBuf], output: Option<PathBuf>, config: &Config, bytes: u64) -> Result<Outcome, String> {
    let devices = Device::open_all(paths, Purpose::Read).map_err(sentence)?;
    let count = members(&devices, false)?;
    let job = RestoreJob { devices, output };
    // The limits are for the experiment, which is over.
    let config = Config { peer_rates: Vec::new(), ..config.clone() };
    watched(count, bytes, |handles| engine::restore(job, &config, handles))
        .map_err(|error| format!("the set was written and committed, but reading it back failed: {error}"))
}

/// Runs something with a live line, and ends it in order when the operator asks.
fn watched<T>(
    devices: usize,
    total: u64,
    run: impl FnOnce(&Handles) -> Result<T, engine::EngineError>,
) -> Result<T, String> {
    watched_by(Gauges::new(devices), total, run)
}

/// The same, and what its peers count is recorded by interval.
fn recorded<T>(
    devices: usize,
    total: u64,
    peers: u16,
    recording: &Recording,
    run: impl FnOnce(&Handles) -> Result<T, engine::EngineError>,
) -> Result<(T, Figures), String> {
    let exchange = Exchange::new(peers);
    let gauges = Arc::new(Gauges::recording(devices, exchange.clone(), recording.length()));
    recording::while_running(recording, peers, &exchange, Some(&gauges.clone()), || watched_by(gauges, total, run))
}

fn watched_by<T>(
    gauges: impl Into<Arc<Gauges>>,
    total: u64,
    run: impl FnOnce(&Handles) -> Result<T, engine::EngineError>,
) -> Result<T, String> {
    let handles = Handles { gauges: gauges.into(), stop: Arc::new(AtomicBool::new(false)) };
    // The engine looks at the flag by itself.
    let signals =
        SignalWatch::start(handles.stop.clone(), || {}).map_err(|e| format!("signals cannot be watched: {e}"))?;
    let live = Live::start(handles.gauges.clone(), total).map_err(|e| format!("the live line cannot start: {e}"))?;
    let ended = run(&handles);
    live.stop();
    drop(signals);
    ended.map_err(sentence)
}

fn config(tuning: &Tuning) -> Result<Config, String> {
    let cores = tuning.cores.as_ref().map(|cores| cores.0.clone());
    let from_cores = || cores.as_ref().and_then(|list| u16::try_from(list.len()).ok());
    Ok(Config {
        peers: tuning.peers.or_else(from_cores).unwrap_or(Config::default().peers),
        cores: cores.clone(),
        depth: tuning.depth,
        slot_bytes: tuning.slot,
        request_bytes: tuning.request,
        hang_limit: tuning.hang_limit,
        on_stuck: Some(leave),
        promises: tuning.classes.promises()?,
        ..Config::default()
    })
}

/// Says why and ends the process. The kernel keeps what is left of it until the device answers, whatever the signal.
fn leave(sentence: &str) {
    eprintln!("bireme: {sentence}; this process cannot be ended until the device answers");
    std::process::exit(1);
}

fn print(
    outcome: &Outcome,
    recorded: &Figures,
    verified: Option<&Outcome>,
    facts: &[DeviceFacts],
    seed: Option<u64>,
    outlets: Outlets,
) -> Result<(), String> {
    let cores: Vec<usize> = outcome.peers.iter().filter_map(|peer| peer.core).collect();
    let environment = Environment::gather(&cores, facts, seed);
    let mut json = report::to_json(outcome, &environment);
    json["intervals"] = recorded.intervals();
    if let (Value::Object(object), Some(verified)) = (&mut json, verified) {
        let elapsed = serde_json::json!({ "bytes": verified.bytes, "elapsed_ns": verified.elapsed });
        object.insert("verified".to_owned(), elapsed);
    }
    let text = format!("{json:#}\n");
    let mut table = report::to_table(outcome, &environment);
    if let Some(verified) = verified {
        let rate = size::print_rate(size::rate(verified.bytes, verified.elapsed));
        table.push_str(&format!(
            "\nverified: {} read back at {rate}, every checksum as written\n",
            size::print(verified.bytes)
        ));
    }
    let to_stdout = outlets.json_to_stdout();
    // Files first: whoever waits for the table finds them.
    let (page, percentiles) = (report::to_html(&json), recording::percentiles(&outcome.latency));
    outlets.write(&text, &table, &page, &percentiles, report::to_svg(outcome).as_deref())?;
    emit(if to_stdout { &text } else { &table })
}

/// To stdout. A reader that has gone away, as `head` does, is no error.
fn emit(text: &str) -> Result<(), String> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("the report cannot be printed: {error}"))
        }
        _ => Ok(()),
    }
}

fn export(arguments: &Export) -> Result<(), String> {
    let devices = Device::open_all(&arguments.devices, Purpose::Read).map_err(sentence)?;
    let metadata = engine::metadata(devices).map_err(sentence)?;
    let text = serde_json::to_string_pretty(&metadata).map_err(|e| format!("the metadata cannot be printed: {e}"))?;
    emit(&format!("{text}\n"))
}

fn lab_up(arguments: &LabUp) -> Result<(), String> {
    let options = lab::Options {
        folder: arguments.folder.clone(),
        count: u32::from(arguments.count),
        bytes: arguments.size,
        block_bytes: arguments.block,
        tmpfs: arguments.tmpfs,
    };
    let up = lab::up(&options).map_err(sentence)?;
    up.notes.iter().for_each(|note| eprintln!("{note}"));
    let paths: Vec<String> = up.devices.iter().map(|path| path.display().to_string()).collect();
    emit(&format!("{}\n", paths.join(" ")))
}

fn lab_down(arguments: &LabDown) -> Result<(), String> {
    let down = lab::down(&arguments.folder).map_err(sentence)?;
    down.notes.iter().for_each(|note| eprintln!("{note}"));
    emit(&format!("{} loop devices detached, {} files removed\n", down.detached.len(), down.removed.len()))
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}
