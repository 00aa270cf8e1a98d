//! A world without time, in which anything that can happen happens in any order: letters overtake each other, views are
//! old, runs end in pieces or come back, two sets overlap, peers die with their letters or without.
//!
//! The world keeps its own books of who owns what, and compares.

use std::collections::{BTreeMap, VecDeque};

use super::super::{Action, Event, Learnt, Machine, Message, Pair, Rules, Strategy, View, Work};
use crate::units::{Extent, Nanos, PeerId};

/// What is played.
#[derive(Clone, Debug)]
pub(super) struct Play {
    pub(super) rules: Rules,
    /// Transfers of each set.
    pub(super) sets: Vec<u64>,
    pub(super) peers: u16,
    pub(super) deaths: u16,
    pub(super) seed: u64,
}

/// Who has a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Nobody yet, or not any more: it is on the cursor, or waits to be dealt out.
    Nobody,
    Pending(usize),
    InFlight(usize),
    /// On its way to a peer.
    Letter(usize),
    /// Completed by its owner or by who repeated it.
    Done,
}

/// What the engine tells a peer, in order.
#[derive(Clone, Debug)]
enum Order {
    Begin(u32, u64, Extent),
    Ended(u32),
    LayDown(PeerId),
    TakeUp(u32, Extent),
}

struct Set {
    owners: Vec<Owner>,
    cursor: Extent,
    ended: bool,
    /// It was under way when a peer died, and what is missing is not dealt out yet.
    laid_down: bool,
    begun: Vec<bool>,
    published: Vec<(u64, u64)>,
}

/// What has happened: a property that was never put to the test holds always.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) messages: u64,
    pub(super) hand_overs: u64,
    pub(super) refusals: u64,
    /// Answers with extents that came after a death and did not count.
    pub(super) void: u64,
    pub(super) repeats: u64,
    pub(super) returned: u64,
    pub(super) deaths: u64,
    pub(super) dealt_out: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Seen) {
        self.messages += other.messages;
        self.hand_overs += other.hand_overs;
        self.refusals += other.refusals;
        self.void += other.void;
        self.repeats += other.repeats;
        self.returned += other.returned;
        self.deaths += other.deaths;
        self.dealt_out += other.dealt_out;
    }
}

pub(super) struct Scramble {
    play: Play,
    machines: Vec<Machine>,
    alive: Vec<bool>,
    epochs: Vec<u32>,
    deaths: u32,
    /// The deaths that a peer was told of.
    buried: Vec<Vec<usize>>,
    sets: BTreeMap<u32, Set>,
    next: u32,
    orders: Vec<VecDeque<Order>>,
    works: Vec<Vec<Work>>,
    letters: Vec<(usize, usize, Message)>,
    pub(super) seen: Seen,
    now: u64,
    random: u64,
}

impl Scramble {
    pub(super) fn new(play: Play) -> Scramble {
        let learnt = Learnt::new(play.rules.strategy, play.peers);
        let peers = usize::from(play.peers);
        Scramble {
            machines: (0..play.peers).map(|id| Machine::new(play.rules, PeerId(id), play.peers, &learnt)).collect(),
            alive: vec![true; peers],
            epochs: vec![0; peers],
            deaths: 0,
            buried: vec![Vec::new(); peers],
            sets: BTreeMap::new(),
            next: 0,
            orders: vec![VecDeque::new(); peers],
            works: vec![Vec::new(); peers],
            letters: Vec::new(),
            seen: Seen::default(),
            now: 0,
            random: play.seed | 1,
            play,
        }
    }

    /// Plays until all sets have ended; panics if something is lost, owned twice, or nobody moves any more.
    pub(super) fn run(&mut self) {
        let steps = 4_000 * (10 + self.play.sets.iter().sum::<u64>()) * u64::from(self.play.peers);
        for _ in 0..steps {
            if self.begin_sets() && self.letters.is_empty() && self.orders.iter().all(VecDeque::is_empty) {
                return;
            }
            self.now += self.draw(1000);
            self.engine();
            let peer = self.pick(self.machines.len());
            if self.alive[peer] {
                self.turn(peer);
            }
            self.check();
        }
        let owners: Vec<_> = self.sets.values().map(|set| &set.owners).collect();
        panic!("no end after {steps} steps: {:?} {owners:?} {:?}", self.play, self.letters);
    }

    /// The copies of a pair's record at its two peers.
    pub(super) fn copies(&self) -> Vec<(Pair, Pair)> {
        let pair = |one: usize, other: usize| self.machines[one].learnt(id(other)).unwrap_or_default();
        let ids = 0..self.machines.len();
        ids.clone()
            .flat_map(|low| ids.clone().skip(low + 1).map(move |high| (low, high)))
            .filter(|&(low, high)| self.alive[low] && self.alive[high])
            .map(|(low, high)| (pair(low, high), pair(high, low)))
            .collect()
    }

    /// One thing that a living peer may do.
    fn turn(&mut self, peer: usize) {
        match self.draw(8) {
            0 => self.obey(peer),
            // The higher a peer, the slower it is; letters are as slow.
            1 if self.draw(1 + 4 * peer as u64) == 0 => self.complete(peer),
            2 if self.draw(3) == 0 => self.post(peer),
            1 | 2 => {}
            3 => {
                let (run, minimum) = (1 + self.draw(4), self.draw(3));
                self.machines[peer].set_run(run);
                if self.draw(50) == 0 {
                    self.machines[peer].set_minimum(minimum);
                }
            }
            4 => self.publish(peer),
            5 => self.look(peer),
            _ => {
                let most = 1 + self.draw(4);
                if self.works[peer].len() < 4 {
                    self.give(peer, Event::Room { most });
                }
            }
        }
    }

    /// What the engine does: it begins and ends sets, sees deaths, and deals out what is missing after one.
    fn engine(&mut self) {
        let living = self.alive.iter().filter(|&&alive| alive).count();
        if self.deaths < u32::from(self.play.deaths) && living > 1 && self.draw(400) == 0 {
            let gone = self.pick(self.machines.len());
            if self.alive[gone] {
                self.die(gone);
            }
        }
        let all_laid_down = self.alive.iter().zip(&self.epochs).all(|(&alive, &epoch)| !alive || epoch == self.deaths);
        for sequence in self.sets.keys().copied().collect::<Vec<_>>() {
            let set = &self.sets[&sequence];
            let in_flight = self.works.iter().flatten().any(|work| work.sequence == sequence);
            let waiting =
                self.orders.iter().flatten().any(|order| matches!(order, Order::Begin(s, ..) if *s == sequence));
            if set.ended {
            } else if set.owners.iter().all(|&owner| owner == Owner::Done) && !waiting {
                self.order(Order::Ended(sequence));
                self.sets.get_mut(&sequence).expect("a set").ended = true;
            } else if set.laid_down && all_laid_down && !in_flight && !waiting {
                self.deal_out(sequence);
            }
        }
    }

    /// Begins a set if fewer than two are under way; tells whether there is none left.
    fn begin_sets(&mut self) -> bool {
        let under_way = self.sets.values().filter(|set| !set.ended).count();
        let Some(&transfers) = self.play.sets.get(usize::try_from(self.next).expect("few sets")) else {
            return under_way == 0;
        };
        let free = self.next < 2 || self.sets[&(self.next - 2)].ended;
        if under_way < 2 && free {
            let learnt = Learnt::new(self.play.rules.strategy, self.play.peers);
            let division = learnt.division(self.play.rules.strategy, transfers, &self.alive);
            let pull = self.play.rules.strategy == Strategy::Pull;
            let mut owners = vec![Owner::Nobody; index(transfers)];
            for (peer, part) in division.iter().enumerate() {
                part.iter().for_each(|transfer| owners[index(transfer)] = Owner::Pending(peer));
                if self.alive[peer] {
                    self.orders[peer].push_back(Order::Begin(self.next, transfers, *part));
                }
            }
            let cursor = Extent::new(0, if pull { transfers } else { 0 });
            let peers = self.machines.len();
            let (begun, published) = (vec![false; peers], vec![(0, 0); peers]);
            self.sets.insert(self.next, Set { owners, cursor, ended: false, laid_down: false, begun, published });
            self.next += 1;
        }
        false
    }

    fn die(&mut self, gone: usize) {
        self.alive[gone] = false;
        self.deaths += 1;
        self.seen.deaths += 1;
        self.works[gone].clear();
        self.orders[gone].clear();
        if self.draw(2) == 0 {
            self.letters.retain(|&(from, ..)| from != gone);
        }
        self.letters.retain(|&(_, to, _)| to != gone);
        for set in self.sets.values_mut().filter(|set| !set.ended) {
            set.laid_down = true;
            set.cursor = Extent::default();
        }
        self.order(Order::LayDown(id(gone)));
    }

    /// What nobody has completed goes to the living, in pieces.
    fn deal_out(&mut self, sequence: u32) {
        let living: Vec<_> = (0..self.machines.len()).filter(|&peer| self.alive[peer]).collect();
        self.sets.get_mut(&sequence).expect("a set").laid_down = false;
        living.iter().for_each(|&peer| self.orders[peer].push_back(Order::TakeUp(sequence, Extent::default())));
        for transfer in 0..self.sets[&sequence].owners.len() {
            let peer = living[self.pick(living.len())];
            let owner = &mut self.sets.get_mut(&sequence).expect("a set").owners[transfer];
            if *owner != Owner::Done {
                *owner = Owner::Pending(peer);
                self.seen.dealt_out += 1;
                self.orders[peer].push_back(Order::TakeUp(sequence, Extent::new(transfer as u64, 1)));
            }
        }
    }

    fn order(&mut self, order: Order) {
        for peer in (0..self.machines.len()).filter(|&peer| self.alive[peer]) {
            self.orders[peer].push_back(order.clone());
        }
    }

    fn obey(&mut self, peer: usize) {
        match self.orders[peer].pop_front() {
            Some(Order::Begin(sequence, transfers, share)) => {
                self.sets.get_mut(&sequence).expect("a set").begun[peer] = true;
                self.give(peer, Event::Begin { sequence, transfers, share });
            }
            Some(Order::Ended(sequence)) => {
                let (done, left) = self.sets[&sequence].published.iter().copied().unzip::<_, _, Vec<_>, Vec<_>>();
                self.give(peer, Event::Ended(View { sequence, done: &done, left: &left }));
            }
            Some(Order::LayDown(gone)) => {
                self.epochs[peer] += 1;
                self.buried[peer].push(gone.index());
                self.give(peer, Event::LayDown { gone });
                assert!(!self.machines[peer].is_asking(), "peer {peer} waits for an answer that may never come");
            }
            Some(Order::TakeUp(sequence, extent)) => self.give(peer, Event::TakeUp { sequence, extent }),
            None => {}
        }
    }

    /// Some run of what is in flight ends, or comes back.
    fn complete(&mut self, peer: usize) {
        if self.works[peer].is_empty() {
            return;
        }
        let which = self.pick(self.works[peer].len());
        let work = self.works[peer].swap_remove(which);
        let first = self.draw(work.extent.count);
        let count = 1 + self.draw(work.extent.count - first);
        let part = Extent::new(work.extent.start + first, count);
        let before = Extent::new(work.extent.start, first);
        let after = Extent::new(part.end(), work.extent.end() - part.end());
        let rest = [before, after].into_iter().filter(|extent| !extent.is_empty());
        self.works[peer].extend(rest.map(|extent| Work { extent, ..work }));
        let (ended, returned) = (Work { extent: part, ..work }, self.draw(10) == 0);
        self.seen.returned += u64::from(returned);
        for transfer in part.iter() {
            let owner = self.owner(work.sequence, transfer);
            match *owner {
                Owner::InFlight(whose) if returned && whose == peer && !work.repeat => *owner = Owner::Pending(peer),
                _ if returned => {}
                _ => *owner = Owner::Done,
            }
        }
        self.give(peer, if returned { Event::Returned(ended) } else { Event::Completed(ended) });
    }

    fn post(&mut self, peer: usize) {
        let mine: Vec<_> = (0..self.letters.len()).filter(|&letter| self.letters[letter].1 == peer).collect();
        if mine.is_empty() {
            return;
        }
        let letter = mine[self.pick(mine.len())];
        let (from, _, message) = self.letters.swap_remove(letter);
        if let Message::Answer(answer) = message {
            let valid = answer.epoch == self.epochs[peer];
            match (answer.extents.is_empty(), valid) {
                (true, _) => self.seen.refusals += 1,
                (false, true) => self.seen.hand_overs += 1,
                (false, false) => self.seen.void += 1,
            }
            for transfer in answer.extents.as_slice().iter().flat_map(|extent| extent.iter()).filter(|_| valid) {
                self.hand(answer.sequence, transfer, Owner::Letter(peer), Owner::Pending(peer));
            }
        }
        self.give(peer, Event::Heard { from: id(from), message });
    }

    fn publish(&mut self, peer: usize) {
        for (&sequence, set) in &mut self.sets {
            if set.begun[peer] && !set.ended {
                set.published[peer] = self.machines[peer].progress(sequence);
            }
        }
    }

    fn look(&mut self, peer: usize) {
        if let Some(sequence) = self.machines[peer].wants_to_ask() {
            let (done, left) = self.sets[&sequence].published.iter().copied().unzip::<_, _, Vec<_>, Vec<_>>();
            self.give(peer, Event::Look(View { sequence, done: &done, left: &left }));
        }
    }

    fn give(&mut self, peer: usize, event: Event<'_>) {
        let offered = matches!(event, Event::Heard { message: Message::Offer(_), .. });
        let action = self.machines[peer].handle(Nanos(self.now), event);
        let answered = matches!(action, Some(Action::Send { message: Message::Answer(_), .. }));
        assert_eq!(offered, answered, "each offer is answered at once");
        match action {
            Some(Action::Start(work)) => self.start(peer, work),
            Some(Action::Draw { sequence, most }) => {
                let extent = self.sets.get_mut(&sequence).expect("a set").cursor.take_front(most);
                extent.iter().for_each(|transfer| *self.owner(sequence, transfer) = Owner::Pending(peer));
                self.give(peer, Event::Drawn { sequence, extent });
            }
            Some(Action::Send { to, message }) => self.send(peer, to.index(), message),
            Some(Action::Note(_)) | None => {}
        }
    }

    fn start(&mut self, peer: usize, work: Work) {
        assert!(work.extent.count > 0, "an empty start");
        let set = &self.sets[&work.sequence];
        assert!(!set.laid_down || self.epochs[peer] < self.deaths, "peer {peer} starts before it was dealt out anew");
        self.seen.repeats += u64::from(work.repeat);
        for transfer in work.extent.iter().filter(|_| !work.repeat) {
            self.hand(work.sequence, transfer, Owner::Pending(peer), Owner::InFlight(peer));
        }
        self.works[peer].push(work);
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.seen.messages += 1;
        let dead = matches!(message, Message::Offer(_)) && self.buried[from].contains(&to);
        assert!(!dead && from != to, "peer {from} asks {to}");
        if let Message::Answer(answer) = message {
            for transfer in answer.extents.as_slice().iter().flat_map(|extent| extent.iter()) {
                self.hand(answer.sequence, transfer, Owner::Pending(from), Owner::Letter(to));
            }
        }
        if self.alive[to] {
            self.letters.push((from, to, message));
        }
    }

    /// What the machines say is left is what the books say, as long as nobody has died.
    fn check(&self) {
        for (&sequence, set) in self.sets.iter().filter(|(_, set)| !set.ended && self.deaths == 0) {
            for peer in (0..self.machines.len()).filter(|&peer| set.begun[peer]) {
                let mine = |owner: &&Owner| [Owner::Pending(peer), Owner::InFlight(peer)].contains(owner);
                let booked = set.owners.iter().filter(mine).count() as u64;
                let left = self.machines[peer].progress(sequence).1;
                // What was repeated by another is done in the books before its owner ends it.
                assert!(left == booked || (self.repeats() && left > booked), "peer {peer} has {left}, booked {booked}");
            }
        }
    }

    /// A transfer changes hands. What came back after another had repeated it may be done already.
    fn hand(&mut self, sequence: u32, transfer: u64, from: Owner, to: Owner) {
        let repeats = self.repeats();
        let owner = self.owner(sequence, transfer);
        if !(repeats && *owner == Owner::Done) {
            assert_eq!(*owner, from, "transfer {transfer} of set {sequence} becomes {to:?}");
            *owner = to;
        }
    }

    fn repeats(&self) -> bool {
        self.play.rules.strategy == Strategy::Measured && self.play.rules.repeat
    }

    fn owner(&mut self, sequence: u32, transfer: u64) -> &mut Owner {
        &mut self.sets.get_mut(&sequence).expect("a set").owners[index(transfer)]
    }

    fn pick(&mut self, of: usize) -> usize {
        index(self.draw(of as u64))
    }

    /// A number below `below`: xorshift.
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) % below.max(1)
    }
}

fn id(peer: usize) -> PeerId {
    PeerId(u16::try_from(peer).expect("few peers"))
}

fn index(transfers: u64) -> usize {
    usize::try_from(transfers).expect("a small set")
}
