//! Writing sets: the main thread prepares each, two at most under way, and waits for the ledger's word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use bireme_control::balance::Machine;
use bireme_control::units::{Nanos, PeerId};

use super::report::{self, SetTimes};
use super::threads::{self, Gate, PeerFigures};
use super::{Config, Ended, EngineError, Handles, OffloadJob, Opened, Source, failed, main_port, open};
use crate::array::Array;
use crate::board::{Board, TRANSFERS_MAX};
use crate::control_thread::{Control, NewestSet};
use crate::device::Device;
use crate::job::Job;
use crate::ledger::{self, Ledger};
use crate::message::{Failure, Origin, ToLedger, ToMain, ToPeer};
use crate::outcome::Kind;
use crate::peer::{self, Peer};
use crate::pool::{Load, Pool};
use crate::port::uring::{Bells, Uring, Wishes};
use crate::port::{Bell, Next, Port};
use crate::queue::Mailbox;

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
    let ask = super::sizing::Ask {
        depth: config.depth,
        slot_bytes: config.slot_bytes,
        request_bytes: config.request_bytes,
        peers: config.peers,
    };
    // Sizes are checked before the first write, and pools are made by opening.
    let smallest = devices.iter().map(Device::bytes).min().unwrap_or(0);
    if let Ok(layout) = crate::layout::Layout::new(shape.geometry, smallest) {
        super::sizing::size(shape.geometry, layout, ask)?;
    }
    let load = Load { bytes, sets };
    let opened = open(devices, config.hang_limit, |members, port| {
        Pool::open_or_create_for(members, shape, destroy_data, load, port)
    })?;
    let (array, depth_note) = super::sizing::size(opened.pool.geometry(), opened.pool.layout(), ask)?;
    let facts = report::pool_facts(&opened.pool);
    let paths = opened.pool.paths().to_vec();
    let Opened { pool, devices, origin: clock } = opened;

    let threads = config.peers + 3;
    let bells = Bells::new(threads);
    let bell = |index: u16| Bell(config.peers + index);
    let (board, newest) = (Arc::new(Board::new(config.peers)), Arc::new(NewestSet::default()));
    let to_ledger = Arc::new(Mailbox::new(LETTERS, bell(LEDGER)));
    let to_main = Arc::new(Mailbox::new(LETTERS, bell(MAIN)));
    let to_peers: Vec<_> =
        (0..config.peers).map(|peer| Arc::new(Mailbox::<ToPeer>::new(LETTERS, Bell(peer)))).collect();
    let control_ends = Arc::new(AtomicBool::new(false));
    let mut files: Vec<_> = devices.iter().map(Device::as_fd).collect();
    files.extend(input.as_ref().map(|input| input.as_fd()));
    let data_file = input.as_ref().map(|_| array.members());

    let run: Result<_, EngineError> = std::thread::scope(|scope| {
        let mut gate = Gate::new();
        let mut peers = Vec::new();
        for (index, core) in cores.iter().enumerate() {
            let id = PeerId(u16::try_from(index).expect("at most 256 peers"));
            let wiring = peer::Wiring {
                id,
                peers: config.peers,
                inbox: to_peers[index].clone(),
                ledger: to_ledger.clone(),
                board: board.clone(),
                gauges: handles.gauges.clone(),
                hang_limit: config.hang_limit,
            };
            let (bells, files, strategy) = (bells.clone(), &files, config.strategy);
            let build = move || {
                let port = Uring::new(&peer_wishes(files, &array, clock, bells, Bell(id.0), wiring.hang_limit))?;
                let machine = Machine::new(strategy, id, wiring.peers);
                Ok(Peer::new(wiring, array, Job::offload(data_file), machine, port))
            };
            peers.push(threads::spawn_peer(scope, id, *core, config, gate.start(), build)?);
        }
        let wiring = ledger::Wiring { inbox: to_ledger.clone(), peers: to_peers.clone(), main: to_main.clone() };
        let (devices_, bells_, limit) = (&devices, bells.clone(), config.hang_limit);
        let build =
            move || Ok(Ledger::new(pool, main_port(devices_, clock, &bells_, bell(LEDGER), limit)?, wiring, limit));
        let ledger = threads::spawn_ledger(scope, gate.start(), build)?;
        let control = Control::new(config.peers, board.clone(), newest.clone());
        let bells_ = bells.clone();
        let build = move || main_port(&[], clock, &bells_, bell(CONTROL), limit);
        let control = threads::spawn_control(scope, gate.start(), control, control_ends.clone(), build)?;
        let mut port = main_port(&devices, clock, &bells, bell(MAIN), limit)?;
        gate.open()?;

        let ledger_ended = || ledger.is_finished();
        let peer_ended = || peers.iter().any(ScopedJoinHandle::is_finished);
        let mut main = Main {
            port: &mut port,
            to_ledger: &to_ledger,
            to_main: &to_main,
            to_peers: &to_peers,
            newest: &newest,
            ledger_ended: &ledger_ended,
            peer_ended: &peer_ended,
            handles,
        };
        let cpu = report::cpu_time();
        let began = main.port.now();
        let outcome = main.write_sets(sets, bytes, origin);
        let cpu = report::cpu_time() - cpu;
        let workers = report::iou_workers();
        control_ends.store(true, Ordering::Release);
        port.wake(bell(CONTROL));
        // A port that cannot send the wake-up leaves control to its period.
        let _ = port.submit(Next::Ready);
        let outcome = outcome.map_err(|halted| halted.explain(&paths, input.as_ref().map(|input| input.path())));
        let watch = threads::Watch::start(config, outcome.as_ref().err());
        let figures = join_peers(peers);
        let joined = control.join().is_ok();
        let closed = ledger.join().ok().flatten();
        drop(watch);
        let set_times = outcome?;
        let (figures, closed) = figures.zip(closed).filter(|_| joined).ok_or(EngineError::Died)?;
        let frames_free = closed.map_err(|error| EngineError::Failed {
            sentence: error.to_string(),
            consequence: format!("all {sets} sets were committed before, and the next opening repairs the rest"),
        })?;
        Ok((set_times, began, cpu, workers, figures, frames_free))
    });
    let (set_times, began, cpu, workers, figures, frames_free) = run?;
    let mut facts = facts;
    facts.frames_free = frames_free;
    let notes = [note, depth_note].into_iter().flatten().collect();
    Ok(report::outcome(report::Ran {
        kind: Kind::Offload,
        bytes: bytes * u64::from(sets),
        began,
        sets: set_times,
        cpu,
        workers,
        figures,
        devices: &devices,
        array,
        depth_asked: config.depth,
        pool: facts,
        notes,
    }))
}

/// What a peer's port needs.
pub(super) fn peer_wishes<'a>(
    files: &'a [std::os::fd::BorrowedFd<'a>],
    array: &Array,
    origin: std::time::Instant,
    bells: Bells,
    bell: Bell,
    patience: Nanos,
) -> Wishes<'a> {
    Wishes {
        files,
        region_bytes: usize::try_from(array.region_bytes()).expect("sized to at most 1 GiB"),
        limit: array.requests(),
        weave_pieces: if files.len() > usize::from(array.members()) { array.slot_chunks() as usize } else { 0 },
        origin,
        bells,
        bell,
        patience,
    }
}

/// All peers' figures; `None` if one has died.
pub(super) fn join_peers(peers: Vec<ScopedJoinHandle<'_, Option<PeerFigures>>>) -> Option<Vec<PeerFigures>> {
    let joined: Vec<_> = peers.into_iter().map(|peer| peer.join().ok().flatten()).collect();
    joined.into_iter().collect()
}

/// Tells all peers something.
pub(super) fn tell(port: &mut Uring, peers: &[Arc<Mailbox<ToPeer>>], letter: impl Fn() -> ToPeer) {
    for peer in peers {
        if let Ok(Some(bell)) = peer.post(letter()) {
            port.wake(bell);
        }
    }
    // A port that cannot send wake-ups leaves the peers to their own looks at the inbox.
    let _ = port.submit(Next::Ready);
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
    fn explain(self, paths: &[std::path::PathBuf], input: Option<&std::path::Path>) -> EngineError {
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
    port: &'a mut Uring,
    to_ledger: &'a Mailbox<ToLedger>,
    to_main: &'a Mailbox<ToMain>,
    to_peers: &'a [Arc<Mailbox<ToPeer>>],
    newest: &'a NewestSet,
    ledger_ended: &'a dyn Fn() -> bool,
    /// Whether one of the peers has; they do before they are told to by dying only.
    peer_ended: &'a dyn Fn() -> bool,
    handles: &'a Handles,
}

impl Main<'_> {
    fn write_sets(&mut self, sets: u32, bytes: u64, origin: Origin) -> Result<Vec<SetTimes>, Halted> {
        let mut times: Vec<SetTimes> = Vec::with_capacity(sets as usize);
        let (mut asked, mut committed) = (0, 0u32);
        let (mut halt, mut in_doubt) = (None, None);
        loop {
            while halt.is_none() && asked < sets && asked < committed + 2 {
                self.tell(ToLedger::Prepare { sequence: asked, bytes, origin });
                asked += 1;
            }
            let letter = match self.next_letter(halt.is_some() || committed == sets) {
                Ok(letter) => letter,
                Err(Halt::Signal) => {
                    halt = Some(Halt::Signal);
                    self.tell(ToLedger::Stop);
                    continue;
                }
                Err(dead) => {
                    // The ledger may be the dead one: the others are told to stop without it.
                    self.tell(ToLedger::Stop);
                    tell(self.port, self.to_peers, || ToPeer::Stop);
                    return Err(Halted { halt: halt.unwrap_or(dead), committed, in_doubt });
                }
            };
            match letter {
                ToMain::Prepared(plan) => {
                    self.newest.store(plan.sequence, plan.pages);
                    times.push(SetTimes {
                        number: plan.number,
                        bytes,
                        prepared: self.port.now(),
                        ..SetTimes::default()
                    });
                }
                ToMain::Committed { sequence, written_at, flushed_at, committed_at, .. } => {
                    let set = &mut times[sequence as usize];
                    (set.written, set.flushed, set.committed) = (written_at, flushed_at, committed_at);
                    self.handles.gauges.set_done();
                    committed += 1;
                    if committed == sets {
                        self.tell(ToLedger::Stop);
                    }
                }
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
    fn next_letter(&mut self, ending: bool) -> Result<ToMain, Halt> {
        loop {
            if let Some(letter) = self.to_main.take() {
                return Ok(letter);
            }
            if !ending && self.handles.stop.load(Ordering::Acquire) {
                return Err(Halt::Signal);
            }
            if (self.ledger_ended)() || !ending && (self.peer_ended)() {
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
/// Places of each mailbox: pages of several runs from every peer.
const LETTERS: usize = 4096;
const LEDGER: u16 = 0;
const CONTROL: u16 = 1;
const MAIN: u16 = 2;
