//! The end game: what is in flight at a slow peer is repeated by a fast one that has nothing else to do.
//!
//! Both hold the data, so nobody has to wait for the slow one's ring. The helper goes from the back, because the victim
//! ends those last. A repeat costs bandwidth that the victim may need, so one is worth it only if the helper is at least
//! twice as fast and ends its k-th repeat in about half the time in which the victim would come to it.

use super::Work;
use super::extents::{EXTENTS_MAX, Extents};
use super::pair::ONE;
use crate::units::Extent;

/// What one peer shall repeat of one set, newest at the victim first.
#[derive(Clone, Debug)]
pub(super) struct Repeats {
    sequence: u32,
    list: [Extent; EXTENTS_MAX],
    left: u64,
    /// What was repeated before: a second victim, or the same one asked again, may name it once more.
    repeated: Vec<u64>,
    /// A repeat had no frame to go to.
    closed: bool,
}

impl Repeats {
    /// Nothing is to be repeated, and all memory is there.
    pub(super) fn new() -> Repeats {
        let list = [Extent::default(); EXTENTS_MAX];
        Repeats { sequence: 0, list, left: 0, repeated: Vec::with_capacity(REPEATS_MAX), closed: false }
    }

    /// Plans the repeats of what is in flight at a victim; `share` is the helper's of what both complete, in millionths.
    pub(super) fn plan(&mut self, sequence: u32, in_flight: &Extents, share: u32) {
        if self.sequence != sequence {
            self.repeated.clear();
            (self.sequence, self.closed) = (sequence, false);
        }
        self.list = [Extent::default(); EXTENTS_MAX];
        self.list[..in_flight.as_slice().len()].copy_from_slice(in_flight.as_slice());
        self.left = if self.closed { 0 } else { worth(in_flight.transfers(), share) };
    }

    /// There is something better to do, or what was in flight will be dealt out anew.
    pub(super) fn cancel(&mut self) {
        self.left = 0;
    }

    /// The set has ended.
    pub(super) fn end(&mut self, sequence: u32) {
        if self.sequence == sequence {
            self.left = 0;
        }
    }

    /// No more of the set are started.
    pub(super) fn close(&mut self, sequence: u32) {
        if self.sequence == sequence {
            (self.left, self.closed) = (0, true);
        }
    }

    /// The next one to start.
    pub(super) fn next(&mut self) -> Option<Work> {
        while self.left > 0 && self.repeated.len() < REPEATS_MAX {
            self.left -= 1;
            let extent = self.list.iter_mut().rev().find(|extent| !extent.is_empty())?.take_back(1);
            if !self.repeated.contains(&extent.start) {
                self.repeated.push(extent.start);
                return Some(Work { sequence: self.sequence, extent, repeat: true });
            }
        }
        None
    }
}

/// How many of so many in flight are worth a repeat: the most k for which k at the helper's speed take at most half of
/// the time of the victim for all those up to the k-th from the back.
fn worth(in_flight: u64, share: u32) -> u64 {
    let (helper, victim) = (u128::from(share.min(ONE)), u128::from(ONE - share.min(ONE)));
    if helper < 2 * victim {
        return 0;
    }
    // 2 k / helper <= (n - k + 1) / victim, solved for k.
    let most = helper * (u128::from(in_flight) + 1) / (2 * victim + helper);
    u64::try_from(most).unwrap_or(u64::MAX).min(in_flight)
}

/// A peer repeats no more of one set than this.
const REPEATS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worth_it_is_repeated() {
        #[rustfmt::skip]
        let cases = [
            // why,                              in flight, share,     repeated
            ("equal peers repeat nothing",       32,        500_000,   0),
            ("nor does one not twice as fast",   32,        660_000,   0),
            ("the only one, at four to one",     1,         800_000,   1),
            ("two thirds, at four to one",       32,        800_000,   22),
            ("most of it, at 49 to one",         32,        980_000,   31),
            ("nothing is in flight",             0,         800_000,   0),
            ("figures without sense",            3,         u32::MAX,  3),
        ];
        for (why, in_flight, share, want) in cases {
            assert_eq!(worth(in_flight, share), want, "{why}");
        }
    }

    #[test]
    fn repeats_go_singly_from_the_back() {
        let mut in_flight = Extents::new();
        for (start, count) in [(4, 2), (9, 2)] {
            in_flight.push(Extent::new(start, count)).expect("room for it");
        }
        let mut repeats = Repeats::new();
        repeats.plan(7, &in_flight, 900_000);
        let mut order = || -> Vec<_> { std::iter::from_fn(|| repeats.next()).map(|work| work.extent.start).collect() };
        assert_eq!(order(), [10, 9, 5, 4]);
        assert!(order().is_empty());
    }

    #[test]
    fn nothing_is_repeated_twice_nor_after_its_end() {
        let in_flight = |start, count| {
            let mut list = Extents::new();
            list.push(Extent::new(start, count)).expect("room for it");
            list
        };
        let next = |repeats: &mut Repeats| repeats.next().map(|work| (work.sequence, work.extent.start));
        let mut repeats = Repeats::new();
        repeats.plan(7, &in_flight(0, 8), 900_000);
        assert_eq!(next(&mut repeats), Some((7, 7)));
        repeats.plan(7, &in_flight(0, 8), 900_000);
        assert_eq!(next(&mut repeats), Some((7, 6)), "the last was repeated before");
        repeats.end(6);
        assert_eq!(next(&mut repeats), Some((7, 5)), "another set ended");
        repeats.end(7);
        assert_eq!(next(&mut repeats), None);
        repeats.plan(7, &in_flight(0, 8), 900_000);
        repeats.cancel();
        assert_eq!(next(&mut repeats), None);
        repeats.plan(7, &in_flight(0, 8), 900_000);
        repeats.close(7);
        repeats.plan(7, &in_flight(0, 8), 900_000);
        assert_eq!(next(&mut repeats), None, "there was no frame for one");
        repeats.plan(8, &in_flight(0, 8), 900_000);
        assert_eq!(next(&mut repeats), Some((8, 7)), "a new set has frames again");
        repeats.plan(9, &in_flight(0, 10_000), 900_000);
        assert_eq!(std::iter::from_fn(|| repeats.next()).count(), REPEATS_MAX);
    }
}
