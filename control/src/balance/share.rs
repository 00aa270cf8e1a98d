//! What one peer has to do of one set.
//!
//! ```text
//!   received ──▶ back [ pending ] front ──start──▶ [ in flight, oldest first ] ──completed──▶ done
//!                 │
//!                 └──give──▶ another peer
//! ```
//!
//! Work is started at the front and given away from the back, so that what is left stays in few extents. Only what is
//! pending can move; what is in flight is on a device already.

use std::collections::VecDeque;

use super::extents::{EXTENTS_MAX, Extents};
use crate::units::Extent;

/// One peer's part of one set.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Which set; without meaning while none is under way.
    pub(super) sequence: u32,
    /// Begun and not ended.
    pub(super) under_way: bool,
    /// Of the whole set.
    pub(super) transfers: u64,
    /// Completed by this peer; repeats do not count.
    pub(super) done: u64,
    /// `pull`: the common cursor may hold something.
    pub(super) cursor_open: bool,
    /// A peer has died, and what is this peer's is not dealt out yet.
    pub(super) laid_down: bool,
    /// The others were looked at once.
    pub(super) surveyed: bool,
    pending: VecDeque<Extent>,
    pending_transfers: u64,
    in_flight: Vec<Extent>,
    in_flight_transfers: u64,
}

impl Share {
    /// Nothing is under way, and all memory is there.
    pub(super) fn new() -> Share {
        Share {
            sequence: 0,
            under_way: false,
            transfers: 0,
            done: 0,
            cursor_open: false,
            laid_down: false,
            surveyed: false,
            pending: VecDeque::with_capacity(PENDING_MAX),
            pending_transfers: 0,
            in_flight: Vec::with_capacity(IN_FLIGHT_MAX),
            in_flight_transfers: 0,
        }
    }

    /// It is of this set, which is under way.
    pub(super) fn is(&self, sequence: u32) -> bool {
        self.under_way && self.sequence == sequence
    }

    /// A set begins, with this peer's part of it.
    pub(super) fn begin(&mut self, sequence: u32, transfers: u64, part: Extent, cursor_open: bool) {
        assert!(!self.under_way, "set {sequence} began before set {} ended", self.sequence);
        self.clear();
        (self.sequence, self.under_way, self.transfers, self.cursor_open) = (sequence, true, transfers, cursor_open);
        self.receive(part);
    }

    /// The set is written.
    pub(super) fn end(&mut self) {
        self.clear();
    }

    /// A peer has died: what is pending will be dealt out anew.
    pub(super) fn lay_down(&mut self) {
        self.pending.clear();
        self.pending_transfers = 0;
        (self.laid_down, self.cursor_open) = (self.under_way, false);
    }

    /// An extent becomes this peer's.
    pub(super) fn receive(&mut self, extent: Extent) {
        self.pending_transfers += extent.count;
        match self.pending.back_mut() {
            _ if extent.is_empty() => {}
            Some(last) if last.end() == extent.start => last.count += extent.count,
            // Beyond its capacity the list grows; only after deaths can there be so many pieces.
            _ => self.pending.push_back(extent),
        }
    }

    /// Whether an answer that is full of extents would fit.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() + EXTENTS_MAX <= PENDING_MAX
    }

    /// Starts up to `most` transfers in one run; empty if none is pending or too much is in flight.
    pub(super) fn start(&mut self, most: u64) -> Extent {
        let Some(first) = self.pending.front_mut() else { return Extent::default() };
        let run = first.take_front(most.min((IN_FLIGHT_MAX as u64).saturating_sub(self.in_flight_transfers)));
        if first.is_empty() {
            self.pending.pop_front();
        }
        self.pending_transfers -= run.count;
        self.fly(run);
        run
    }

    /// These are in flight without having been pending.
    pub(super) fn fly(&mut self, run: Extent) {
        if !run.is_empty() {
            self.in_flight_transfers += run.count;
            self.in_flight.push(run);
        }
    }

    /// Transfers of one run have ended. What was not in flight is not counted.
    pub(super) fn complete(&mut self, ended: Extent) {
        self.done += self.land(ended);
    }

    /// Transfers of one run were not begun after all. After a death they are dealt out anew with all that is missing.
    pub(super) fn take_back(&mut self, returned: Extent) {
        if self.land(returned) == 0 || self.laid_down {
            return;
        }
        self.pending_transfers += returned.count;
        match self.pending.front_mut() {
            Some(first) if returned.end() == first.start => {
                *first = Extent::new(returned.start, returned.count + first.count);
            }
            _ => self.pending.push_front(returned),
        }
    }

    /// Takes them out of what is in flight, and tells how many they were: none if they were not there.
    fn land(&mut self, part: Extent) -> u64 {
        let holds = |run: &Extent| !part.is_empty() && run.start <= part.start && part.end() <= run.end();
        let Some(index) = self.in_flight.iter().position(holds) else { return 0 };
        let run = self.in_flight[index];
        let before = Extent::new(run.start, part.start - run.start);
        let after = Extent::new(part.end(), run.end() - part.end());
        match (before.is_empty(), after.is_empty()) {
            (true, true) => drop(self.in_flight.remove(index)),
            (false, true) => self.in_flight[index] = before,
            (true, false) => self.in_flight[index] = after,
            (false, false) => {
                self.in_flight[index] = before;
                self.in_flight.insert(index + 1, after);
            }
        }
        self.in_flight_transfers -= part.count;
        part.count
    }

    /// Gives up to `portion` away from the back, as far as one answer holds it.
    pub(super) fn give(&mut self, mut portion: u64) -> Extents {
        let mut taken = [Extent::default(); EXTENTS_MAX];
        for part in &mut taken {
            let Some(last) = self.pending.back_mut() else { break };
            *part = last.take_back(portion);
            portion -= part.count;
            self.pending_transfers -= part.count;
            if last.is_empty() {
                self.pending.pop_back();
            }
        }
        merged(taken.iter().rev())
    }

    /// Transfers that nobody has started: they can move.
    pub(super) fn pending(&self) -> u64 {
        self.pending_transfers
    }

    /// Transfers that are this peer's and not completed.
    pub(super) fn left(&self) -> u64 {
        self.pending_transfers + self.in_flight_transfers
    }

    /// The oldest of what is in flight, as much as a letter holds.
    pub(super) fn in_flight(&self) -> Extents {
        merged(self.in_flight.iter())
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.in_flight.clear();
        (self.under_way, self.cursor_open, self.laid_down, self.surveyed) = (false, false, false, false);
        (self.done, self.pending_transfers, self.in_flight_transfers) = (0, 0, 0);
    }
}

/// Neighbours become one extent; what does not fit is left out.
fn merged<'a>(extents: impl Iterator<Item = &'a Extent>) -> Extents {
    let mut list = Extents::new();
    let mut joined = Extent::default();
    for &extent in extents {
        if !joined.is_empty() && joined.end() == extent.start {
            joined.count += extent.count;
        } else {
            if list.push(joined).is_err() {
                return list;
            }
            joined = extent;
        }
    }
    // Full is a normal answer: what was left out stays where it is.
    let _ = list.push(joined);
    list
}

/// Extents that may be pending before a peer stops asking for more.
const PENDING_MAX: usize = 256;
/// Transfers that may be in flight of one set: each may become an extent of its own when runs end out of order.
const IN_FLIGHT_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn share(parts: &[(u64, u64)]) -> Share {
        let mut share = Share::new();
        share.begin(0, 1000, Extent::default(), false);
        parts.iter().for_each(|&(start, count)| share.receive(Extent::new(start, count)));
        share
    }

    fn pairs(extents: Extents) -> Vec<(u64, u64)> {
        extents.as_slice().iter().map(|e| (e.start, e.count)).collect()
    }

    #[test]
    fn what_is_given_comes_from_the_back_in_order() {
        #[rustfmt::skip]
        let cases = [
            // why,                       parts,                                             portion, given
            ("of one extent",             &[(0, 10)][..],                                    4,       vec![(6, 4)]),
            ("over a border",             &[(0, 10), (20, 2)],                               4,       vec![(8, 2), (20, 2)]),
            ("all",                       &[(0, 10), (20, 2)],                               12,      vec![(0, 10), (20, 2)]),
            ("more than there is",        &[(0, 10)],                                        99,      vec![(0, 10)]),
            ("neighbours are one",        &[(0, 10), (10, 2)],                               4,       vec![(8, 4)]),
            ("nothing",                   &[(0, 10)],                                        0,       vec![]),
            ("less than what is wanted",  &[(0, 1), (2, 1), (4, 1), (6, 1), (8, 1)],         5,       vec![(2, 1), (4, 1), (6, 1), (8, 1)]),
        ];
        for (why, parts, portion, want) in cases {
            let mut share = share(parts);
            let before = share.pending();
            let given = share.give(portion);
            assert_eq!(pairs(given), want, "{why}");
            assert_eq!(share.pending() + given.transfers(), before, "{why}");
        }
    }

    #[test]
    fn runs_end_in_any_order_and_in_pieces() {
        let mut share = share(&[(0, 8), (20, 4)]);
        assert_eq!(share.start(6), Extent::new(0, 6));
        assert_eq!(share.start(6), Extent::new(6, 2), "a run does not cross a border");
        assert_eq!(share.start(3), Extent::new(20, 3));
        share.complete(Extent::new(2, 2));
        assert_eq!(pairs(share.in_flight()), [(0, 2), (4, 4), (20, 3)]);
        share.complete(Extent::new(0, 2));
        share.complete(Extent::new(2, 2));
        assert_eq!((share.done, share.left(), share.pending()), (4, 8, 1), "what had ended is not counted again");
        share.complete(Extent::new(20, 3));
        share.complete(Extent::new(4, 2));
        share.complete(Extent::new(6, 2));
        assert_eq!((share.done, share.left(), share.pending()), (11, 1, 1));
    }

    #[test]
    fn what_was_not_begun_goes_back_to_the_front() {
        let mut share = share(&[(0, 8), (20, 4)]);
        share.start(6);
        share.take_back(Extent::new(4, 2));
        share.take_back(Extent::new(4, 2));
        assert_eq!((share.pending(), share.left(), share.start(9)), (8, 12, Extent::new(4, 4)));
        share.start(1);
        share.take_back(Extent::new(6, 2));
        assert_eq!(share.start(9), Extent::new(6, 2));
        share.lay_down();
        share.take_back(Extent::new(6, 2));
        assert_eq!((share.pending(), share.left()), (0, 7), "after a death it is dealt out anew");
    }

    #[test]
    fn full_is_a_normal_answer() {
        let mut share = share(&[(0, 5000)]);
        assert_eq!(share.start(2000).count, IN_FLIGHT_MAX as u64);
        assert!(share.start(1).is_empty());
        share.complete(Extent::new(7, 1));
        assert_eq!(share.start(5), Extent::new(1024, 1));
    }
}
