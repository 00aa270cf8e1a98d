//! The machine of one peer: it holds the peer's shares of the two sets that may be under way, and hands each event to
//! what decides about it.

use super::exchange::Exchange;
use super::pair::Side;
use super::rate::Rate;
use super::repeats::Repeats;
use super::share::Share;
use super::{Action, Answer, Event, HandOver, Learnt, Message, Pair, Rules, Strategy, View, Work, pull};
use crate::units::{Extent, Nanos, PeerId};

/// Decides for one peer what it starts, whom it asks and what it answers.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    me: PeerId,
    /// By sequence modulo two.
    shares: [Share; 2],
    exchange: Exchange,
    rate: Rate,
    repeats: Repeats,
    /// The longest run that is started at once.
    run: u64,
    /// What there was room for when a draw began.
    room: u64,
}

impl Machine {
    /// The machine of peer `me` of `peers`, with what earlier sets have taught. All memory is allocated here.
    pub fn new(rules: Rules, me: PeerId, peers: u16, learnt: &Learnt) -> Machine {
        assert!(me.0 < peers, "{me} is not one of {peers}");
        Machine {
            rules,
            me,
            shares: [Share::new(), Share::new()],
            exchange: Exchange::new(rules, me, peers, learnt),
            rate: Rate::default(),
            repeats: Repeats::new(),
            run: 1,
            room: 0,
        }
    }

    /// Takes one event; the answer is what to do next, if anything.
    pub fn handle(&mut self, now: Nanos, event: Event<'_>) -> Option<Action> {
        match event {
            Event::Begin { sequence, transfers, share } => self.begin(sequence, transfers, share),
            Event::Room { most } => return self.start(now, most),
            Event::Drawn { sequence, extent } => return self.drawn(now, sequence, extent),
            Event::Completed(work) => self.completed(now, work),
            Event::Returned(work) => self.returned(now, work),
            Event::Look(view) => return self.look(now, view),
            Event::Heard { from, message: Message::Offer(offer) } => {
                let share = self.shares.iter_mut().find(|share| share.is(offer.sequence));
                return Some(self.exchange.answer(from, &offer, share, &self.rate));
            }
            Event::Heard { from, message: Message::Answer(answer) } => {
                return self.answered(now, from, &answer).map(Action::Note);
            }
            Event::Ended(view) => self.ended(view.sequence),
            Event::LayDown { gone } => {
                self.exchange.lay_down(gone);
                self.repeats.cancel();
                self.shares.iter_mut().for_each(Share::lay_down);
            }
            Event::TakeUp { sequence, extent } => {
                if let Some(share) = self.share_mut(sequence) {
                    share.laid_down = false;
                    share.receive(extent);
                    self.exchange.forgive();
                }
            }
        }
        None
    }

    /// The set for which a [`View`] shall be made and [`Event::Look`] given, once in this turn; mostly none.
    pub fn wants_to_ask(&self) -> Option<u32> {
        if !self.exchanges() {
            return None;
        }
        let share = self.oldest()?;
        self.exchange.wants_view(share, &self.rate).then_some(share.sequence)
    }

    /// An offer of this peer is not answered yet.
    pub fn is_asking(&self) -> bool {
        self.exchange.is_asking()
    }

    /// What the peer publishes of a set for the others' views: transfers completed, and those that are its and are not.
    /// Nothing of a set that is not under way.
    pub fn progress(&self, sequence: u32) -> (u64, u64) {
        self.shares.iter().find(|share| share.is(sequence)).map_or((0, 0), |share| (share.done, share.left()))
    }

    /// Takes the controller's newest order: the longest run to start or to draw at once.
    pub fn set_run(&mut self, transfers: u64) {
        self.run = transfers.max(1);
    }

    /// Takes the controller's newest order for [`Minimum::Delay`](super::Minimum::Delay); a smaller one than that with
    /// which others refused lets them be asked again.
    pub fn set_minimum(&mut self, minimum: u64) {
        self.exchange.set_minimum(minimum);
    }

    /// What is known of this peer and another; called after [`Event::Ended`] by the lower of the two.
    pub fn learnt(&self, other: PeerId) -> Option<Pair> {
        self.exchange.pair(other)
    }

    fn begin(&mut self, sequence: u32, transfers: u64, part: Extent) {
        self.rate.age();
        if self.oldest().is_none() {
            self.exchange.forgive();
        }
        self.shares[slot(sequence)].begin(sequence, transfers, part, self.rules.strategy == Strategy::Pull);
    }

    /// The oldest set that has something goes first; repeats come last.
    fn start(&mut self, now: Nanos, most: u64) -> Option<Action> {
        let exchanges = self.exchanges();
        let most = most.min(self.run);
        for index in self.oldest_first() {
            let share = &mut self.shares[index];
            let most = if exchanges { most.min(self.exchange.run_of(share.pending())) } else { most };
            let extent = share.start(most);
            if !extent.is_empty() {
                let work = Work { sequence: share.sequence, extent, repeat: false };
                return Some(self.started(now, work));
            }
        }
        if let Some(work) = (most > 0).then(|| self.repeats.next()).flatten() {
            return Some(self.started(now, work));
        }
        self.room = most;
        pull::draw(self.oldest_first().map(|index| &self.shares[index]), most)
    }

    fn drawn(&mut self, now: Nanos, sequence: u32, extent: Extent) -> Option<Action> {
        let share = self.shares.iter_mut().find(|share| share.is(sequence))?;
        if extent.is_empty() {
            share.cursor_open = false;
            return self.start(now, self.room);
        }
        share.fly(extent);
        Some(self.started(now, Work { sequence, extent, repeat: false }))
    }

    fn started(&mut self, now: Nanos, work: Work) -> Action {
        self.rate.started(now, work.extent.count);
        Action::Start(work)
    }

    fn completed(&mut self, now: Nanos, work: Work) {
        self.rate.completed(now, work.extent.count);
        self.exchange.progressed();
        if let Some(share) = self.share_mut(work.sequence).filter(|_| !work.repeat) {
            share.complete(work.extent);
        }
    }

    fn returned(&mut self, now: Nanos, work: Work) {
        self.rate.returned(now, work.extent.count);
        if work.repeat {
            self.repeats.close(work.sequence);
        } else if let Some(share) = self.share_mut(work.sequence) {
            share.take_back(work.extent);
        }
    }

    fn look(&mut self, now: Nanos, view: View<'_>) -> Option<Action> {
        if self.wants_to_ask()? != view.sequence {
            return None;
        }
        let share = self.shares.iter_mut().find(|share| share.is(view.sequence))?;
        self.exchange.look(now, view, share, &self.rate)
    }

    fn answered(&mut self, now: Nanos, from: PeerId, answer: &Answer) -> Option<HandOver> {
        let mut share = self.shares.iter_mut().find(|share| share.is(answer.sequence));
        let note = self.exchange.answered(now, from, answer, share.as_deref_mut())?;
        if share.is_some_and(|share| share.left() == 0) && self.rules.repeat {
            let pair = self.exchange.pair(from).unwrap_or_default();
            self.repeats.plan(answer.sequence, &answer.in_flight, pair.share(Side::of(self.me, from)));
        } else if !answer.extents.is_empty() {
            self.repeats.cancel();
        }
        Some(note)
    }

    fn ended(&mut self, sequence: u32) {
        self.exchange.forgive();
        self.repeats.end(sequence);
        if let Some(share) = self.share_mut(sequence) {
            share.end();
        }
    }

    fn exchanges(&self) -> bool {
        match self.rules.strategy {
            Strategy::Fixed | Strategy::Pull => false,
            Strategy::StealHalf | Strategy::Ratio | Strategy::Measured => true,
        }
    }

    fn share_mut(&mut self, sequence: u32) -> Option<&mut Share> {
        self.shares.iter_mut().find(|share| share.is(sequence))
    }

    fn oldest(&self) -> Option<&Share> {
        self.oldest_first().map(|index| &self.shares[index]).find(|share| share.under_way)
    }

    /// The indices of the shares.
    fn oldest_first(&self) -> std::array::IntoIter<usize, 2> {
        if self.shares[0].sequence <= self.shares[1].sequence { [0, 1] } else { [1, 0] }.into_iter()
    }
}

/// Where the share of a set is kept.
fn slot(sequence: u32) -> usize {
    usize::from(sequence % 2 == 1)
}
