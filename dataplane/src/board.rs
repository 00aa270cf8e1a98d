//! What all peers and the control thread share while they run: counters, cursors and orders, a cache line each.

use std::sync::atomic::{AtomicU64, Ordering};

use bireme_control::controller::Orders;
use bireme_control::units::{Extent, Nanos, PeerId};
use crossbeam::utils::CachePadded;

use crate::queue::Latest;

/// The shared state of one engine, fixed in size at start.
#[derive(Debug)]
pub struct Board {
    completed: Box<[CachePadded<AtomicU64>]>,
    orders: Box<[CachePadded<Latest<Orders>>]>,
    round_trips: Box<[CachePadded<AtomicU64>]>,
    /// How far each peer is with the two sets that may be under way, by sequence number modulo 2.
    progress: [Box<[CachePadded<Progress>]>; 2],
    /// Where the next draw of a set starts: the low half of its sequence number above, the transfer below. Two sets may
    /// be under way; a set takes its place over from the one two before.
    cursors: [CachePadded<AtomicU64>; 2],
}

/// What a peer has done of a set, and what is left to it; the low half of the set's sequence number above, as a cursor.
#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    left: AtomicU64,
}

impl Board {
    /// A board for so many peers.
    pub fn new(peers: u16) -> Board {
        Board {
            completed: (0..peers).map(|_| CachePadded::default()).collect(),
            orders: (0..peers).map(|_| CachePadded::new(Latest::new())).collect(),
            round_trips: (0..peers).map(|_| CachePadded::default()).collect(),
            progress: [(); 2].map(|()| (0..peers).map(|_| CachePadded::default()).collect()),
            cursors: [const { CachePadded::new(AtomicU64::new(u64::MAX)) }; 2],
        }
    }

    /// Counts transfers that a peer has completed.
    pub fn complete(&self, peer: PeerId, transfers: u64) {
        self.completed[peer.index()].fetch_add(transfers, Ordering::Relaxed);
    }

    /// Transfers completed, per peer.
    pub fn completed(&self) -> impl Iterator<Item = u64> + '_ {
        self.completed.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// Shows how long a hand-over takes a peer that asks.
    pub fn publish_round_trip(&self, peer: PeerId, round_trip: Nanos) {
        self.round_trips[peer.index()].store(round_trip.0, Ordering::Relaxed);
    }

    /// How long a hand-over takes, by the peer that asks; zero where none has.
    pub fn round_trips(&self) -> impl Iterator<Item = Nanos> + '_ {
        self.round_trips.iter().map(|time| Nanos(time.load(Ordering::Relaxed)))
    }

    /// Shows how far a peer is with a set.
    pub fn publish_progress(&self, peer: PeerId, sequence: u32, done: u64, left: u64) {
        let progress = &self.progress[sequence as usize % 2][peer.index()];
        let tag = u64::from(sequence) << 32;
        progress.done.store(tag | done, Ordering::Relaxed);
        progress.left.store(tag | left, Ordering::Relaxed);
    }

    /// How far all peers are with a set, by peer: what each has done, and what is left to it.
    pub fn read_progress(&self, sequence: u32, view: &mut [Box<[u64]>; 2]) {
        let [done, left] = view;
        let peers = self.progress[sequence as usize % 2].iter().zip(done).zip(left);
        for ((progress, done), left) in peers {
            *done = position(progress.done.load(Ordering::Relaxed), sequence);
            *left = position(progress.left.load(Ordering::Relaxed), sequence);
        }
    }

    /// A peer's newest orders, if there are any that it has not taken.
    pub fn orders(&self, peer: PeerId) -> Option<Orders> {
        self.orders[peer.index()].take()
    }

    /// Gives a peer its orders.
    pub fn publish(&self, peer: PeerId, orders: Orders) {
        self.orders[peer.index()].publish(orders);
    }

    /// Takes up to `most` transfers of the set off its cursor.
    pub fn draw(&self, sequence: u32, transfers: u64, most: u64) -> Extent {
        let cursor = &self.cursors[sequence as usize % 2];
        let most = most.min(transfers);
        let mut seen = cursor.load(Ordering::Relaxed);
        loop {
            let start = position(seen, sequence);
            let count = most.min(transfers.saturating_sub(start));
            let next = u64::from(sequence) << 32 | (start + count);
            match cursor.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Extent::new(start, count),
                Err(now) => seen = now,
            }
        }
    }

    /// How many transfers of the set nobody has drawn.
    pub fn remaining(&self, sequence: u32, transfers: u64) -> u64 {
        let seen = self.cursors[sequence as usize % 2].load(Ordering::Relaxed);
        transfers.saturating_sub(position(seen, sequence))
    }
}

/// The most transfers of one set: a cursor has 32 bits for them.
pub const TRANSFERS_MAX: u64 = u32::MAX as u64 - 1;

fn position(cursor: u64, sequence: u32) -> u64 {
    if cursor >> 32 == u64::from(sequence) { cursor & u64::from(u32::MAX) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_of_many_threads_cover_each_set_once() {
        let board = Board::new(3);
        for sequence in 0..6 {
            let drawn: Vec<Extent> = std::thread::scope(|scope| {
                let threads: Vec<_> = (1..=3)
                    .map(|most| {
                        let board = &board;
                        scope.spawn(move || {
                            let draw = || Some(board.draw(sequence, 1000, most)).filter(|e| !e.is_empty());
                            std::iter::from_fn(draw).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect()
            });
            let mut transfers: Vec<u64> = drawn.into_iter().flat_map(Extent::iter).collect();
            transfers.sort_unstable();
            assert_eq!(transfers, (0..1000).collect::<Vec<_>>(), "set {sequence}");
            assert_eq!(board.remaining(sequence, 1000), 0);
            assert_eq!(board.remaining(sequence + 2, 1000), 1000);
        }
    }
}
