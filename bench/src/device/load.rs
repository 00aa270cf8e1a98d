//! What is done to the devices, checked and ready for the peers.

use bireme_control::units::Nanos;

use super::addresses::{Order, Places};
use super::arrivals::Arrivals;
use crate::recording::recorder::Direction;

/// The load of all peers together, except where it says otherwise.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Of a hundred requests so many are reads, so many trims; the others are writes.
    pub(super) mix: Mix,
    /// Bytes of requests, by how often of a hundred.
    pub(super) sizes: Vec<(u32, u64)>,
    pub(super) order: Order,
    /// The part of each device that is used, in bytes.
    pub(super) region: (u64, u64),
    /// Requests that each peer keeps in flight at most.
    pub(super) depth: u32,
    /// Requests that a peer hands over at once, at most.
    pub(super) batch_submit: u32,
    /// Completions that a peer waits for at once; as many as end soon otherwise.
    pub(super) batch_complete: Option<u32>,
    /// How requests arrive at one peer.
    pub(super) arrivals: Arrivals,
    pub(super) warm_up: Nanos,
    pub(super) span: Span,
    /// Each peer flushes after so many writes.
    pub(super) flush_every: Option<u32>,
    /// Each write is durable when it ends.
    pub(super) fua: bool,
    pub(super) data: Data,
    pub(super) seed: u64,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Bytes that cannot be compressed, the same again and again.
    Random,
    Zero,
    /// What a later read can be compared with.
    Verified,
}

/// Memory of one request: whole blocks of the region, which lends no smaller parts.
pub(super) fn slot_bytes(largest: u32) -> u32 {
    largest.next_multiple_of(4096)
}

/// How often what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    pub(super) reads: u64,
    pub(super) trims: u64,
}

/// For how long a peer works after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Time(Nanos),
    /// So many bytes.
    Bytes(u64),
}

impl Mix {
    /// The direction of all requests, if they have one.
    pub(super) fn only(self) -> Option<Direction> {
        match (self.reads, self.trims) {
            (100, _) => Some(Direction::Read),
            (_, 100) => Some(Direction::Trim),
            (0, 0) => Some(Direction::Write),
            _ => None,
        }
    }

    /// The direction of one request of a mix, for a number below a hundred.
    #[inline]
    pub(super) fn direction(self, percent: u64) -> Direction {
        match percent {
            percent if percent < self.reads => Direction::Read,
            percent if percent < self.reads + self.trims => Direction::Trim,
            _ => Direction::Write,
        }
    }

    /// Whether devices are changed.
    pub(super) fn changes(self) -> bool {
        self.reads < 100
    }

    /// Whether something is written, and not only trimmed.
    pub(super) fn writes(self) -> bool {
        self.reads + self.trims < 100
    }
}

impl Load {
    /// The size of all requests, if they have one.
    #[inline]
    pub(super) fn only_size(&self) -> Option<u32> {
        if let [(bytes, _)] = self.sizes.as_slice() { Some(*bytes) } else { None }
    }

    /// The size of one request of several, for a number below a hundred.
    pub(super) fn size(&self, mut percent: u64) -> u32 {
        for &(bytes, share) in &self.sizes {
            if percent < share {
                return bytes;
            }
            percent -= share;
        }
        self.sizes.last().map_or(0, |(bytes, _)| *bytes)
    }

    /// The largest request.
    pub(super) fn largest(&self) -> u32 {
        self.sizes.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0)
    }

    /// The size that places are multiples of: the smallest request.
    pub(super) fn step(&self) -> u32 {
        self.sizes.iter().map(|(bytes, _)| *bytes).min().unwrap_or(0)
    }

    /// Where peer `peer` of `peers` on this device works. In order, or with verification, each has a part of its own; at
    /// random they share all.
    /// `None`: there is no room for a request.
    pub(super) fn places(&self, device_bytes: u64, peer: u64, peers: u64) -> Option<Places> {
        let (from, to) = (self.region.0, self.region.1.min(device_bytes));
        let (step, largest) = (u64::from(self.step()), u64::from(self.largest()));
        // Nobody else may change what is compared later.
        let alone = self.order == Order::Sequential || self.data == Data::Verified;
        let part = to.checked_sub(from)? / peers / step * step;
        let mine = if alone { (from + part * peer, from + part * (peer + 1)) } else { (from, to) };
        // The last places have no room for a larger request.
        let count = mine.1.checked_sub(mine.0)?.checked_sub(largest)? / step + 1;
        Some(Places { start: mine.0, step, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(order: Order, sizes: &[(u32, u64)]) -> Load {
        Load {
            mix: Mix { reads: 0, trims: 0 },
            sizes: sizes.to_vec(),
            order,
            region: (4096, u64::MAX),
            depth: 1,
            batch_submit: 1,
            batch_complete: None,
            arrivals: Arrivals::Closed,
            warm_up: Nanos::ZERO,
            span: Span::Bytes(1),
            flush_every: None,
            fua: false,
            data: Data::Random,
            seed: 1,
        }
    }

    #[test]
    fn sequential_peers_have_parts_of_their_own_and_random_ones_share() {
        let parts: Vec<_> =
            (0..2).filter_map(|peer| load(Order::Sequential, &[(4096, 100)]).places(10 * 4096, peer, 2)).collect();
        assert_eq!(
            parts,
            [Places { start: 4096, step: 4096, count: 4 }, Places { start: 5 * 4096, step: 4096, count: 4 }]
        );
        let shared = load(Order::Uniform, &[(4096, 100)]).places(10 * 4096, 1, 2);
        assert_eq!(shared, Some(Places { start: 4096, step: 4096, count: 9 }));
    }

    #[test]
    fn what_is_verified_belongs_to_one_peer() {
        let verified = Load { data: Data::Verified, ..load(Order::Uniform, &[(4096, 100)]) };
        let parts = [0, 1].map(|peer| verified.places(9 * 4096, peer, 2).expect("room").start);
        assert_eq!(parts, [4096, 5 * 4096]);
    }

    #[test]
    fn the_last_place_has_room_for_the_largest_request() {
        let mixed = load(Order::Uniform, &[(4096, 50), (16384, 50)]);
        assert_eq!(mixed.places(10 * 4096, 0, 1), Some(Places { start: 4096, step: 4096, count: 6 }));
        assert_eq!(mixed.places(4 * 4096, 0, 1), None);
    }
}
