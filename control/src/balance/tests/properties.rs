//! Any order of events, letters and deaths: every transfer is completed, nobody owns one twice, all of it ends.

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Plan;

use super::super::pair::Side;
use super::super::{Minimum, Permille, Rules, Strategy};
use super::scramble::{Play, Scramble, Seen};

fn plays() -> impl Plan<Value = Play> {
    let strategy = prop::sample::select(vec![
        Strategy::Fixed,
        Strategy::Pull,
        Strategy::StealHalf,
        Strategy::Ratio,
        Strategy::Measured,
    ]);
    let minimum = prop_oneof![
        (0u64..4).prop_map(Minimum::Transfers),
        (0u16..100).prop_map(|share| Minimum::Share(Permille::new(share).unwrap_or_default())),
        Just(Minimum::Delay),
    ];
    let rules = (strategy, minimum, any::<bool>(), any::<bool>())
        .prop_map(|(strategy, minimum, early, repeat)| Rules { strategy, minimum, early, repeat, ..Rules::default() });
    let sets = prop::collection::vec(0u64..60, 1..5);
    (rules, sets, 1u16..6, 0u16..3, any::<u64>()).prop_map(|(rules, sets, peers, deaths, seed)| Play {
        rules,
        sets,
        peers,
        deaths,
        seed,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn everything_ends_and_nothing_is_lost_or_owned_twice(play in plays()) {
        let mut world = Scramble::new(play.clone());
        world.run();
        let (transfers, peers) = (play.sets.iter().sum::<u64>(), u64::from(play.peers));
        let bound = 2 * peers * (peers * (transfers + 20 * play.sets.len() as u64) + 100);
        prop_assert!(world.seen.messages <= bound, "{} messages", world.seen.messages);
        for (low, high) in world.copies() {
            let (mut at_low, mut at_high) = (low, high);
            at_low.merge(high, Side::Low);
            at_high.merge(low, Side::High);
            prop_assert_eq!(at_low, at_high);
            if play.deaths == 0 && play.rules.strategy == Strategy::Ratio {
                prop_assert_eq!(low, high);
            }
        }
    }
}

#[test]
fn the_plays_put_it_to_the_test() {
    let mut total = Seen::default();
    for seed in 1..200 {
        let play = Play { rules: Rules::default(), sets: vec![40, 9, 50], peers: 4, deaths: 1, seed: seed * 7919 };
        let mut world = Scramble::new(play);
        world.run();
        total.add(world.seen);
    }
    let Seen { messages, hand_overs, refusals, void, repeats, returned, deaths, dealt_out } = total;
    assert!(messages > 5_000 && hand_overs > 500 && refusals > 1_000 && void > 5, "{total:?}");
    assert!(repeats > 500 && returned > 1_000 && deaths > 150 && dealt_out > 1_000, "{total:?}");
}
