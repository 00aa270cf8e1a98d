//! Vectors of 32 bytes; products by two shuffles.

use std::arch::x86_64::*;
use std::ops::Range;

use super::field::{Factor, REDUCTION};
use super::passes::{self, Lanes, Task};

#[target_feature(enable = "avx2")]
pub(super) fn run(task: Task<'_>, range: Range<usize>) {
    let lanes = Lanes {
        xor: |a, b| _mm256_xor_si256(a, b),
        double: |v: __m256i| {
            let carries = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v);
            let reductions = _mm256_and_si256(carries, _mm256_set1_epi8(REDUCTION.cast_signed()));
            _mm256_xor_si256(_mm256_add_epi8(v, v), reductions)
        },
        times: |v: __m256i, factor: &'static Factor| {
            let nibble = _mm256_set1_epi8(15);
            let table = |products| _mm256_broadcastsi128_si256(bytemuck::cast(products));
            let low = _mm256_shuffle_epi8(table(factor.low), _mm256_and_si256(v, nibble));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(v), nibble);
            _mm256_xor_si256(low, _mm256_shuffle_epi8(table(factor.high), high))
        },
    };
    passes::run(task, range, lanes);
}
