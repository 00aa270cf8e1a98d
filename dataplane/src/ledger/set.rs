//! A set between its plan and its commit: what the peers have reported of it.

use std::sync::Arc;

use bireme_control::units::{Extent, Nanos, PeerId};

use super::frames::runs_of;
use super::store::{PageRecord, SetRecord};
use crate::message::{Failure, Page};
use crate::plan::{Origin, Plan};

/// How far a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Peers write.
    Writing,
    /// Each page was reported; peers flush.
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
    /// Pages in the map, by the peer that wrote them.
    pub(super) done: Vec<u64>,
    /// Those of them that were repeats.
    pub(super) repeats: u64,
    /// When the last of them was written, by that peer; zero if there is none.
    pub(super) finished: Vec<Nanos>,
    /// By page; all of the memory is taken when the set begins.
    map: Vec<Option<PageRecord>>,
    reported: u64,
    flushed: Vec<bool>,
    quiet: Vec<bool>,
}

impl Outstanding {
    pub(super) fn new(plan: Arc<Plan>, peers: usize) -> Outstanding {
        let pages = usize::try_from(plan.pages).expect("a page has a frame, and frames have records in memory");
        Outstanding {
            plan,
            phase: Phase::Writing,
            written_at: Nanos::ZERO,
            flushed_at: Nanos::ZERO,
            done: vec![0; peers],
            repeats: 0,
            finished: vec![Nanos::ZERO; peers],
            map: vec![None; pages],
            reported: 0,
            flushed: vec![false; peers],
            quiet: vec![false; peers],
        }
    }

    /// A page was written; `true` when it was the last one missing. The first copy of a page enters the map; a second one
    /// is a repeat, or what was repeated, and its frame is free when nothing of the set is in flight any more.
    pub(super) fn page(&mut self, page: Page) -> Result<bool, Failure> {
        let Page { page, frame, root, peer, at, .. } = page;
        let place = usize::try_from(page).ok().and_then(|page| self.map.get_mut(page));
        let place = place.ok_or(Failure::Broken("a page outside the set was reported"))?;
        let is_repeat = frame != self.plan.frame(page);
        if is_repeat && !self.plan.spares_of(peer).any(|spare| spare == frame) {
            return Err(Failure::Broken("a page was written to a frame that is not its own"));
        }
        match place {
            Some(first) if first.frame == frame => return Err(Failure::Broken("a page was reported twice")),
            Some(_) => return Ok(false),
            None => *place = Some(PageRecord { frame, root }),
        }
        let done = self.done.get_mut(peer.index()).ok_or(Failure::Broken("a peer that does not exist has written"))?;
        *done += 1;
        self.finished[peer.index()] = at;
        self.repeats += u64::from(is_repeat);
        self.reported += 1;
        self.written_at = self.written_at.max(at);
        let whole = self.reported == self.plan.pages;
        if whole {
            self.phase = Phase::Flushing;
        }
        Ok(whole)
    }

    /// What nobody has reported.
    pub(super) fn missing(&self) -> Vec<Extent> {
        runs_of((0..).zip(&self.map).filter_map(|(page, record)| record.is_none().then_some(page)).collect())
    }

    pub(super) fn flushed(&mut self, whose: PeerId, at: Nanos) -> Result<(), Failure> {
        if self.phase != Phase::Flushing {
            return Err(Failure::Broken("a flush was reported before all was written"));
        }
        match self.flushed.get_mut(whose.index()) {
            Some(done) if !*done => *done = true,
            _ => return Err(Failure::Broken("devices were flushed twice, or do not exist")),
        }
        self.flushed_at = self.flushed_at.max(at);
        if self.flushed.iter().all(|&done| done) {
            self.phase = Phase::Flushed;
        }
        Ok(())
    }

    /// Whether the devices of a peer wait to be flushed.
    pub(super) fn awaits_flush_of(&self, whose: PeerId) -> bool {
        self.phase == Phase::Flushing && !self.flushed[whose.index()]
    }

    /// A peer has nothing of this set in flight, and starts nothing of it any more.
    pub(super) fn quiet(&mut self, peer: PeerId) -> Result<(), Failure> {
        *self.quiet.get_mut(peer.index()).ok_or(Failure::Broken("a peer that does not exist is quiet"))? = true;
        Ok(())
    }

    /// Whether nobody can write to its frames any more: each of the living is quiet.
    pub(super) fn is_settled(&self, alive: &[bool]) -> bool {
        self.quiet.iter().zip(alive).all(|(&quiet, &alive)| quiet || !alive)
    }

    /// What the transaction makes visible.
    pub(super) fn records(&self) -> Result<(SetRecord, Vec<PageRecord>), Failure> {
        let plan = &*self.plan;
        let seed = if let Origin::Generated { seed } = plan.origin { Some(seed) } else { None };
        let (number, bytes, pages, generation) = (plan.number, plan.bytes, plan.pages, plan.generation);
        let record =
            |record: &Option<PageRecord>| record.ok_or(Failure::Broken("a page of the set was never reported"));
        let records = self.map.iter().map(record).collect::<Result<_, Failure>>()?;
        Ok((SetRecord { number, bytes, pages, generation, seed }, records))
    }

    /// The frames in the map.
    pub(super) fn mapped(&self) -> Vec<Extent> {
        if self.repeats == 0 {
            return self.plan.frames.extents().to_vec();
        }
        runs_of(self.map.iter().flatten().map(|record| record.frame).collect())
    }

    /// The frames of the plan that the map leaves out.
    pub(super) fn unused(&self) -> Vec<Extent> {
        if self.repeats == 0 {
            return self.plan.spares.extents().to_vec();
        }
        let moved = |(page, record): (u64, &Option<PageRecord>)| {
            record.is_some_and(|record| record.frame != self.plan.frame(page)).then_some(page)
        };
        let moved: Vec<u64> = (0..).zip(&self.map).filter_map(moved).collect();
        let taken = |spare: u64| self.map.iter().flatten().any(|record| record.frame == spare);
        let spares = self.plan.spares.extents().iter().copied().flat_map(Extent::iter).filter(|&spare| !taken(spare));
        runs_of(moved.iter().map(|&page| self.plan.frame(page)).chain(spares).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages for two peers, which have a spare frame each.
    fn example() -> Outstanding {
        let plan = Plan {
            sequence: 0,
            number: 1,
            generation: 1,
            bytes: 2,
            pages: 2,
            frames: vec![Extent::new(4, 1), Extent::new(9, 1)].into(),
            spares: vec![Extent::new(20, 2)].into(),
            shares: vec![Extent::new(0, 1), Extent::new(1, 1)],
            origin: Origin::File,
        };
        Outstanding::new(Arc::new(plan), 2)
    }

    fn page(peer: u16, page: u64, frame: u64) -> Page {
        Page { sequence: 0, peer: PeerId(peer), page, frame, root: frame + 100, at: Nanos(frame) }
    }

    #[test]
    fn it_is_flushed_when_each_page_was_heard_of_and_each_device_is() {
        let mut set = example();
        assert_eq!(set.page(page(1, 1, 9)), Ok(false));
        assert_eq!(set.missing(), [Extent::new(0, 1)]);
        assert_eq!(set.page(page(0, 0, 4)), Ok(true));
        assert_eq!(set.flushed(PeerId(0), Nanos(17)), Ok(()));
        assert_eq!(set.phase, Phase::Flushing);
        assert_eq!(set.flushed(PeerId(1), Nanos(16)), Ok(()));
        assert_eq!((set.phase, set.written_at, set.flushed_at), (Phase::Flushed, Nanos(9), Nanos(17)));
        let roots: Vec<_> = set.records().expect("whole").1.iter().map(|page| (page.frame, page.root)).collect();
        assert_eq!(roots, [(4, 104), (9, 109)]);
        assert_eq!(set.unused(), [Extent::new(20, 2)]);
    }

    #[test]
    fn the_first_copy_of_a_page_enters_the_map_and_all_other_frames_are_free_in_the_end() {
        let mut set = example();
        assert_eq!(set.page(page(0, 0, 4)), Ok(false));
        assert_eq!(set.page(page(1, 0, 21)), Ok(false), "too late");
        assert_eq!(set.page(page(0, 1, 20)), Ok(true), "the repeat is first");
        assert_eq!(set.page(page(1, 1, 9)), Ok(false), "and what it repeated comes after all was flushed");
        assert_eq!((set.done.clone(), set.repeats), (vec![2, 0], 1));
        assert_eq!(set.mapped(), [Extent::new(4, 1), Extent::new(20, 1)]);
        assert_eq!(set.unused(), [Extent::new(9, 1), Extent::new(21, 1)]);
        assert!(!set.is_settled(&[true, true]));
        set.quiet(PeerId(0)).expect("a peer");
        assert!(set.is_settled(&[true, false]) && !set.is_settled(&[true, true]));
    }

    #[test]
    fn whatever_breaks_a_promise_is_a_failure() {
        assert!(example().page(page(0, 2, 4)).is_err(), "outside");
        assert!(example().page(page(0, 0, 9)).is_err(), "another page's frame");
        assert!(example().page(page(0, 0, 21)).is_err(), "another peer's spare frame");
        assert!(example().flushed(PeerId(0), Nanos::ZERO).is_err(), "nothing is written");
        assert!(example().quiet(PeerId(2)).is_err(), "nobody");
        assert!(example().records().is_err(), "a hole");
        let mut set = example();
        assert_eq!(set.page(page(0, 0, 4)), Ok(false));
        assert!(set.page(page(0, 0, 4)).is_err(), "twice");
        assert_eq!(set.page(page(0, 1, 9)), Ok(true));
        assert_eq!(set.flushed(PeerId(0), Nanos::ZERO), Ok(()));
        assert!(set.flushed(PeerId(0), Nanos::ZERO).is_err(), "twice");
    }
}
