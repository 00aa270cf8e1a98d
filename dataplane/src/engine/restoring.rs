//! Reading a set back: peers share its pages as they do for writing, and the main thread waits for all of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bireme_control::balance::Learnt;
use bireme_control::balance::Rules;
use bireme_control::units::Nanos;

use super::crew::{Crew, Who};
use super::offloading::{Halt, SIGNAL_LATENCY};
use super::report::{self, SetTimes};
use super::threads::{self, Gate, PeerFigures};
use super::{Config, Ended, EngineError, Handles, Opened, RestoreJob, files, main_port, open};
use crate::device::file::Output;
use crate::job::Job;
use crate::ledger::Sharing;
use crate::ledger::frames::runs_in_order;
use crate::ledger::store::{PageRecord, SetRecord};
use crate::message::{Failure, StoreFailure, ToLedger, ToPeer};
use crate::outcome::Kind;
use crate::plan::{Origin, Plan, Runs};
use crate::pool::Pool;
use crate::port::uring::Uring;
use crate::port::{Next, Port};
use crate::queue::Mailbox;

/// Reads the newest committed set, compares every checksum, and stores it in a file if one is named.
///
/// # Errors
/// A sentence for the operator. The output appears only when it is whole.
pub fn restore(job: RestoreJob, config: &Config, handles: &Handles) -> Ended {
    let (cores, note) = threads::cores(config)?;
    let Opened { pool, devices, origin: clock } = open(job.devices, config.hang_limit, Pool::open_read_only)?;
    let members = usize::from(pool.geometry().members());
    let paths = pool.paths()[..members].to_vec();
    let set = pool.newest_set().ok_or_else(|| EngineError::Empty { first: paths[0].clone() })?;
    let pages = pool.store().pages(set.number).map_err(|failure| broken(failure, &paths))?;
    let (array, depth_note) = super::sizing::size(pool.geometry(), pool.layout(), config.sizes())?;
    let mut facts = report::pool_facts(&pool);
    facts.frames_free = pool.frames_free();
    // Nothing is written twice: an output has one writer for each page.
    let rules = Rules { repeat: false, ..config.rules };
    let sharing = Sharing { rules, learnt: Learnt::new(rules.strategy, config.peers) };
    let plan = Arc::new(plan(&set, &pages, &sharing, config.peers));
    let roots: Arc<[u64]> = pages.iter().map(|page| page.root).collect();
    if let Some(path) = &job.output {
        Output::check_apart(path, devices.iter().flatten())?;
    }
    let output = job.output.map(|path| Output::create(path, set.bytes)).transpose()?;
    let mut all_paths = paths.clone();
    all_paths.extend(output.as_ref().map(|output| output.path().to_owned()));

    let mut files = files(&devices[..members]);
    files.extend(output.as_ref().map(|output| Some(output.as_fd())));
    let data_file = output.as_ref().map(|_| array.members());
    let crew = Crew::new(config, cores, (array, pool.health()), clock, files, handles.gauges.clone());
    let read = read(&crew, &plan, &Job::restore(roots, data_file), &sharing, handles, &all_paths)?;
    drop(crew);
    let kind = if output.is_some() { Kind::Restore } else { Kind::Verify };
    if let Some(output) = output {
        output.finish()?;
    }
    handles.gauges.set_done();
    let times = SetTimes {
        number: set.number,
        bytes: set.bytes,
        prepared: read.began,
        written: read.ended,
        flushed: read.ended,
        committed: read.ended,
        ..SetTimes::default()
    };
    Ok(report::outcome(report::Ran {
        kind,
        bytes: set.bytes,
        began: read.began,
        sets: vec![times],
        cpu: read.cpu,
        workers: read.workers,
        figures: read.figures,
        deaths: Vec::new(),
        strategy: config.rules.strategy,
        devices: report::devices(&pool),
        array,
        depth_asked: config.depth,
        pool: facts,
        notes: pool.notes().iter().cloned().chain([note, depth_note].into_iter().flatten()).collect(),
    }))
}

/// What is known when all pages were read and compared.
struct Read {
    began: Nanos,
    ended: Nanos,
    cpu: Nanos,
    workers: u32,
    figures: Vec<PeerFigures>,
}

/// Starts all threads, has them read the set, and ends with all threads joined.
fn read(
    crew: &Crew<'_>,
    plan: &Arc<Plan>,
    job: &Job,
    sharing: &Sharing,
    handles: &Handles,
    paths: &[PathBuf],
) -> Result<Read, EngineError> {
    let to_main = crew.mailbox(Who::Main);
    std::thread::scope(|scope| {
        let mut gate = Gate::new();
        let hands = crew.start(scope, &mut gate, &to_main, job, sharing)?;
        let mut port = main_port(&[], crew.clock, &crew.bells, crew.bell(Who::Main), crew.config.hang_limit)?;
        gate.open()?;

        let (cpu, began) = (report::cpu_time(), port.now());
        crew.newest.store(plan.sequence, plan.pages);
        crew.tell_peers(&mut port, || ToPeer::Begin(plan.clone()));
        let outcome = wait_for_pages(&mut port, &to_main, plan.pages, handles, &|| hands.ended().next().is_some());
        let cpu = report::cpu_time() - cpu;
        let ended = port.now();
        let workers = report::iou_workers();
        crew.tell_peers(&mut port, || ToPeer::Stop);
        crew.end_control(&mut port);
        let outcome = outcome.map_err(|halt| halt.explain_reading(paths));
        let watch = threads::Watch::start(crew.config, outcome.as_ref().err());
        let figures = hands.join(crew);
        drop(watch);
        outcome?;
        let all_live = |figures: &Vec<PeerFigures>| figures.iter().all(|peer| !peer.outcome.died);
        let figures = figures.filter(all_live).ok_or(EngineError::Died)?;
        Ok(Read { began, ended, cpu, workers, figures })
    })
}

impl Halt {
    fn explain_reading(self, paths: &[PathBuf]) -> EngineError {
        match self {
            Halt::Signal => EngineError::Stopped("no output was left behind".to_owned()),
            Halt::Failed(failure) => super::failed(failure, paths, None, "no output was left behind".to_owned()),
        }
    }
}

fn broken(failure: StoreFailure, paths: &[PathBuf]) -> EngineError {
    super::failed(Failure::Store(failure), paths, None, "nothing was read".to_owned())
}

fn plan(set: &SetRecord, pages: &[PageRecord], sharing: &Sharing, peers: u16) -> Plan {
    let everybody = vec![true; usize::from(peers)];
    Plan {
        sequence: 0,
        number: set.number,
        generation: set.generation,
        bytes: set.bytes,
        pages: set.pages,
        frames: runs_in_order(pages.iter().map(|page| page.frame)).into(),
        spares: Runs::default(),
        shares: sharing.learnt.division(sharing.rules.strategy, set.pages, &everybody),
        origin: set.seed.map_or(Origin::File, |seed| Origin::Generated { seed }),
    }
}

/// Waits until every page was read, or the first failure, or a signal.
fn wait_for_pages(
    port: &mut Uring,
    inbox: &Mailbox<ToLedger>,
    pages: u64,
    handles: &Handles,
    died: &dyn Fn() -> bool,
) -> Result<(), Halt> {
    let mut left = pages;
    while left > 0 {
        match inbox.take() {
            Some(ToLedger::Page(_)) => left -= 1,
            Some(ToLedger::Failed { failure, .. }) => return Err(Halt::Failed(failure)),
            Some(_) => {}
            None if handles.stop.load(Ordering::Acquire) => return Err(Halt::Signal),
            None if died() => return Err(Halt::Failed(Failure::Broken("a thread of the engine has died"))),
            None => {
                if inbox.doze() {
                    let until = port.now() + SIGNAL_LATENCY;
                    let _ = port.submit(Next::At(until));
                    while port.reap().is_some() {}
                }
                inbox.rouse();
            }
        }
    }
    Ok(())
}
