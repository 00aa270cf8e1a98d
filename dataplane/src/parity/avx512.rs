//! Vectors of 64 bytes; products by two shuffles, or by one instruction where the processor has GFNI.

use std::arch::x86_64::*;
use std::ops::Range;

use super::field::{Factor, REDUCTION};
use super::passes::{self, Lanes, Task};

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn run(task: Task<'_>, range: Range<usize>) {
    let lanes = Lanes {
        xor: |a, b| _mm512_xor_si512(a, b),
        double: |v: __m512i| {
            let carries = _mm512_movepi8_mask(v);
            let reductions = _mm512_maskz_set1_epi8(carries, REDUCTION.cast_signed());
            _mm512_xor_si512(_mm512_add_epi8(v, v), reductions)
        },
        times: |v: __m512i, factor: &'static Factor| {
            let nibble = _mm512_set1_epi8(15);
            let table = |products| _mm512_broadcast_i32x4(bytemuck::cast(products));
            let low = _mm512_shuffle_epi8(table(factor.low), _mm512_and_si512(v, nibble));
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(v), nibble);
            _mm512_xor_si512(low, _mm512_shuffle_epi8(table(factor.high), high))
        },
    };
    passes::run(task, range, lanes);
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub(super) fn run_gfni(task: Task<'_>, range: Range<usize>) {
    let times = |v: __m512i, factor: &'static Factor| {
        _mm512_gf2p8affine_epi64_epi8::<0>(v, _mm512_set1_epi64(factor.matrix.cast_signed()))
    };
    let g = Factor::of(2);
    passes::run(task, range, Lanes { xor: |a, b| _mm512_xor_si512(a, b), double: |v| times(v, g), times });
}
