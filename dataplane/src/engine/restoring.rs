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
use crate::array::Array;
use crate::device::file::Output;
use crate::job::{Job, Mend};
use crate::ledger::Sharing;
use crate::ledger::frames::runs_in_order;
use crate::ledger::store::{PageRecord, SetRecord};
use crate::message::{Failure, StoreFailure, ToLedger, ToPeer};
use crate::outcome::{Kind, Outcome};
use crate::plan::{Origin, Plan, Runs};
use crate::pool::Pool;
use crate::port::uring::Uring;
use crate::port::{Next, Port};
use crate::queue::Mailbox;

/// Reads the newest committed set, compares every checksum, heals in memory what is damaged or missing, and stores it in a
/// file if one is named. Nothing is written to the devices.
///
/// # Errors
/// A sentence for the operator. The output appears only when it is whole.
pub fn restore(job: RestoreJob, config: &Config, handles: &Handles) -> Ended {
    let opened = open(job.devices, config.hang_limit, Pool::open_read_only)?;
    let pool = &opened.pool;
    let set = pool.newest_set().ok_or_else(|| EngineError::Empty { first: pool.paths()[0].clone() })?;
    if let Some(path) = &job.output {
        Output::check_apart(path, opened.devices.iter().flatten())?;
    }
    let output = job.output.map(|path| Output::create(path, set.bytes)).transpose()?;
    let pages = pool.store().pages(set.number).map_err(|failure| broken(failure, pool.paths()))?;
    let pages: Vec<Numbered> = (0..).zip(pages).collect();
    let consequence = "no output was left behind";
    let wanted = Wanted { set, pages: &pages, output: output.as_ref(), mend: Mend::Nothing, consequence };
    let mut read = read_set(&opened, &wanted, config, handles)?;
    let kind = if output.is_some() { Kind::Restore } else { Kind::Verify };
    if let Some(output) = output {
        output.finish()?;
    }
    let healed: u64 = read.figures.iter().flat_map(|peer| &peer.healed).map(|healed| healed.damaged).sum();
    if healed > 0 {
        let blocks = if healed == 1 { "1 block was".to_owned() } else { format!("{healed} blocks were") };
        read.notes.push(format!(
            "{blocks} not what had been written, or could not be read, and healed in memory: `bireme array scrub` mends \
             that on the devices"
        ));
    }
    let lost = read.losses.iter().map(|(_, failure)| failure.sentence(pool.paths(), None));
    read.notes.extend(lost.map(|sentence| format!("{sentence}; nothing more was asked of it")));
    handles.gauges.set_done();
    Ok(outcome(kind, pool, Some(set), read, config))
}

/// What is to be read, and what for.
pub(super) struct Wanted<'a> {
    pub(super) set: SetRecord,
    /// Which of its pages, in order.
    pub(super) pages: &'a [Numbered],
    pub(super) output: Option<&'a Output>,
    pub(super) mend: Mend,
    /// What has become of things when it fails.
    pub(super) consequence: &'static str,
}

/// A page with its number in the set.
pub(super) type Numbered = (u64, PageRecord);

impl Wanted<'_> {
    /// The set as if these were all of its pages.
    fn part(&self, page_bytes: u64) -> SetRecord {
        let pages = self.pages.len() as u64;
        let has_last = self.pages.last().is_some_and(|&(number, _)| number + 1 == self.set.pages);
        let rest = if has_last { self.set.pages * page_bytes - self.set.bytes } else { 0 };
        SetRecord { bytes: pages * page_bytes - rest, pages, ..self.set }
    }

    /// A failure with the page's number in the set.
    fn numbered(&self, failure: Failure) -> Failure {
        let number = |page: u64| {
            let index = usize::try_from(page).ok();
            index.and_then(|index| self.pages.get(index)).map_or(page, |&(number, _)| number)
        };
        match failure {
            Failure::Damaged { file, offset, page } => Failure::Damaged { file, offset, page: number(page) },
            Failure::Checksums { offset, page } => Failure::Checksums { offset, page: number(page) },
            other => other,
        }
    }
}

/// What is known when all pages were read and compared.
pub(super) struct Read {
    array: Array,
    began: Nanos,
    ended: Nanos,
    cpu: Nanos,
    workers: u32,
    pub(super) figures: Vec<PeerFigures>,
    pub(super) notes: Vec<String>,
    /// Members that peers went on without, and what each has refused.
    pub(super) losses: Losses,
}

/// Each member once.
pub(super) type Losses = Vec<(u16, Failure)>;

impl Read {
    /// Of a pool without a set.
    pub(super) fn nothing(pool: &Pool, config: &Config) -> Result<Read, EngineError> {
        let (array, _) = super::sizing::size(pool.geometry(), pool.layout(), config.sizes())?;
        let (figures, notes, losses) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Read { array, began: Nanos::ZERO, ended: Nanos::ZERO, cpu: Nanos::ZERO, workers: 0, figures, notes, losses })
    }

    /// Adds what followed it.
    pub(super) fn add(&mut self, next: Read) {
        if self.figures.is_empty() {
            *self = next;
            return;
        }
        // Time between them is not counted.
        self.ended += next.ended.since(next.began);
        self.cpu += next.cpu;
        self.workers = self.workers.max(next.workers);
        self.figures.iter_mut().zip(next.figures).for_each(|(mine, theirs)| mine.add(theirs));
        self.notes.extend(next.notes);
        self.losses.extend(next.losses);
        self.notes.dedup();
    }
}

/// Has peers read a set of an open pool, and mend it, if that is wanted; what was mended is flushed.
pub(super) fn read_set(
    opened: &Opened,
    wanted: &Wanted<'_>,
    config: &Config,
    handles: &Handles,
) -> Result<Read, EngineError> {
    let Opened { pool, devices, origin: clock } = opened;
    let (cores, note) = threads::cores(config)?;
    let members = usize::from(pool.geometry().members());
    let mut paths = pool.paths()[..members].to_vec();
    let (array, depth_note) = super::sizing::size(pool.geometry(), pool.layout(), config.sizes())?;
    // Nothing is written twice: a page has one writer.
    let rules = Rules { repeat: false, ..config.rules };
    let sharing = Sharing { rules, learnt: Learnt::new(rules.strategy, config.peers) };
    let part = wanted.part(u64::from(pool.geometry().page_bytes()));
    let plan = Arc::new(plan(&part, wanted.pages, &sharing, config.peers));
    let roots: Arc<[u64]> = wanted.pages.iter().map(|(_, page)| page.root).collect();
    paths.extend(wanted.output.map(|output| output.path().to_owned()));
    let mut files = files(&devices[..members]);
    files.extend(wanted.output.map(|output| Some(output.as_fd())));
    let data_file = wanted.output.map(|_| array.members());
    let crew = Crew::new(config, cores, (array, pool.health()), *clock, files, handles.gauges.clone());
    let job = Job::restore(roots, data_file, wanted.mend);
    let explain = |halt: Halt| match halt {
        Halt::Signal => EngineError::Stopped(wanted.consequence.to_owned()),
        Halt::Failed(failure) => super::failed(wanted.numbered(failure), &paths, None, wanted.consequence.to_owned()),
    };
    let mut read = read(&crew, &plan, (&job, wanted.mend), &sharing, handles, &explain)?;
    read.notes.extend([note, depth_note].into_iter().flatten());
    Ok(read)
}

/// Starts all threads, has them read the set, and ends with all threads joined.
fn read(
    crew: &Crew<'_>,
    plan: &Arc<Plan>,
    (job, mend): (&Job, Mend),
    sharing: &Sharing,
    handles: &Handles,
    explain: &dyn Fn(Halt) -> EngineError,
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
        let died = || hands.ended().next().is_some();
        let is_page = |letter: &ToLedger| matches!(letter, ToLedger::Page(_));
        let mut losses = Vec::new();
        let mut outcome = wait_for(&mut port, &to_main, (plan.pages, &is_page), handles, &died, &mut losses);
        if outcome.is_ok() && mend != Mend::Nothing {
            crew.tell_each(&mut port, |whose| ToPeer::Flush { sequence: plan.sequence, whose });
            let is_flush = |letter: &ToLedger| matches!(letter, ToLedger::Flushed { .. });
            let flushes = crew.config.peers.into();
            outcome = wait_for(&mut port, &to_main, (flushes, &is_flush), handles, &died, &mut losses);
        }
        let cpu = report::cpu_time() - cpu;
        let ended = port.now();
        let workers = report::iou_workers();
        crew.tell_peers(&mut port, || ToPeer::Stop);
        crew.end_control(&mut port);
        let outcome = outcome.map_err(explain);
        let watch = threads::Watch::start(crew.config, outcome.as_ref().err());
        let figures = hands.join(crew);
        drop(watch);
        outcome?;
        let all_live = |figures: &Vec<PeerFigures>| figures.iter().all(|peer| !peer.outcome.died);
        let figures = figures.filter(all_live).ok_or(EngineError::Died)?;
        Ok(Read { array: crew.array, began, ended, cpu, workers, figures, notes: Vec::new(), losses })
    })
}

/// What is reported of reading or mending a pool.
pub(super) fn outcome(kind: Kind, pool: &Pool, set: Option<SetRecord>, read: Read, config: &Config) -> Outcome {
    let mut facts = report::pool_facts(pool);
    facts.frames_free = pool.frames_free();
    let times = |set: SetRecord| SetTimes {
        number: set.number,
        bytes: set.bytes,
        prepared: read.began,
        written: read.ended,
        flushed: read.ended,
        committed: read.ended,
        ..SetTimes::default()
    };
    report::outcome(report::Ran {
        kind,
        bytes: set.map_or(0, |set| set.bytes),
        began: read.began,
        sets: set.map(times).into_iter().collect(),
        cpu: read.cpu,
        workers: read.workers,
        figures: read.figures,
        deaths: Vec::new(),
        strategy: config.rules.strategy,
        devices: report::devices(pool),
        array: read.array,
        depth_asked: config.depth,
        pool: facts,
        classes: config.promises.in_force(kind.class()).into_iter().collect(),
        notes: pool.notes().iter().cloned().chain(read.notes).collect(),
    })
}

fn broken(failure: StoreFailure, paths: &[PathBuf]) -> EngineError {
    super::failed(Failure::Store(failure), paths, None, "nothing was read".to_owned())
}

fn plan(set: &SetRecord, pages: &[Numbered], sharing: &Sharing, peers: u16) -> Plan {
    let everybody = vec![true; usize::from(peers)];
    Plan {
        sequence: 0,
        number: set.number,
        generation: set.generation,
        bytes: set.bytes,
        pages: set.pages,
        frames: runs_in_order(pages.iter().map(|(_, page)| page.frame)).into(),
        spares: Runs::default(),
        shares: sharing.learnt.division(sharing.rules.strategy, set.pages, &everybody),
        origin: set.seed.map_or(Origin::File, |seed| Origin::Generated { seed }),
    }
}

/// Waits for so many letters of a kind, or the first failure, or a signal; notes who was lost meanwhile.
fn wait_for(
    port: &mut Uring,
    inbox: &Mailbox<ToLedger>,
    (mut left, is_wanted): (u64, &dyn Fn(&ToLedger) -> bool),
    handles: &Handles,
    died: &dyn Fn() -> bool,
    losses: &mut Losses,
) -> Result<(), Halt> {
    while left > 0 {
        match inbox.take() {
            Some(ToLedger::Failed { failure, .. }) => return Err(Halt::Failed(failure)),
            Some(ToLedger::Lost { member, failure }) => {
                if losses.iter().all(|(known, _)| *known != member) {
                    losses.push((member, failure));
                }
            }
            Some(letter) => left -= u64::from(is_wanted(&letter)),
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
