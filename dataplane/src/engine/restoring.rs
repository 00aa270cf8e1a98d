//! Reading a set back: peers share its pages as they do for writing, and the main thread waits for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use bireme_control::balance::Machine;
use bireme_control::units::{Extent, PeerId};

use super::offloading::{Halt, SIGNAL_LATENCY, join_peers, peer_wishes, tell};
use super::report::{self, SetTimes};
use super::threads::{self, Gate};
use super::{Config, Ended, EngineError, Handles, Opened, RestoreJob, main_port, open};
use crate::board::Board;
use crate::control_thread::{Control, NewestSet};
use crate::device::Device;
use crate::device::file::Output;
use crate::job::Job;
use crate::ledger::store::{PageRecord, SetRecord};
use crate::message::{Failure, Origin, Plan, StoreFailure, ToLedger, ToPeer};
use crate::outcome::Kind;
use crate::peer::{self, Peer};
use crate::pool::Pool;
use crate::port::uring::{Bells, Uring};
use crate::port::{Bell, Next, Port};
use crate::queue::Mailbox;

/// Reads the newest committed set, compares every checksum, and stores it in a file if one is named.
///
/// # Errors
/// A sentence for the operator. The output appears only when it is whole.
pub fn restore(job: RestoreJob, config: &Config, handles: &Handles) -> Ended {
    let (cores, note) = threads::cores(config)?;
    let Opened { pool, devices, origin: clock } = open(job.devices, config.hang_limit, Pool::open_read_only)?;
    let paths = pool.paths().to_vec();
    let set = pool.newest_set().ok_or_else(|| EngineError::Empty { first: paths[0].clone() })?;
    let pages = pool.store().pages(set.number).map_err(|failure| broken(failure, &paths))?;
    let ask = super::sizing::Ask {
        depth: config.depth,
        slot_bytes: config.slot_bytes,
        request_bytes: config.request_bytes,
        peers: config.peers,
    };
    let (array, depth_note) = super::sizing::size(pool.geometry(), pool.layout(), ask)?;
    let mut facts = report::pool_facts(&pool);
    facts.frames_free = pool.frames_free();
    let plan = Arc::new(plan(&set, &pages));
    let roots: Arc<[u64]> = pages.iter().map(|page| page.root).collect();
    if let Some(path) = &job.output {
        Output::check_apart(path, &devices)?;
    }
    let output = job.output.map(|path| Output::create(path, set.bytes)).transpose()?;
    let mut all_paths = paths.clone();
    all_paths.extend(output.as_ref().map(|output| output.path().to_owned()));

    let bells = Bells::new(config.peers + 2);
    let (control_bell, main_bell) = (Bell(config.peers), Bell(config.peers + 1));
    let (board, newest) = (Arc::new(Board::new(config.peers)), Arc::new(NewestSet::default()));
    let to_main = Arc::new(Mailbox::new(LETTERS, main_bell));
    let to_peers: Vec<_> =
        (0..config.peers).map(|peer| Arc::new(Mailbox::<ToPeer>::new(LETTERS, Bell(peer)))).collect();
    let control_ends = Arc::new(AtomicBool::new(false));
    let mut files: Vec<_> = devices.iter().map(Device::as_fd).collect();
    files.extend(output.as_ref().map(|output| output.as_fd()));
    let data_file = output.as_ref().map(|_| array.members());

    let run: Result<_, EngineError> = std::thread::scope(|scope| {
        let mut gate = Gate::new();
        let mut peers = Vec::new();
        for (index, core) in cores.iter().enumerate() {
            let id = PeerId(u16::try_from(index).expect("at most 256 peers"));
            let wiring = peer::Wiring {
                id,
                peers: config.peers,
                inbox: to_peers[index].clone(),
                ledger: to_main.clone(),
                board: board.clone(),
                gauges: handles.gauges.clone(),
                hang_limit: config.hang_limit,
            };
            let (bells, files, strategy, roots) = (bells.clone(), &files, config.strategy, roots.clone());
            let build = move || {
                let port = Uring::new(&peer_wishes(files, &array, clock, bells, Bell(id.0), wiring.hang_limit))?;
                let machine = Machine::new(strategy, id, wiring.peers);
                Ok(Peer::new(wiring, array, Job::restore(roots, data_file), machine, port))
            };
            peers.push(threads::spawn_peer(scope, id, *core, config, gate.start(), build)?);
        }
        let control = Control::new(config.peers, board.clone(), newest.clone());
        let (bells_, limit) = (bells.clone(), config.hang_limit);
        let build = move || main_port(&[], clock, &bells_, control_bell, limit);
        let control = threads::spawn_control(scope, gate.start(), control, control_ends.clone(), build)?;
        let mut port = main_port(&devices, clock, &bells, main_bell, limit)?;
        gate.open()?;

        let cpu = report::cpu_time();
        let began = port.now();
        newest.store(plan.sequence, plan.pages);
        tell(&mut port, &to_peers, || ToPeer::Begin(plan.clone()));
        let died = || peers.iter().any(ScopedJoinHandle::is_finished);
        let read = wait_for_peers(&mut port, &to_main, config.peers, handles, &died);
        let cpu = report::cpu_time() - cpu;
        let ended = port.now();
        let workers = report::iou_workers();
        tell(&mut port, &to_peers, || ToPeer::Stop);
        control_ends.store(true, Ordering::Release);
        port.wake(control_bell);
        // A port that cannot send the wake-up leaves control to its period.
        let _ = port.submit(Next::Ready);
        let read = read.map_err(|halt| halt.explain_reading(&all_paths));
        let watch = threads::Watch::start(config, read.as_ref().err());
        let figures = join_peers(peers);
        let joined = control.join().is_ok();
        drop(watch);
        read?;
        let figures = figures.filter(|_| joined).ok_or(EngineError::Died)?;
        Ok((began, ended, cpu, workers, figures))
    });
    let (began, ended, cpu, workers, figures) = run?;
    let kind = if output.is_some() { Kind::Restore } else { Kind::Verify };
    drop(files);
    if let Some(output) = output {
        output.finish()?;
    }
    handles.gauges.set_done();
    let times = SetTimes {
        number: set.number,
        bytes: set.bytes,
        prepared: began,
        written: ended,
        flushed: ended,
        committed: ended,
    };
    Ok(report::outcome(report::Ran {
        kind,
        bytes: set.bytes,
        began,
        sets: vec![times],
        cpu,
        workers,
        figures,
        devices: &devices,
        array,
        depth_asked: config.depth,
        pool: facts,
        notes: [note, depth_note].into_iter().flatten().collect(),
    }))
}

impl Halt {
    fn explain_reading(self, paths: &[std::path::PathBuf]) -> EngineError {
        match self {
            Halt::Signal => EngineError::Stopped("no output was left behind".to_owned()),
            Halt::Failed(failure) => super::failed(failure, paths, None, "no output was left behind".to_owned()),
        }
    }
}

fn broken(failure: StoreFailure, paths: &[std::path::PathBuf]) -> EngineError {
    super::failed(Failure::Store(failure), paths, None, "nothing was read".to_owned())
}

fn plan(set: &SetRecord, pages: &[PageRecord]) -> Plan {
    let mut runs: Vec<Extent> = Vec::new();
    for page in pages {
        match runs.last_mut() {
            Some(run) if run.end() == page.frame => run.count += 1,
            _ => runs.push(Extent::new(page.frame, 1)),
        }
    }
    Plan {
        sequence: 0,
        number: set.number,
        generation: set.generation,
        bytes: set.bytes,
        pages: set.pages,
        frames: runs.into(),
        origin: set.seed.map_or(Origin::File, |seed| Origin::Generated { seed }),
    }
}

/// Waits until every peer has nothing left, or the first failure, or a signal.
fn wait_for_peers(
    port: &mut Uring,
    inbox: &Mailbox<ToLedger>,
    peers: u16,
    handles: &Handles,
    died: &dyn Fn() -> bool,
) -> Result<(), Halt> {
    let mut left = peers;
    while left > 0 {
        match inbox.take() {
            Some(ToLedger::Written { .. }) => left -= 1,
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

const LETTERS: usize = 1024;
