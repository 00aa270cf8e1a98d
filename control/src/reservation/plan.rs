//! Once a period: which rates the balances have, from who wants what.
//!
//! ```text
//!   seen of each link: who was active, what was drawn, whether balances or windows were what held it back
//!      ─▶ what the link can do, where that is tracked   ─▶ divided among the active   ─▶ changes, and nothing else
//! ```
//!
//! Nobody waits for it: a class that comes back finds the rate that it would have if it were active, and what it has saved
//! at that rate; until the next period more is promised than the link has, and the link's line bounds by how much.
//!
//! A link whose capacity is known keeps it. One that is *tracked* is followed: where windows are full all the time,
//! it does what it can, and that is its capacity; where there is room, and no balance allows anything, it can do more. So the balances divide, and the windows are what limits.

use super::share::{divide, on_return};
use super::{CLASSES_MAX, ClassId, LinkId, Terms};
use crate::units::Nanos;

/// Some of the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSet(pub [u64; CLASS_WORDS]);

impl ClassSet {
    /// Puts a class in.
    pub fn insert(&mut self, class: ClassId) {
        self.0[class.index() / 64] |= 1 << (class.index() % 64);
    }

    /// Whether a class is in it.
    pub fn contains(&self, class: ClassId) -> bool {
        self.0[class.index() / 64] >> (class.index() % 64) & 1 == 1
    }

    fn with(mut self, other: ClassSet) -> ClassSet {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
        self
    }
}

/// What was done on a link since it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Those that drew, or had to wait.
    pub active: ClassSet,
    /// Bytes drawn since the start.
    pub drawn: u64,
    /// No balance allowed anything although there was room.
    pub starved: bool,
    /// A window had no room for somebody.
    pub full: bool,
}

/// What is known of what a link can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Nothing: there are no rates, and only limits hold.
    Unknown,
    /// So many bytes per second, and it holds back who asks for more: those who share it are paced.
    Paced(u64),
    /// So many bytes per second when it was measured. It changes, and is followed.
    Tracked(u64),
}

/// What is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A class's rate on a link, in bytes per second.
    Rate(LinkId, ClassId, u64),
    /// What a link can do, in bytes per second.
    Capacity(LinkId, u64),
}

/// Remembers who was active, and what was set.
#[derive(Clone, Debug)]
pub struct Planner {
    terms: Box<[Terms]>,
    links: Box<[Planned]>,
    /// By link and class.
    rates: Box<[u64]>,
    active: Box<[bool]>,
    divided: Box<[u64]>,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    capacity: Capacity,
    /// In the period before, and those for whom the rates were set.
    before: ClassSet,
    planned_for: Option<ClassSet>,
    tracked: Track,
}

/// What was seen since a tracked link was judged.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    since: Option<Nanos>,
    drawn: u64,
    periods: u32,
    starved: u32,
    full: u32,
}

impl Planner {
    /// For links of these capacities and these classes.
    ///
    /// # Panics
    /// With more than [`CLASSES_MAX`] classes.
    pub fn new(capacities: &[Capacity], terms: &[Terms]) -> Planner {
        assert!(terms.len() <= CLASSES_MAX, "at most {CLASSES_MAX} classes");
        let link = |&capacity: &Capacity| Planned {
            capacity,
            before: ClassSet::default(),
            planned_for: None,
            tracked: Track::default(),
        };
        Planner {
            links: capacities.iter().map(link).collect(),
            rates: vec![0; capacities.len() * terms.len()].into_boxed_slice(),
            active: vec![false; terms.len()].into_boxed_slice(),
            divided: vec![0; terms.len()].into_boxed_slice(),
            terms: terms.into(),
        }
    }

    /// One period: what was seen of each link since the last one, in the order of the links; `set` is told what changes.
    pub fn step(&mut self, now: Nanos, seen: impl Iterator<Item = Seen>, mut set: impl FnMut(Change)) {
        for (index, seen) in (0..self.links.len()).zip(seen) {
            let link = LinkId(u16::try_from(index).unwrap_or(u16::MAX));
            if let Some(capacity) = self.links[index].follow(now, &seen) {
                set(Change::Capacity(link, capacity));
            }
            let planned = &mut self.links[index];
            // One that has paused for a period has not gone.
            let active = planned.before.with(seen.active);
            planned.before = seen.active;
            if planned.planned_for != Some(active) {
                planned.planned_for = Some(active);
                self.divide(link, active, &mut set);
            }
        }
    }

    /// What a link can do, as far as is known.
    pub fn capacity(&self, link: LinkId) -> Capacity {
        self.links[link.index()].capacity
    }

    fn divide(&mut self, link: LinkId, active: ClassSet, set: &mut impl FnMut(Change)) {
        let (Capacity::Paced(capacity) | Capacity::Tracked(capacity)) = self.links[link.index()].capacity else {
            return;
        };
        let classes = (0..).map(ClassId);
        self.active.iter_mut().zip(classes.clone()).for_each(|(is, class)| *is = active.contains(class));
        divide(capacity, &self.terms, &self.active, &mut self.divided);
        let weights =
            self.terms.iter().zip(&self.active).filter(|(_, is)| **is).map(|(terms, _)| u64::from(terms.weight));
        let weights: u64 = weights.sum();
        let count = self.terms.len();
        let rates = &mut self.rates[link.index() * count..][..count];
        for ((class, rate), (terms, (is_active, divided))) in
            classes.zip(rates).zip(self.terms.iter().zip(self.active.iter().zip(&self.divided)))
        {
            let new = if *is_active { *divided } else { on_return(capacity, terms, weights) };
            if new != *rate {
                *rate = new;
                set(Change::Rate(link, class, new));
            }
        }
    }
}

impl Planned {
    /// Whether a tracked link does more or less than it was thought to.
    fn follow(&mut self, now: Nanos, seen: &Seen) -> Option<u64> {
        let Capacity::Tracked(capacity) = self.capacity else { return None };
        let track = &mut self.tracked;
        let Some(since) = track.since else {
            *track = Track { since: Some(now), drawn: seen.drawn, ..Track::default() };
            return None;
        };
        track.periods += 1;
        track.starved += u32::from(seen.starved);
        track.full += u32::from(seen.full);
        let elapsed = now.since(since);
        if elapsed < JUDGED_AFTER {
            return None;
        }
        let drawn = u128::from(seen.drawn - track.drawn) * 1_000_000_000 / u128::from(elapsed.0);
        let done = u64::try_from(drawn).unwrap_or(u64::MAX);
        let new = if track.starved * 2 >= track.periods {
            capacity.saturating_add((capacity / RISE).max(1))
        } else if track.full * 2 >= track.periods && track.starved * 8 <= track.periods {
            (done + done / HEADROOM).max(capacity - capacity / FALL).max(1)
        } else {
            capacity
        };
        *track = Track { since: Some(now), drawn: seen.drawn, ..Track::default() };
        if new == capacity {
            return None;
        }
        (self.capacity, self.planned_for) = (Capacity::Tracked(new), None);
        Some(new)
    }
}

/// Words of a set of classes.
pub const CLASS_WORDS: usize = CLASSES_MAX / 64;
/// A tracked link is judged by so much time: some quanta of each class, a part of what people look at.
const JUDGED_AFTER: Nanos = Nanos::from_millis(40);
/// A link is taken to do so much more than was seen, as a part of it: else the balances and not the windows would limit.
const HEADROOM: u64 = 64;
/// By which part it may fall and rise at once.
const FALL: u64 = 16;
const RISE: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(0);
    const PERIOD: Nanos = Nanos::from_millis(5);

    fn active(classes: &[u16]) -> Seen {
        let mut seen = Seen::default();
        classes.iter().for_each(|&class| seen.active.insert(ClassId(class)));
        seen
    }

    fn rates(planner: &mut Planner, now: Nanos, seen: Seen) -> Vec<Change> {
        let mut changes = Vec::new();
        planner.step(now, std::iter::once(seen), |change| changes.push(change));
        changes
    }

    #[test]
    fn rates_follow_who_is_active_and_only_changes_are_told() {
        let terms = [Terms::weight(1), Terms::weight(1), Terms::weight(2)];
        let mut planner = Planner::new(&[Capacity::Paced(400)], &terms);
        let rate = |class, rate| Change::Rate(LINK, ClassId(class), rate);
        let mut now = Nanos::ZERO;
        let mut step = |classes: &[u16]| {
            now += PERIOD;
            rates(&mut planner, now, active(classes))
        };
        // Who is away finds what it would have.
        assert_eq!(step(&[0, 1]), [rate(0, 200), rate(1, 200), rate(2, 200)]);
        assert_eq!(step(&[0, 1]), []);
        assert_eq!(step(&[0]), [], "a pause of one period is none");
        assert_eq!(step(&[0]), [rate(0, 400), rate(2, 266)]);
        assert_eq!(step(&[0, 1, 2]), [rate(0, 100), rate(1, 100), rate(2, 200)]);
    }

    #[test]
    fn nothing_is_divided_of_what_nobody_knows() {
        let mut planner = Planner::new(&[Capacity::Unknown], &[Terms::default()]);
        assert_eq!(rates(&mut planner, Nanos::ZERO, active(&[0])), []);
    }

    #[test]
    fn a_tracked_link_is_followed_up_and_down_and_left_alone_in_between() {
        #[rustfmt::skip]
        let cases = [
            // why,                                     full,  starved, drawn per s, becomes
            ("windows are full, and it does less",      true,  false,   950_000,     964_843),
            ("no faster than that",                     true,  false,   100_000,     937_500),
            ("windows are full, and it does more",      true,  false,   1_100_000,   1_117_187),
            ("balances hold back what it could do",     false, true,    1_000_000,   1_062_500),
            ("now this, now that: it could do more",    true,  true,    1_000_000,   1_062_500),
            ("there is little to do",                   false, false,   100_000,     1_000_000),
        ];
        for (why, full, starved, per_s, want) in cases {
            let mut planner = Planner::new(&[Capacity::Tracked(1_000_000)], &[Terms::default()]);
            for period in 0..=8 {
                let seen = Seen { full, starved, drawn: per_s * period / 200, ..active(&[0]) };
                rates(&mut planner, Nanos(PERIOD.0 * period), seen);
            }
            assert_eq!(planner.capacity(LINK), Capacity::Tracked(want), "{why}");
        }
    }
}
