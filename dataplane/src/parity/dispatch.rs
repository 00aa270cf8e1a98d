//! Which instructions this processor has, and the way to the kernels that use them.
//!
//! A [`Supported`] is made by asking the processor and by nothing else. So holding one is the proof that its kernels may
//! be called, and the calls below are the only unsafe ones.

use std::ops::Range;

use super::InstructionSet;
use super::passes::Task;
use super::scalar;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Supported(InstructionSet);

impl Supported {
    /// The set, if the processor has it.
    pub(super) fn new(set: InstructionSet) -> Option<Supported> {
        has(set).then_some(Supported(set))
    }

    pub(super) fn set(self) -> InstructionSet {
        self.0
    }

    /// Does the task over the range with these instructions.
    #[inline]
    pub(super) fn run(self, task: Task<'_>, range: Range<usize>) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` has seen that the processor has AVX2.
            InstructionSet::Avx2 => unsafe { avx2::run(task, range) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` has seen that the processor has AVX-512 F and BW.
            InstructionSet::Avx512 => unsafe { avx512::run(task, range) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` has seen that the processor has AVX-512 F and BW, and GFNI.
            InstructionSet::Gfni => unsafe { avx512::run_gfni(task, range) },
            _ => scalar::run(task, range),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has(set: InstructionSet) -> bool {
    let avx512 = || is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    match set {
        InstructionSet::Scalar => true,
        InstructionSet::Avx2 => is_x86_feature_detected!("avx2"),
        InstructionSet::Avx512 => avx512(),
        InstructionSet::Gfni => avx512() && is_x86_feature_detected!("gfni"),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn has(set: InstructionSet) -> bool {
    set == InstructionSet::Scalar
}
