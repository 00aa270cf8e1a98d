//! Eight bytes in an integer: for processors without the others.

use std::ops::Range;

use super::field::{Factor, REDUCTION};
use super::passes::{self, Lanes, Task};

pub(super) fn run(task: Task<'_>, range: Range<usize>) {
    passes::run(task, range, Lanes { xor: |a: u64, b: u64| a ^ b, double, times });
}

#[inline(always)]
fn double(v: u64) -> u64 {
    let carries = (v >> 7) & ONES;
    ((v & !(ONES << 7)) << 1) ^ (carries * u64::from(REDUCTION))
}

#[inline(always)]
fn times(v: u64, factor: &'static Factor) -> u64 {
    let (mut product, mut shifted) = (0, v);
    for bit in 0..8 {
        if factor.value >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = double(shifted);
    }
    product
}

/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
