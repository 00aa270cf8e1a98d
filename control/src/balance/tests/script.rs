//! One machine, told what happens step by step.

use super::super::extents::Extents;
use super::super::{Action, Answer, Event, HandOver, Learnt, Machine, Message, Minimum, Offer, Pair, Reason, Rules};
use super::super::{Strategy, View, Work};
use crate::units::{Extent, Nanos, PeerId, Permille};

/// Peer 1 of three, with a part of set 0.
struct Script {
    machine: Machine,
    now: u64,
}

impl Script {
    fn new(rules: Rules, part: Extent) -> Script {
        let machine = Machine::new(rules, PeerId(1), 3, &Learnt::new(rules.strategy, 3));
        let mut script = Script { machine, now: 0 };
        script.give(Event::Begin { sequence: 0, transfers: 1000, share: part });
        script
    }

    fn give(&mut self, event: Event<'_>) -> Option<Action> {
        self.now += 100;
        self.machine.handle(Nanos(self.now), event)
    }

    fn start(&mut self, most: u64) -> Option<Work> {
        match self.give(Event::Room { most }) {
            Some(Action::Start(work)) => Some(work),
            Some(action) => panic!("{action:?}"),
            None => None,
        }
    }

    /// Starts and completes transfers one by one.
    fn work(&mut self, transfers: u64) {
        for _ in 0..transfers {
            let work = self.start(1).expect("something to start");
            assert_eq!(self.give(Event::Completed(work)), None);
        }
    }

    /// Looks at others that have done so much and have so much left; tells whom it asks.
    fn ask(&mut self, done: [u64; 3], left: [u64; 3]) -> Option<(u16, Offer)> {
        let sequence = self.machine.wants_to_ask()?;
        match self.give(Event::Look(View { sequence, done: &done, left: &left })) {
            Some(Action::Send { to, message: Message::Offer(offer) }) => Some((to.0, offer)),
            Some(action) => panic!("{action:?}"),
            None => None,
        }
    }

    fn answer(&mut self, from: u16, extents: &[Extent], in_flight: &[Extent], pair: Pair) -> HandOver {
        let list = |parts: &[Extent]| {
            let mut list = Extents::new();
            parts.iter().for_each(|&part| list.push(part).expect("few parts"));
            list
        };
        let (extents, in_flight, share) = (list(extents), list(in_flight), Permille::default());
        let answer = Answer { sequence: 0, epoch: 0, extents, in_flight, share, pair };
        match self.give(Event::Heard { from: PeerId(from), message: Message::Answer(answer) }) {
            Some(Action::Note(note)) => note,
            action => panic!("{action:?}"),
        }
    }

    fn refuse(&mut self, from: u16) -> HandOver {
        self.answer(from, &[], &[], Pair::default())
    }

    /// Another asks; the answer is what it gets.
    fn offer(&mut self, from: u16, own: u64) -> Answer {
        let pair = Pair::default();
        let offer = Offer { sequence: 0, epoch: 0, own, round_trip: Nanos(1), pair };
        match self.give(Event::Heard { from: PeerId(from), message: Message::Offer(offer) }) {
            Some(Action::Send { message: Message::Answer(answer), .. }) => answer,
            action => panic!("{action:?}"),
        }
    }
}

fn rules(strategy: Strategy) -> Rules {
    Rules { strategy, ..Rules::default() }
}

#[test]
fn a_victim_keeps_one_transfer() {
    for strategy in [Strategy::StealHalf, Strategy::Ratio, Strategy::Measured] {
        let rules = Rules { minimum: Minimum::Transfers(0), ..rules(strategy) };
        assert!(Script::new(rules, Extent::new(0, 1)).offer(0, 0).extents.is_empty(), "{strategy:?}");
        assert_eq!(Script::new(rules, Extent::new(0, 2)).offer(0, 0).extents.as_slice(), [Extent::new(1, 1)]);
        let mut script = Script::new(rules, Extent::new(0, 2));
        script.start(1);
        assert_eq!(script.offer(0, 0).extents.as_slice(), [Extent::new(1, 1)], "what is in flight is kept");
    }
}

#[test]
fn the_one_with_the_longest_way_is_asked_and_each_refusal_leads_to_the_next() {
    #[rustfmt::skip]
    let cases = [
        // why,                              done,         left,         asked
        ("the most left",                    [9, 0, 9],    [10, 0, 20],  Some(2)),
        ("the slower of equals",             [4, 0, 9],    [10, 0, 10],  Some(0)),
        ("slow counts more than much",       [1, 0, 9],    [10, 0, 20],  Some(0)),
        ("the lower on ties",                [9, 0, 9],    [20, 0, 20],  Some(0)),
        ("none that has nothing left",       [0, 0, 99],   [0, 0, 1],    Some(2)),
        ("nobody has anything left",         [0, 0, 0],    [0, 0, 0],    None),
    ];
    for (why, done, left, want) in cases {
        let mut script = Script::new(rules(Strategy::StealHalf), Extent::default());
        assert_eq!(script.ask(done, left).map(|(to, _)| to), want, "{why}");
    }
    let (done, left) = ([9, 0, 9], [10, 0, 20]);
    let mut script = Script::new(rules(Strategy::StealHalf), Extent::default());
    assert_eq!(script.ask(done, left).map(|(to, _)| to), Some(2));
    assert!(script.machine.is_asking() && script.machine.wants_to_ask().is_none(), "one offer at a time");
    script.refuse(2);
    assert_eq!(script.ask(done, left).map(|(to, _)| to), Some(0));
    script.refuse(0);
    assert_eq!(script.machine.wants_to_ask(), None, "all have refused");
}

#[test]
fn who_refused_may_be_asked_again_when_the_work_has_moved() {
    let (done, left) = ([9, 0, 9], [10, 0, 20]);
    let refused = |rules: Rules| {
        let mut script = Script::new(rules, Extent::default());
        script.machine.set_minimum(7);
        for peer in [2, 0] {
            assert_eq!(script.ask(done, left).map(|(to, _)| to), Some(peer));
            script.refuse(peer);
        }
        assert_eq!(script.machine.wants_to_ask(), None);
        script
    };
    let mut script = refused(rules(Strategy::StealHalf));
    script.give(Event::TakeUp { sequence: 0, extent: Extent::new(50, 4) });
    assert_eq!(script.offer(0, 0).extents.transfers(), 2, "it has something to give");
    script.work(2);
    assert_eq!(script.machine.wants_to_ask(), Some(0), "after a take-up");
    let mut script = Script::new(rules(Strategy::StealHalf), Extent::default());
    for (peer, extents) in [(2, &[][..]), (0, &[Extent::new(7, 2)])] {
        assert_eq!(script.ask(done, left).map(|(to, _)| to), Some(peer));
        script.answer(peer, extents, &[], Pair::default());
    }
    script.work(2);
    assert_eq!(script.ask(done, left).map(|(to, _)| to), Some(2), "after assistance received");
    // Early refusals, of a peer that still has two to start, are forgotten too when one of these is given away.
    let mut script = Script::new(rules(Strategy::Measured), Extent::new(0, 4));
    let first = script.start(2).expect("a start");
    script.give(Event::Completed(first));
    script.machine.set_run(1);
    let second = script.start(1).expect("a start");
    script.give(Event::Completed(second));
    for peer in [2, 0] {
        assert_eq!(script.ask([0, 2, 0], left).map(|(to, _)| to), Some(peer));
        script.now += 10_000;
        script.refuse(peer);
        script.give(Event::Completed(Work { repeat: true, ..first }));
    }
    assert_eq!(script.machine.wants_to_ask(), None);
    assert_eq!(script.offer(0, 0).extents.transfers(), 1);
    assert_eq!(script.machine.wants_to_ask(), Some(0), "after assistance given");
    let mut script = refused(Rules { minimum: Minimum::Delay, ..rules(Strategy::Ratio) });
    script.machine.set_minimum(8);
    script.machine.set_minimum(7);
    assert_eq!(script.machine.wants_to_ask(), None, "no smaller than when it was refused");
    script.machine.set_minimum(6);
    assert_eq!(script.machine.wants_to_ask(), Some(0), "a smaller minimum");
    let mut script = refused(rules(Strategy::Ratio));
    script.machine.set_minimum(1);
    assert_eq!(script.machine.wants_to_ask(), None, "the minimum is fixed");
    let mut script = refused(rules(Strategy::Ratio));
    script.give(Event::Begin { sequence: 1, transfers: 10, share: Extent::default() });
    assert_eq!(script.machine.wants_to_ask(), None, "still about the older set");
    script.give(Event::Ended(View { sequence: 0, done: &done, left: &left }));
    assert_eq!(script.machine.wants_to_ask(), Some(1), "a new set");
}

#[test]
fn an_early_ask_comes_a_round_trip_before_the_end_and_once_per_progress() {
    let mut script = Script::new(rules(Strategy::Measured), Extent::new(0, 40));
    assert_eq!(script.machine.wants_to_ask(), None);
    script.work(20);
    let (done, left) = ([10, 20, 10], [30, 20, 10]);
    let (to, offer) = script.ask(done, left).expect("a probe at half of its part");
    assert_eq!((to, offer.own, offer.pair.rho), (0, 20, Some(333_333)), "it has learnt before it asks");
    script.now += 500;
    let note = script.refuse(0);
    assert_eq!((note.round_trip, note.reason), (Nanos(600), Reason::Probe));
    assert_eq!(script.machine.wants_to_ask(), None, "one survey in a set");
    // A transfer takes 100 ns, so six of them are a round trip.
    script.work(14);
    assert_eq!(script.machine.wants_to_ask(), None);
    script.work(1);
    let (to, _) = script.ask(done, left).expect("an early ask");
    assert_eq!(to, 2, "peer 0 has refused early already");
    script.now += 1_300;
    let note = script.answer(2, &[Extent::new(900, 1)], &[], Pair::default());
    assert_eq!((note.round_trip, note.reason, note.transfers), (Nanos(1_400), Reason::Early, 1));
    assert_eq!(script.machine.wants_to_ask(), None, "nothing was completed since");
    script.work(1);
    let (_, offer) = script.ask(done, left).expect("an early ask");
    assert_eq!(offer.round_trip, Nanos(800), "a quarter of each new figure");
    script.refuse(0);
    script.work(1);
    script.ask(done, left).expect("the other one");
    script.refuse(2);
    script.work(3);
    assert_eq!(script.machine.wants_to_ask(), None, "both have refused early");
    script.work(1);
    assert!(script.ask(done, left).is_some(), "and may be asked again by one that is dry");
    assert_eq!(script.refuse(0).reason, Reason::Dry);
}

#[test]
fn work_is_started_from_the_oldest_set_in_runs_that_shrink() {
    // Of 9, and then of the 2 of the next set.
    let runs = |strategy| {
        let mut script = Script::new(rules(strategy), Extent::new(0, 9));
        script.give(Event::Begin { sequence: 1, transfers: 10, share: Extent::new(4, 2) });
        script.machine.set_run(8);
        let runs = std::iter::from_fn(|| script.start(4)).map(|work| (work.sequence, work.extent.count));
        runs.collect::<Vec<_>>()
    };
    let halves = [(0, 4), (0, 2), (0, 1), (0, 1), (0, 1), (1, 1), (1, 1)];
    assert_eq!(runs(Strategy::Measured), halves, "what it would keep of a peer that is as fast for all it knows");
    let quarters = [(0, 2), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (1, 1), (1, 1)];
    assert_eq!(runs(Strategy::StealHalf), quarters);
    assert_eq!(runs(Strategy::Ratio), quarters);
    let mut learnt = Learnt::new(Strategy::Measured, 2);
    learnt.note(PeerId(0), PeerId(1), Pair { rho: Some(800_000), ..Pair::default() });
    let first = |me| {
        let mut machine = Machine::new(rules(Strategy::Measured), PeerId(me), 2, &learnt);
        machine.set_run(16);
        machine.handle(Nanos(0), Event::Begin { sequence: 0, transfers: 10, share: Extent::new(0, 10) });
        machine.handle(Nanos(0), Event::Room { most: 16 })
    };
    let run = |count| Some(Action::Start(Work { sequence: 0, extent: Extent::new(0, count), repeat: false }));
    assert_eq!((first(0), first(1)), (run(8), run(2)), "the slower one keeps more of it movable");
    let mut script = Script::new(rules(Strategy::Fixed), Extent::new(0, 9));
    script.machine.set_run(4);
    assert_eq!(script.start(8).map(|work| work.extent.count), Some(4), "no longer than the order");
    assert_eq!(script.start(3).map(|work| work.extent.count), Some(3), "no more than there is room for");
    assert_eq!(script.start(3).map(|work| work.extent.count), Some(2), "and all that is left");
    assert_eq!(script.machine.progress(0), (0, 9));
    assert_eq!(script.machine.progress(1), (0, 0), "not begun");
}

#[test]
fn pull_draws_from_the_oldest_cursor_until_a_death_closes_it() {
    let mut script = Script::new(rules(Strategy::Pull), Extent::default());
    script.give(Event::Begin { sequence: 1, transfers: 10, share: Extent::default() });
    script.machine.set_run(3);
    let draw = |sequence| Some(Action::Draw { sequence, most: 3 });
    assert_eq!(script.give(Event::Room { most: 5 }), draw(0));
    let work = Work { sequence: 0, extent: Extent::new(0, 3), repeat: false };
    let drawn = script.give(Event::Drawn { sequence: 0, extent: work.extent });
    assert_eq!(drawn, Some(Action::Start(work)));
    let rest = Work { extent: Extent::new(1, 2), ..work };
    script.give(Event::Returned(rest));
    assert_eq!(script.start(5), Some(rest), "what came back goes first");
    assert_eq!(script.give(Event::Room { most: 5 }), draw(0));
    assert_eq!(script.give(Event::Drawn { sequence: 0, extent: Extent::default() }), draw(1), "its end is reached");
    script.give(Event::LayDown { gone: PeerId(0) });
    assert_eq!(script.give(Event::Room { most: 5 }), None);
    script.give(Event::TakeUp { sequence: 1, extent: Extent::new(5, 1) });
    assert_eq!(script.start(5), Some(Work { sequence: 1, extent: Extent::new(5, 1), repeat: false }));
    assert_eq!(script.machine.progress(0), (0, 3), "what is in flight goes on");
}

#[test]
fn repeats_come_last_and_not_after_their_set() {
    let fast = Pair { version: 9, rho: Some(100_000), ..Pair::default() };
    let dry = || {
        let mut script = Script::new(rules(Strategy::Measured), Extent::default());
        script.ask([9, 0, 9], [40, 0, 20]).expect("an ask");
        script.answer(0, &[], &[Extent::new(30, 4)], fast);
        script
    };
    let repeat = |start| Some(Work { sequence: 0, extent: Extent::new(start, 1), repeat: true });
    let mut script = dry();
    assert_eq!((script.start(4), script.start(4)), (repeat(33), repeat(32)));
    script.give(Event::Completed(repeat(33).expect("a work")));
    assert_eq!(script.machine.progress(0), (0, 0), "repeats do not count");
    script.give(Event::Begin { sequence: 1, transfers: 10, share: Extent::new(4, 1) });
    assert_eq!(script.start(4).map(|work| work.sequence), Some(1), "other work goes first");
    assert_eq!(script.start(4), repeat(31));
    script.give(Event::Ended(View { sequence: 0, done: &[0; 3], left: &[0; 3] }));
    assert_eq!(script.start(4), None);
    let mut script = dry();
    script.give(Event::Returned(repeat(33).expect("a work")));
    assert_eq!(script.start(4), None, "there was no frame for it");
    let mut script = dry();
    script.give(Event::LayDown { gone: PeerId(2) });
    assert_eq!(script.start(4), None);
    let mut script = dry();
    script.ask([9, 0, 9], [40, 0, 20]).expect("the other is asked");
    script.answer(2, &[Extent::new(70, 1)], &[], Pair::default());
    assert_eq!(script.start(4).map(|work| work.extent), Some(Extent::new(70, 1)));
    assert_eq!(script.start(4), None, "there is better to do than repeats");
}

#[test]
fn letters_that_do_not_count_are_answered_or_dropped() {
    let mut script = Script::new(rules(Strategy::StealHalf), Extent::new(0, 8));
    let offer = |sequence, epoch| {
        let offer = Offer { sequence, epoch, own: 0, round_trip: Nanos::ZERO, pair: Pair::default() };
        Event::Heard { from: PeerId(0), message: Message::Offer(offer) }
    };
    for (sequence, epoch) in [(1, 0), (0, 1), (u32::MAX, u32::MAX)] {
        match script.give(offer(sequence, epoch)) {
            Some(Action::Send { to: PeerId(0), message: Message::Answer(answer) }) => {
                assert_eq!((answer.sequence, answer.epoch, answer.extents.is_empty()), (sequence, epoch, true));
            }
            action => panic!("{action:?}"),
        }
    }
    let stranger = Event::Heard { from: PeerId(77), message: Message::Answer(script.offer(0, 0)) };
    assert_eq!(script.give(stranger), None);
    assert_eq!(script.give(Event::LayDown { gone: PeerId(77) }), None);
    assert_eq!(script.machine.learnt(PeerId(77)), None);
}

#[test]
fn an_answer_from_before_a_death_is_void_even_if_the_same_peer_is_asked_again() {
    let mut script = Script::new(rules(Strategy::StealHalf), Extent::default());
    let view = ([9, 0, 9], [40, 0, 20]);
    assert_eq!(script.ask(view.0, view.1).map(|(to, _)| to), Some(0));
    script.give(Event::LayDown { gone: PeerId(2) });
    assert_eq!(script.machine.wants_to_ask(), None, "not before it is dealt out anew");
    script.give(Event::TakeUp { sequence: 0, extent: Extent::default() });
    let (to, offer) = script.ask(view.0, view.1).expect("an ask");
    assert_eq!((to, offer.epoch), (0, 1));
    let mut extents = Extents::new();
    extents.push(Extent::new(5, 2)).expect("room for it");
    let (in_flight, share, pair) = (Extents::new(), Permille::default(), Pair::default());
    for (epoch, counts) in [(0, false), (1, true), (1, false)] {
        let answer = Answer { sequence: 0, epoch, extents, in_flight, share, pair };
        let note = script.give(Event::Heard { from: PeerId(0), message: Message::Answer(answer) });
        assert_eq!(note.is_some(), counts, "epoch {epoch}");
    }
    assert_eq!(script.machine.progress(0), (0, 2));
}
