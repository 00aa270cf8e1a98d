//! Exact integers with a meaning: a share cannot be mistaken for a count, nor a time for a size.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// A point in time, or a span of it, in nanoseconds. Points count from an origin that the caller chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The origin, and the empty span.
    pub const ZERO: Nanos = Nanos(0);

    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Nanos {
        Nanos(secs * 1_000_000_000)
    }

    /// The span since `earlier`; empty if `earlier` is later, as two clocks read on two cores may be.
    pub const fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Nanos) {
        *self = *self + other;
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, other: Nanos) -> Nanos {
        self.since(other)
    }
}

impl fmt::Display for Nanos {
    /// Two or three significant digits with the unit that suits them: `870 ns`, `12.3 us`, `4.56 ms`, `1.23 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0 {
            0..=999 => return write!(f, "{} ns", self.0),
            1_000..=999_999 => (1_000, "us"),
            1_000_000..=999_999_999 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let (whole, part) = (self.0 / scale, self.0 % scale);
        match whole {
            0..=9 => write!(f, "{whole}.{:02} {unit}", part * 100 / scale),
            10..=99 => write!(f, "{whole}.{} {unit}", part * 10 / scale),
            _ => write!(f, "{whole} {unit}"),
        }
    }
}

/// A share in thousandths, 0 to 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permille(u16);

impl Permille {
    /// A share; `None` above 1000.
    pub const fn new(thousandths: u16) -> Option<Permille> {
        if thousandths <= 1000 { Some(Permille(thousandths)) } else { None }
    }

    /// The thousandths.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The share of `whole`, rounded down.
    pub const fn of(self, whole: u64) -> u64 {
        // The quotient first: the product of the whole and 1000 may not fit.
        (whole / 1000) * self.0 as u64 + (whole % 1000) * self.0 as u64 / 1000
    }
}

/// One of the peers of an engine, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerId(pub u16);

impl PeerId {
    /// As an index into a table with one entry per peer.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// A run of consecutive transfers, pages or frames: `start .. start + count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// The first.
    pub start: u64,
    /// How many.
    pub count: u64,
}

impl Extent {
    /// The run of `count` from `start`.
    pub const fn new(start: u64, count: u64) -> Extent {
        Extent { start, count }
    }

    /// One past the last.
    pub const fn end(self) -> u64 {
        self.start + self.count
    }

    /// Nothing in it.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Takes up to `count` off the front.
    pub fn take_front(&mut self, count: u64) -> Extent {
        let count = count.min(self.count);
        let front = Extent::new(self.start, count);
        self.start += count;
        self.count -= count;
        front
    }

    /// Takes up to `count` off the back.
    pub fn take_back(&mut self, count: u64) -> Extent {
        let count = count.min(self.count);
        self.count -= count;
        Extent::new(self.end(), count)
    }

    /// Each of them in order.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        self.start..self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_with_few_digits() {
        #[rustfmt::skip]
        let cases = [(0, "0 ns"), (999, "999 ns"), (1_000, "1.00 us"), (12_345, "12.3 us"), (4_560_000, "4.56 ms"),
                     (123_400_000, "123 ms"), (61_000_000_000, "61.0 s"), (500_000_000_000, "500 s")];
        for (nanos, want) in cases {
            assert_eq!(Nanos(nanos).to_string(), want);
        }
    }

    #[test]
    fn a_share_rounds_down_and_never_overflows() {
        let half = Permille::new(500).expect("500 is a share");
        assert_eq!(half.of(7), 3);
        assert_eq!(half.of(u64::MAX), u64::MAX / 2);
        assert_eq!(Permille::new(1000).expect("a share").of(u64::MAX), u64::MAX);
        assert_eq!(Permille::new(1001), None);
    }
}
