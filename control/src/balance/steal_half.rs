//! Whoever is dry takes half of what the other can still give. Nothing is measured and nothing is learnt.

/// How much of what is movable is given, rounded up: a single transfer that waits is better off elsewhere.
pub(super) fn portion(movable: u64) -> u64 {
    movable.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_given_and_the_odd_one_too() {
        for (movable, want) in [(0, 0), (1, 1), (2, 1), (3, 2), (1024, 512), (u64::MAX, u64::MAX / 2 + 1)] {
            assert_eq!(portion(movable), want, "of {movable}");
        }
    }
}
