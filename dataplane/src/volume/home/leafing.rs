//! Leaf blocks on their way between the devices and memory.
//!
//! Leaves live in ordinary memory and change there at any time; a leaf block goes to its device, or comes from it, through
//! a *bounce*, which nobody changes meanwhile. At most one bounce has a member's leaf block of a page, so no older one
//! overtakes a newer one.

use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use super::{Home, Waiter};
use crate::message::Failure;
use crate::port::Port;

/// The leaf blocks of one page on one member, under way.
#[derive(Clone, Copy, Debug)]
struct Bounce {
    entry: u16,
    member: u16,
    is_write: bool,
    /// The drain under way when it was begun.
    drain: u64,
    /// Requests that have not been answered.
    outstanding: u16,
    failed: Option<Failure>,
}

/// All bounces of a home.
#[derive(Debug)]
pub(super) struct Bounces {
    bounces: Box<[Option<Bounce>]>,
    free: Vec<u16>,
}

impl Bounces {
    pub(super) fn new(count: u16) -> Bounces {
        Bounces { bounces: vec![None; usize::from(count)].into_boxed_slice(), free: (0..count).rev().collect() }
    }

    /// Whether leaves are being written since before this drain.
    pub(super) fn write_from_before(&self, drain: u64) -> bool {
        self.bounces.iter().flatten().any(|bounce| bounce.is_write && bounce.drain < drain)
    }
}

impl<P: Port> Home<P> {
    /// Whether the leaves of a piece's unit are in memory; asks for them otherwise.
    pub(super) fn have_leaves(&mut self, now: Nanos, index: u16) -> bool {
        let work = *self.works.at(index);
        let entry = if work.entry.is_some() { work.entry } else { self.pin_page(now, work.page) };
        let Some(entry) = entry else { return false };
        self.works.at(index).entry = Some(entry);
        // What must be cleared of a page is all of it.
        let all = if self.map.is_copied() { self.living() } else { self.map.all(work.unit) };
        let living = all - self.gone(work.page, work.frame);
        let missing = living - self.leaves.entry(entry).known;
        for member in (missing - self.leaves.entry(entry).loading).iter() {
            if !self.bounce(now, entry, member, false) {
                break;
            }
        }
        missing.is_empty()
    }

    /// Pins the leaves of a page; makes room for them if there is none.
    pub(super) fn pin_page(&mut self, now: Nanos, page: u64) -> Option<u16> {
        let pinned = self.leaves.pin(self.page_of_home(page), self.map.frame_of(page));
        if pinned.is_none()
            && let Some(dirty) = self.leaves.evictable()
        {
            self.write_back(now, dirty);
        }
        pinned
    }

    /// Writes the leaves of a page back that are dirty, as far as there is room.
    pub(super) fn write_back(&mut self, now: Nanos, entry: u16) {
        let leaves = self.leaves.entry(entry);
        for member in (leaves.dirty - leaves.writing).iter() {
            if !self.bounce(now, entry, member, true) {
                break;
            }
        }
    }

    fn bounce(&mut self, now: Nanos, entry: u16, member: u16, is_write: bool) -> bool {
        let Some(index) = self.bounces.free.pop() else { return false };
        let span = self.memory.bounce(index);
        let leaves = self.leaves.entry(entry);
        let offset = self.map.volume.layout.leaf_offset(leaves.frame);
        if is_write {
            (leaves.dirty, leaves.writing) = (leaves.dirty - only(member), leaves.writing.with(member));
            self.leaves.store(entry, member, self.requests.port().region_mut().bytes_mut(span));
        } else {
            leaves.loading = leaves.loading.with(member);
        }
        let outstanding = self.push(now, Waiter::Leaves { bounce: index, member }, offset, span, is_write);
        let drain = self.drain.serial();
        self.bounces.bounces[usize::from(index)] =
            Some(Bounce { entry, member, is_write, drain, outstanding, failed: None });
        true
    }

    /// A request for leaf blocks has ended.
    pub(super) fn bounced(&mut self, index: u16, result: Result<(), Failure>) {
        let bounce = self.bounces.bounces[usize::from(index)].as_mut().expect("its request was under way");
        bounce.outstanding -= 1;
        bounce.failed = bounce.failed.or(result.err());
        let Bounce { entry, member, is_write, drain, outstanding, failed } = *bounce;
        if is_write && result.is_ok() {
            self.flushes.wrote(member);
        }
        if outstanding > 0 {
            return;
        }
        self.bounces.bounces[usize::from(index)] = None;
        self.bounces.free.push(index);
        let current = self.drain.serial();
        let leaves = self.leaves.entry(entry);
        if is_write {
            leaves.writing = leaves.writing - only(member);
            if drain == current {
                leaves.due = leaves.due - only(member);
            }
        } else {
            leaves.loading = leaves.loading - only(member);
        }
        match failed {
            // Without them nothing that the member holds of this page can be trusted.
            Some(failure) => self.member_lost(member, failure),
            None if !is_write => {
                let bytes = self.requests.region().bytes(self.memory.bounce(index));
                self.leaves.loaded(entry, member, bytes);
            }
            None => {}
        }
    }
}

fn only(member: u16) -> Members {
    [member].into_iter().collect()
}
