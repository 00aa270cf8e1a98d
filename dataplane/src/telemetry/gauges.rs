//! Progress that peers publish and the live line reads while the run goes on.
//!
//! Each figure has a cache line of its own and is written relaxed: a reader sees each of them a moment late and never
//! waits, and the peers never wait for a reader. Where somebody collects what happens by interval, the peers find here
//! where to hand it over.

use std::sync::atomic::{AtomicU64, Ordering};

use bireme_control::raid::geometry::MEMBERS_MAX;
use bireme_control::units::{Nanos, PeerId};
use crossbeam::utils::CachePadded;

use super::recorder::{Exchange, Recorder};

/// Bytes completed on each device, and data sets that became visible.
#[derive(Debug)]
pub struct Gauges {
    devices: usize,
    bytes: Box<[CachePadded<AtomicU64>]>,
    sets_done: CachePadded<AtomicU64>,
    /// Told by whoever collects intervals.
    p99: CachePadded<AtomicU64>,
    /// Where intervals go, and how long they are.
    intervals: Option<(Exchange, Nanos)>,
}

impl Gauges {
    /// All zero. An array may have more members than devices were named, and those are counted in the total.
    pub fn new(devices: usize) -> Gauges {
        let counters = 0..devices.max(usize::from(MEMBERS_MAX));
        Gauges {
            devices,
            bytes: counters.map(|_| CachePadded::default()).collect(),
            sets_done: CachePadded::default(),
            p99: CachePadded::default(),
            intervals: None,
        }
    }

    /// The same, and peers hand over what they count in each `length` of time.
    pub fn recording(devices: usize, exchange: Exchange, length: Nanos) -> Gauges {
        Gauges { intervals: Some((exchange, length)), ..Gauges::new(devices) }
    }

    /// What a peer counts in, if anybody collects it. It allocates: not for the data path.
    pub fn recorder(&self, peer: PeerId) -> Option<Recorder> {
        self.intervals.as_ref().map(|(exchange, length)| Recorder::new(exchange.clone(), peer.0, *length))
    }

    /// How many devices.
    pub fn devices(&self) -> usize {
        self.devices
    }

    /// A request to `device` has ended and moved this much.
    #[inline]
    pub fn add(&self, device: usize, bytes: u64) {
        self.bytes[device].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes moved on one device so far, padding included.
    pub fn bytes(&self, device: usize) -> u64 {
        self.bytes[device].load(Ordering::Relaxed)
    }

    /// Bytes moved on all devices so far, padding included.
    pub fn total(&self) -> u64 {
        (0..self.bytes.len()).map(|device| self.bytes(device)).sum()
    }

    /// The p99 of the newest interval that all peers have handed over.
    pub fn set_p99(&self, p99: Nanos) {
        self.p99.store(p99.0, Ordering::Relaxed);
    }

    /// The same; zero before the first one, and where nobody collects intervals.
    pub fn p99(&self) -> Nanos {
        Nanos(self.p99.load(Ordering::Relaxed))
    }

    /// One more set is visible.
    pub fn set_done(&self) {
        self.sets_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets visible so far.
    pub fn sets_done(&self) -> u64 {
        self.sets_done.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_peers_add_is_all_there() {
        let gauges = Gauges::new(2);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..1000).for_each(|_| gauges.add(1, 4096)));
            }
        });
        gauges.set_done();
        assert_eq!((gauges.bytes(0), gauges.bytes(1), gauges.sets_done()), (0, 3000 * 4096, 1));
        assert_eq!(gauges.total(), 3000 * 4096);
    }
}
