//! The peer and its machine: what happens goes in, what is to be done comes out.

use bireme_control::balance::{Action, Event, Message, View, Work};
use bireme_control::units::{Extent, Nanos, PeerId};

use super::Peer;
use crate::message::{ToLedger, ToPeer};
use crate::port::Port;
use crate::telemetry::State;

impl<P: Port> Peer<P> {
    /// Tells the machine of an event and does what it says; work to start is returned.
    pub(super) fn act(&mut self, now: Nanos, event: Event<'_>) -> Option<Work> {
        let mut action = self.machine.handle(now, event);
        while let Some(Action::Draw { sequence, most }) = action {
            let transfers = self.desk.plans[sequence as usize % 2].as_ref().map_or(0, |plan| plan.pages);
            let extent = self.wiring.board.draw(sequence, transfers, most);
            action = self.machine.handle(now, Event::Drawn { sequence, extent });
        }
        match action {
            Some(Action::Start(work)) => return Some(work),
            Some(Action::Send { to, message }) => {
                self.hand_overs.sent();
                self.to_others.push_back((to, ToPeer::Balance { from: self.wiring.id, message }));
            }
            Some(Action::Note(hand_over)) => {
                self.hand_overs.note(hand_over);
                self.wiring.board.publish_round_trip(self.wiring.id, self.hand_overs.round_trip().mean());
            }
            Some(Action::Draw { .. }) | None => {}
        }
        None
    }

    /// Another peer's letter: the time that it takes is the hand-over's.
    pub(super) fn heard(&mut self, now: Nanos, from: PeerId, message: Message) {
        let began = self.desk.requests.now();
        self.desk.stopwatch.switch(began, State::Handover);
        let sequence = match message {
            Message::Offer(offer) => {
                self.return_unstarted(now, offer.sequence);
                offer.sequence
            }
            Message::Answer(answer) => answer.sequence,
        };
        self.act(now.max(began), Event::Heard { from, message });
        self.publish(sequence);
        let now = self.desk.requests.now();
        self.desk.stopwatch.switch(now, State::Turn);
    }

    /// What was taken up as one run and is not started can move like all that is pending: a page of a run is complete when
    /// the whole run is, so a long one at a slow peer would be the end of the set.
    fn return_unstarted(&mut self, now: Nanos, sequence: u32) {
        let machine = &mut self.machine;
        self.desk.runs.cut(sequence, |extent| {
            let action = machine.handle(now, Event::Returned(Work { sequence, extent, repeat: false }));
            assert!(action.is_none(), "work that comes back asks for nothing");
        });
    }

    /// Asks another peer for work, if the machine wants to.
    pub(super) fn ask(&mut self, now: Nanos) {
        let Some(sequence) = self.machine.wants_to_ask() else { return };
        self.with_view(sequence, |peer, view| {
            peer.act(now, Event::Look(view));
        });
    }

    /// Every page of a set was reported: the machine counts up, and what the pairs that it keeps have learnt goes to the
    /// ledger, before the flush that the commit waits for.
    pub(super) fn end_set(&mut self, now: Nanos, sequence: u32) {
        self.with_view(sequence, |peer, view| {
            peer.act(now, Event::Ended(view));
        });
        self.publish(sequence);
        self.sets[sequence as usize % 2].ended = true;
        let me = self.wiring.id;
        for other in (me.0 + 1..self.wiring.peers).map(PeerId) {
            if let Some(pair) = self.machine.learnt(other) {
                self.letters.push_back(ToLedger::Learnt { peers: [me, other], pair });
            }
        }
    }

    /// The next pages to start, in frames that are neighbours, and the first of these.
    pub(super) fn next_work(&mut self, now: Nanos) -> Option<(Work, u64)> {
        loop {
            let most = u64::from(self.desk.array.run_pages);
            let work = self.act(now, Event::Room { most })?;
            let (sequence, extent) = (work.sequence, work.extent);
            let place = sequence as usize % 2;
            let plan = self.desk.plans[place].as_ref().filter(|plan| plan.sequence == sequence);
            let plan = plan.expect("work comes with its set");
            if work.repeat {
                let spare = plan.spares_of(self.wiring.id).nth(self.sets[place].spares);
                if let Some(frame) = spare {
                    self.sets[place].spares += 1;
                    return Some((work, frame));
                }
                self.act(now, Event::Returned(work));
                continue;
            }
            let frame = plan.frame(extent.start);
            let health = self.desk.health;
            // The same members count for all frames of a run.
            let neighbour = |&page: &u64| {
                plan.frame(extent.start + page) == frame + page && health.lost_of(frame + page) == health.lost_of(frame)
            };
            let together = 1 + (1..extent.count).take_while(neighbour).count() as u64;
            let rest = Extent::new(extent.start + together, extent.count - together);
            if !rest.is_empty() {
                self.act(now, Event::Returned(Work { extent: rest, ..work }));
            }
            return Some((Work { extent: Extent::new(extent.start, together), ..work }, frame));
        }
    }

    /// A peer has died: nothing more of the sets under way is started before the ledger deals them out anew.
    pub(super) fn lay_down(&mut self, now: Nanos, gone: PeerId) {
        self.act(now, Event::LayDown { gone });
        self.to_others.retain(|(to, _)| *to != gone);
        self.deaths += 1;
        self.laying_down = true;
        for place in 0..2 {
            if let Some(sequence) = self.desk.plans[place].as_ref().map(|plan| plan.sequence) {
                self.publish(sequence);
            }
        }
    }

    /// Shows the others how far it is with a set.
    pub(super) fn publish(&self, sequence: u32) {
        // A late letter may name a set whose place another has taken.
        let plan = self.desk.plans[sequence as usize % 2].as_ref();
        if plan.is_none_or(|plan| plan.sequence != sequence) {
            return;
        }
        let (done, left) = self.machine.progress(sequence);
        self.wiring.board.publish_progress(self.wiring.id, sequence, done, left);
    }

    /// How the others are doing, for an event that needs to know.
    fn with_view(&mut self, sequence: u32, tell: impl FnOnce(&mut Self, View<'_>)) {
        let mut view = std::mem::take(&mut self.view);
        self.wiring.board.read_progress(sequence, &mut view);
        let [done, left] = &view;
        tell(self, View { sequence, done, left });
        self.view = view;
    }
}
