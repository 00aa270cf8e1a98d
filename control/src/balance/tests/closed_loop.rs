//! Every strategy against the integer optimum, at speeds from 1:1 to 1:8 and with two to five peers.

use super::super::{Minimum, Rules, Strategy};
use super::world::{World, optimum};
use crate::units::{PeerId, Permille};

const TRANSFERS: u64 = 1024;
/// Nanoseconds per transfer, by peer; the slowest takes 1000.
const CREWS: [&[u64]; 10] = [
    &[1000, 1000],
    &[500, 1000],
    &[1000, 500],
    &[333, 1000],
    &[1000, 250],
    &[125, 1000],
    &[1000, 500, 250],
    &[300, 1000, 300, 700],
    &[1000, 500, 250, 200, 125],
    &[1000, 1000, 1000, 1000, 125],
];

/// The makespans of some sets over the optimum, in thousandths of it.
fn over(rules: Rules, costs: &[u64], depth: usize, round_trip: u64, sets: usize) -> Vec<u64> {
    let mut world = World::new(rules, costs, depth, round_trip);
    let ideal = optimum(costs, TRANSFERS);
    (0..sets).map(|_| (world.set(TRANSFERS) - ideal) * 1000 / ideal).collect()
}

#[test]
fn fixed_ends_with_the_slowest_part() {
    for costs in CREWS {
        let rules = Rules { strategy: Strategy::Fixed, ..Rules::default() };
        let mut world = World::new(rules, costs, 4, 1000);
        let parts = world.learnt.division(Strategy::Fixed, TRANSFERS, &vec![true; costs.len()]);
        let slowest = parts.iter().zip(costs).map(|(part, cost)| part.count * cost).max();
        assert_eq!((Some(world.set(TRANSFERS)), world.messages), (slowest, 0), "{costs:?}");
    }
}

#[test]
fn pull_ends_within_a_run_of_the_optimum() {
    for costs in CREWS {
        let rules = Rules { strategy: Strategy::Pull, ..Rules::default() };
        for run in [1, 4] {
            let mut world = World::new(rules, costs, usize::try_from(run).expect("a short run"), 1000);
            world.machines.iter_mut().for_each(|machine| machine.set_run(run));
            let allowed = optimum(costs, TRANSFERS) + run * 1000;
            let makespan = world.set(TRANSFERS);
            assert!(makespan <= allowed && world.messages == 0, "{costs:?}: {makespan} of {allowed}");
        }
    }
}

#[test]
fn who_is_dry_is_helped_and_the_set_ends_soon_after_the_optimum() {
    let percent = |strategy, costs: &[u64]| match strategy {
        Strategy::Ratio | Strategy::StealHalf if costs.len() == 2 => 6,
        _ => 12,
    };
    for strategy in [Strategy::StealHalf, Strategy::Ratio] {
        for costs in CREWS {
            let rules = Rules { strategy, ..Rules::default() };
            let over = over(rules, costs, 1, 1000, 10);
            let allowed = percent(strategy, costs) * 10;
            assert!(over.iter().all(|&over| over <= allowed), "{strategy:?} {costs:?}: {over:?} of {allowed}");
        }
    }
}

#[test]
fn measured_ends_with_the_optimum_once_it_has_learnt() {
    for costs in CREWS {
        for (depth, round_trip) in [(1, 10), (1, 1000), (1, 10_000), (8, 10), (8, 1000), (32, 10)] {
            let over = over(Rules::default(), costs, depth, round_trip, 12);
            let context = format!("{costs:?} depth {depth} round trip {round_trip}: {over:?}");
            // A transfer of the slowest is 5 thousandths of the fastest crew's set and 20 of the largest crew's.
            assert!(over[2..].iter().all(|&over| over <= 25), "{context}");
            assert!(over[2..].iter().sum::<u64>() <= 12 * 10, "{context}");
            if costs.len() == 2 && depth == 1 {
                assert!(over.iter().all(|&over| over <= 2), "{context}");
            }
        }
    }
}

#[test]
fn measured_without_the_early_ask_pays_for_the_round_trips() {
    let late = Rules { early: false, repeat: false, ..Rules::default() };
    let cold = |rules| over(rules, &[250, 1000], 1, 10_000, 1)[0];
    assert!((35..=50).contains(&cold(late)), "about 4.4 %: {}", cold(late));
    assert_eq!(cold(Rules::default()), 0);
}

#[test]
fn a_flip_of_the_speeds_is_recovered_by_the_next_set() {
    let mut world = World::new(Rules::default(), &[250, 1000], 1, 1000);
    let ideal = optimum(&[250, 1000], TRANSFERS);
    (0..5).for_each(|_| assert!(world.set(TRANSFERS) > 0));
    world.costs.reverse();
    let over: Vec<_> = (0..4).map(|_| (world.set(TRANSFERS) - ideal) * 1000 / ideal).collect();
    assert!(over[0] <= 60 && over[1..].iter().all(|&over| over <= 10), "{over:?}");
}

#[test]
fn what_was_learnt_serves_the_next_run() {
    let mut first = World::new(Rules::default(), &[250, 1000], 1, 1000);
    (0..3).for_each(|_| assert!(first.set(TRANSFERS) > 0));
    let mut next = World::with(Rules::default(), &[250, 1000], 1, 1000, first.learnt.clone());
    let parts = next.learnt.division(Strategy::Measured, TRANSFERS, &[true; 2]);
    assert!(parts[0].count.abs_diff(819) <= 9, "four fifths: {parts:?}");
    let over = next.set(TRANSFERS).saturating_sub(optimum(&[250, 1000], TRANSFERS));
    assert!(over <= 1000, "{over} ns over");
}

#[test]
fn a_locked_tail_is_repeated_by_a_faster_peer() {
    // The slow one has 64 in flight from the start, and would need 64 units for them, where the optimum is 57.
    let costs = [125, 1000];
    let run = |repeat| World::new(Rules { repeat, ..Rules::default() }, &costs, 64, 100).set(512);
    let (with, without, ideal) = (run(true), run(false), optimum(&costs, 512));
    assert!(without >= 64_000 && with <= ideal + 2_000, "{with} instead of {without}, at best {ideal}");
}

#[test]
fn a_small_minimum_is_looked_up_where_it_is_wanted() {
    let first_refusal = |minimum| {
        let rules = Rules { strategy: Strategy::Ratio, minimum, ..Rules::default() };
        let mut world = World::new(rules, &[250, 1000], 1, 0);
        world.machines.iter_mut().for_each(|machine| machine.set_minimum(20));
        world.set(TRANSFERS);
        let refused = world.asks.iter().find(|(note, ..)| note.transfers == 0);
        refused.map_or(0, |&(note, left, _)| note.share.of(left))
    };
    let share = |thousandths| Permille::new(thousandths).expect("a share");
    let one = first_refusal(Minimum::Transfers(1));
    let tenth = first_refusal(Minimum::Share(share(100)));
    let delay = first_refusal(Minimum::Delay);
    assert!(one <= 1 && (21..=102).contains(&tenth) && (2..=20).contains(&delay), "{one} {tenth} {delay}");
}

#[test]
fn who_has_refused_is_not_asked_again() {
    let rules = Rules { strategy: Strategy::Ratio, minimum: Minimum::Delay, ..Rules::default() };
    let mut world = World::new(rules, &[1, 1_000_000], 1, 0);
    world.machines.iter_mut().for_each(|machine| machine.set_minimum(1_000));
    world.set(64);
    let asked: Vec<_> = world.asks.iter().map(|(note, ..)| (note.to, note.transfers)).collect();
    assert_eq!(asked, [(PeerId(0), 0)]);
}
