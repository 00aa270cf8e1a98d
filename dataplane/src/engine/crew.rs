//! Peers and control, which writing and reading have in common: their mailboxes, their threads, and their end.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Instant;

use bireme_control::balance::Machine;
use bireme_control::raid::health::Health;
use bireme_control::units::PeerId;
use core_affinity::CoreId;

use super::threads::{self, Gate, PeerFigures};
use super::{Config, EngineError, main_port};
use crate::array::Array;
use crate::board::Board;
use crate::control_thread::{Control, NewestSet};
use crate::job::Job;
use crate::ledger::Sharing;
use crate::message::{ToLedger, ToPeer};
use crate::peer::{self, Peer};
use crate::port::uring::{Bells, Method, Uring, Wishes};
use crate::port::{Bell, Next, Port};
use crate::queue::Mailbox;
use crate::telemetry::Gauges;

/// What the threads of one run share. It outlives them.
pub(super) struct Crew<'a> {
    pub(super) config: &'a Config,
    pub(super) cores: Vec<Option<CoreId>>,
    pub(super) array: Array,
    /// Which members count at the start.
    pub(super) health: Health,
    /// Where time starts.
    pub(super) clock: Instant,
    /// The members in their order, with gaps for those that are absent, and the data file after them, if there is one.
    pub(super) files: Vec<Option<BorrowedFd<'a>>>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) bells: Bells,
    pub(super) newest: Arc<NewestSet>,
    pub(super) to_peers: Vec<Arc<Mailbox<ToPeer>>>,
    board: Arc<Board>,
    control_ends: Arc<AtomicBool>,
}

/// The threads that sleep besides the peers, each behind a bell of its own.
#[derive(Clone, Copy)]
pub(super) enum Who {
    Ledger,
    Control,
    Main,
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        config: &'a Config,
        cores: Vec<Option<CoreId>>,
        (array, health): (Array, Health),
        clock: Instant,
        files: Vec<Option<BorrowedFd<'a>>>,
        gauges: Arc<Gauges>,
    ) -> Crew<'a> {
        let letters = LETTERS_TO_PEER + 2 * usize::from(config.peers);
        let inbox = |peer| Arc::new(Mailbox::new(letters, Bell(peer)));
        Crew {
            config,
            cores,
            array,
            health,
            clock,
            files,
            gauges,
            bells: Bells::new(config.peers + 3),
            newest: Arc::new(NewestSet::default()),
            to_peers: (0..config.peers).map(inbox).collect(),
            board: Arc::new(Board::new(config.peers)),
            control_ends: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The bell of a thread.
    pub(super) fn bell(&self, who: Who) -> Bell {
        Bell(self.config.peers + who as u16)
    }

    /// A mailbox for a thread.
    pub(super) fn mailbox<T>(&self, who: Who) -> Arc<Mailbox<T>> {
        Arc::new(Mailbox::new(LETTERS, self.bell(who)))
    }

    /// Starts the peers at a job, which report to `ledger`, and control.
    pub(super) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        gate: &mut Gate,
        ledger: &Arc<Mailbox<ToLedger>>,
        job: &Job,
        sharing: &Sharing,
    ) -> Result<Hands<'scope>, EngineError> {
        let reservation = self.config.promises.manager(usize::from(self.array.members()));
        let allowance = reservation.as_ref().map(|manager| manager.allowance(job.class()));
        let mut peers = Vec::with_capacity(self.cores.len());
        for (index, core) in self.cores.iter().enumerate() {
            let id = PeerId(u16::try_from(index).expect("at most 256 peers"));
            let wiring = peer::Wiring {
                id,
                peers: self.config.peers,
                inbox: self.to_peers[index].clone(),
                others: self.to_peers.clone(),
                ledger: ledger.clone(),
                board: self.board.clone(),
                gauges: self.gauges.clone(),
                hang_limit: self.config.hang_limit,
                rate: self.config.peer_rates.get(index).cloned().flatten(),
                allowance: allowance.clone(),
                health: self.health,
            };
            let (job, sharing) = (job.clone(), sharing.clone());
            let build = move || {
                let port = Uring::new(&self.peer_wishes(id))?;
                let machine = Machine::new(sharing.rules, id, self.config.peers, &sharing.learnt);
                Ok(Peer::new(wiring, self.array, job, machine, port))
            };
            peers.push(threads::spawn_peer(scope, id, *core, self.config, gate.start(), build)?);
        }
        let control = Control::new(self.config.peers, self.board.clone(), self.newest.clone(), reservation);
        let bell = self.bell(Who::Control);
        let build = move || main_port(&[], self.clock, &self.bells, bell, self.config.hang_limit);
        let control = threads::spawn_control(scope, gate.start(), control, self.control_ends.clone(), build)?;
        Ok(Hands { peers, control })
    }

    /// Transfers of a set that were a peer's and not completed when it last showed it.
    pub(super) fn left_to(&self, peer: PeerId, sequence: u32) -> u64 {
        let mut view = [(); 2].map(|()| vec![0; self.to_peers.len()].into_boxed_slice());
        self.board.read_progress(sequence, &mut view);
        view[1][peer.index()]
    }

    /// Tells control to end. Peers are told by whoever gave them their sets.
    pub(super) fn end_control(&self, port: &mut Uring) {
        self.control_ends.store(true, Ordering::Release);
        port.wake(self.bell(Who::Control));
        // A port that cannot send the wake-up leaves control to its period.
        let _ = port.submit(Next::Ready);
    }

    /// Tells all peers something.
    pub(super) fn tell_peers(&self, port: &mut Uring, letter: impl Fn() -> ToPeer) {
        self.tell_each(port, |_| letter());
    }

    /// Tells each peer something of its own.
    pub(super) fn tell_each(&self, port: &mut Uring, letter: impl Fn(PeerId) -> ToPeer) {
        for (peer, id) in self.to_peers.iter().zip((0..).map(PeerId)) {
            if let Ok(Some(bell)) = peer.post(letter(id)) {
                port.wake(bell);
            }
        }
        // A port that cannot send wake-ups leaves the peers to their own looks at the inbox.
        let _ = port.submit(Next::Ready);
    }

    fn peer_wishes(&self, id: PeerId) -> Wishes<'_> {
        let array = &self.array;
        let has_data_file = self.files.len() > usize::from(array.members());
        Wishes {
            files: &self.files,
            namespaces: &[],
            method: Method::Interrupts,
            region_bytes: usize::try_from(array.region_bytes()).expect("sized to at most 1 GiB"),
            limit: array.requests(),
            weave_pieces: if has_data_file { array.slot_chunks() as usize } else { 0 },
            origin: self.clock,
            bells: self.bells.clone(),
            bell: Bell(id.0),
            patience: self.config.hang_limit,
        }
    }
}

/// The threads of a crew.
pub(super) struct Hands<'scope> {
    peers: Vec<ScopedJoinHandle<'scope, Option<PeerFigures>>>,
    control: ScopedJoinHandle<'scope, ()>,
}

impl Hands<'_> {
    /// The peers whose threads have ended; before they are told to they do so by dying only.
    pub(super) fn ended(&self) -> impl Iterator<Item = PeerId> + '_ {
        (0..).map(PeerId).zip(&self.peers).filter_map(|(peer, thread)| thread.is_finished().then_some(peer))
    }

    /// All peers' figures, once all threads have ended; `None` if all peers have died, or control has.
    pub(super) fn join(self, crew: &Crew<'_>) -> Option<Vec<PeerFigures>> {
        let completed: Vec<u64> = crew.board.completed().collect();
        let mut all = Vec::with_capacity(completed.len());
        for (index, (thread, id)) in self.peers.into_iter().zip((0..).map(PeerId)).enumerate() {
            let figures = thread.join().ok().flatten();
            all.push(figures.unwrap_or_else(|| PeerFigures::of_dead(id, crew.cores[index], completed[index])));
        }
        let control = self.control.join().is_ok();
        Some(all).filter(|all| control && all.iter().any(|peer| !peer.outcome.died))
    }
}

/// Places of the mailboxes of ledger and main: pages of several runs from every peer.
const LETTERS: usize = 4096;
/// Places of a peer's mailbox, besides an offer and an answer of each other peer: what the ledger has to say of two sets.
const LETTERS_TO_PEER: usize = 64;
