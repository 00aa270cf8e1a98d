//! The reference method: a ratio per peer, stepped by what the last ask brought.
//!
//! A ratio is the share of its remaining transfers that a peer gives away when asked. It is raised if the same peer has
//! to be helped again, since it gave too little; if now the helper has to be helped, the helper's ratio is what was too
//! much, and the *asker's* own is lowered:
//!
//! ```text
//!   first ask of the set   ──▶ the ratios as they are
//!   victim was helped last ──▶ victim's ratio + increment
//!   asker was helped last  ──▶ asker's ratio - increment      (the victim's is used as it stands)
//!   the last was refused   ──▶ the ratios as they are
//! ```
//!
//! The step is provisional: it is committed with a portion above the minimum, and discarded with a refusal.

use super::pair::{Pair, RATIO_MAX, RATIO_MIN, Side};
use crate::units::Permille;

/// What the victim has, and what is worth a hand-over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    /// Assigned and not completed, what is in flight included.
    pub(super) remaining: u64,
    /// The most that can move.
    pub(super) movable: u64,
    /// A portion of at most this is refused.
    pub(super) minimum: u64,
}

/// Decides about an ask and steps the pair; the answer is the portion, 0 for a refusal, and the share it came from.
pub(super) fn portion(
    pair: &mut Pair,
    victim: Side,
    sequence: u32,
    holding: Holding,
    increment: Permille,
) -> (u64, Permille) {
    let provisional = stepped(pair, victim, sequence, increment);
    let share = provisional[victim.index()];
    let wanted = share.of(holding.remaining);
    let portion = if wanted > holding.minimum { wanted.min(holding.movable) } else { 0 };
    let set = pair.of_set(sequence);
    (set.asked, set.helped) = (true, (portion > 0).then_some(victim));
    if portion > 0 {
        pair.ratios = provisional;
    }
    pair.version += 1;
    (portion, share)
}

/// The provisional ratios.
fn stepped(pair: &mut Pair, victim: Side, sequence: u32, increment: Permille) -> [Permille; 2] {
    let mut ratios = pair.ratios;
    let set = *pair.of_set(sequence);
    let asker = victim.other();
    match set.helped.filter(|_| set.asked) {
        Some(helped) if helped == victim => {
            let raised = ratios[victim.index()].get().saturating_add(increment.get());
            ratios[victim.index()] = Permille::new(raised).unwrap_or(RATIO_MAX).min(RATIO_MAX);
        }
        Some(_) => {
            let lowered = ratios[asker.index()].get().saturating_sub(increment.get());
            ratios[asker.index()] = Permille::new(lowered).unwrap_or(RATIO_MIN).max(RATIO_MIN);
        }
        None => {}
    }
    ratios
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratios_step_with_the_outcomes() {
        use Side::{High, Low};
        #[rustfmt::skip]
        let cases = [
            // why,                        asked, helped,     ratios,     victim, remaining, movable, portion, ratios after
            ("the first ask",              false, None,       [500, 500], High,   38,        37,      19,      [500, 500]),
            ("helped again",               true,  Some(High), [500, 500], High,   14,        13,      8,       [500, 600]),
            ("discarded with a refusal",   true,  Some(High), [500, 600], High,   4,         3,       0,       [500, 600]),
            ("now the other is helped",    true,  Some(High), [500, 900], Low,    13,        12,      6,       [500, 800]),
            ("and back",                   true,  Some(Low),  [500, 800], High,   20,        19,      16,      [400, 800]),
            ("after a refusal",            true,  None,       [500, 800], High,   20,        19,      16,      [500, 800]),
            ("the upper bound",            true,  Some(Low),  [900, 500], Low,    100,       99,      95,      [950, 500]),
            ("the lower bound",            true,  Some(High), [500, 100], Low,    100,       99,      50,      [500, 50]),
            ("what is in flight stays",    false, None,       [500, 950], High,   100,       20,      20,      [500, 950]),
            ("all is in flight",           true,  Some(High), [500, 500], High,   32,        0,       0,       [500, 500]),
        ];
        for (why, asked, helped, before, victim, remaining, movable, want, after) in cases {
            let ratios = |list: [u16; 2]| list.map(|r| Permille::new(r).expect("a ratio"));
            let mut pair = Pair { ratios: ratios(before), ..Pair::default() };
            (pair.of_set(3).asked, pair.of_set(3).helped) = (asked, helped);
            let holding = Holding { remaining, movable, minimum: 2 };
            let (got, _) = portion(&mut pair, victim, 3, holding, Permille::new(100).expect("a step"));
            assert_eq!((got, pair.ratios), (want, ratios(after)), "{why}");
            assert_eq!(pair.set.helped, (want > 0).then_some(victim), "{why}");
        }
    }
}
