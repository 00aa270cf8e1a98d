//! Production peers that read a set, for a restore or to mend it, and the main thread that waits for them.

use std::sync::Arc;

use bireme_control::balance::{Learnt, Rules};
use bireme_control::raid::health::Health;
use bireme_control::units::Extent;
use bireme_dataplane::job::{Job, Mend};
use bireme_dataplane::layout::Layout;
use bireme_dataplane::ledger::Sharing;
use bireme_dataplane::ledger::store::PageRecord;
use bireme_dataplane::message::{Failure, ToLedger, ToPeer};
use bireme_dataplane::plan::{Origin, Plan, Runs};
use bireme_dataplane::pool::Pool;
use bireme_dataplane::port::Bell;
use bireme_dataplane::port::simulated::{Random, Started};
use bireme_dataplane::queue::Mailbox;
use bireme_dataplane::telemetry::Healed;

use super::crew::{Crew, Task};
use super::life::{Config, Life};
use super::model::Set;
use super::stage::Stage;
use super::trace::Trace;

/// A set of an open pool.
pub struct Reading {
    /// As it was asked for.
    pub set: Set,
    /// Where its pages lie.
    pub pages: Vec<PageRecord>,
    /// What lies where on each member.
    pub layout: Layout,
    /// Which members count.
    pub health: Health,
    /// The disk of each member.
    pub members: Vec<usize>,
    generation: u64,
}

impl Reading {
    /// Of a pool that was opened with these disks.
    ///
    /// # Errors
    /// The set is not whole.
    pub fn of(pool: &Pool, set: Set, disks: &[usize]) -> Result<Reading, String> {
        let record = pool.newest_set().ok_or("there is no set")?;
        let pages = pool.store().pages(set.number).map_err(|failure| format!("{failure:?}"))?;
        if pages.len() as u64 != record.pages {
            return Err(format!("set {} has {} pages of {}", set.number, pages.len(), record.pages));
        }
        let (layout, health, members) = (pool.layout(), pool.health(), members(pool, disks));
        Ok(Reading { set, pages, generation: record.generation, layout, health, members })
    }
}

/// The disk of each member of a pool that was opened with these disks.
pub fn members(pool: &Pool, disks: &[usize]) -> Vec<usize> {
    let members = pool.order().iter().take(usize::from(pool.geometry().members()));
    members.map(|place| place.map_or(ABSENT, |index| disks[index])).collect()
}

/// What was brought back, and the members that peers went on without, each once.
pub type Read = (Healed, Vec<(u16, Failure)>);

/// As the engine reads: the plan to all peers, then their words, and where something was mended, a flush. What was read, or
/// why it failed; `None` when the power has failed.
///
/// # Errors
/// What was broken.
pub fn read(
    life: &Life,
    stage: &Stage,
    reading: &Reading,
    mend: Mend,
    note: &mut dyn FnMut(&Started) -> Result<(), String>,
    trace: &mut Trace,
    random: &mut Random,
) -> Result<Option<Result<Read, Failure>>, String> {
    let world = stage.world();
    let array = life.array(reading.layout)?;
    let reports = Arc::new(Mailbox::new(life.config.letters, Bell(life.config.peers + 1)));
    let mut disks = reading.members.clone();
    disks.push(stage.file());
    let roots: Arc<[u64]> = reading.pages.iter().map(|page| page.root).collect();
    let job = Job::restore(roots, (mend == Mend::Nothing).then_some(array.members()), mend);
    let rules = Rules { repeat: false, ..life.config.rules };
    let sharing = Sharing { rules, learnt: Learnt::new(rules.strategy, life.config.peers) };
    let (health, inbox) = (reading.health, reports.clone());
    let task = Task { array, job, disks: &disks, health, sharing: &sharing, reports: inbox };
    // Main tells each peer three times and does not wait for room, as in production.
    let config = Config { peer_letters: 64, ..life.config };
    let mut crew = Crew::new(world, config, Random::new(random.bits()), &task);
    let plan = Arc::new(plan(reading, &sharing, life.config.peers));
    crew.newest.store(plan.sequence, plan.pages);
    crew.tell(|_| ToPeer::Begin(plan.clone()));
    let (mut pages, mut flushes) = (plan.pages, if mend == Mend::Nothing { 0 } else { u64::from(life.config.peers) });
    let (mut result, mut losses) = (Ok(()), Vec::new());
    while !crew.is_gone() {
        crew.step(None)?;
        for started in world.take_started() {
            let peer = crew.peer_of(started.port).unwrap_or(usize::MAX);
            trace.request(world.now(), format_args!("peer {peer}"), &started);
            if started.disk == ABSENT {
                return Err(format!("member {} is asked, which is not there", started.request.file));
            }
            note(&started)?;
        }
        if world.is_off() {
            return Ok(None);
        }
        while let Some(letter) = reports.take() {
            let told = result.is_err() || pages + flushes == 0;
            match letter {
                ToLedger::Page(_) => {
                    pages -= 1;
                    if pages == 0 && flushes > 0 && result.is_ok() {
                        crew.tell(|whose| ToPeer::Flush { sequence: plan.sequence, whose });
                    }
                }
                ToLedger::Flushed { .. } => flushes -= 1,
                ToLedger::Lost { member, failure } if losses.iter().all(|(known, _)| *known != member) => {
                    losses.push((member, failure));
                }
                ToLedger::Failed { failure, .. } if result.is_ok() => result = Err(failure),
                _ => {}
            }
            if !told && (pages + flushes == 0 || result.is_err()) {
                crew.tell(|_| ToPeer::Stop);
            }
        }
    }
    trace.note(world.now(), "reader", result);
    if result.is_ok() && pages + flushes > 0 {
        return Err(format!("all peers have gone, and {pages} pages and {flushes} flushes are missing"));
    }
    Ok(Some(result.map(|()| (crew.healed, losses))))
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

/// The disk of a member that is not there: requests to it are refused.
pub const ABSENT: usize = usize::MAX;
