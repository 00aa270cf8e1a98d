//! For how many completions a peer sleeps that has everything in flight.
//!
//! A wake-up costs as much as the rest of a small request, so one should serve several. For how many can be told from how
//! fast they come: as many as end within [`WITHIN`], and no more than a twentieth of all, so that the device keeps its queue.
//!
//! ```text
//!   400,000 per second, 128 in flight:  2.5 us each  ─▶  40, at most 6
//!     1,000 per second, 128 in flight:    1 ms each  ─▶   1: each is taken as it ends
//! ```
//!
//! A device that stops in between has [`LATE`] until what has ended is taken. A timer that is due sooner than the kernel's
//! next tick would have to be set for each sleep, and on virtual machines that costs more than the wake-ups that it saves.

use bireme_control::units::Nanos;

/// What one peer knows of its pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering {
    /// As the operator says.
    fixed: Option<u32>,
    most: u32,
    /// Nanoseconds from one completion to the next, in the mean, times [`WEIGHT`].
    each: u64,
    /// When some have ended last.
    last: Nanos,
}

impl Gathering {
    /// Of a peer with so many requests in flight.
    pub(super) fn new(fixed: Option<u32>, depth: u32) -> Gathering {
        Gathering { fixed, most: (depth / 20).max(1), each: WITHIN.0 * WEIGHT, last: Nanos::ZERO }
    }

    /// So many have ended, and are taken now.
    pub(super) fn ended(&mut self, now: Nanos, count: u32) {
        let each = now.since(self.last).0 / u64::from(count.max(1));
        // A pause makes it careful for some turns, however long it was.
        self.each = self.each - self.each / WEIGHT + each.min(WITHIN.0);
        self.last = now;
    }

    /// For how many to sleep.
    pub(super) fn least(&self) -> u32 {
        let soon = WITHIN.0 / (self.each / WEIGHT).max(1);
        self.fixed.unwrap_or_else(|| u32::try_from(soon).unwrap_or(u32::MAX).clamp(1, self.most))
    }
}

/// What it may take until so many have ended.
const WITHIN: Nanos = Nanos(100_000);
/// The kernel ticks sooner than that.
pub(super) const LATE: Nanos = Nanos::from_millis(5);
/// One turn counts for one part of so many.
const WEIGHT: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer after some turns in which `count` end every `nanos`.
    fn after(gathering: &mut Gathering, turns: u32, nanos: u64, count: u32) -> u32 {
        for _ in 0..turns {
            gathering.ended(Nanos(gathering.last.0 + nanos), count);
        }
        gathering.least()
    }

    #[test]
    fn fast_devices_are_gathered_for_and_slow_ones_are_not() {
        #[rustfmt::skip]
        let cases = [
            // why,                                   depth, nanoseconds, completions, want
            ("as many as a twentieth of all",           128,      25_000,          10,    6),
            ("as many as end within the time",          128,     100_000,           5,    5),
            ("a slow device",                           128,   1_000_000,           1,    1),
            ("a burst of a slow device",                128,   4_000_000,          16,    1),
            ("few in flight",                             8,       8_000,           4,    1),
            ("all have ended at once, of no device",   1024,          10,        1000,   51),
        ];
        for (why, depth, nanos, count, want) in cases {
            assert_eq!(after(&mut Gathering::new(None, depth), 100, nanos, count), want, "{why}");
        }
        assert_eq!(Gathering::new(None, 128).least(), 1, "nothing is known yet");
        assert_eq!(after(&mut Gathering::new(Some(7), 128), 100, 1_000_000, 1), 7, "the operator knows better");
    }

    #[test]
    fn a_pause_makes_it_careful_and_is_soon_forgotten() {
        let mut gathering = Gathering::new(None, 256);
        assert_eq!(after(&mut gathering, 100, 32_000, 16), 12);
        assert!(after(&mut gathering, 1, 1_000_000_000, 16) <= 8);
        assert!(after(&mut gathering, 20, 32_000, 16) >= 12);
    }

    /// The device's answers come at its own pace; what is waited for, and what is seen of the pace, must not drive each
    /// other away from it.
    #[test]
    fn what_it_waits_for_settles() {
        for each in [1_000, 3_000, 10_000, 40_000, 200_000u64] {
            let mut gathering = Gathering::new(None, 512);
            let mut now = 0;
            for _ in 0..200 {
                let least = gathering.least();
                now += each * u64::from(least);
                gathering.ended(Nanos(now), least);
            }
            let want = u32::try_from(100_000 / each).expect("few").clamp(1, 25);
            assert!(gathering.least().abs_diff(want) <= 1, "{each} ns: {} for {want}", gathering.least());
        }
    }
}
