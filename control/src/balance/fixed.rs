//! Equal parts by count, given out at the start, and nothing after that.
//!
//! The other strategies that know nothing yet start from the same division.

use crate::units::Extent;

/// The parts of `transfers` for the living peers, by peer: they differ by one at most and cover everything once.
pub(super) fn parts(transfers: u64, living: &[bool]) -> Vec<Extent> {
    let alive = living.iter().filter(|&&lives| lives).count() as u64;
    let mut rest = Extent::new(0, transfers);
    let mut rank = 0;
    let part = |&lives: &bool| {
        let Some(each) = transfers.checked_div(alive).filter(|_| lives) else { return Extent::new(rest.start, 0) };
        rank += 1;
        rest.take_front(each + u64::from(rank <= transfers % alive))
    };
    living.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_and_cover_the_set() {
        #[rustfmt::skip]
        let cases = [
            // living, transfers, parts
            (&[true][..],             5, vec![(0, 5)]),
            (&[true, true],           5, vec![(0, 3), (3, 2)]),
            (&[true, true, true],     2, vec![(0, 1), (1, 1), (2, 0)]),
            (&[true, true],           0, vec![(0, 0), (0, 0)]),
            (&[true, false, true],    5, vec![(0, 3), (3, 0), (3, 2)]),
            (&[false, true],          3, vec![(0, 0), (0, 3)]),
            (&[false, false],         3, vec![(0, 0), (0, 0)]),
        ];
        for (living, transfers, want) in cases {
            let parts: Vec<_> = parts(transfers, living).into_iter().map(|e| (e.start, e.count)).collect();
            assert_eq!(parts, want, "{living:?}, {transfers} transfers");
        }
    }
}
