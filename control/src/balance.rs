//! How peers share the transfers of a data set.
//!
//! Every peer holds the whole set; what moves is the responsibility for extents of it. Each peer has a [`Machine`] of
//! its own, which runs inside the peer's turn: events in, actions out, no clock, no waiting.
//!
//! ```text
//!   Begin(set) --> [ Machine ] --> Assign(extent)     transfer these
//!   Dry        -->             --> Draw(most)         take up to that many from the set's common cursor
//!   Drawn(e)   -->             --> Finished           nothing of this set is left for this peer to start
//! ```
//!
//! - [`fixed`]: equal parts, no exchange. The baseline that every unequal pair of peers defeats.
//! - [`pull`]: runs from one cursor. Within about a run of the optimum where taking one is free.

use serde::{Deserialize, Serialize};

use crate::units::{Extent, Nanos, PeerId};

pub mod fixed;
pub mod pull;

/// Which rule shares the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Equal parts from the start.
    Fixed,
    /// Whoever has nothing to do takes the next run.
    #[default]
    Pull,
}

impl Strategy {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Fixed => "fixed",
            Strategy::Pull => "pull",
        }
    }
}

/// What happens to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A set of so many transfers begins. Sets begin in order, each when the one before has nothing left to start.
    Begin {
        /// Transfers of the set.
        transfers: u64,
    },
    /// The peer has started everything it was assigned.
    Dry,
    /// What a [`Action::Draw`] brought; empty when the cursor is at the end.
    Drawn(Extent),
}

/// What the peer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// These transfers are the peer's.
    Assign(Extent),
    /// Take up to `most` transfers from the set's cursor, and report them as [`Event::Drawn`].
    Draw {
        /// The most to take.
        most: u64,
    },
    /// This peer starts nothing more of the set.
    Finished,
}

/// The state machine of one peer under one strategy.
#[derive(Clone, Debug)]
pub enum Machine {
    /// See [`fixed`].
    Fixed(fixed::Fixed),
    /// See [`pull`].
    Pull(pull::Pull),
}

impl Machine {
    /// The machine of peer `me` of `peers`.
    pub fn new(strategy: Strategy, me: PeerId, peers: u16) -> Machine {
        assert!(me.0 < peers, "{me} is not one of {peers}");
        match strategy {
            Strategy::Fixed => Machine::Fixed(fixed::Fixed::new(me, peers)),
            Strategy::Pull => Machine::Pull(pull::Pull::new()),
        }
    }

    /// Takes one event; the answer is what to do next, if anything.
    pub fn handle(&mut self, _now: Nanos, event: Event) -> Option<Action> {
        match self {
            Machine::Fixed(machine) => machine.handle(event),
            Machine::Pull(machine) => machine.handle(event),
        }
    }

    /// Takes the newest parameter of the controller: how many transfers to draw at once.
    pub fn set_run(&mut self, transfers: u64) {
        if let Machine::Pull(machine) = self {
            machine.set_run(transfers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peers of unequal speed work a set off; returns the makespan in ticks and how often each transfer was done.
    fn work_off(strategy: Strategy, costs: &[u64], transfers: u64) -> (u64, Vec<u32>) {
        let peers = u16::try_from(costs.len()).expect("few peers");
        let mut machines: Vec<_> = (0..peers).map(|p| Machine::new(strategy, PeerId(p), peers)).collect();
        let mut mine = vec![Extent::default(); costs.len()];
        let mut free_at: Vec<Option<u64>> = vec![Some(0); costs.len()];
        let (mut cursor, mut done, mut makespan) = (Extent::new(0, transfers), vec![0; index(transfers)], 0);
        for (peer, machine) in machines.iter_mut().enumerate() {
            if let Some(Action::Assign(extent)) = machine.handle(Nanos(0), Event::Begin { transfers }) {
                mine[peer] = extent;
            }
        }
        while let Some((peer, now)) =
            free_at.iter().enumerate().filter_map(|(p, t)| t.map(|t| (p, t))).min_by_key(|x| x.1)
        {
            if mine[peer].is_empty() {
                let mut event = Event::Dry;
                loop {
                    match machines[peer].handle(Nanos(now), event) {
                        Some(Action::Assign(extent)) => break mine[peer] = extent,
                        Some(Action::Draw { most }) => event = Event::Drawn(cursor.take_front(most)),
                        Some(Action::Finished) | None => break free_at[peer] = None,
                    }
                }
                continue;
            }
            let one = mine[peer].take_front(1);
            done[index(one.start)] += 1;
            free_at[peer] = Some(now + costs[peer]);
            makespan = makespan.max(now + costs[peer]);
        }
        (makespan, done)
    }

    fn index(transfer: u64) -> usize {
        usize::try_from(transfer).expect("a small set")
    }

    #[test]
    fn every_transfer_is_done_once_whatever_the_speeds() {
        for strategy in [Strategy::Fixed, Strategy::Pull] {
            for costs in [&[1][..], &[1, 1], &[1, 8], &[5, 1, 3], &[1, 1, 1, 1, 1, 1, 1]] {
                for transfers in [0, 1, 2, 7, 100, 1024] {
                    let (_, done) = work_off(strategy, costs, transfers);
                    assert!(done.iter().all(|&n| n == 1), "{strategy:?} {costs:?} {transfers}: {done:?}");
                }
            }
        }
    }

    #[test]
    fn fixed_pays_for_inequality_and_pull_does_not() {
        // The optimum for speeds 1:4 is 1024 * 4 / 5 = 820 ticks.
        assert_eq!(work_off(Strategy::Fixed, &[1, 4], 1024).0, 2048);
        let pull = work_off(Strategy::Pull, &[1, 4], 1024).0;
        assert!((820..=824).contains(&pull), "{pull} ticks");
    }
}
