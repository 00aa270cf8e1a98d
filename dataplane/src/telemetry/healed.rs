//! What was wrong on the devices and was brought back: counted by member.

use serde::Serialize;

/// Blocks of one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Healed {
    /// Blocks that did not hold what was written, or could not be read.
    #[serde(rename = "blocks_damaged")]
    pub damaged: u64,
    /// Blocks of a member that is not there.
    #[serde(rename = "blocks_reconstructed")]
    pub reconstructed: u64,
}

impl Healed {
    /// Adds what another has counted.
    pub fn add(&mut self, other: Healed) {
        self.damaged += other.damaged;
        self.reconstructed += other.reconstructed;
    }
}

/// The counts of all members, and those of runs that may have to be read again.
#[derive(Clone, Debug)]
pub struct Healings {
    members: usize,
    total: Box<[Healed]>,
    /// By run and member.
    of_runs: Box<[Healed]>,
}

impl Healings {
    /// Nothing yet.
    pub fn new(members: u16, runs: u16) -> Healings {
        let members = usize::from(members);
        let row = |rows: usize| vec![Healed::default(); rows * members].into_boxed_slice();
        Healings { members, total: row(1), of_runs: row(usize::from(runs)) }
    }

    /// Counts blocks for a run.
    pub fn count(&mut self, run: u16, member: u16, healed: Healed) {
        self.of_runs[usize::from(run) * self.members + usize::from(member)].add(healed);
    }

    /// What was counted for a run is certain.
    pub fn keep(&mut self, run: u16) {
        let row = &mut self.of_runs[usize::from(run) * self.members..][..self.members];
        self.total.iter_mut().zip(row).for_each(|(total, healed)| total.add(std::mem::take(healed)));
    }

    /// What was counted for a run is counted again.
    pub fn forget(&mut self, run: u16) {
        self.of_runs[usize::from(run) * self.members..][..self.members].fill(Healed::default());
    }

    /// What is certain, by member.
    pub fn total(&self) -> &[Healed] {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_again_is_not_counted_twice() {
        let mut healings = Healings::new(2, 3);
        let one = Healed { damaged: 1, reconstructed: 2 };
        healings.count(2, 1, one);
        healings.count(0, 1, one);
        healings.forget(2);
        healings.keep(2);
        healings.count(2, 0, one);
        healings.keep(2);
        healings.keep(2);
        assert_eq!(healings.total(), [one, Healed::default()]);
    }
}
