//! What two peers know of each other. Each has a copy, and the copies travel in offers and answers.
//!
//! Whoever changes its copy raises the version; of two copies the higher version counts, and of two changes at the same
//! time that of the lower peer. So the copies are equal again after the next answer.

use serde::{Deserialize, Serialize};

use crate::units::{PeerId, Permille};

/// The record of a pair of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub(super) version: u64,
    /// `ratio`: the share of the lower's and of the higher's remaining transfers that it gives away when asked.
    pub(super) ratios: [Permille; 2],
    /// `measured`: the share of the lower of what both complete, in millionths; `None`: not measured.
    pub(super) rho: Option<u32>,
    /// What holds for one set only.
    #[serde(skip)]
    pub(super) set: PairSet,
}

/// What is known of a pair within one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PairSet {
    /// Which; `None` before the first.
    pub(super) sequence: Option<u32>,
    /// `ratio`: somebody has asked.
    pub(super) asked: bool,
    /// `ratio`: who was helped by the last ask.
    pub(super) helped: Option<Side>,
    /// `measured`: what both had completed when the share was last measured.
    pub(super) counted: [u64; 2],
}

/// Which of the two peers of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// That with the lower id.
    Low,
    /// That with the higher id.
    High,
}

impl Side {
    /// Which of the two `one` is, when the other is `other`.
    pub(super) fn of(one: PeerId, other: PeerId) -> Side {
        if one < other { Side::Low } else { Side::High }
    }

    pub(super) fn other(self) -> Side {
        match self {
            Side::Low => Side::High,
            Side::High => Side::Low,
        }
    }

    /// Figures of this side and of the other, as lower and higher.
    pub(super) fn arrange(self, this: u64, other: u64) -> [u64; 2] {
        match self {
            Side::Low => [this, other],
            Side::High => [other, this],
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Side::Low => 0,
            Side::High => 1,
        }
    }
}

impl Default for Pair {
    fn default() -> Pair {
        let half = Permille::new(500).unwrap_or(RATIO_MIN);
        Pair { version: 0, ratios: [half; 2], rho: None, set: PairSet::default() }
    }
}

impl Pair {
    /// As it is when a run begins: what was read back may be anything.
    pub(super) fn renewed(self) -> Pair {
        let ratios = self.ratios.map(|ratio| ratio.clamp(RATIO_MIN, RATIO_MAX));
        let rho = self.rho.map(|rho| rho.clamp(RHO_MIN, RHO_MAX));
        Pair { version: 0, ratios, rho, set: PairSet::default() }
    }

    /// Takes over the other's copy if that is the one that counts; `mine` is the side of this copy.
    pub(super) fn merge(&mut self, other: Pair, mine: Side) {
        if other.version > self.version || (other.version == self.version && mine == Side::High) {
            *self = other;
        }
    }

    /// What is known within a set; a new one knows nothing yet.
    pub(super) fn of_set(&mut self, sequence: u32) -> &mut PairSet {
        if self.set.sequence != Some(sequence) {
            self.set = PairSet { sequence: Some(sequence), ..PairSet::default() };
        }
        &mut self.set
    }

    /// A side's share of what both complete, in millionths; one half as long as nothing is measured.
    pub(super) fn share(&self, side: Side) -> u32 {
        let low = self.rho.unwrap_or(ONE / 2).min(ONE);
        match side {
            Side::Low => low,
            Side::High => ONE - low,
        }
    }

    /// The same in thousandths, for the report.
    pub(super) fn permille(&self, side: Side) -> Permille {
        let thousandths = u16::try_from(self.share(side) / 1000).unwrap_or(0);
        Permille::new(thousandths).unwrap_or_default()
    }

    /// There is something to remember.
    pub(super) fn is_known(&self) -> bool {
        *self != Pair { version: self.version, set: self.set, ..Pair::default() }
    }
}

/// The whole, in millionths.
pub(super) const ONE: u32 = 1_000_000;
/// A share never leaves these bounds, so that the slower one always has something to be measured by.
pub(super) const RHO_MIN: u32 = 20_000;
/// See [`RHO_MIN`].
pub(super) const RHO_MAX: u32 = ONE - RHO_MIN;
/// The bounds of a ratio.
pub(super) const RATIO_MIN: Permille = bound(50);
/// See [`RATIO_MIN`].
pub(super) const RATIO_MAX: Permille = bound(950);

const fn bound(thousandths: u16) -> Permille {
    Permille::new(thousandths).expect("a bound is a share")
}
