//! `bireme array`: what its commands do and print.

use std::path::Path;

use bireme_bench::report::columns::Columns;
use bireme_bench::size;
use bireme_control::raid::geometry::{Geometry, default_chunk};
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::arrays::{self, ArrayFacts};
use bireme_dataplane::pool::Shape;

use super::{emit, sentence};
use crate::cli::{Array, ArrayCreate, ArrayFail, ArrayReplace, ArrayShow};

pub(super) fn run(command: &Array) -> Result<(), String> {
    match command {
        Array::Create(arguments) => create(arguments),
        Array::Show(arguments) => show(arguments),
        Array::Fail(arguments) => fail(arguments),
        Array::Replace(arguments) => replace(arguments),
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
