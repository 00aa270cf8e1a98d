//! The closed loop: the machines that ship, in a world of simulated peers, letters and devices.
//!
//! ```text
//!            ┌─────────── letters, delay / 2 each way ───────────┐
//!   [ Machine 0 ] ◀─ Completed ─ [ ring, depth deep ]     [ Machine 1 ] ...
//!        └── Start ─▶ in flight, served one after the other ─▶ World::service
//! ```
//!
//! Whatever happens to a peer gives it a turn, as in the data plane: what has happened, then work until its ring is
//! full, then a look at the others if the machine wants one. Time jumps from one happening to the next; what falls on
//! one nanosecond keeps the order in which it was planned, so a run is a function of its scenario.
//!
//! A set begins when the one before it is written. A transfer that another peer repeated may then still be in flight,
//! and holds its place in the ring and the server until it ends: repeating has its price here as it has on devices.
//!
//! The model trusts no machine: it is an error to start a transfer twice, or one that is another peer's, to leave one
//! undone, and to talk for ever.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bireme_control::balance::{Action, Event, Learnt, Machine, Message, View, Work};
use bireme_control::units::{Extent, Nanos, PeerId};

use crate::balance::periodic::Periodic;
use crate::balance::world::{UNIT, World, nanos};
use crate::balance::{Contender, Scenario, SetFigures};

/// All sets of a scenario under one strategy; an error tells what a machine did wrong.
pub(super) fn run(scenario: &Scenario, contender: Contender) -> Result<Vec<SetFigures>, String> {
    let mut model = Model::new(scenario, contender);
    (0..scenario.sets).map(|sequence| model.set(sequence)).collect()
}

#[derive(Debug)]
struct Model<'a> {
    scenario: &'a Scenario,
    contender: Contender,
    world: World,
    peers: Vec<Peer>,
    learnt: Learnt,
    control: Periodic,
    happenings: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    now: u64,
    set: Progress,
}

#[derive(Debug)]
struct Peer {
    machine: Machine,
    /// Started and not ended, in order; the server works at the first.
    in_flight: VecDeque<Work>,
    /// Draws that are on their way, each with a place in the ring.
    draws: u64,
    /// Transfers that its server has begun.
    begun: u64,
    idle_since: Option<u64>,
}

/// The set under way.
#[derive(Debug, Default)]
struct Progress {
    sequence: u32,
    /// Who has started it, a bit per peer.
    starters: Vec<u16>,
    owned: Vec<bool>,
    done: Vec<bool>,
    missing: u64,
    cursor: Extent,
    figures: SetFigures,
}

/// Something that will happen: when, in what order, and what.
#[derive(Debug)]
struct Planned {
    at: u64,
    order: u64,
    happening: Happening,
}

#[derive(Debug)]
enum Happening {
    /// The server has ended the first transfer in flight.
    Served { peer: usize },
    /// A letter arrives.
    Letter { from: usize, to: usize, message: Box<Message> },
    /// A draw arrives at the cursor.
    Draw { peer: usize, sequence: u32, most: u64 },
    /// What was drawn arrives at the peer.
    Drawn { peer: usize, sequence: u32, extent: Extent },
    /// The controller steps.
    Period,
}

impl Model<'_> {
    fn new(scenario: &Scenario, contender: Contender) -> Model<'_> {
        let rules = contender.rules(scenario.minimum, scenario.increment);
        let count = u16::try_from(scenario.speeds.len()).expect("a scenario has at most PEERS_MAX peers");
        let learnt = Learnt::new(rules.strategy, count);
        let peer = |id| Peer {
            machine: Machine::new(rules, PeerId(id), count, &learnt),
            in_flight: VecDeque::with_capacity(scenario.depth),
            draws: 0,
            begun: 0,
            idle_since: None,
        };
        let mut model = Model {
            scenario,
            contender,
            world: World::new(scenario),
            peers: (0..count).map(peer).collect(),
            learnt,
            control: Periodic::new(count),
            happenings: BinaryHeap::new(),
            planned: 0,
            now: 0,
            set: Progress::default(),
        };
        model.plan(0, Happening::Period);
        model
    }

    /// One set from its division to its last transfer.
    fn set(&mut self, index: usize) -> Result<SetFigures, String> {
        let sequence = u32::try_from(index).map_err(|_| "there are too many sets: lower --sets".to_owned())?;
        let (begin, transfers) = (self.now, self.scenario.transfers);
        let counts: Vec<u64> = self.peers.iter().map(|peer| peer.begun).collect();
        if self.scenario.flip == Some(index + 1) {
            let ideal = self.world.ideal(&counts, begin, transfers) - begin;
            self.world.flip(begin + ideal / 2);
        }
        let ideal = self.world.ideal(&counts, begin, transfers) - begin;
        let count = usize::try_from(transfers).map_err(|_| "the sets are too large: lower --transfers".to_owned())?;
        self.set = Progress {
            sequence,
            starters: vec![0; count],
            owned: vec![false; count],
            done: vec![false; count],
            missing: transfers,
            cursor: Extent::new(0, transfers),
            figures: SetFigures { ideal_ns: ideal, ..SetFigures::default() },
        };
        self.begin_all(sequence, transfers)?;
        while self.set.missing > 0 {
            self.step()?;
        }
        assert!(!self.set.done.contains(&false), "a set ends when each of its transfers is done");
        self.end_all(begin);
        Ok(std::mem::take(&mut self.set.figures))
    }

    fn begin_all(&mut self, sequence: u32, transfers: u64) -> Result<(), String> {
        let living = vec![true; self.peers.len()];
        let shares = self.learnt.division(
            self.contender.rules(self.scenario.minimum, self.scenario.increment).strategy,
            transfers,
            &living,
        );
        for (index, share) in shares.into_iter().enumerate() {
            let peer = &mut self.peers[index];
            peer.draws = 0;
            if peer.in_flight.is_empty() {
                peer.idle_since = Some(self.now);
            }
            self.give(index, Event::Begin { sequence, transfers, share })?;
        }
        (0..self.peers.len()).try_for_each(|index| self.turn(index))
    }

    /// Tells every peer that the set is written, and keeps what each pair has learnt.
    fn end_all(&mut self, begin: u64) {
        self.set.figures.makespan_ns = self.now - begin;
        let (done, left) = self.progress();
        let view = View { sequence: self.set.sequence, done: &done, left: &left };
        for peer in &mut self.peers {
            if let Some(since) = peer.idle_since.take() {
                self.set.figures.idle_ns += self.now - since.max(begin);
            }
            peer.machine.handle(Nanos(self.now), Event::Ended(view));
        }
        for (low, peer) in (0..).map(PeerId).zip(&self.peers) {
            for high in (low.0 + 1..).map(PeerId).take(self.peers.len() - low.index() - 1) {
                if let Some(pair) = peer.machine.learnt(high) {
                    self.learnt.note(low, high, pair);
                }
            }
        }
    }

    /// The next happening; an error if none but the controller's period can follow, or too much was said already.
    fn step(&mut self) -> Result<(), String> {
        if let Some(Reverse(next)) = self.happenings.pop() {
            self.happen(next)?;
        }
        if self.happenings.len() <= 1 && self.set.missing > 0 {
            return Err(self.fault(&format!("{} transfers are nobody's", self.set.missing)));
        }
        let work = self.scenario.transfers + self.scenario.depth as u64;
        if self.set.figures.messages > work * self.peers.len() as u64 * MESSAGES_MAX {
            return Err(self.fault("its peers talk without end"));
        }
        Ok(())
    }

    fn happen(&mut self, next: Planned) -> Result<(), String> {
        self.now = next.at;
        match next.happening {
            Happening::Served { peer } => self.served(peer),
            Happening::Letter { from, to, message } => {
                let from = PeerId(u16::try_from(from).expect("peers are few"));
                self.give(to, Event::Heard { from, message: *message })?;
                self.turn(to)
            }
            Happening::Draw { peer, sequence, most } => {
                let current = sequence == self.set.sequence;
                let extent = if current { self.set.cursor.take_front(most) } else { Extent::default() };
                self.plan(self.half_delay(), Happening::Drawn { peer, sequence, extent });
                self.set.figures.messages += 1;
                Ok(())
            }
            Happening::Drawn { sequence, .. } if sequence != self.set.sequence => Ok(()),
            Happening::Drawn { peer, sequence, extent } => {
                self.peers[peer].draws -= 1;
                self.give(peer, Event::Drawn { sequence, extent })?;
                self.turn(peer)
            }
            Happening::Period => self.period(),
        }
    }

    fn served(&mut self, index: usize) -> Result<(), String> {
        let peer = &mut self.peers[index];
        let Some(work) = peer.in_flight.pop_front() else {
            return Err(self.fault("a server worked at nothing"));
        };
        self.control.completed(index);
        if work.sequence == self.set.sequence {
            let done = place(&mut self.set.done, work);
            if !std::mem::replace(done, true) {
                self.set.missing -= 1;
            }
        }
        if peer.in_flight.is_empty() {
            peer.idle_since = Some(self.now)
        } else {
            self.serve(index)
        }
        self.give(index, Event::Completed(work))?;
        if self.set.missing > 0 { self.turn(index) } else { Ok(()) }
    }

    /// The rest of a peer's turn: work for the free places of its ring, and a look at the others.
    fn turn(&mut self, index: usize) -> Result<(), String> {
        while self.peers[index].in_flight.len() as u64 + self.peers[index].draws < self.scenario.depth as u64
            && self.give(index, Event::Room { most: 1 })?
        {}
        if let Some(sequence) = self.peers[index].machine.wants_to_ask() {
            let (done, left) = self.progress();
            self.give(index, Event::Look(View { sequence, done: &done, left: &left }))?;
        }
        Ok(())
    }

    /// Gives a machine an event and does what it says; tells whether that was anything.
    fn give(&mut self, index: usize, event: Event<'_>) -> Result<bool, String> {
        let Some(action) = self.peers[index].machine.handle(Nanos(self.now), event) else { return Ok(false) };
        match action {
            Action::Start(work) => self.start(index, work)?,
            Action::Draw { sequence, most } => {
                self.peers[index].draws += 1;
                self.set.figures.messages += 1;
                self.plan(self.half_delay(), Happening::Draw { peer: index, sequence, most: most.min(1) });
            }
            Action::Send { to, message } => {
                self.set.figures.messages += 1;
                let letter = Happening::Letter { from: index, to: to.index(), message: Box::new(message) };
                self.plan(self.half_delay(), letter);
            }
            Action::Note(note) => {
                self.set.figures.hand_overs += u64::from(note.transfers > 0);
                self.control.note(&note);
            }
        }
        Ok(true)
    }

    fn start(&mut self, index: usize, work: Work) -> Result<(), String> {
        let Extent { start, count } = work.extent;
        if work.sequence != self.set.sequence || count != 1 || start >= self.scenario.transfers {
            return Err(self.fault(&format!("peer {index} starts {count} transfers from {start} on")));
        }
        let starters = place(&mut self.set.starters, work);
        if std::mem::replace(starters, *starters | 1 << index) & 1 << index != 0 {
            return Err(self.fault(&format!("peer {index} starts transfer {start}, which it started before")));
        }
        if work.repeat {
            self.set.figures.repeats += 1;
        } else if std::mem::replace(place(&mut self.set.owned, work), true) {
            return Err(self.fault(&format!("peer {index} starts transfer {start}, which is another peer's")));
        }
        let peer = &mut self.peers[index];
        peer.in_flight.push_back(work);
        if let Some(since) = peer.idle_since.take() {
            self.set.figures.idle_ns += self.now - since;
        }
        if peer.in_flight.len() == 1 {
            self.serve(index);
        }
        Ok(())
    }

    fn serve(&mut self, index: usize) {
        let time = self.world.service(index, self.now, self.peers[index].begun);
        self.peers[index].begun += 1;
        self.plan(time, Happening::Served { peer: index });
    }

    fn period(&mut self) -> Result<(), String> {
        for (peer, minimum) in self.peers.iter_mut().zip(self.control.minimums(self.now, self.set.missing)) {
            peer.machine.set_minimum(minimum);
        }
        self.plan(Periodic::PERIOD.0, Happening::Period);
        (0..self.peers.len()).try_for_each(|index| self.turn(index))
    }

    /// What each peer has done of the set, and what it still has to do.
    fn progress(&self) -> (Vec<u64>, Vec<u64>) {
        self.peers.iter().map(|peer| peer.machine.progress(self.set.sequence)).unzip()
    }

    fn plan(&mut self, after: u64, happening: Happening) {
        self.happenings.push(Reverse(Planned { at: self.now + after, order: self.planned, happening }));
        self.planned += 1;
    }

    fn half_delay(&self) -> u64 {
        nanos(self.scenario.delay * UNIT as f64 / 2.0)
    }

    fn fault(&self, what: &str) -> String {
        let (name, sequence) = (self.contender.name(), self.set.sequence);
        format!("the machines of '{name}' are at fault in set {sequence} after {} ns: {what}", self.now)
    }
}

/// A transfer's place in a table of the set.
fn place<T>(table: &mut [T], work: Work) -> &mut T {
    &mut table[usize::try_from(work.extent.start).expect("checked at the start of the work")]
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

/// More messages per peer and transfer or place in its ring than any exchange needs.
const MESSAGES_MAX: u64 = 100;
