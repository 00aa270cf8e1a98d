//! The axis of time: which column of pixels a moment has, and at which moments it bears a label.

use bireme_control::units::Nanos;

/// From 0 to an end, over columns of pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    end: Nanos,
    left: i32,
    right: i32,
}

impl Scale {
    pub(crate) fn new(end: Nanos, left: i32, right: i32) -> Scale {
        Scale { end: end.max(Nanos(1)), left, right }
    }

    /// The column of a moment; moments past the end have the last.
    pub(crate) fn x(&self, at: Nanos) -> i32 {
        let width = u128::try_from(self.right - self.left).unwrap_or(0);
        let column = u128::from(at.min(self.end).0) * width / u128::from(self.end.0);
        self.left + i32::try_from(column).unwrap_or(0)
    }

    pub(crate) fn left(&self) -> i32 {
        self.left
    }

    pub(crate) fn right(&self) -> i32 {
        self.right
    }

    /// Columns and labels of round times, ten at most, and the unit that the labels count.
    pub(crate) fn ticks(&self) -> (Vec<(i32, String)>, &'static str) {
        let (unit, name) = match self.end.0 {
            0..10_000 => (1, "ns"),
            10_000..10_000_000 => (1_000, "us"),
            10_000_000..10_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let mut step = unit;
        for factor in [2, 5, 10].into_iter().cycle() {
            if self.end.0 / step <= TICKS_MAX {
                break;
            }
            // Steps of 1, 2, 5 and 10: each of a round is counted from its first.
            let round = 10u64.pow((step / unit).ilog10()) * unit;
            step = round * factor;
        }
        let tick = |number: u64| (self.x(Nanos(number * step)), (number * step / unit).to_string());
        ((0..=self.end.0 / step).map(tick).collect(), name)
    }
}

const TICKS_MAX: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        #[rustfmt::skip]
        let cases = [
            // end,                 last,  count, unit
            (1,                     "1",   2,     "ns"),
            (10_500,                "10",  11,    "us"),
            (123_000_000,           "120", 7,     "ms"),
            (480_000_000,           "450", 10,    "ms"),
            (61_000_000_000,        "60",  7,     "s"),
            (u64::MAX,              "",    0,     "s"),
        ];
        for (end, last, count, unit) in cases {
            let (ticks, name) = Scale::new(Nanos(end), 0, 1000).ticks();
            assert!(ticks.len() <= 11, "{end}: {ticks:?}");
            assert_eq!(name, unit);
            if count > 0 {
                assert_eq!((ticks.len(), ticks.last().expect("some").1.as_str()), (count, last), "{end}");
            }
        }
    }

    #[test]
    fn columns_stay_within_the_axis() {
        let scale = Scale::new(Nanos(100), 10, 20);
        assert_eq!([0, 50, 100, 1000].map(|at| scale.x(Nanos(at))), [10, 15, 20, 20]);
        assert_eq!(Scale::new(Nanos::ZERO, 10, 20).x(Nanos::ZERO), 10);
    }
}
