//! A small world with time: each peer ends one transfer after the other, each in its own constant time, with a ring of
//! some depth, and letters take half a round trip.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::super::{Action, Event, HandOver, Learnt, Machine, Message, Offer, Permille, Rules, Strategy, View, Work};
use crate::units::{Extent, Nanos, PeerId};

pub(super) struct World {
    pub(super) machines: Vec<Machine>,
    /// Nanoseconds per transfer, by peer.
    pub(super) costs: Vec<u64>,
    pub(super) depth: usize,
    pub(super) round_trip: u64,
    pub(super) learnt: Learnt,
    pub(super) now: u64,
    /// Each ask with what its victim had left then, and the pair's ratios after it.
    pub(super) asks: Vec<(HandOver, u64, [Permille; 2])>,
    pub(super) messages: u64,
    strategy: Strategy,
    sequence: u32,
    rings: Vec<VecDeque<(Work, u64)>>,
    letters: BTreeMap<(u64, u64), (PeerId, PeerId, Message)>,
    asked: Vec<u64>,
    cursor: Extent,
    done: Vec<bool>,
    left: usize,
}

impl World {
    pub(super) fn new(rules: Rules, costs: &[u64], depth: usize, round_trip: u64) -> World {
        let peers = u16::try_from(costs.len()).expect("few peers");
        World::with(rules, costs, depth, round_trip, Learnt::new(rules.strategy, peers))
    }

    pub(super) fn with(rules: Rules, costs: &[u64], depth: usize, round_trip: u64, learnt: Learnt) -> World {
        let peers = u16::try_from(costs.len()).expect("few peers");
        World {
            machines: (0..peers).map(|id| Machine::new(rules, PeerId(id), peers, &learnt)).collect(),
            costs: costs.to_vec(),
            depth,
            round_trip,
            learnt,
            now: 0,
            asks: Vec::new(),
            messages: 0,
            strategy: rules.strategy,
            sequence: 0,
            rings: vec![VecDeque::new(); costs.len()],
            letters: BTreeMap::new(),
            asked: vec![0; costs.len()],
            cursor: Extent::default(),
            done: Vec::new(),
            left: 0,
        }
    }

    /// Works one set off; returns the makespan.
    pub(super) fn set(&mut self, transfers: u64) -> u64 {
        let start = self.now;
        let division = self.learnt.division(self.strategy, transfers, &vec![true; self.costs.len()]);
        self.cursor = Extent::new(0, if self.strategy == Strategy::Pull { transfers } else { 0 });
        (self.done, self.left) = (vec![false; index(transfers)], index(transfers));
        for (peer, &share) in division.iter().enumerate() {
            self.give(peer, Event::Begin { sequence: self.sequence, transfers, share });
        }
        self.settle();
        while self.left > 0 {
            self.step();
            self.settle();
        }
        self.view(|peer, view| {
            peer.handle(Nanos(0), Event::Ended(view));
        });
        for low in 0..self.machines.len() {
            for high in low + 1..self.machines.len() {
                let (low_id, high_id) = (id(low), id(high));
                if let Some(pair) = self.machines[low].learnt(high_id) {
                    self.learnt.note(low_id, high_id, pair);
                }
            }
        }
        let makespan = self.now - start;
        self.drain();
        self.sequence += 1;
        makespan
    }

    /// What was repeated by others ends, and letters arrive, before the next set begins.
    fn drain(&mut self) {
        while self.next().is_some() {
            self.step();
        }
    }

    fn next(&self) -> Option<u64> {
        let rings = self.rings.iter().filter_map(|ring| ring.front().map(|&(_, end)| end));
        rings.chain(self.letters.keys().map(|&(at, _)| at)).min()
    }

    /// All that happens at the next point in time.
    fn step(&mut self) {
        let now = self.next().unwrap_or_else(|| panic!("{} transfers are left and nobody moves", self.left));
        assert!(now < 1 << 40, "the set does not end");
        self.now = now;
        for peer in 0..self.rings.len() {
            while let Some((work, _)) = self.rings[peer].pop_front_if(|&mut (_, end)| end == now) {
                let transfer = index(work.extent.start);
                assert!(work.repeat || self.left == 0 || !self.done[transfer] || self.repeats(), "done twice");
                if self.left > 0 && !std::mem::replace(&mut self.done[transfer], true) {
                    self.left -= 1;
                }
                self.give(peer, Event::Completed(work));
                if let Some(next) = self.rings[peer].front_mut() {
                    next.1 = now + self.costs[peer];
                }
            }
        }
        while let Some((key, (from, to, message))) =
            self.letters.first_key_value().map(|(&k, &l)| (k, l)).filter(|&((at, _), _)| at <= now)
        {
            self.letters.remove(&key);
            self.deliver(from, to, message);
        }
    }

    /// Everybody takes its turn at this point in time: what has room starts, who is dry asks, who was given work starts.
    fn settle(&mut self) {
        if self.left == 0 {
            return;
        }
        (0..self.costs.len()).for_each(|peer| self.fill(peer));
        for peer in 0..self.costs.len() {
            if self.machines[peer].wants_to_ask().is_some() {
                let (done, left) = self.figures();
                let view = View { sequence: self.sequence, done: &done, left: &left };
                self.give(peer, Event::Look(view));
            }
        }
        (0..self.costs.len()).for_each(|peer| self.fill(peer));
    }

    fn fill(&mut self, peer: usize) {
        loop {
            let used: usize = self.rings[peer].len();
            let most = (self.depth - used.min(self.depth)) as u64;
            if most == 0 || !self.give(peer, Event::Room { most }) {
                return;
            }
        }
    }

    /// Gives an event and does what the machine wants; tells whether it wanted anything.
    fn give(&mut self, peer: usize, event: Event<'_>) -> bool {
        let Some(action) = self.machines[peer].handle(Nanos(self.now), event) else { return false };
        match action {
            Action::Start(work) => {
                for transfer in work.extent.iter() {
                    let end = if self.rings[peer].is_empty() { self.now + self.costs[peer] } else { u64::MAX };
                    let work = Work { extent: Extent::new(transfer, 1), ..work };
                    self.rings[peer].push_back((work, end));
                }
            }
            Action::Draw { sequence, most } => {
                let extent = self.cursor.take_front(most);
                return self.give(peer, Event::Drawn { sequence, extent });
            }
            Action::Send { to, message } => {
                self.messages += 1;
                if self.round_trip == 0 {
                    self.deliver(id(peer), to, message);
                } else {
                    self.letters.insert((self.now + self.round_trip / 2, self.messages), (id(peer), to, message));
                }
            }
            Action::Note(note) => {
                let ratios = self.machines[peer].learnt(note.from).unwrap_or_default().ratios;
                self.asks.push((note, self.asked[peer], ratios));
            }
        }
        true
    }

    fn deliver(&mut self, from: PeerId, to: PeerId, message: Message) {
        if let Message::Offer(Offer { sequence, .. }) = message {
            self.asked[from.index()] = self.machines[to.index()].progress(sequence).1;
        }
        self.give(to.index(), Event::Heard { from, message });
    }

    fn figures(&self) -> (Vec<u64>, Vec<u64>) {
        self.machines.iter().map(|machine| machine.progress(self.sequence)).unzip()
    }

    fn view(&mut self, mut each: impl FnMut(&mut Machine, View<'_>)) {
        let (done, left) = self.figures();
        for machine in &mut self.machines {
            each(machine, View { sequence: self.sequence, done: &done, left: &left });
        }
    }

    fn repeats(&self) -> bool {
        self.strategy == Strategy::Measured
    }
}

/// When the last transfer ends if nobody ever idles.
pub(super) fn optimum(costs: &[u64], transfers: u64) -> u64 {
    let mut ends: BinaryHeap<_> = costs.iter().map(|&cost| Reverse((cost, cost))).collect();
    let mut last = 0;
    for _ in 0..transfers {
        let Reverse((end, cost)) = ends.pop().expect("there are peers");
        ends.push(Reverse((end + cost, cost)));
        last = end;
    }
    last
}

fn id(peer: usize) -> PeerId {
    PeerId(u16::try_from(peer).expect("few peers"))
}

fn index(transfers: u64) -> usize {
    usize::try_from(transfers).expect("a small set")
}
