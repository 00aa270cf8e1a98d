//! Asking and answering: one peer's dealings with all others.
//!
//! ```text
//!   asker                                   victim
//!   dry, or soon to be: look at all,
//!   learn, choose whom to ask
//!   offer(own, pair) ─────────────────────▶ merge the pair; decide the portion; take it from the back
//!   merge the pair; the extents are mine ◀─────────────── answer(extents, pair)
//! ```
//!
//! An answer never waits, and a peer has one offer out at a time, so crossing offers cannot block each other: a victim
//! that is dry itself refuses, and a victim always keeps one transfer, so that none is passed to and fro for ever. Who
//! has refused is not asked again before the work has moved.
//!
//! After a death all that was not started is dealt out anew, and letters from before it must not count: each names the
//! deaths that its sender knows of, its *epoch*.

use super::extents::Extents;
use super::pair::{ONE, Pair, Side};
use super::rate::Rate;
use super::share::Share;
use super::{Action, Answer, HandOver, Message, Minimum, Offer, Reason, Rules, Strategy, View};
use super::{Learnt, measured, ratio, steal_half};
use crate::units::{Nanos, PeerId, Permille};

/// The dealings of one peer.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    rules: Rules,
    me: PeerId,
    others: Vec<Other>,
    asked: Option<Ask>,
    epoch: u32,
    /// From offer to answer, a moving mean; zero while unknown.
    round_trip: Nanos,
    /// The newest order, for [`Minimum::Delay`].
    minimum: u64,
    /// What it was when another refused last; zero if nobody has.
    minimum_refused: u64,
    /// This peer has completed something since its last ask.
    progressed: bool,
}

/// What is known of another peer.
#[derive(Clone, Copy, Debug)]
struct Other {
    pair: Pair,
    standing: Standing,
}

/// Whether a peer may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    /// It refused before this peer was dry, and may be asked once more then.
    RefusedEarly,
    Refused,
    /// It is dead, or this peer itself.
    Gone,
}

/// An offer that is out.
#[derive(Clone, Copy, Debug)]
struct Ask {
    at: Nanos,
    to: PeerId,
    sequence: u32,
    reason: Reason,
}

impl Exchange {
    pub(super) fn new(rules: Rules, me: PeerId, peers: u16, learnt: &Learnt) -> Exchange {
        let other = |peer| Other {
            pair: learnt.pair(me, peer),
            standing: if peer == me { Standing::Gone } else { Standing::Open },
        };
        Exchange {
            rules,
            me,
            others: (0..peers).map(PeerId).map(other).collect(),
            asked: None,
            epoch: 0,
            round_trip: Nanos::ZERO,
            minimum: 1,
            minimum_refused: 0,
            progressed: true,
        }
    }

    /// Whether a view of the oldest set is wanted.
    pub(super) fn wants_view(&self, share: &Share, rate: &Rate) -> bool {
        self.survey_is_due(share) || self.reason(share, rate).is_some()
    }

    /// Sees how all are doing: learns from it, and asks the peer that has the longest way to go if there is a reason.
    pub(super) fn look(&mut self, now: Nanos, view: View<'_>, share: &mut Share, rate: &Rate) -> Option<Action> {
        let reason = self.reason(share, rate);
        if self.rules.strategy == Strategy::Measured {
            self.learn(view, share);
            share.surveyed |= self.survey_is_due(share);
        }
        let reason = reason?;
        let to = self.longest(view, reason)?;
        self.asked = Some(Ask { at: now, to, sequence: share.sequence, reason });
        self.progressed = false;
        let offer = Offer {
            sequence: share.sequence,
            epoch: self.epoch,
            own: share.left(),
            round_trip: self.round_trip,
            pair: self.others[to.index()].pair,
        };
        Some(Action::Send { to, message: Message::Offer(offer) })
    }

    /// Answers an offer, with what of the share is the asker's from now on.
    pub(super) fn answer(&mut self, from: PeerId, offer: &Offer, share: Option<&mut Share>, rate: &Rate) -> Action {
        let nothing = Permille::default();
        let mut answer = Answer {
            sequence: offer.sequence,
            epoch: offer.epoch,
            extents: Extents::new(),
            in_flight: Extents::new(),
            share: nothing,
            pair: offer.pair,
        };
        let side = Side::of(self.me, from);
        if let Some(other) = self.others.get_mut(from.index()).filter(|other| other.standing != Standing::Gone) {
            other.pair.merge(offer.pair, side);
            answer.pair = other.pair;
            if let Some(share) = share.filter(|share| offer.epoch == self.epoch && share.left() > 0) {
                self.decide(from, offer, share, rate, &mut answer);
            }
        }
        Action::Send { to: from, message: Message::Answer(answer) }
    }

    /// Takes an answer; the note is for the report, and there is none of an answer that does not count.
    pub(super) fn answered(
        &mut self,
        now: Nanos,
        from: PeerId,
        answer: &Answer,
        share: Option<&mut Share>,
    ) -> Option<HandOver> {
        let matches = |ask: &mut Ask| ask.to == from && ask.sequence == answer.sequence;
        if answer.epoch != self.epoch {
            return None;
        }
        let ask = self.asked.take_if(matches)?;
        let round_trip = now.since(ask.at);
        self.round_trip = match self.round_trip {
            Nanos::ZERO => round_trip,
            mean => Nanos(mean.0 - mean.0 / 4 + round_trip.0 / 4),
        };
        let other = &mut self.others[from.index()];
        other.pair.merge(answer.pair, Side::of(self.me, from));
        if let Some(share) = share {
            answer.extents.as_slice().iter().for_each(|&extent| share.receive(extent));
            if !answer.extents.is_empty() {
                self.forgive();
            } else {
                other.standing = if share.left() == 0 { Standing::Refused } else { Standing::RefusedEarly };
                self.minimum_refused = self.minimum;
            }
        }
        Some(HandOver {
            at: now,
            round_trip,
            sequence: ask.sequence,
            from,
            to: self.me,
            transfers: answer.extents.transfers(),
            reason: ask.reason,
            share: answer.share,
        })
    }

    /// A peer has died.
    pub(super) fn lay_down(&mut self, gone: PeerId) {
        self.epoch += 1;
        self.asked = None;
        self.forgive();
        if let Some(other) = self.others.get_mut(gone.index()) {
            other.standing = Standing::Gone;
        }
    }

    /// The work has moved: whoever refused may be asked again.
    pub(super) fn forgive(&mut self) {
        self.minimum_refused = 0;
        for other in self.others.iter_mut().filter(|other| other.standing != Standing::Gone) {
            other.standing = Standing::Open;
        }
    }

    /// The newest order. Only a smaller minimum can turn a refusal into an assent.
    pub(super) fn set_minimum(&mut self, minimum: u64) {
        self.minimum = minimum;
        let matters = self.rules.strategy == Strategy::Ratio && self.rules.minimum == Minimum::Delay;
        if matters && minimum < self.minimum_refused {
            self.forgive();
        }
    }

    /// This peer has completed something.
    pub(super) fn progressed(&mut self) {
        self.progressed = true;
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// What is known of this peer and another.
    pub(super) fn pair(&self, other: PeerId) -> Option<Pair> {
        self.others.get(other.index()).map(|other| other.pair).filter(Pair::is_known)
    }

    /// The longest run of what is pending: the rest must be enough for whoever runs dry, and what is started is locked.
    /// With measured shares that is what this peer would keep; by halves and ratios it may be asked for most of it.
    pub(super) fn run_of(&self, pending: u64) -> u64 {
        let living = (0..).map(PeerId).zip(&self.others).filter(|(_, other)| other.standing != Standing::Gone);
        let kept = match self.rules.strategy {
            Strategy::Measured => {
                let shares = living.map(|(id, other)| other.pair.share(Side::of(self.me, id)));
                let kept = u128::from(pending) * u128::from(shares.min().unwrap_or(ONE)) / u128::from(ONE);
                u64::try_from(kept).unwrap_or(pending)
            }
            _ => pending / 4,
        };
        kept.max(1)
    }

    /// Why to ask about the oldest set now, if there is a reason.
    fn reason(&self, share: &Share, rate: &Rate) -> Option<Reason> {
        if self.asked.is_some() || share.laid_down {
            return None;
        }
        let early = self.rules.strategy == Strategy::Measured && self.rules.early;
        let reason = if share.left() == 0 {
            Reason::Dry
        } else if !early || !self.progressed || !share.has_room() {
            return None;
        } else if share.pending() == 0 || rate.outruns(share.pending(), self.round_trip) {
            Reason::Early
        } else if self.round_trip == Nanos::ZERO && self.survey_is_due(share) {
            Reason::Probe
        } else {
            return None;
        };
        self.others.iter().any(|other| other.standing.may_be_asked(reason)).then_some(reason)
    }

    /// At half of its part a peer looks at all others once, when most probably nobody has idled yet.
    fn survey_is_due(&self, share: &Share) -> bool {
        let half_done = share.done > 0 && share.done >= share.left();
        half_done && self.rules.strategy == Strategy::Measured && !share.surveyed && !share.laid_down
    }

    /// Compares this peer with all others that have been busy as long as itself.
    fn learn(&mut self, view: View<'_>, share: &Share) {
        if share.left() == 0 && self.others.iter().any(|other| other.standing == Standing::Refused) {
            return;
        }
        for ((id, other), (&left, &done)) in
            (0..).map(PeerId).zip(&mut self.others).zip(view.left.iter().zip(view.done))
        {
            if left > 0 && other.standing != Standing::Gone {
                measured::learn(&mut other.pair, view.sequence, Side::of(self.me, id).arrange(share.done, done));
            }
        }
    }

    /// The portion, by the strategy.
    fn decide(&mut self, from: PeerId, offer: &Offer, share: &mut Share, rate: &Rate, answer: &mut Answer) {
        let (remaining, asker) = (share.left(), Side::of(from, self.me));
        let movable = share.pending().min(remaining.saturating_sub(1));
        let pair = &mut answer.pair;
        let portion = match self.rules.strategy {
            Strategy::Fixed | Strategy::Pull => 0,
            Strategy::StealHalf => steal_half::portion(movable),
            Strategy::Ratio => {
                let minimum = match self.rules.minimum {
                    Minimum::Transfers(transfers) => transfers,
                    Minimum::Share(part) => part.of(share.transfers),
                    Minimum::Delay => self.minimum,
                };
                let holding = ratio::Holding { remaining, movable, minimum };
                let (portion, share) =
                    ratio::portion(pair, asker.other(), offer.sequence, holding, self.rules.increment);
                answer.share = share;
                portion
            }
            Strategy::Measured => {
                if self.round_trip == Nanos::ZERO {
                    self.round_trip = offer.round_trip;
                }
                let round_trip = if offer.round_trip == Nanos::ZERO { self.round_trip } else { offer.round_trip };
                answer.share = pair.permille(asker);
                let holding = measured::Holding { remaining, own: offer.own, movable, round_trip };
                measured::portion(pair, asker, holding, rate)
            }
        };
        self.others[from.index()].pair = *pair;
        answer.extents = share.give(portion);
        if !answer.extents.is_empty() {
            self.forgive();
        } else if self.rules.strategy == Strategy::Measured && self.rules.repeat {
            answer.in_flight = share.in_flight();
        }
    }

    /// Of those that may be asked, the one that needs the longest for what it has left. What it has done so far stands
    /// for its speed.
    fn longest(&self, view: View<'_>, reason: Reason) -> Option<PeerId> {
        let mut longest: Option<(PeerId, u128, u128)> = None;
        let figures = view.left.iter().zip(view.done);
        for ((id, other), (&left, &done)) in (0..).map(PeerId).zip(&self.others).zip(figures) {
            let (left, speed) = (u128::from(left), u128::from(done) + 1);
            let longer = longest.is_none_or(|(_, most, its_speed)| left * its_speed > most * speed);
            if left > 0 && longer && other.standing.may_be_asked(reason) {
                longest = Some((id, left, speed));
            }
        }
        longest.map(|(id, ..)| id)
    }
}

impl Standing {
    fn may_be_asked(self, reason: Reason) -> bool {
        self == Standing::Open || (self == Standing::RefusedEarly && reason == Reason::Dry)
    }
}
