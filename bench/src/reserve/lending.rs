//! Halfway from pools to tags, for comparison only: pools by epoch whose idle ones are lent at once, and that may be
//! carried over.
//!
//! It shows that neither helps alone: lending fills the link and ruins the tail of the high class, as what was lent
//! cannot be taken back.

use bireme_control::units::Nanos;

use super::manager::{Heads, Pick, id};

#[derive(Debug)]
pub(super) struct Lending {
    capacity: u64,
    length: Nanos,
    carry: bool,
    epoch: u64,
    is_new: bool,
    pools: Vec<Pool>,
}

#[derive(Clone, Copy, Debug)]
struct Pool {
    weight: u64,
    asked: bool,
    allocated: bool,
    remaining: u64,
}

impl Lending {
    pub(super) fn new(link: u64, weights: &[u32], length: Nanos, carry: bool) -> Lending {
        let capacity = u128::from(link) * u128::from(length.0) / 1_000_000_000;
        let pool = |&weight: &u32| Pool { weight: u64::from(weight), asked: false, allocated: false, remaining: 0 };
        Lending {
            capacity: u64::try_from(capacity).unwrap_or(u64::MAX),
            length,
            carry,
            epoch: 0,
            is_new: true,
            pools: weights.iter().map(pool).collect(),
        }
    }

    /// The head of the highest class that has the bytes, or to whom they are lent.
    pub(super) fn pick(&mut self, now: Nanos, heads: &mut Heads) -> Pick {
        let epoch = now.0 / self.length.0;
        if epoch > self.epoch || self.is_new {
            // Nobody has asked in epochs that went by without anything happening.
            let is_next = epoch == self.epoch + 1;
            self.pools.iter_mut().for_each(|pool| pool.asked &= is_next);
            (self.epoch, self.is_new) = (epoch, false);
            self.open(heads);
        }
        for class in (0..heads.len()).rev() {
            let Some(bytes) = heads[class] else { continue };
            if self.take(class, bytes) || self.borrow(class, bytes, heads) {
                heads[class] = None;
                return Pick::Grant(id(class));
            }
        }
        let waits = heads.iter().any(Option::is_some);
        if waits { Pick::Wait(Nanos((epoch + 1) * self.length.0)) } else { Pick::Idle }
    }

    fn open(&mut self, heads: &Heads) {
        for (pool, head) in self.pools.iter_mut().zip(heads) {
            pool.allocated = pool.asked || (self.carry && head.is_some());
            pool.asked = false;
        }
        if !self.pools.iter().any(|pool| pool.allocated) {
            self.pools.iter_mut().for_each(|pool| pool.allocated = true);
        }
        let weights: u64 = self.pools.iter().filter(|pool| pool.allocated).map(|pool| pool.weight).sum();
        for (pool, head) in self.pools.iter_mut().zip(heads) {
            let part = u128::from(self.capacity) * u128::from(pool.weight) / u128::from(weights.max(1));
            let total = if pool.allocated { u64::try_from(part).unwrap_or(u64::MAX) } else { 0 };
            // What is carried is bounded by two epochs, but a request must be able to come together.
            let bound = |bytes: u64| 2 * self.capacity + bytes;
            let carried = head.filter(|_| self.carry).map_or(0, |bytes| pool.remaining.min(bound(bytes)));
            pool.remaining = total + carried;
        }
    }

    /// From its own pool; without one, and above all that have one, from the highest of these.
    fn take(&mut self, class: usize, bytes: u64) -> bool {
        self.pools[class].asked = true;
        let highest = self.pools.iter().rposition(|pool| pool.allocated);
        let from = match highest {
            _ if self.pools[class].allocated => class,
            Some(highest) if highest < class => highest,
            _ => return false,
        };
        let fits = self.pools[from].remaining >= bytes;
        if fits {
            self.pools[from].remaining -= bytes;
        }
        fits
    }

    /// What its own pool lacks, from those of classes that want nothing now.
    fn borrow(&mut self, class: usize, bytes: u64, heads: &Heads) -> bool {
        let is_idle = |&other: &usize| other != class && heads[other].is_none();
        let idle: u64 = (0..heads.len()).filter(is_idle).map(|other| self.pools[other].remaining).sum();
        let mut missing = bytes.saturating_sub(self.pools[class].remaining);
        if idle < missing {
            return false;
        }
        self.pools[class].remaining -= bytes - missing;
        for other in (0..heads.len()).filter(is_idle) {
            let lent = self.pools[other].remaining.min(missing);
            self.pools[other].remaining -= lent;
            missing -= lent;
        }
        true
    }
}
