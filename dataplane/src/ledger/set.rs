//! A set between its plan and its commit: what the peers have reported of it.

use std::sync::Arc;

use bireme_control::units::{Nanos, PeerId};

use super::store::{PageRecord, SetRecord};
use crate::message::{Failure, Origin, Plan};

/// How far a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Peers write.
    Writing,
    /// All has been written; peers flush.
    Flushing,
    /// Durable, and not yet visible.
    Flushed,
    /// Its transaction is being replayed.
    Committing,
}

/// One such set.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) plan: Arc<Plan>,
    pub(super) phase: Phase,
    pub(super) written_at: Nanos,
    pub(super) flushed_at: Nanos,
    /// By page; all of the memory is taken when the set begins.
    roots: Vec<Option<u64>>,
    reported: u64,
    written: Vec<bool>,
    flushed: Vec<bool>,
}

impl Outstanding {
    pub(super) fn new(plan: Arc<Plan>, peers: usize) -> Outstanding {
        let pages = usize::try_from(plan.pages).expect("a page has a frame, and frames have records in memory");
        Outstanding {
            plan,
            phase: Phase::Writing,
            written_at: Nanos::ZERO,
            flushed_at: Nanos::ZERO,
            roots: vec![None; pages],
            reported: 0,
            written: vec![false; peers],
            flushed: vec![false; peers],
        }
    }

    pub(super) fn page(&mut self, page: u64, frame: u64, root: u64) -> Result<(), Failure> {
        let place = usize::try_from(page).ok().and_then(|page| self.roots.get_mut(page));
        let place = place.ok_or(Failure::Broken("a page outside the set was reported"))?;
        if self.phase != Phase::Writing {
            return Err(Failure::Broken("a page was reported after all were said to be written"));
        }
        if frame != self.plan.frame(page) {
            return Err(Failure::Broken("a page was written to a frame that is not its own"));
        }
        if place.replace(root).is_some() {
            return Err(Failure::Broken("a page was reported twice"));
        }
        self.reported += 1;
        Ok(())
    }

    /// A peer has written its share; `true` when it was the last.
    pub(super) fn written(&mut self, peer: PeerId, at: Nanos) -> Result<bool, Failure> {
        mark(&mut self.written, peer)?;
        self.written_at = self.written_at.max(at);
        let last = self.written.iter().all(|&done| done);
        if last {
            if self.reported != self.plan.pages {
                return Err(Failure::Broken("all peers have written, and a page was not reported"));
            }
            self.phase = Phase::Flushing;
        }
        Ok(last)
    }

    pub(super) fn flushed(&mut self, peer: PeerId, at: Nanos) -> Result<(), Failure> {
        if self.phase != Phase::Flushing {
            return Err(Failure::Broken("a flush was reported before all was written"));
        }
        mark(&mut self.flushed, peer)?;
        self.flushed_at = self.flushed_at.max(at);
        if self.flushed.iter().all(|&done| done) {
            self.phase = Phase::Flushed;
        }
        Ok(())
    }

    /// What the transaction makes visible.
    pub(super) fn records(&self) -> Result<(SetRecord, Vec<PageRecord>), Failure> {
        let plan = &*self.plan;
        let seed = if let Origin::Generated { seed } = plan.origin { Some(seed) } else { None };
        let (number, bytes, pages, generation) = (plan.number, plan.bytes, plan.pages, plan.generation);
        let record = |(page, root): (u64, &Option<u64>)| {
            let root = root.ok_or(Failure::Broken("a page of the set was never reported"))?;
            Ok(PageRecord { frame: plan.frame(page), root })
        };
        let records = (0..).zip(&self.roots).map(record).collect::<Result<_, Failure>>()?;
        Ok((SetRecord { number, bytes, pages, generation, seed }, records))
    }
}

fn mark(done: &mut [bool], peer: PeerId) -> Result<(), Failure> {
    match done.get_mut(peer.index()) {
        Some(done) if !*done => *done = true,
        _ => return Err(Failure::Broken("a peer reported twice, or does not exist")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bireme_control::units::Extent;

    use super::*;

    fn example() -> Outstanding {
        let frames = vec![Extent::new(4, 1), Extent::new(9, 1)].into();
        let origin = Origin::File;
        let plan = Plan { sequence: 0, number: 1, generation: 1, bytes: 2, pages: 2, frames, origin };
        Outstanding::new(Arc::new(plan), 2)
    }

    #[test]
    fn it_is_flushed_when_each_peer_and_page_was_heard_of_once() {
        let mut set = example();
        assert_eq!(set.page(1, 9, 11), Ok(()));
        assert_eq!(set.written(PeerId(1), Nanos(5)), Ok(false));
        assert_eq!(set.page(0, 4, 10), Ok(()));
        assert_eq!(set.written(PeerId(0), Nanos(3)), Ok(true));
        assert_eq!(set.flushed(PeerId(0), Nanos(7)), Ok(()));
        assert_eq!(set.phase, Phase::Flushing);
        assert_eq!(set.flushed(PeerId(1), Nanos(6)), Ok(()));
        assert_eq!((set.phase, set.written_at, set.flushed_at), (Phase::Flushed, Nanos(5), Nanos(7)));
        let roots: Vec<_> = set.records().expect("whole").1.iter().map(|page| (page.frame, page.root)).collect();
        assert_eq!(roots, [(4, 10), (9, 11)]);
    }

    #[test]
    fn whatever_breaks_a_promise_is_a_failure() {
        assert!(example().page(2, 4, 0).is_err(), "outside");
        assert!(example().page(0, 9, 0).is_err(), "another's frame");
        assert!(example().flushed(PeerId(0), Nanos::ZERO).is_err(), "nothing is written");
        assert!(example().written(PeerId(2), Nanos::ZERO).is_err(), "nobody");
        assert!(example().records().is_err(), "a hole");
        let mut set = example();
        assert_eq!(set.page(0, 4, 0), Ok(()));
        assert!(set.page(0, 4, 0).is_err(), "twice");
        assert_eq!(set.written(PeerId(0), Nanos::ZERO), Ok(false));
        assert!(set.written(PeerId(1), Nanos::ZERO).is_err(), "a hole");
    }
}
