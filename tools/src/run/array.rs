//! `bireme array`: what its commands do and print.

use std::path::Path;

use bireme_bench::class;
use bireme_bench::report::columns::Columns;
use bireme_bench::size;
use bireme_control::raid::geometry::{Geometry, default_chunk};
use bireme_control::units::Nanos;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::arrays::{self, ArrayFacts};
use bireme_dataplane::engine::{self, Config, MendJob, Mending};
use bireme_dataplane::peer::Rate;
use bireme_dataplane::pool::Shape;

use super::{emit, sentence, watched};
use crate::cli::{Array, ArrayCreate, ArrayFail, ArrayMend, ArrayReplace, ArrayShow};

pub(super) fn run(command: &Array) -> Result<(), String> {
    match command {
        Array::Create(arguments) => create(arguments),
        Array::Show(arguments) => show(arguments),
        Array::Fail(arguments) => fail(arguments),
        Array::Replace(arguments) => replace(arguments),
        Array::Rebuild(arguments) => rebuild(arguments),
        Array::Scrub(arguments) => scrub(arguments),
    }
}

fn create(arguments: &ArrayCreate) -> Result<(), String> {
    let (level, count) = (arguments.raid.level()?, arguments.devices.len());
    let chunk = arguments.chunk.unwrap_or_else(|| default_chunk(level, count, arguments.page));
    let geometry = Geometry::new(level, count, chunk, arguments.page).map_err(sentence)?;
    let paths: Vec<_> = arguments.devices.iter().chain(&arguments.spares).collect();
    let devices = Device::open_all(&paths, Purpose::Write).map_err(sentence)?;
    let facts = arrays::create_array(&devices, Shape { geometry }, arguments.destroy_data).map_err(sentence)?;
    emit(&text(&facts))
}

fn show(arguments: &ArrayShow) -> Result<(), String> {
    let devices = Device::open_all(&arguments.devices, Purpose::Read).map_err(sentence)?;
    let facts = arrays::show_array(&devices).map_err(sentence)?;
    if !arguments.json {
        return emit(&text(&facts));
    }
    let json = serde_json::to_string_pretty(&facts).map_err(|e| format!("the facts cannot be printed: {e}"))?;
    emit(&format!("{json}\n"))
}

fn fail(arguments: &ArrayFail) -> Result<(), String> {
    let devices = Device::open_all(&arguments.devices, Purpose::Write).map_err(sentence)?;
    emit(&text(&arrays::fail_member(&devices, &arguments.member).map_err(sentence)?))
}

fn replace(arguments: &ArrayReplace) -> Result<(), String> {
    let paths: Vec<&Path> = arguments.devices.iter().chain([&arguments.with]).map(AsRef::as_ref).collect();
    let mut devices = Device::open_all(&paths, Purpose::Write).map_err(sentence)?;
    let Some(with) = devices.pop() else { return Err("no device was named".to_owned()) };
    let facts = arrays::replace_member(&devices, &arguments.member, &with, arguments.destroy_data);
    emit(&text(&facts.map_err(sentence)?))
}

fn scrub(arguments: &ArrayMend) -> Result<(), String> {
    let devices = Device::open_all(&arguments.devices, Purpose::Write).map_err(sentence)?;
    let before = arrays::show_array(&devices).map_err(sentence)?;
    mend(arguments, &devices, Mending::Scrub, &before.notes)?;
    // Whoever was lost on the way is to be replaced.
    let after = arrays::show_array(&devices).map_err(sentence)?;
    after.notes.iter().filter(|note| !before.notes.contains(note)).try_for_each(|note| say(note))
}

fn rebuild(arguments: &ArrayMend) -> Result<(), String> {
    let devices = Device::open_all(&arguments.devices, Purpose::Write).map_err(sentence)?;
    let before = arrays::show_array(&devices).map_err(sentence)?;
    let filled: Vec<_> = before.members.iter().filter(|row| row.state == "rebuilding").collect();
    if filled.is_empty() {
        before.notes.iter().try_for_each(|note| say(note))?;
        return Err("no member of this array is to be rebuilt: put a device in the place of a failed one first, with \
                    `bireme array replace`"
            .to_owned());
    }
    let done = mend(arguments, &devices, Mending::Rebuild, &before.notes)?;
    if !engine::end_rebuild(again(&devices)?, &done, &config(arguments)?).map_err(sentence)? {
        return Err("a volume was made meanwhile: run this again".to_owned());
    }
    let after = arrays::show_array(&devices).map_err(sentence)?;
    emit(&text(&after))?;
    let lost = filled.iter().find(|row| !after.members.iter().any(|now| now.path == row.path && now.state == "active"));
    match lost.and_then(|row| Some((row.member?, row.path.as_ref()?))) {
        Some((member, path)) => Err(format!(
            "member {member}, {}, was lost while it was rebuilt: the others hold all data; replace it (bireme array \
             replace)",
            path.display()
        )),
        None => Ok(()),
    }
}

/// Goes through the set and all volumes; the names of these. What is said in `known` is not said again.
fn mend(arguments: &ArrayMend, devices: &[Device], what: Mending, known: &[String]) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let config = config(arguments)?;
    let volumes = engine::volumes::list_volumes(again(devices)?).map_err(sentence)?;
    let job = MendJob { devices: again(devices)?, what };
    let outcome = watched(devices.len(), 0, |handles| engine::mend(job, &config, handles))?;
    // What a member that has failed holds was not mended.
    let mended = outcome.devices.iter().filter(|device| device.state != "failed");
    let damaged = mended.map(|device| device.healed.damaged).sum();
    emit(&line("the newest data set", outcome.bytes, outcome.elapsed, &found(damaged, false), what))?;
    outcome.classes.iter().try_for_each(|held| emit(&format!("{}\n", class::line(held, class::EACH_DEVICE))))?;
    outcome.notes.iter().filter(|note| !known.contains(note)).try_for_each(|note| say(note))?;
    for volume in volumes {
        let (name, given) = (&volume.name, again(devices)?);
        let served = watched(devices.len(), 0, |handles| engine::mend_volume(given, name, what, &config, handles))?;
        let bytes = served.homes.iter().map(|home| home.client.bytes()).sum();
        let found = found(served.healed.blocks, !served.losses.is_empty());
        emit(&line(&format!("volume '{name}'"), bytes, served.elapsed, &found, what))?;
        outcome.classes.iter().try_for_each(|held| emit(&format!("{}\n", class::line(held, class::WHOLE_ARRAY))))?;
        served.losses.iter().try_for_each(|note| say(note))?;
        if served.healed.lost > 0 {
            emit(&format!("{} blocks of it cannot be brought back: reads of them fail\n", served.healed.lost))?;
        }
        done.push(volume.name);
        if what == Mending::Rebuild {
            engine::end_rebuild(again(devices)?, &done, &config).map_err(sentence)?;
        }
    }
    Ok(done)
}

fn say(note: &str) -> Result<(), String> {
    emit(&format!("Note: {note}\n"))
}

fn line(whom: &str, bytes: u64, elapsed: Nanos, found: &str, what: Mending) -> String {
    let (done, rate) = match what {
        Mending::Scrub => ("scrubbed", size::print_rate(size::rate(bytes, elapsed))),
        Mending::Rebuild => ("rebuilt", size::print_rate(size::rate(bytes, elapsed))),
    };
    format!("{whom}: {} of data {done} in {elapsed}, {rate}; {found}\n", size::print(bytes))
}

/// What is said of damaged blocks; some of them may have been a member's that was lost then.
fn found(damaged: u64, lost: bool) -> String {
    match damaged {
        0 => "nothing was damaged".to_owned(),
        1 if !lost => "1 block was not what had been written, and is again".to_owned(),
        more if !lost => format!("{more} blocks were not what had been written, and are again"),
        some => format!("damaged or not to be read: {some}, which are as written again where their member still works"),
    }
}

/// The devices for one step of several, claimed all the time.
fn again(devices: &[Device]) -> Result<Vec<Device>, String> {
    devices.iter().map(Device::again).collect::<Result<_, _>>().map_err(sentence)
}

fn config(arguments: &ArrayMend) -> Result<Config, String> {
    let config = super::config(&arguments.tuning)?;
    let each = arguments.rate.map(|rate| Rate::new((rate / u64::from(config.peers.max(1))).max(1)));
    Ok(Config { peer_rates: vec![each; usize::from(config.peers)], ..config })
}

fn text(facts: &ArrayFacts) -> String {
    let ArrayFacts { pool, level, groups, generation, .. } = facts;
    let groups = if *groups > 1 { format!(" in {groups} groups") } else { String::new() };
    let members = facts.members.iter().filter(|row| row.member.is_some()).count();
    let space = |frames: u64| size::print(frames.saturating_mul(facts.page_bytes));
    let mut text = format!(
        "Pool {pool}, generation {generation}: {level} over {members} devices{groups}, chunk {}, page {}\n",
        size::print(facts.chunk_bytes),
        size::print(facts.page_bytes)
    );
    text += &format!("{} of {} are free\n", space(facts.frames_free), space(facts.frames));
    for set in &facts.sets {
        text += &format!("Set {}: {}\n", set.number, size::print(set.bytes));
    }
    let mut columns = Columns::new(&["Members", "device", "state", "size", "generation"]);
    for row in &facts.members {
        let name = row.member.map_or_else(|| "spare".to_owned(), |member| member.to_string());
        let path = row.path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let state = match row.state {
            "rebuilding" => format!("rebuilding, {} of {} frames", facts.watermark, facts.frames),
            state => state.to_owned(),
        };
        let generation = row.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string());
        columns.row(vec![name, path, state, size::print(row.bytes), generation]);
    }
    text += &format!("\n{}", columns.print());
    for note in &facts.notes {
        text += &format!("Note: {note}\n");
    }
    text
}
