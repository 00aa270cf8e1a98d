//! What `bireme volume` does.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_bench::class;
use bireme_bench::report::Columns;
use bireme_bench::size;
use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_dataplane::device::file::{Input, Output};
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::volumes::client::Run;
use bireme_dataplane::engine::volumes::{self, Copier, Copy, Served, VolumeJob, Way};
use bireme_dataplane::engine::{Config, Handles};
use bireme_dataplane::pool::volumes::VolumeFacts;
use bireme_dataplane::reservation::Class;
use bireme_dataplane::telemetry::Gauges;

use super::{emit, leave, sentence};
use crate::cli::{Volume, VolumeCreate, VolumeDump, VolumeList, VolumeTuning, VolumeWrite, Which};
use crate::signals::SignalWatch;

/// Runs a command; an error is a sentence for the operator.
pub(super) fn run(command: &Volume) -> Result<(), String> {
    match command {
        Volume::Create(arguments) => create(arguments),
        Volume::Delete(arguments) => {
            volumes::delete_volume(claim(&arguments.which)?, &arguments.which.name).map_err(sentence)
        }
        Volume::List(arguments) => list(arguments),
        Volume::Write(arguments) => write(arguments),
        Volume::Dump(arguments) => dump(arguments),
    }
}

fn claim(which: &Which) -> Result<Vec<Device>, String> {
    Device::open_all(&which.devices, Purpose::Write).map_err(sentence)
}

fn create(arguments: &VolumeCreate) -> Result<(), String> {
    let VolumeCreate { which, size, peers } = arguments;
    volumes::create_volume(claim(which)?, &which.name, *size, *peers).map_err(sentence)
}

fn list(arguments: &VolumeList) -> Result<(), String> {
    let volumes = found(&arguments.devices)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&volumes).map_err(sentence)?;
        return emit(&format!("{text}\n"));
    }
    if volumes.is_empty() {
        return emit("no volumes\n");
    }
    let mut columns = Columns::new(&["Volumes", "size", "peers at most", "closed"]);
    for volume in volumes {
        let closed = if volume.clean { "in order" } else { "no: recovered when it is opened next" };
        columns.row(vec![volume.name, size::print(volume.bytes), volume.lanes.to_string(), closed.to_owned()]);
    }
    emit(&columns.print())
}

fn found(devices: &[std::path::PathBuf]) -> Result<Vec<VolumeFacts>, String> {
    volumes::list_volumes(Device::open_all(devices, Purpose::Read).map_err(sentence)?).map_err(sentence)
}

/// The size of the volume, asked before it is opened.
fn bytes_of(which: &Which) -> Result<Option<u64>, String> {
    let found = found(&which.devices)?;
    Ok(found.into_iter().find(|volume| volume.name == which.name).map(|volume| volume.bytes))
}

fn write(arguments: &VolumeWrite) -> Result<(), String> {
    let VolumeWrite { which, input, at, extents, tuning } = arguments;
    let checked = Input::open(input).map_err(sentence)?;
    let length = checked.bytes();
    // Opening the volume refuses a name that is not there, in its own words.
    let volume_bytes = bytes_of(which)?.unwrap_or(u64::MAX);
    let runs = match extents {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
            parse_extents(&text, path)?
        }
        None => vec![whole(input, length, at.unwrap_or(0))?],
    };
    check(&runs, length, volume_bytes)?;
    let devices = claim(which)?;
    checked.check_apart(&devices).map_err(sentence)?;
    let file = File::open(input).map_err(|error| format!("{} cannot be read: {error}", input.display()))?;
    let served = copy(which, tuning, devices, (file, input), Way::IntoVolume, runs.clone())?;
    let bytes = runs.iter().map(|run| run.blocks * BLOCK_BYTES).sum();
    emit(&summary("written, and durable", bytes, &served, tuning)?)
}

fn dump(arguments: &VolumeDump) -> Result<(), String> {
    let VolumeDump { which, output, tuning } = arguments;
    let bytes = bytes_of(which)?;
    let devices = claim(which)?;
    Output::check_apart(output, &devices).map_err(sentence)?;
    // Without such a volume the copy refuses it, in its own words, before it writes a byte.
    let made = Output::create(output, bytes.unwrap_or(BLOCK_BYTES)).map_err(sentence)?;
    let file = made.as_fd().try_clone_to_owned().map_err(|e| format!("{} cannot be written: {e}", output.display()))?;
    let run = Run { block: 0, blocks: bytes.unwrap_or(0) / BLOCK_BYTES, at: 0 };
    let served = copy(which, tuning, devices, (file.into(), output), Way::OutOfVolume, vec![run])?;
    made.finish().map_err(sentence)?;
    emit(&summary("read and stored", bytes.unwrap_or(0), &served, tuning)?)
}

/// Opens the volume, copies, and closes it.
fn copy(
    which: &Which,
    tuning: &VolumeTuning,
    devices: Vec<Device>,
    (file, path): (File, &Path),
    way: Way,
    runs: Vec<Run>,
) -> Result<Served<Copier>, String> {
    let good = |bytes: &u32| *bytes > 0 && u64::from(*bytes).is_multiple_of(BLOCK_BYTES) && *bytes <= OPERATION_MAX;
    let operation_bytes = u32::try_from(tuning.operation).ok().filter(good);
    let operation_bytes = operation_bytes.ok_or_else(|| {
        format!("an operation of {} bytes cannot be made: choose a multiple of 4KiB up to 16MiB", tuning.operation)
    })?;
    let file_number = u16::try_from(devices.len()).unwrap_or(u16::MAX);
    let copy = Copy { file: Arc::new(file), way, runs: runs.into(), operation_bytes, file_number };
    let job = VolumeJob { devices, name: which.name.clone(), operation_bytes, data_file: Some(path.to_owned()) };
    let handles = Handles { gauges: Arc::new(Gauges::new(0)), stop: Arc::new(AtomicBool::new(false)) };
    // The engine looks at the flag by itself.
    let signals =
        SignalWatch::start(handles.stop.clone(), || {}).map_err(|e| format!("signals cannot be watched: {e}"))?;
    let served =
        volumes::serve(job, &config(tuning)?, &handles, |share, classes| Copier::new(copy.clone(), share, classes));
    drop(signals);
    served.map_err(sentence)
}

fn config(tuning: &VolumeTuning) -> Result<Config, String> {
    let cores = tuning.cores.as_ref().map(|cores| cores.0.clone());
    let from_cores = || cores.as_ref().and_then(|list| u16::try_from(list.len()).ok());
    Ok(Config {
        peers: tuning.peers.or_else(from_cores).unwrap_or(Config::default().peers),
        cores: cores.clone(),
        depth: tuning.depth,
        hang_limit: tuning.hang_limit,
        on_stuck: Some(leave),
        promises: tuning.classes.promises()?,
        ..Config::default()
    })
}

fn summary(done: &str, bytes: u64, served: &Served<Copier>, tuning: &VolumeTuning) -> Result<String, String> {
    let rate = size::print_rate(size::rate(bytes, served.elapsed));
    let mut text = format!("{} {done} in {}: {rate}\n", size::print(bytes), served.elapsed);
    if let Some(recovered) = served.recovered {
        text.push_str(&format!(
            "it was not closed in order before: {} records of its log, {} blocks and {} regions were looked after\n",
            recovered.records, recovered.blocks, recovered.regions
        ));
    }
    if served.healed.blocks > 0 {
        text.push_str(&format!("{} blocks were not what was written, and are again\n", served.healed.blocks));
    }
    if let Some(held) = tuning.classes.promises()?.in_force(Class::Foreground) {
        text.push_str(&format!("{}\n", class::line(&held, class::WHOLE_ARRAY)));
    }
    served.notes.iter().for_each(|note| text.push_str(&format!("{note}\n")));
    Ok(text)
}

fn whole(path: &Path, length: u64, at: u64) -> Result<Run, String> {
    if !length.is_multiple_of(BLOCK_BYTES) || !at.is_multiple_of(BLOCK_BYTES) {
        return Err(format!(
            "{} has {length} bytes and is to be written at {at}: volumes are written in whole blocks of 4KiB; both must be \
             multiples",
            path.display()
        ));
    }
    Ok(Run { block: at / BLOCK_BYTES, blocks: length / BLOCK_BYTES, at: 0 })
}

/// Lines of three numbers; empty ones and those that begin with # are left out.
fn parse_extents(text: &str, path: &Path) -> Result<Vec<Run>, String> {
    let mut runs = Vec::new();
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    for (number, line) in lines {
        let bad = || {
            format!(
                "line {number} of {} is no extent: write the offset in the volume, the bytes and the offset in the input, \
                 each a multiple of 4096",
                path.display()
            )
        };
        let figure = |word: &str| word.parse::<u64>().ok().filter(|figure| figure.is_multiple_of(BLOCK_BYTES));
        let figures: Option<Vec<u64>> = line.split_whitespace().map(figure).collect();
        let Some([offset, bytes, at]) = figures.as_deref() else { return Err(bad()) };
        runs.push(Run { block: offset / BLOCK_BYTES, blocks: bytes / BLOCK_BYTES, at: *at });
    }
    Ok(runs)
}

/// Nothing is written when one of the runs lies outside.
fn check(runs: &[Run], file_bytes: u64, volume_bytes: u64) -> Result<(), String> {
    for &Run { block, blocks, at } in runs {
        let (offset, bytes) = (u128::from(block) * 4096, u128::from(blocks) * 4096);
        if offset + bytes > u128::from(volume_bytes) {
            return Err(format!("{bytes} bytes at {offset} end outside the volume, which has {volume_bytes}"));
        }
        if u128::from(at) + bytes > u128::from(file_bytes) {
            return Err(format!("{bytes} bytes at {at} end outside the input, which has {file_bytes}"));
        }
    }
    Ok(())
}

const OPERATION_MAX: u32 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_lines_of_three_multiples_of_a_block() {
        let parse = |text: &str| parse_extents(text, Path::new("list"));
        let runs = parse("# where what from\n\n 8192 4096 0\n0 12288 4096").expect("good lines");
        assert_eq!(runs, [Run { block: 2, blocks: 1, at: 0 }, Run { block: 0, blocks: 3, at: 4096 }]);
        for text in ["0 4096", "0 4096 0 0", "0 4095 0", "a 4096 0", "0 -4096 0", "0 4096 99999999999999999999"] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with("line 1 of list is no extent: write the offset"), "{error}");
        }
        assert!(check(&runs, 16384, 12288).is_ok());
        assert!(check(&runs, 12288, 12288).expect_err("short").contains("end outside the input, which has 12288"));
        assert!(check(&runs, 16384, 8192).expect_err("small").contains("end outside the volume, which has 8192"));
    }
}
