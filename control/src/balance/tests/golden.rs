//! The two traces by which the reference method is known: messages take no time, rings are one deep, ratios are stepped
//! by a tenth, a portion of two is not worth a hand-over.

use super::super::{Learnt, Minimum, Pair, Permille, Rules, Strategy};
use super::world::World;
use crate::units::PeerId;

/// One line of a trace: when, who asks whom (from 1), what that had left, the share used, the portion or 0 for a
/// refusal, and the committed ratios after it.
type Line = (u64, u16, u16, u64, u16, u64, [u16; 2]);

/// A set: its lines, its end, and its number of messages.
type Set<'a> = (&'a [Line], u64, u64);

#[test]
#[rustfmt::skip]
fn trace_a_learns_a_ratio_of_four_fifths() {
    trace([1, 4], [500, 500], &[
        (&[(50, 1, 2, 38, 500, 19, [500, 500]),
           (69, 1, 2, 14, 600,  8, [500, 600]),
           (77, 1, 2,  4, 700,  0, [500, 600])], 92, 6),
        (&[(50, 1, 2, 38, 600, 22, [500, 600]),
           (72, 1, 2, 10, 700,  7, [500, 700]),
           (79, 1, 2,  2, 800,  0, [500, 700])], 84, 6),
        (&[(50, 1, 2, 38, 700, 26, [500, 700]),
           (76, 1, 2,  5, 800,  4, [500, 800])], 80, 4),
    ]);
}

#[test]
#[rustfmt::skip]
fn trace_b_recovers_from_a_ratio_that_is_too_large() {
    trace([2, 3], [500, 900], &[
        (&[(100, 1, 2, 17, 900, 15, [500, 900]),
           (105, 2, 1, 13, 500,  6, [500, 800]),
           (118, 1, 2,  2, 800,  0, [500, 800])], 123, 6),
        (&[(100, 1, 2, 17, 800, 13, [500, 800]),
           (111, 2, 1,  8, 500,  4, [500, 700]),
           (118, 1, 2,  2, 700,  0, [500, 700])], 123, 6),
    ]);
}

fn trace(costs: [u64; 2], ratios: [u16; 2], sets: &[Set<'_>]) {
    let share = |thousandths| Permille::new(thousandths).expect("a share");
    let rules = Rules {
        strategy: Strategy::Ratio,
        minimum: Minimum::Transfers(2),
        increment: share(100),
        early: false,
        repeat: false,
    };
    let mut learnt = Learnt::new(Strategy::Ratio, 2);
    learnt.note(PeerId(0), PeerId(1), Pair { ratios: ratios.map(share), ..Pair::default() });
    let mut world = World::with(rules, &costs, 1, 0, learnt);
    for (number, &(lines, end, messages)) in sets.iter().enumerate() {
        let start = world.now;
        world.asks.clear();
        world.messages = 0;
        assert_eq!(world.set(100), end, "the end of set {number}");
        assert_eq!(world.messages, messages, "the messages of set {number}");
        let line = |(note, left, ratios): &_| {
            let note: &super::super::HandOver = note;
            let ratios: &[Permille; 2] = ratios;
            let (at, share) = (note.at.0 - start, note.share.get());
            (at, note.to.0 + 1, note.from.0 + 1, *left, share, note.transfers, ratios.map(Permille::get))
        };
        assert_eq!(world.asks.iter().map(line).collect::<Vec<Line>>(), lines, "set {number}");
    }
}
