//! What a reader finds: the pool opened read-only, its newest set read by production peers into a blank file.

use std::sync::Arc;

use bireme_control::balance::Learnt;
use bireme_control::balance::Rules;
use bireme_control::units::Extent;
use bireme_dataplane::job::{Job, Mend};
use bireme_dataplane::ledger::Sharing;
use bireme_dataplane::ledger::store::PageRecord;
use bireme_dataplane::message::{Failure, ToLedger, ToPeer};
use bireme_dataplane::plan::{Origin, Plan, Runs};
use bireme_dataplane::pool::Pool;
use bireme_dataplane::port::Bell;
use bireme_dataplane::port::simulated::{Random, World};
use bireme_dataplane::queue::Mailbox;

use super::crew::{Crew, Task};
use super::life::{Config, Life, pick};
use super::model::{Model, Set, input};
use super::stage::{OPENING_BYTES, Stage};
use super::trace::Trace;

/// A pool that was opened for reading.
struct Reading {
    set: Set,
    pages: Vec<PageRecord>,
    generation: u64,
    layout: bireme_dataplane::layout::Layout,
    /// The disk of each member.
    members: Vec<usize>,
}

/// Reads the newest set and compares it with the model; what was found.
pub fn check(
    life: &Life,
    stage: &Stage,
    model: &Model,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<Option<Set>, String> {
    let Some(reading) = open(stage, model, trace, random)? else { return Ok(None) };
    if let Err(failure) = read(life, stage, &reading, trace, random)? {
        return Err(format!("set {} cannot be read: {failure:?}", reading.set.number));
    }
    let (want, got) = (reading.set.content(), output(stage, &reading));
    if want != got {
        let at = want.iter().zip(&got).position(|(want, got)| want != got);
        return Err(format!("{:?} was read with other bytes, from byte {at:?} on", reading.set));
    }
    Ok(Some(reading.set))
}

/// Flips one bit of the newest set: reading it must say so, and give no wrong byte away.
pub fn check_bit(
    life: &Life,
    stage: &Stage,
    model: &Model,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<(), String> {
    let Some(reading) = open(stage, model, trace, random)? else { return Ok(()) };
    let (disk, offset) = draw_place(life, &reading, random);
    let mut byte = stage.world().peek(disk, offset, 1);
    byte[0] ^= 1 << random.below(8);
    stage.world().poke(disk, offset, &byte);
    trace.note(stage.world().now(), "damage", (disk, offset));
    match read(life, stage, &reading, trace, random)? {
        Err(Failure::Damaged { .. } | Failure::Checksums { .. }) => {}
        other => return Err(format!("a flipped bit of disk {disk} at {offset} ended with {other:?}")),
    }
    let (want, got) = (reading.set.content(), output(stage, &reading));
    let wrong = |(want, got): &(&[u8], &[u8])| want != got && got.iter().any(|&byte| byte != 0);
    match want.chunks(4096).zip(got.chunks(4096)).position(|pair| wrong(&pair)) {
        Some(block) => Err(format!("block {block} was given away with wrong bytes")),
        None => Ok(()),
    }
}

/// Overwrites all mirrors of the metadata but one: that one is enough.
pub fn check_mirrors(
    life: &Life,
    stage: &Stage,
    model: &Model,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<(), String> {
    let Some(reading) = open(stage, model, trace, random)? else { return Ok(()) };
    let spared = pick(random, reading.members.len() as u64);
    let place = reading.layout.metadata();
    let bytes = place.end - place.start;
    for (_, &disk) in reading.members.iter().enumerate().filter(|(member, _)| *member != spared) {
        stage.world().poke(disk, place.start, &input(random.bits(), bytes));
    }
    trace.note(stage.world().now(), "damage", ("spared", spared));
    let found = check(life, stage, model, trace, random)?;
    if found == Some(reading.set) { Ok(()) } else { Err(format!("mirror {spared} shows {found:?}")) }
}

fn open(stage: &Stage, model: &Model, trace: &mut Trace, random: &mut Random) -> Result<Option<Reading>, String> {
    let world = stage.world();
    let (given, disks) = stage.given(random);
    let mut port = world.port_to(&disks, OPENING_BYTES, 16);
    let pool = match Pool::open_read_only(&given, &mut port) {
        Ok(pool) => pool,
        Err(_) if !model.exists => return Ok(None),
        Err(error) => return Err(format!("the pool cannot be read: {error}")),
    };
    if world.take_started().iter().any(|started| is_write(started.request.operation)) {
        return Err("reading has written".to_owned());
    }
    let found = model.recognise(pool.newest_set())?;
    trace.note(world.now(), "reader", ("found", found.map(|set| set.number)));
    let Some((set, record)) = found.zip(pool.newest_set()) else { return Ok(None) };
    let pages = pool.store().pages(set.number).map_err(|failure| format!("{failure:?}"))?;
    let free = pool.frames_free() + pages.len() as u64;
    if free != pool.layout().frames() || pages.len() as u64 != record.pages {
        return Err(format!("{} frames free and {} in use of {}", free, pages.len(), pool.layout().frames()));
    }
    let members = pool.order().iter().flatten().map(|&index| disks[index]).collect();
    Ok(Some(Reading { set, pages, generation: record.generation, layout: pool.layout(), members }))
}

/// As the engine reads: the plan to all peers, and then their words.
fn read(
    life: &Life,
    stage: &Stage,
    reading: &Reading,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<Result<(), Failure>, String> {
    let world = stage.world();
    stage.put_file(&[], reading.set.bytes.next_multiple_of(4096));
    let array = life.array(reading.layout)?;
    let reports = Arc::new(Mailbox::new(life.config.letters, Bell(life.config.peers + 1)));
    let mut disks = reading.members.clone();
    disks.push(stage.file());
    let roots: Arc<[u64]> = reading.pages.iter().map(|page| page.root).collect();
    let job = Job::restore(roots, Some(array.members()), Mend::Nothing);
    let rules = Rules { repeat: false, ..life.config.rules };
    let sharing = Sharing { rules, learnt: Learnt::new(rules.strategy, life.config.peers) };
    let task = Task { array, job, disks: &disks, sharing: &sharing, reports: reports.clone() };
    // Main tells each peer twice and does not wait for room, as in production.
    let config = Config { peer_letters: 64, ..life.config };
    let mut crew = Crew::new(world, config, Random::new(random.bits()), &task);
    let plan = Arc::new(plan(reading, &sharing, life.config.peers));
    crew.newest.store(plan.sequence, plan.pages);
    crew.tell(|| ToPeer::Begin(plan.clone()));
    let mut left = plan.pages;
    let mut result = Ok(());
    while !crew.is_gone() {
        crew.step(None)?;
        note(world, &crew, trace, stage.file())?;
        while let Some(letter) = reports.take() {
            let told = left > 0 && result.is_ok();
            match letter {
                ToLedger::Page(_) => left -= 1,
                ToLedger::Failed { failure, .. } if result.is_ok() => result = Err(failure),
                _ => {}
            }
            if told && (left == 0 || result.is_err()) {
                crew.tell(|| ToPeer::Stop);
            }
        }
    }
    trace.note(world.now(), "reader", result);
    Ok(result)
}

fn note(world: &World, crew: &Crew, trace: &mut Trace, file: usize) -> Result<(), String> {
    for started in world.take_started() {
        let peer = crew.peer_of(started.port).unwrap_or(usize::MAX);
        trace.request(world.now(), format_args!("peer {peer}"), &started);
        if is_write(started.request.operation) && started.disk != file {
            return Err(format!("reading has written to disk {}", started.disk));
        }
    }
    Ok(())
}

fn plan(reading: &Reading, sharing: &Sharing, peers: u16) -> Plan {
    let everybody = vec![true; usize::from(peers)];
    let frames: Vec<Extent> = reading.pages.iter().map(|page| Extent::new(page.frame, 1)).collect();
    let mut runs: Vec<Extent> = Vec::new();
    for frame in frames {
        match runs.last_mut() {
            Some(run) if run.end() == frame.start => run.count += 1,
            _ => runs.push(frame),
        }
    }
    Plan {
        sequence: 0,
        number: reading.set.number,
        generation: reading.generation,
        bytes: reading.set.bytes,
        pages: reading.pages.len() as u64,
        frames: runs.into(),
        spares: Runs::default(),
        shares: sharing.learnt.division(sharing.rules.strategy, reading.pages.len() as u64, &everybody),
        origin: Origin::File,
    }
}

fn output(stage: &Stage, reading: &Reading) -> Vec<u8> {
    stage.world().peek(stage.file(), 0, usize::try_from(reading.set.bytes).expect("a small set"))
}

/// A byte of a page, of its padding, or of its leaves, on any member.
fn draw_place(life: &Life, reading: &Reading, random: &mut Random) -> (usize, u64) {
    let page = pick(random, reading.pages.len() as u64);
    let frame = reading.pages[page].frame;
    let disk = reading.members[pick(random, reading.members.len() as u64)];
    if random.below(4) == 0 {
        return (disk, reading.layout.leaf_offset(frame) + random.below(reading.layout.leaf_bytes()));
    }
    let page_bytes = u64::from(life.geometry.page_bytes());
    let bytes = (reading.set.bytes - page as u64 * page_bytes).min(page_bytes);
    let rows = bytes.div_ceil(u64::from(life.geometry.stripe_bytes()));
    let within = random.below(rows * u64::from(life.geometry.chunk_bytes()));
    (disk, reading.layout.data_offset(frame) + within)
}

fn is_write(operation: bireme_dataplane::port::Operation) -> bool {
    use bireme_dataplane::port::Operation::{Write, WriteWoven};
    matches!(operation, Write(_) | WriteWoven(_))
}
