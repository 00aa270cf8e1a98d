//! A page is filled again on members that are being rebuilt, while nobody else has anything to do with it.
//!
//! ```text
//!   claimed ─ no piece of the page is left ─▶ unit by unit: read the rest, compute, write ─▶ leaves ─▶ durable ─▶ filled
//! ```
//!
//! From then on the members take part in what is written to the page, though the watermark may not have come by. Until it
//! has, nothing relies on them: their records, parities and blocks are in addition to what the others hold.
//!
//! Before the first page is filled, the log is drained. Records from before then may lie on fewer members than now have
//! parity, and none of them may outlive a newer one of its rows that a replaced device does not have.

use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use super::Home;
use super::operations::{Step, What};
use crate::checksum::Leaf;
use crate::port::Port;
use crate::volume::work::Work;

/// Which pages are being filled, and which are.
#[derive(Debug)]
pub(super) struct Filling {
    claims: Vec<Claim>,
    /// A bit for each page of the home.
    filled: Box<[u64]>,
    gate: Gate,
}

/// A page that is being filled.
#[derive(Clone, Copy, Debug)]
struct Claim {
    operation: u16,
    page: u64,
    /// Where its leaves are, pinned.
    entry: Option<u16>,
}

/// Whether pages may be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// The log must be drained.
    Closed,
    /// It is.
    Draining,
    Open,
}

impl Filling {
    pub(super) fn new(operations: u16, home_pages: usize) -> Filling {
        Filling {
            claims: Vec::with_capacity(usize::from(operations)),
            filled: vec![0; home_pages.div_ceil(64)].into_boxed_slice(),
            gate: Gate::Closed,
        }
    }

    /// More members are being rebuilt than before.
    pub(super) fn begin_again(&mut self) {
        self.filled.fill(0);
        self.gate = Gate::Closed;
    }

    pub(super) fn is_filled(&self, home_page: usize) -> bool {
        self.filled[home_page / 64] >> (home_page % 64) & 1 == 1
    }

    fn claim(&mut self, operation: u16) -> Option<&mut Claim> {
        self.claims.iter_mut().find(|claim| claim.operation == operation)
    }
}

impl<P: Port> Home<P> {
    /// Whether a piece of a page may be made: nobody else fills it, and who fills it is alone with it.
    pub(super) fn may_touch(&mut self, now: Nanos, index: u16, what: What, page: u64) -> bool {
        if let Some(claim) = self.filling.claims.iter().find(|claim| claim.page == page)
            && claim.operation != index
        {
            return false;
        }
        if what != What::Rebuild {
            return true;
        }
        if self.filling.claim(index).is_none() {
            self.filling.claims.push(Claim { operation: index, page, entry: None });
        }
        let alone = !self.works.all().any(|work| work.page == page && work.operation != index);
        alone && self.is_gate_open() && self.pin_claimed(now, index, page)
    }

    fn is_gate_open(&mut self) -> bool {
        if self.map.is_copied() {
            return true;
        }
        let idle = self.drain.is_idle() && !self.drain_is_wanted();
        self.filling.gate = match self.filling.gate {
            Gate::Closed if idle => {
                self.ask_for_drain();
                Gate::Draining
            }
            Gate::Draining if idle => Gate::Open,
            same => same,
        };
        self.filling.gate == Gate::Open
    }

    /// Pins the leaves of a page that is claimed. Those of the members that are filled are blank at first.
    fn pin_claimed(&mut self, now: Nanos, index: u16, page: u64) -> bool {
        let (home_page, frame) = (self.page_of_home(page), self.map.frame_of(page));
        if self.filling.claim(index).is_some_and(|claim| claim.entry.is_some()) {
            return true;
        }
        let Some(entry) = self.pin_page(now, page) else { return false };
        self.filling.filled[home_page / 64] &= !(1 << (home_page % 64));
        for member in self.to_fill(frame).iter() {
            self.leaves.clear(entry, member);
        }
        if let Some(claim) = self.filling.claim(index) {
            claim.entry = Some(entry);
        }
        true
    }

    /// Members that are filled in a frame.
    fn to_fill(&self, frame: u64) -> Members {
        (self.health.lost_of(frame) - self.health.lost) - self.dead
    }

    /// What a piece of a rebuild writes.
    pub(super) fn fill_of(&self, work: &Work) -> Members {
        self.map.all(work.unit) & self.to_fill(work.frame)
    }

    /// Whether a page is filled, or being filled.
    pub(super) fn is_claimed(&self, page: u64) -> bool {
        self.filling.claims.iter().any(|claim| claim.page == page && claim.entry.is_some())
    }

    /// Whether a block that a rebuild brings back was ever written, as far as the others tell.
    pub(super) fn is_void(&self, work: &Work, row: u32) -> bool {
        let entry = work.entry.expect("the leaves were pinned before");
        let others = self.map.all(work.unit) - self.gone(work.page, work.frame);
        let mut places = (0..self.map.shards).map(|shard| self.map.shard(work.unit, shard));
        places.all(|place| {
            !others.contains(place.member) || self.leaves.get(entry, place.member, place.leaf + row) == Leaf::ABSENT
        })
    }

    /// Goes on with a rebuild whose pieces are done.
    pub(super) fn go_on_filling(&mut self, now: Nanos, index: u16, step: Step) -> bool {
        let asked = *self.operations.at(index);
        let Some(claim) = self.filling.claim(index).copied() else { return false };
        let Some(entry) = claim.entry.filter(|_| asked.all_cut && asked.left == 0) else { return false };
        match step {
            Step::Earlier => {
                self.write_back(now, entry);
                let state = self.leaves.entry(entry);
                if !(state.dirty | state.writing).is_empty() {
                    return false;
                }
                let tick = self.flushes.want(self.living());
                self.operations.at(index).step = Step::Durable(tick);
                true
            }
            Step::Durable(tick) if self.all_durable(tick) => {
                let page = self.page_of_home(claim.page);
                self.filling.filled[page / 64] |= 1 << (page % 64);
                self.let_go(index);
                self.operations.finish(index, Ok(()));
                true
            }
            Step::Durable(_) | Step::Drain => false,
        }
    }

    /// The operation has no more to do with its page.
    pub(super) fn let_go(&mut self, index: u16) {
        let Some(at) = self.filling.claims.iter().position(|claim| claim.operation == index) else { return };
        let claim = self.filling.claims.swap_remove(at);
        if let Some(entry) = claim.entry {
            self.leaves.unpin(entry);
            self.forget_gone();
        }
    }
}
