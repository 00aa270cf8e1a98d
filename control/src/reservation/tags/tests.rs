//! Tables for the order, and classes in closed loop with balances, plan and links that serve.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::reservation::balance::Balances;
use crate::reservation::plan::{Capacity, Change, Planner, Seen};

const MB: u64 = 1_000_000;

fn one_link() -> Path {
    Path::new(&[LinkId(0)]).expect("one link")
}

/// Balances that allow everything.
fn rich(_: LinkId, _: ClassId, bytes: u64) -> Draw {
    Draw::Granted(bytes)
}

#[test]
fn the_order_is_due_first_then_by_weight() {
    let terms = [Terms::weight(1), Terms::weight(3), Terms { reserve: MB, limit: None, weight: 1 }];
    let mut tags = Tags::new(&[Link { window: 1 }], &terms);
    let lanes = [0, 1, 2].map(|class| tags.lane(ClassId(class), one_link()));
    lanes.iter().for_each(|&lane| tags.ask(Nanos::from_secs(1), lane, 1000));
    let mut served = Vec::new();
    for millis in 0..9 {
        // A byte takes a microsecond at its reservation: every request of class 2 that is 1 ms after the last is due.
        let Pick::Grant { lane, bytes } = tags.pick(Nanos::from_secs(1) + Nanos::from_millis(millis / 3), rich) else {
            panic!("there is always one that may go");
        };
        served.push(lane.0);
        tags.done(lane, bytes);
        tags.ask(Nanos::from_secs(1), lane, 1000);
    }
    // Class 2 makes up for 10 ms first that it might have had: then it is due each millisecond.
    assert_eq!(served.iter().filter(|&&lane| lane == 2).count(), 9, "{served:?}");
}

/// Requests so large that virtual time starts again many times, and a class that was away meanwhile.
#[test]
fn parts_stay_what_they_are_when_virtual_time_starts_again() {
    let mut tags = Tags::new(&[Link { window: 1 }], &[Terms::weight(1), Terms::weight(3), Terms::weight(1)]);
    let lanes = [0, 1, 2].map(|class| tags.lane(ClassId(class), one_link()));
    let mut serve = |count: u32, wanting: &[usize]| {
        let mut served = [0; 3];
        for _ in 0..count {
            for &class in wanting {
                if !tags.is_waiting(lanes[class]) {
                    tags.ask(Nanos::ZERO, lanes[class], REQUEST_MAX);
                }
            }
            let Pick::Grant { lane, bytes } = tags.pick(Nanos::ZERO, rich) else { panic!("there is always one") };
            served[usize::from(lane.0)] += 1;
            tags.done(lane, bytes);
        }
        served
    };
    // Virtual time starts again after 17 requests of weight 1.
    let [one, three, _] = serve(4000, &[0, 1]);
    assert!((998..=1002).contains(&one) && one + three == 4000, "{one} and {three}");
    let [one, three, back] = serve(5000, &[0, 1, 2]);
    assert!([one, back].into_iter().all(|got| (995..=1005).contains(&got)), "{one}, {three} and {back}");
}

#[test]
fn what_a_class_got_by_weight_does_not_count_against_its_reservation_later() {
    let terms = [Terms { reserve: MB, limit: None, weight: 1 }, Terms::weight(100)];
    let mut tags = Tags::new(&[Link { window: 1 }], &terms);
    let lanes = [0, 1].map(|class| tags.lane(ClassId(class), one_link()));
    let second = Nanos::from_secs(1);
    // Alone it gets a thousand times its reservation.
    for _ in 0..1000 {
        tags.ask(second, lanes[0], 1000);
        assert!(matches!(tags.pick(second, rich), Pick::Grant { .. }));
        tags.done(lanes[0], 1000);
    }
    tags.ask(second, lanes[0], 1000);
    tags.ask(second, lanes[1], 1000);
    // A request's worth later it is due again.
    assert_eq!(tags.pick(second + Nanos::from_millis(1), rich), Pick::Grant { lane: lanes[0], bytes: 1000 });
}

#[test]
fn a_window_holds_what_is_behind_and_a_large_one_is_not_passed() {
    let mut tags = Tags::new(&[Link { window: 100 }], &[Terms::weight(1), Terms::weight(1)]);
    let lanes = [0, 1].map(|class| tags.lane(ClassId(class), one_link()));
    let now = Nanos::from_secs(1);
    tags.ask(now, lanes[0], 60);
    assert_eq!(tags.pick(now, rich), Pick::Grant { lane: lanes[0], bytes: 60 });
    tags.ask(now, lanes[1], 70);
    tags.ask(now, lanes[0], 10);
    // Class 1 has got nothing yet, and has no room; class 0 would have.
    assert_eq!(tags.pick(now, rich), Pick::Idle);
    assert_eq!(tags.held(LinkId(0)), Held { full: 1, starved: 0 });
    tags.done(lanes[0], 60);
    assert_eq!(tags.pick(now, rich), Pick::Grant { lane: lanes[1], bytes: 70 });
    assert_eq!(tags.in_flight(LinkId(0)), 70);
    tags.withdraw(lanes[0]);
    assert!(!tags.is_waiting(lanes[0]));
    // One that is larger than the window goes alone.
    tags.done(lanes[1], 70);
    tags.ask(now, lanes[0], 5000);
    assert_eq!(tags.pick(now, rich), Pick::Grant { lane: lanes[0], bytes: 5000 });
}

#[test]
fn an_empty_balance_lets_others_go_and_is_not_asked_before_its_time() {
    let mut tags = Tags::new(&[Link { window: 1000 }], &[Terms::weight(1), Terms::weight(1)]);
    let lanes = [0, 1].map(|class| tags.lane(ClassId(class), one_link()));
    let now = Nanos::from_secs(1);
    lanes.iter().for_each(|&lane| tags.ask(now, lane, 10));
    let mut asked = 0;
    let mut poor = |_: LinkId, class: ClassId, bytes: u64| {
        asked += u32::from(class == ClassId(0));
        if class == ClassId(0) { Draw::Wait(now + Nanos(500)) } else { Draw::Granted(bytes) }
    };
    assert_eq!(tags.pick(now, &mut poor), Pick::Grant { lane: lanes[1], bytes: 10 });
    assert_eq!(tags.pick(now, &mut poor), Pick::Wait(now + Nanos(500)));
    assert_eq!(asked, 1);
    assert_eq!(tags.pick(now + Nanos(500), rich), Pick::Grant { lane: lanes[0], bytes: 10 });
}

/// Two links that others keep full all the time: who needs both gets them.
#[test]
fn a_path_of_two_links_is_not_starved_by_those_of_one() {
    let mut tags = Tags::new(&[Link { window: 1 }, Link { window: 1 }], &[Terms::weight(1), Terms::weight(1)]);
    let path = |links: &[u16]| Path::new(&links.iter().copied().map(LinkId).collect::<Vec<_>>()).expect("a path");
    let singles = [0, 1].map(|link| tags.lane(ClassId(0), path(&[link])));
    let both = tags.lane(ClassId(1), path(&[0, 1]));
    let now = Nanos::from_secs(1);
    let mut flying = VecDeque::new();
    let mut served = 0;
    singles.iter().for_each(|&lane| tags.ask(now, lane, 10));
    tags.ask(now, both, 10);
    for _ in 0..2000 {
        while let Pick::Grant { lane, bytes } = tags.pick(now, rich) {
            served += u32::from(lane == both);
            flying.push_back((lane, bytes));
            tags.ask(now, lane, 10);
        }
        // One ends at a time, so that both links are never free at once by themselves.
        let (lane, bytes) = flying.pop_front().expect("something is always in flight");
        tags.done(lane, bytes);
    }
    assert!(served > 60, "{served} of about 1000 that two links carry");
}

/// A link that works off what it carries in order, at a rate that may differ from what its manager thinks.
struct World {
    tags: Tags,
    balances: Balances,
    planner: Planner,
    now: Nanos,
    rate: u64,
    flying: VecDeque<(LaneId, u64, Nanos)>,
    idle: u64,
    done: Vec<u64>,
}

impl World {
    fn new(terms: &[Terms], capacity: Capacity, rate: u64, window: u64) -> World {
        let known = match capacity {
            Capacity::Unknown => None,
            Capacity::Paced(rate) | Capacity::Tracked(rate) => Some(rate),
        };
        let limits: Vec<_> = terms.iter().map(|terms| terms.limit).collect();
        World {
            tags: Tags::new(&[Link { window }], terms),
            balances: Balances::new(&[known], &limits),
            planner: Planner::new(&[capacity], terms),
            now: Nanos::from_secs(1),
            rate,
            flying: VecDeque::new(),
            idle: 0,
            done: vec![0; terms.len()],
        }
    }

    /// Runs until then, with a flood of requests of `bytes` in the classes that `wants` names for a time.
    fn run(&mut self, until: Nanos, lanes: &[LaneId], bytes: u64, wants: impl Fn(Nanos, usize) -> bool) {
        let mut period = self.now;
        let mut seen = Held::default();
        while self.now < until {
            if self.now >= period {
                period = self.now + Nanos::from_millis(5);
                for (class, links) in self.tags.waiting() {
                    links.iter().for_each(|&link| self.balances.mark(link, class));
                }
                let before = std::mem::replace(&mut seen, self.tags.held(LinkId(0)));
                let (full, starved) = (seen.full > before.full, seen.starved > before.starved);
                let balances = &mut self.balances;
                let seen = Seen { full, starved, ..balances.look(LinkId(0)) };
                self.planner.step(self.now, std::iter::once(seen), |change| match change {
                    Change::Rate(link, class, rate) => balances.set_rate(link, class, rate),
                    Change::Capacity(link, rate) => balances.set_capacity(link, rate),
                });
            }
            for (class, &lane) in lanes.iter().enumerate() {
                match (wants(self.now, class), self.tags.is_waiting(lane)) {
                    (true, false) => self.tags.ask(self.now, lane, bytes),
                    (false, true) => self.tags.withdraw(lane),
                    _ => {}
                }
            }
            let mut next = period;
            match self.tags.pick(self.now, |link, class, bytes| self.balances.draw(self.now, link, class, bytes)) {
                Pick::Grant { lane, bytes } => {
                    let begins = self.flying.back().map_or(self.now, |last| last.2.max(self.now));
                    self.flying.push_back((lane, bytes, begins + Nanos(bytes * 1_000_000_000 / self.rate)));
                    continue;
                }
                Pick::Wait(time) => next = next.min(time),
                Pick::Idle => {}
            }
            next = self.flying.front().map_or(next, |first| next.min(first.2)).min(self.now + Nanos(100_000));
            if self.flying.is_empty() {
                self.idle += next.since(self.now).0;
            }
            self.now = next;
            while let Some(&(lane, bytes, ends)) = self.flying.front().filter(|first| first.2 <= self.now) {
                debug_assert!(ends <= self.now);
                self.flying.pop_front();
                self.tags.done(lane, bytes);
                let class = lanes.iter().position(|&other| other == lane).expect("a lane of the test");
                self.done[class] += bytes;
            }
        }
    }

    fn lanes(&mut self) -> Vec<LaneId> {
        let classes = u16::try_from(self.done.len()).expect("few");
        (0..classes).map(|class| self.tags.lane(ClassId(class), one_link())).collect()
    }
}

fn assert_near(got: u64, want: u64, permille: u64, what: &str) {
    assert!(got.abs_diff(want) * 1000 <= want * permille, "{what}: {got} is not within {permille} permille of {want}");
}

#[test]
fn who_is_backlogged_gets_his_part_whether_paced_or_tracked() {
    let terms = [Terms::weight(2), Terms::weight(3), Terms { reserve: 100 * MB, limit: None, weight: 1 }];
    for capacity in [Capacity::Paced(490 * MB), Capacity::Tracked(300 * MB), Capacity::Tracked(900 * MB)] {
        let mut world = World::new(&terms, capacity, 500 * MB, 256 << 10);
        let lanes = world.lanes();
        world.run(Nanos::from_secs(2), &lanes, 65536, |_, _| true);
        let before = world.done.clone();
        world.idle = 0;
        world.run(Nanos::from_secs(4), &lanes, 65536, |_, _| true);
        let total = if capacity == Capacity::Paced(490 * MB) { 980 * MB } else { 1000 * MB };
        let done: Vec<u64> = world.done.iter().zip(before).map(|(now, before)| now - before).collect();
        assert_near(done.iter().sum(), total, 6, "all");
        // The reservation is more than the part by weight.
        let rest = total - 200 * MB;
        for (class, want) in [(0, rest * 2 / 5), (1, rest * 3 / 5), (2, 200 * MB)] {
            assert_near(done[class], want, 15, &format!("class {class} under {capacity:?}"));
        }
    }
}

#[test]
fn what_a_class_does_not_use_is_used_by_others_and_a_limit_is_kept() {
    let limited = Terms { limit: Some(50 * MB), ..Terms::weight(9) };
    let mut world =
        World::new(&[Terms::weight(1), Terms::weight(3), limited], Capacity::Paced(495 * MB), 500 * MB, 1 << 20);
    let lanes = world.lanes();
    // Class 1 wants something in every other half second.
    let wants = |now: Nanos, class: usize| class != 1 || now.0 / 500_000_000 % 2 == 1;
    world.run(Nanos::from_secs(5), &lanes, 65536, wants);
    assert_near(world.done.iter().sum(), 495 * 4 * MB, 10, "the link is busy");
    assert_near(world.done[2], 200 * MB, 15, "the limited one");
    assert_near(world.done[1], 445 * MB * 2 * 3 / 4, 20, "the one that comes and goes has its part at once");
}

#[test]
fn limits_hold_where_nothing_is_known_of_the_link() {
    let terms = [Terms::weight(1), Terms { limit: Some(50 * MB), ..Terms::weight(9) }];
    let mut world = World::new(&terms, Capacity::Unknown, 500 * MB, 1 << 20);
    let lanes = world.lanes();
    world.run(Nanos::from_secs(3), &lanes, 65536, |_, _| true);
    assert_near(world.done[1], 100 * MB, 15, "the limited one");
    assert_near(world.done[0], 900 * MB, 15, "the other");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Of any classes: windows hold, what is drawn is no more than the link's rate, the link is never idle while somebody
    /// waits who may go, and everybody is served.
    #[test]
    fn nothing_is_overspent_nobody_starves_and_nothing_idles(
        classes in prop::collection::vec((0u64..100, prop::option::of(100u64..900), 1u32..20), 1..6),
        bytes in prop::sample::select(vec![4096u64, 65536, 1 << 20]),
        window in prop::sample::select(vec![4096u64, 1 << 18, 1 << 21]),
    ) {
        let terms: Vec<Terms> = classes
            .iter()
            .map(|&(reserve, limit, weight)| Terms { reserve: reserve * MB, limit: limit.map(|limit| limit * MB), weight })
            .collect();
        let mut world = World::new(&terms, Capacity::Paced(490 * MB), 500 * MB, window);
        let lanes = world.lanes();
        world.run(Nanos::from_secs(3), &lanes, bytes, |_, _| true);
        let total: u64 = world.done.iter().sum();
        prop_assert!(total <= 2 * 490 * MB + 16 * (1 << 20), "{total}");
        let lids: u64 = terms.iter().map(|terms| terms.limit.unwrap_or(490 * MB)).sum::<u64>().min(490 * MB);
        prop_assert!(total + 12 * bytes >= 2 * lids - 2 * lids / 50, "{total} of {}", 2 * lids);
        let mut fair = vec![0; terms.len()];
        crate::reservation::share::divide(490 * MB, &terms, &vec![true; terms.len()], &mut fair);
        for (class, (&done, &fair)) in world.done.iter().zip(&fair).enumerate() {
            let (want, slack) = (2 * fair, 2 * fair / 25 + 8 * bytes);
            prop_assert!(done + slack >= want && done <= want + slack, "class {class}: {done} of {want}, {terms:?}");
        }
    }
}
