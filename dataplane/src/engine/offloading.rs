//! Writing sets: the main thread prepares each, two at most under way, and waits for the ledger's word.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bireme_control::balance::Learnt;
use bireme_control::units::{Nanos, PeerId};

use super::crew::{Crew, Hands, Who};
use super::report::{self, SetTimes};
use super::threads::{self, Gate, PeerFigures};
use super::{Config, Ended, EngineError, Handles, OffloadJob, Opened, Source, failed, files, main_port, open};
use crate::board::TRANSFERS_MAX;
use crate::device::Device;
use crate::job::Job;
use crate::ledger::{self, Ledger, Sharing};
use crate::message::{Committed, Failure, ToLedger, ToMain, ToPeer};
use crate::outcome::{Death, Kind};
use crate::plan::Origin;
use crate::pool::{Load, Pool};
use crate::port::uring::Uring;
use crate::port::{Next, Port};
use crate::queue::Mailbox;
use crate::superblock::State;

/// Writes sets onto a pool, which is made if the devices are blank.
///
/// # Errors
/// A sentence for the operator. Nothing of an unfinished set was committed, and the newest committed one is readable.
pub fn offload(job: OffloadJob, config: &Config, handles: &Handles) -> Ended {
    let OffloadJob { devices, shape, destroy_data, source, sets } = job;
    let (cores, note) = threads::cores(config)?;
    let (bytes, origin, input) = match source {
        Source::Generated { seed, bytes } => (bytes, Origin::Generated { seed }, None),
        Source::File(input) => (input.bytes(), Origin::File, Some(input)),
    };
    let most = TRANSFERS_MAX * u64::from(shape.geometry.page_bytes());
    if bytes == 0 || bytes > most {
        return Err(EngineError::SetSize { bytes, most });
    }
    let ask = config.sizes();
    // Sizes are checked before the first write, and pools are made by opening.
    let smallest = devices.iter().map(Device::bytes).min().unwrap_or(0);
    if let Ok(layout) = crate::layout::Layout::new(shape.geometry, smallest) {
        super::sizing::size(shape.geometry, layout, ask)?;
    }
    if destroy_data {
        devices.iter().try_for_each(Device::check_read)?;
    }
    let load = Load { bytes, sets };
    let opened = open(devices, config.hang_limit, |members, port| {
        Pool::open_or_create_for(members, shape, destroy_data, load, port)
    })?;
    let (array, depth_note) = super::sizing::size(opened.pool.geometry(), opened.pool.layout(), ask)?;
    let mut facts = report::pool_facts(&opened.pool);
    let paths = opened.pool.paths().to_vec();
    let mut figures = report::devices(&opened.pool);
    let mut notes = opened.pool.notes().to_vec();
    let Opened { pool, devices, origin: clock } = opened;
    let all_files = files(&devices);
    let mut files = all_files[..usize::from(array.members())].to_vec();
    files.extend(input.as_ref().map(|input| Some(input.as_fd())));
    let data_file = input.as_ref().map(|_| array.members());
    let crew = Crew::new(config, cores, (array, pool.health()), clock, files, handles.gauges.clone());
    let members = &paths[..usize::from(array.members())];
    let explain = |halted: Halted| halted.explain(members, input.as_ref().map(|input| input.path()));
    let learnt = Some(pool.store().learnt()).filter(|_| !config.forget).flatten();
    let learnt = learnt.filter(|learnt| learnt.fits(config.rules.strategy, config.peers));
    let learnt = learnt.unwrap_or_else(|| Learnt::new(config.rules.strategy, config.peers));
    let sharing = Sharing { rules: config.rules, learnt };
    let wanted = Wanted { job: Job::offload(data_file), sharing: &sharing, sets, bytes, origin };
    let written = write(&crew, &all_files, pool, &wanted, handles, &explain)?;
    facts.frames_free = written.frames_free;
    for loss in &written.losses {
        if let Some(device) = figures.get_mut(usize::from(loss.file)) {
            device.state = State::Failed.word();
        }
        notes.push(loss.note(&paths));
    }
    notes.extend([note, depth_note].into_iter().flatten());
    Ok(report::outcome(report::Ran {
        kind: Kind::Offload,
        bytes: bytes * u64::from(sets),
        began: written.began,
        sets: written.times,
        cpu: written.cpu,
        workers: written.workers,
        figures: written.figures,
        strategy: config.rules.strategy,
        deaths: written.deaths,
        devices: figures,
        array,
        depth_asked: config.depth,
        pool: facts,
        classes: config.promises.in_force(Kind::Offload.class()).into_iter().collect(),
        notes,
    }))
}

/// The sets to write, and how.
struct Wanted<'a> {
    job: Job,
    sharing: &'a Sharing,
    sets: u32,
    bytes: u64,
    origin: Origin,
}

/// What is known when all sets are durable.
struct Written {
    times: Vec<SetTimes>,
    deaths: Vec<Death>,
    began: Nanos,
    cpu: Nanos,
    workers: u32,
    figures: Vec<PeerFigures>,
    losses: Vec<Loss>,
    frames_free: u64,
}

/// A member or a spare that was lost on the way, see [`ToMain::Lost`].
struct Loss {
    file: u16,
    failure: Failure,
    spare: Option<PathBuf>,
}

impl Loss {
    fn note(&self, paths: &[PathBuf]) -> String {
        let sentence = self.failure.sentence(paths, None);
        match &self.spare {
            Some(spare) => format!("{sentence}; {} has taken its place: rebuild it", spare.display()),
            None => format!("{sentence}; the run went on without it, and it counts as failed"),
        }
    }
}

/// Starts all threads, writes the sets, and ends with all threads joined.
fn write(
    crew: &Crew<'_>,
    files: &[Option<BorrowedFd<'_>>],
    pool: Pool,
    wanted: &Wanted<'_>,
    handles: &Handles,
    explain: &dyn Fn(Halted) -> EngineError,
) -> Result<Written, EngineError> {
    let (to_ledger, to_main) = (crew.mailbox(Who::Ledger), crew.mailbox(Who::Main));
    std::thread::scope(|scope| {
        let mut gate = Gate::new();
        let hands = crew.start(scope, &mut gate, &to_ledger, &wanted.job, wanted.sharing)?;
        let wiring = ledger::Wiring { inbox: to_ledger.clone(), peers: crew.to_peers.clone(), main: to_main.clone() };
        let limit = crew.config.hang_limit;
        let port = move |files, who| main_port(files, crew.clock, &crew.bells, crew.bell(who), limit);
        let sharing = wanted.sharing.clone();
        let build = move || Ok(Ledger::new(pool, port(files, Who::Ledger)?, wiring, sharing, limit));
        let ledger = threads::spawn_ledger(scope, gate.start(), build)?;
        let mut port = port(&[], Who::Main)?;
        gate.open()?;

        let (cpu, began) = (report::cpu_time(), port.now());
        let mut main = Main {
            crew,
            port: &mut port,
            to_ledger: &to_ledger,
            to_main: &to_main,
            ledger_ended: &|| ledger.is_finished(),
            hands: &hands,
            ended: Vec::new(),
            deaths: Vec::new(),
            losses: Vec::new(),
            handles,
        };
        let outcome = main.write_sets(wanted).map_err(explain);
        let (deaths, losses) = (std::mem::take(&mut main.deaths), std::mem::take(&mut main.losses));
        let cpu = report::cpu_time() - cpu;
        let workers = report::iou_workers();
        crew.end_control(&mut port);
        let watch = threads::Watch::start(crew.config, outcome.as_ref().err());
        let figures = hands.join(crew);
        let closed = ledger.join().ok().flatten();
        drop(watch);
        let times = outcome?;
        let (figures, closed) = figures.zip(closed).ok_or(EngineError::Died)?;
        let frames_free = closed.map_err(|error| EngineError::Failed {
            sentence: error.to_string(),
            consequence: format!(
                "all {} sets were committed before, and the next opening repairs the rest",
                wanted.sets
            ),
        })?;
        Ok(Written { times, deaths, began, cpu, workers, figures, losses, frames_free })
    })
}

/// Where a run that did not write all its sets has ended.
struct Halted {
    halt: Halt,
    /// Sets of this run that are durable.
    committed: u32,
    /// A set of the pool that may be.
    in_doubt: Option<u64>,
}

/// Why the sets were not all written.
pub(super) enum Halt {
    Signal,
    Failed(Failure),
}

impl Halted {
    fn explain(self, paths: &[PathBuf], input: Option<&std::path::Path>) -> EngineError {
        let unfinished = match self.in_doubt {
            Some(number) => format!("the next opening of the pool shows whether set {number} was committed"),
            None if self.committed == 0 => "nothing was committed".to_owned(),
            None => "nothing of the unfinished set was committed".to_owned(),
        };
        let consequence = match self.committed {
            0 => unfinished,
            1 => format!("{unfinished}, 1 set of this run was"),
            more => format!("{unfinished}, {more} sets of this run were"),
        };
        match self.halt {
            Halt::Signal => EngineError::Stopped(consequence),
            Halt::Failed(failure) => failed(failure, paths, input, consequence),
        }
    }
}

/// The main thread while sets are written.
struct Main<'a> {
    crew: &'a Crew<'a>,
    port: &'a mut Uring,
    to_ledger: &'a Mailbox<ToLedger>,
    to_main: &'a Mailbox<ToMain>,
    ledger_ended: &'a dyn Fn() -> bool,
    hands: &'a Hands<'a>,
    /// Peers whose threads have ended.
    ended: Vec<PeerId>,
    /// Those of them that have died.
    deaths: Vec<Death>,
    losses: Vec<Loss>,
    handles: &'a Handles,
}

impl Main<'_> {
    fn write_sets(&mut self, wanted: &Wanted<'_>) -> Result<Vec<SetTimes>, Halted> {
        let &Wanted { sets, bytes, origin, .. } = wanted;
        let mut times: Vec<SetTimes> = Vec::with_capacity(sets as usize);
        let (mut asked, mut committed) = (0, 0u32);
        let (mut halt, mut in_doubt) = (None, None);
        loop {
            let under_way = if self.crew.config.overlap { 2 } else { 1 };
            while halt.is_none() && asked < sets && asked < committed + under_way {
                self.tell(ToLedger::Prepare { sequence: asked, bytes, origin });
                asked += 1;
            }
            let letter = match self.next_letter(halt.is_some() || committed == sets, committed..asked) {
                Ok(letter) => letter,
                Err(Halt::Signal) => {
                    halt = Some(Halt::Signal);
                    self.tell(ToLedger::Stop);
                    continue;
                }
                Err(dead) => {
                    // The ledger may be the dead one: the others are told to stop without it.
                    self.tell(ToLedger::Stop);
                    self.crew.tell_peers(self.port, || ToPeer::Stop);
                    return Err(Halted { halt: halt.unwrap_or(dead), committed, in_doubt });
                }
            };
            match letter {
                ToMain::Prepared(plan) => {
                    self.crew.newest.store(plan.sequence, plan.pages);
                    times.push(SetTimes {
                        number: plan.number,
                        bytes,
                        prepared: self.port.now(),
                        divided: plan.shares.iter().map(|share| share.count).collect(),
                        ..SetTimes::default()
                    });
                }
                ToMain::Committed(Committed {
                    sequence,
                    written_at,
                    flushed_at,
                    committed_at,
                    done,
                    repeats,
                    finished,
                    ..
                }) => {
                    let set = &mut times[sequence as usize];
                    (set.written, set.flushed, set.committed) = (written_at, flushed_at, committed_at);
                    (set.done, set.repeats, set.finished) = (done, repeats, finished);
                    self.handles.gauges.set_done();
                    committed += 1;
                    if committed == sets {
                        self.tell(ToLedger::Stop);
                    }
                }
                ToMain::Lost { file, failure, spare } => self.losses.push(Loss { file, failure, spare }),
                ToMain::InDoubt { number } => in_doubt = Some(number),
                ToMain::Failed(failure) => {
                    halt = halt.or(Some(Halt::Failed(failure)));
                    self.tell(ToLedger::Stop);
                }
                ToMain::Stopped => match halt {
                    Some(halt) => return Err(Halted { halt, committed, in_doubt }),
                    None => return Ok(times),
                },
            }
        }
    }

    /// The ledger's next letter; once the run is to end neither a signal nor the end of peers is news.
    fn next_letter(&mut self, ending: bool, under_way: Range<u32>) -> Result<ToMain, Halt> {
        loop {
            if let Some(letter) = self.to_main.take() {
                return Ok(letter);
            }
            if !ending && self.handles.stop.load(Ordering::Acquire) {
                return Err(Halt::Signal);
            }
            self.look_for_deaths(ending, under_way.clone());
            if (self.ledger_ended)() {
                // What it said before it ended comes first.
                let dead = Halt::Failed(Failure::Broken("a thread of the engine has died"));
                return self.to_main.take().ok_or(dead);
            }
            if self.to_main.doze() {
                let until = self.port.now() + SIGNAL_LATENCY;
                // Without a working port the mailbox is still looked at, each time round.
                let _ = self.port.submit(Next::At(until));
                while self.port.reap().is_some() {}
            }
            self.to_main.rouse();
        }
    }

    /// A thread that has ended before it was told to has died: the ledger has the others take over its work. Once the
    /// run is to end every thread may, and the ledger must not wait for one that reads no letters any more.
    fn look_for_deaths(&mut self, ending: bool, under_way: Range<u32>) {
        for peer in self.hands.ended() {
            if self.ended.contains(&peer) {
                continue;
            }
            self.ended.push(peer);
            if !ending {
                let taken_over = under_way.clone().map(|sequence| self.crew.left_to(peer, sequence)).sum();
                self.deaths.push(Death { peer, at: self.port.now(), taken_over });
            }
            self.tell(ToLedger::Died { peer });
        }
    }

    fn tell(&mut self, letter: ToLedger) {
        let mut letter = letter;
        loop {
            match self.to_ledger.post(letter) {
                Ok(bell) => {
                    if let Some(bell) = bell {
                        self.port.wake(bell);
                        let _ = self.port.submit(Next::Ready);
                    }
                    return;
                }
                // Nobody reads it any more.
                Err(_) if (self.ledger_ended)() => return,
                Err(back) => {
                    letter = back;
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// How late a signal may be noticed.
pub(super) const SIGNAL_LATENCY: Nanos = Nanos::from_millis(50);
