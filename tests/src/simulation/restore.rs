//! What a reader finds: the pool opened read-only, its newest set read by production peers into a blank file.

use bireme_control::raid::geometry::Geometry;
use bireme_dataplane::job::Mend;
use bireme_dataplane::message::Failure;
use bireme_dataplane::pool::Pool;
use bireme_dataplane::port::Operation;
use bireme_dataplane::port::simulated::{Random, Started};
use bireme_dataplane::telemetry::Healed;

use super::life::{Life, pick};
use super::model::{Model, Set, input};
use super::reading::{ABSENT, Reading, read};
use super::stage::Stage;
use super::tally::{Kind, Tally};
use super::trace::Trace;

/// Reads the newest set and compares it with the model; what was found.
pub fn check(
    life: &Life,
    stage: &Stage,
    model: &Model,
    trace: &mut Trace,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<Option<Set>, String> {
    let Some(reading) = open(stage, model, trace, random)? else { return Ok(None) };
    tally.add(Kind::DegradedRead, u64::from(!reading.health.is_whole()));
    let sure = stage.roster.survives(stage.world(), None);
    let healed = match restore(life, stage, &reading, trace, random)? {
        Ok(healed) => healed,
        // More is wrong than the level survives.
        Err(Failure::Damaged { .. } | Failure::Checksums { .. }) if !sure => return Ok(Some(reading.set)),
        Err(failure) => return Err(format!("set {} cannot be read: {failure:?}", reading.set.number)),
    };
    if healed.damaged > 0 && !stage.roster.is_rotten() {
        return Err(format!(
            "set {} was read, and nobody has damaged {} of its blocks",
            reading.set.number, healed.damaged
        ));
    }
    let (want, got) = (reading.set.content(), output(stage, &reading));
    if want != got {
        let at = want.iter().zip(&got).position(|(want, got)| want != got);
        return Err(format!("{:?} was read with other bytes, from byte {at:?} on", reading.set));
    }
    Ok(Some(reading.set))
}

/// Flips one bit of the newest set: reading it heals that, where the level can. Otherwise it says so, and gives no wrong
/// byte away.
pub fn check_bit(
    life: &Life,
    stage: &Stage,
    model: &Model,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<(), String> {
    let Some(reading) = open(stage, model, trace, random)? else { return Ok(()) };
    let Some((disk, offset)) = draw_place(life.geometry, &reading, None, random) else { return Ok(()) };
    let mut byte = stage.world().peek(disk, offset, 1);
    byte[0] ^= 1 << random.below(8);
    stage.world().poke(disk, offset, &byte);
    trace.note(stage.world().now(), "damage", (disk, offset));
    let can_heal = stage.roster.survives(stage.world(), Some(disk));
    let redundant = life.geometry.parities() > 0 || life.geometry.copies() > 1;
    match restore(life, stage, &reading, trace, random)? {
        Err(Failure::Damaged { .. } | Failure::Checksums { .. }) if !can_heal => {}
        // It lies where nobody has looked, or it was healed.
        Ok(_) if redundant => {}
        other => return Err(format!("a flipped bit of disk {disk} at {offset} ended with {other:?}")),
    }
    let (want, got) = (reading.set.content(), output(stage, &reading));
    let wrong = |(want, got): &(&[u8], &[u8])| want != got && (can_heal || got.iter().any(|&byte| byte != 0));
    match want.chunks(4096).zip(got.chunks(4096)).position(|pair| wrong(&pair)) {
        Some(block) => Err(format!("block {block} was given away with wrong bytes")),
        None => Ok(()),
    }
}

/// Overwrites all mirrors of the metadata but one that counts: that one is enough.
pub fn check_mirrors(
    life: &Life,
    stage: &Stage,
    model: &Model,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<(), String> {
    let Some(reading) = open(stage, model, trace, random)? else { return Ok(()) };
    let lost = reading.health.lost | reading.health.rebuilding;
    let places = || (0..).zip(&reading.members).filter(|&(_, &disk)| disk != ABSENT);
    let whole: Vec<u16> = places().map(|(member, _)| member).filter(|&member| !lost.contains(member)).collect();
    let spared = whole[pick(random, whole.len() as u64)];
    let place = reading.layout.metadata();
    let bytes = place.end - place.start;
    for (_, &disk) in places().filter(|(member, _)| *member != spared) {
        stage.world().poke(disk, place.start, &input(random.bits(), bytes));
    }
    trace.note(stage.world().now(), "damage", ("spared", spared));
    let found = check(life, stage, model, trace, random, &mut Tally::default())?;
    if found == Some(reading.set) { Ok(()) } else { Err(format!("mirror {spared} shows {found:?}")) }
}

/// Opens the pool for reading, if there is one; it must open while the level survives what is gone.
pub fn open(stage: &Stage, model: &Model, trace: &mut Trace, random: &mut Random) -> Result<Option<Reading>, String> {
    let world = stage.world();
    let opened = stage.open(random, &[], Pool::open_read_only);
    if world.take_started().iter().any(|started| is_write(started.request.operation)) {
        return Err("reading has written".to_owned());
    }
    let pool = match &opened.pool {
        Ok(pool) => pool,
        Err(_) if !model.exists => return Ok(None),
        Err(error) if !stage.roster.survives(world, None) => {
            trace.note(world.now(), "reader", error);
            return Ok(None);
        }
        Err(error) => return Err(format!("the pool cannot be read: {error}")),
    };
    stage.roster.look(pool)?;
    let found = model.recognise(pool.newest_set())?;
    trace.note(world.now(), "reader", ("found", found.map(|set| set.number)));
    let Some(set) = found else { return Ok(None) };
    let reading = Reading::of(pool, set, &opened.disks)?;
    let free = pool.frames_free() + reading.pages.len() as u64;
    if free != pool.layout().frames() {
        return Err(format!("{} frames free and {} in use of {}", free, reading.pages.len(), pool.layout().frames()));
    }
    Ok(Some(reading))
}

/// Reads it into the file; nothing else is written.
fn restore(
    life: &Life,
    stage: &Stage,
    reading: &Reading,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<Result<Healed, Failure>, String> {
    stage.put_file(&[], reading.set.bytes.next_multiple_of(4096));
    let file = stage.file();
    let mut note = |started: &Started| match is_write(started.request.operation) && started.disk != file {
        true => Err(format!("reading has written to disk {}", started.disk)),
        false => Ok(()),
    };
    let read = read(life, stage, reading, Mend::Nothing, &mut note, trace, random)?;
    let read = read.ok_or_else(|| "the power has failed by itself".to_owned())?;
    Ok(read.map(|(healed, _)| healed))
}

fn output(stage: &Stage, reading: &Reading) -> Vec<u8> {
    stage.world().peek(stage.file(), 0, usize::try_from(reading.set.bytes).expect("a small set"))
}

/// A byte of a page, of its padding, of its parity or of its leaves, on a disk or on any member that counts.
pub fn draw_place(
    geometry: Geometry,
    reading: &Reading,
    disk: Option<usize>,
    random: &mut Random,
) -> Option<(usize, u64)> {
    let page = pick(random, reading.pages.len() as u64);
    let frame = reading.pages[page].frame;
    let lost = reading.health.lost_of(frame);
    let members = (0..).zip(&reading.members).filter(|(member, _)| !lost.contains(*member));
    let disks: Vec<usize> = members.map(|(_, &disk)| disk).collect();
    let disk = disk.unwrap_or(disks[pick(random, disks.len() as u64)]);
    if !disks.contains(&disk) {
        return None;
    }
    if random.below(4) == 0 {
        return Some((disk, reading.layout.leaf_offset(frame) + random.below(reading.layout.leaf_bytes())));
    }
    let page_bytes = u64::from(geometry.page_bytes());
    let bytes = (reading.set.bytes - page as u64 * page_bytes).min(page_bytes);
    let rows = bytes.div_ceil(u64::from(geometry.stripe_bytes())) * u64::from(geometry.stripe_rows());
    let within = random.below(rows * u64::from(geometry.chunk_bytes()));
    Some((disk, reading.layout.data_offset(frame) + within))
}

/// Whether a request changes a disk.
pub fn is_write(operation: Operation) -> bool {
    matches!(operation, Operation::Write(_) | Operation::WriteWoven(_))
}
