//! How fast a rebuild may be, so that it does not keep waiting those for whom the array is there.
//!
//! ```text
//!   rate
//!    |      /|        /|         each interval: p99 of the foreground above the target ─▶ half the rate
//!    |     / |   /|  / |  /                     well below it                          ─▶ one step more
//!    |    /  |  / | /  | /                      in between                             ─▶ the same
//!    |   /   | /  |/   |/        no foreground at all                                  ─▶ as fast as permitted
//!    +--´-------------------- time
//! ```
//!
//! This is additive increase and multiplicative decrease: it comes to rest near what the devices have left over without a
//! model of them, and several homes that share the devices come to equal shares (Chiu and Jain, "Analysis of the Increase
//! and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989). As TCP does (RFC 5681), it doubles
//! until the target is exceeded for the first time; and a rate that was not used up is not raised (RFC 7661).
//!
//! An interval in which the rebuild did nothing says nothing about it and changes nothing. The rate never falls below
//! [`FLOOR`]: a rebuild that stops leaves the array without what it has promised. So a target that the foreground misses
//! by itself is missed with the rebuild at the floor.

use crate::units::Nanos;

/// The rate of the rebuild at one home.
#[derive(Clone, Debug)]
pub struct Pace {
    target: Nanos,
    floor: u64,
    most: u64,
    rate: u64,
    /// The target was not exceeded yet.
    is_first_climb: bool,
    /// Nobody else wanted the devices in the interval before.
    is_alone: bool,
    /// When the interval ends; none before the first one.
    due: Option<Nanos>,
    judged: Judged,
}

/// What was found of the operations of clients in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreground {
    /// How many have ended.
    pub ended: u64,
    /// Their 99th percentile.
    pub p99: Nanos,
    /// How long the oldest waits that is still under way; zero of none.
    pub oldest: Nanos,
}

/// What the rebuild did in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Some of it was under way.
    pub worked: bool,
    /// It was held back by the rate.
    pub held: bool,
}

/// Intervals in which there was a foreground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// How many.
    pub intervals: u64,
    /// Those in which the target was exceeded.
    pub exceeded: u64,
}

impl Pace {
    /// For this 99th percentile of the foreground, and at most so many bytes per second.
    pub fn new(target: Nanos, most: Option<u64>) -> Pace {
        let most = most.unwrap_or(u64::MAX).max(1);
        let (floor, rate) = (FLOOR.min(most), START.min(most));
        let judged = Judged::default();
        Pace { target, floor, most, rate, is_first_climb: true, is_alone: false, due: None, judged }
    }

    /// Bytes per second from now on.
    pub fn rate(&self) -> u64 {
        if self.is_alone { self.most } else { self.rate }
    }

    /// Whether the interval has ended; the first one begins when this is asked first.
    pub fn is_due(&mut self, now: Nanos) -> bool {
        now >= *self.due.get_or_insert(now + INTERVAL)
    }

    /// When it ends.
    pub fn due(&self) -> Option<Nanos> {
        self.due
    }

    /// What was judged so far.
    pub fn judged(&self) -> Judged {
        self.judged
    }

    /// An interval has ended, and the next one begins.
    pub fn step(&mut self, now: Nanos, foreground: Foreground, progress: Progress) {
        self.due = Some(now + INTERVAL);
        let was_alone = self.is_alone;
        self.is_alone = foreground == Foreground::default();
        if self.is_alone {
            return;
        }
        // Where none has ended, one that waits too long already tells enough.
        let slowest = if foreground.ended > 0 { foreground.p99 } else { foreground.oldest };
        let is_exceeded = slowest > self.target;
        self.judged.intervals += 1;
        self.judged.exceeded += u64::from(is_exceeded);
        // What went on without a limit says nothing about the rate.
        if was_alone || !progress.worked {
            return;
        }
        if is_exceeded {
            self.is_first_climb = false;
            self.rate = (self.rate / 2).max(self.floor);
        } else if foreground.ended > 0 && progress.held && slowest < Nanos(self.target.0 / 4 * 3) {
            let step = if self.is_first_climb { self.rate } else { STEP };
            self.rate = self.rate.saturating_add(step).min(self.most);
        }
    }
}

/// The least, in bytes per second: a page of the default size each second.
pub const FLOOR: u64 = 4 << 20;
/// What is added for an interval in which the foreground was well: from nothing to a quarter of a fast device in some ten
/// seconds.
const STEP: u64 = 4 << 20;
/// The rate of the first interval.
const START: u64 = 16 << 20;
/// Long enough for a 99th percentile, short against what a person notices.
pub const INTERVAL: Nanos = Nanos::from_millis(100);
const _: () = assert!(FLOOR <= START);

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Nanos = Nanos::from_millis(2);
    const MIB: u64 = 1 << 20;
    const BUSY: Progress = Progress { worked: true, held: true };

    fn ended(p99_us: u64) -> Foreground {
        Foreground { ended: 100, p99: Nanos(p99_us * 1000), oldest: Nanos(1) }
    }

    /// After the first excess, at 64 MiB/s.
    fn settled() -> Pace {
        let mut pace = Pace::new(TARGET, Some(1000 * MIB));
        (0..3).for_each(|_| pace.step(Nanos::ZERO, ended(100), BUSY));
        pace.step(Nanos::ZERO, ended(5000), BUSY);
        assert_eq!(pace.rate(), 64 * MIB);
        pace
    }

    #[test]
    fn each_interval_has_one_consequence() {
        let waits = |oldest_us: u64| Foreground { oldest: Nanos(oldest_us * 1000), ..Foreground::default() };
        let not_held = Progress { held: false, ..BUSY };
        let idle = Progress::default();
        #[rustfmt::skip]
        let cases = [
            // why,                                         foreground, progress, want MiB/s, exceeded
            ("well below: one step more",                   ended(1400), BUSY,     68,   0),
            ("just below: the same",                        ended(1600), BUSY,     64,   0),
            ("at the target: the same",                     ended(2000), BUSY,     64,   0),
            ("above: half",                                 ended(2100), BUSY,     32,   1),
            ("none has ended, one waits too long: half",    waits(2100), BUSY,     32,   1),
            ("none has ended, none waits long: the same",   waits(100),  BUSY,     64,   0),
            ("the rate was not used up: the same",          ended(100),  not_held, 64,   0),
            ("not used up, and yet too much: half",         ended(2100), not_held, 32,   1),
            ("the rebuild did nothing: the same",           ended(100),  idle,     64,   0),
            ("it cannot have been the rebuild: the same",   ended(2100), idle,     64,   1),
            ("nobody else wants anything: all that may be", waits(0),    BUSY,     1000, 0),
        ];
        for (why, foreground, progress, want, exceeded) in cases {
            let mut pace = settled();
            let before = pace.judged().exceeded;
            pace.step(Nanos::from_secs(7), foreground, progress);
            assert_eq!((pace.rate() / MIB, pace.judged().exceeded - before), (want, exceeded), "{why}");
            assert_eq!(pace.due(), Some(Nanos::from_millis(7100)), "{why}");
        }
    }

    #[test]
    fn the_first_interval_begins_when_it_is_asked_for() {
        let mut pace = Pace::new(TARGET, None);
        let asked = [100, 199, 200].map(|millis| pace.is_due(Nanos::from_millis(millis)));
        assert_eq!((asked, pace.due()), ([false, false, true], Some(Nanos::from_millis(200))));
    }

    #[test]
    fn it_never_falls_below_the_floor_nor_climbs_above_the_most() {
        let mut pace = settled();
        (0..50).for_each(|_| pace.step(Nanos::ZERO, ended(9000), BUSY));
        assert_eq!(pace.rate(), FLOOR);
        (0..500).for_each(|_| pace.step(Nanos::ZERO, ended(100), BUSY));
        assert_eq!(pace.rate(), 1000 * MIB);
        let mut slow = Pace::new(TARGET, Some(1000));
        (0..50).for_each(|_| slow.step(Nanos::ZERO, ended(9000), BUSY));
        assert_eq!(slow.rate(), 1000, "a limit below the floor is the floor");
        let mut free = Pace::new(TARGET, None);
        (0..99).for_each(|_| free.step(Nanos::ZERO, ended(100), BUSY));
        assert_eq!(free.rate(), u64::MAX);
    }

    #[test]
    fn it_goes_on_where_it_was_when_the_foreground_comes_back() {
        let mut pace = settled();
        for _ in 0..5 {
            pace.step(Nanos::ZERO, Foreground::default(), BUSY);
            assert_eq!(pace.rate(), 1000 * MIB);
        }
        let before = pace.judged();
        // The first interval after was run without a limit.
        pace.step(Nanos::ZERO, ended(9000), BUSY);
        assert_eq!(pace.rate(), 64 * MIB);
        assert_eq!(pace.judged(), Judged { intervals: before.intervals + 1, exceeded: before.exceeded + 1 });
        pace.step(Nanos::ZERO, ended(9000), BUSY);
        assert_eq!(pace.rate(), 32 * MIB);
    }

    /// Devices that have so much left over: up to there the p99 grows slowly, and above it is far beyond the target.
    fn p99_us(rate: u64, left_over: u64) -> u64 {
        if rate > left_over { 8000 } else { 500 + 900 * rate / left_over }
    }

    fn drive(pace: &mut Pace, left_over: u64, intervals: u64) -> (u64, u64) {
        let (mut moved, before) = (0, pace.judged().exceeded);
        for _ in 0..intervals {
            let rate = pace.rate();
            moved += rate / 10;
            pace.step(Nanos::ZERO, ended(p99_us(rate, left_over)), BUSY);
        }
        (moved * 10 / intervals, pace.judged().exceeded - before)
    }

    #[test]
    fn it_converges_to_what_is_left_over_and_follows_it() {
        let mut pace = Pace::new(TARGET, None);
        drive(&mut pace, 200 * MIB, 50);
        for left_over in [200 * MIB, 30 * MIB, 800 * MIB, 100 * MIB] {
            drive(&mut pace, left_over, 300);
            let (mean, exceeded) = drive(&mut pace, left_over, 1000);
            assert!(mean > left_over / 2 && mean <= left_over, "{} of {}", mean / MIB, left_over / MIB);
            // It climbs for as many steps as half of the rate has.
            let most = 1000 / (left_over / 2 / STEP) + 1;
            assert!((1..=most).contains(&exceeded), "{exceeded} intervals of 1000 at {}", left_over / MIB);
        }
        let (mean, _) = drive(&mut pace, 0, 1000);
        assert!((FLOOR..2 * FLOOR).contains(&mean), "at the floor: {mean}");
    }

    #[test]
    fn two_that_share_come_to_equal_shares() {
        let (mut one, mut two) = (settled(), Pace::new(TARGET, None));
        let mut moved = [0; 2];
        for interval in 0..3000 {
            let rates = [one.rate(), two.rate()];
            let p99 = ended(p99_us(rates[0] + rates[1], 300 * MIB));
            one.step(Nanos::ZERO, p99, BUSY);
            two.step(Nanos::ZERO, p99, BUSY);
            if interval >= 1000 {
                moved.iter_mut().zip(rates).for_each(|(moved, rate)| *moved += rate / MIB);
            }
        }
        assert!(moved[0].abs_diff(moved[1]) * 20 < moved[0], "{moved:?}");
    }
}
