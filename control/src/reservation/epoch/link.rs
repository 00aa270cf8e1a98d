//! The two tables of one link: who asked in the running epoch, and what each class has of it.
//!
//! ```text
//!   catch_up ──▶ open an epoch: [ flags, debts ] ──▶ who is active ──▶ totals by weight ──▶ debts are paid ──▶ remaining
//!   flag, fit, take: within the epoch
//! ```

use super::{Booking, ClassId};

#[derive(Clone, Debug)]
pub(super) struct Link {
    capacity: u64,
    epoch: u64,
    pools: Vec<Pool>,
}

/// What the link holds for a class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    weight: u32,
    /// It asked in the running epoch, granted or not.
    asked: bool,
    /// The running epoch was cut for it too.
    allocated: bool,
    pub(super) total: u64,
    pub(super) remaining: u64,
    /// Booked ahead, and not yet taken from a pool.
    pub(super) owed: u64,
}

impl Link {
    pub(super) fn new(capacity: u64, weights: &[u32]) -> Link {
        let pool = |&weight| Pool { weight, asked: false, allocated: true, total: 0, remaining: 0, owed: 0 };
        let mut link = Link { capacity, epoch: 0, pools: weights.iter().map(pool).collect() };
        link.open(1);
        link
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    pub(super) fn pool(&self, class: ClassId) -> &Pool {
        &self.pools[class.index()]
    }

    pub(super) fn flag(&mut self, class: ClassId) {
        self.pools[class.index()].asked = true;
    }

    /// The class whose pool can give the bytes, this one or the highest below it; `None` if that pool cannot.
    pub(super) fn fit(&self, class: ClassId, bytes: u64, booking: Booking) -> Option<ClassId> {
        let at = self.pools[..=class.index()].iter().rposition(|pool| pool.allocated)?;
        let fits = self.pools[at].fits(bytes, booking);
        fits.then(|| ClassId(u16::try_from(at).expect("not above the class that asks")))
    }

    /// Takes the bytes from the class's pool, and what is missing from its next ones; tells how much is missing.
    pub(super) fn take(&mut self, class: ClassId, bytes: u64) -> u64 {
        let pool = &mut self.pools[class.index()];
        let missing = bytes.saturating_sub(pool.remaining);
        pool.remaining -= bytes - missing;
        pool.owed += missing;
        missing
    }

    /// Opens epochs up to this one.
    ///
    /// Those between two requests are alike for as long as the same classes owe, so however far time jumps, there are
    /// not more steps than classes, and two.
    pub(super) fn catch_up(&mut self, epoch: u64) {
        while self.epoch < epoch {
            self.epoch += self.open(epoch - self.epoch);
        }
    }

    /// Opens the next epoch and those after it that are like it, at most so many; tells how many.
    fn open(&mut self, most: u64) -> u64 {
        let flagged = self.pools.iter().any(|pool| pool.asked);
        // On a cold link everybody has a pool; otherwise whoever comes first would have to wait for an epoch.
        let cold = !self.pools.iter().any(Pool::is_active);
        for pool in &mut self.pools {
            pool.allocated = cold || pool.is_active();
            pool.asked = false;
        }
        let weights: u64 = self.allocated().map(|pool| u64::from(pool.weight)).sum();
        for pool in &mut self.pools {
            pool.total = if pool.allocated { part(self.capacity, pool.weight, weights) } else { 0 };
        }
        let alike = if flagged { 1 } else { self.epochs_alike().clamp(1, most) };
        for pool in &mut self.pools {
            pool.pay(alike);
        }
        alike
    }

    /// For how many epochs everybody who owes will need a whole pool.
    fn epochs_alike(&self) -> u64 {
        let owing = self.pools.iter().filter(|pool| pool.owed > 0);
        owing.filter_map(|pool| pool.owed.checked_div(pool.total)).min().unwrap_or(u64::MAX)
    }

    fn allocated(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().filter(|pool| pool.allocated)
    }
}

impl Pool {
    /// It asked in the epoch that ends, or bytes of its are still under way.
    fn is_active(&self) -> bool {
        self.asked || self.owed > 0
    }

    fn fits(&self, bytes: u64, booking: Booking) -> bool {
        match booking {
            Booking::Off => bytes <= self.remaining,
            Booking::Ahead => {
                let missing = bytes.saturating_sub(self.remaining);
                let ahead = self.owed.checked_add(missing).filter(|_| self.total > 0);
                // A pool that is smaller than one request must reach further than one epoch, or would never admit any.
                ahead.is_some_and(|ahead| ahead.div_ceil(self.total) <= bytes.div_ceil(self.total).saturating_add(1))
            }
        }
    }

    /// Pays what is owed from so many pools, of which the last is the one that opens. All but the last are needed whole.
    fn pay(&mut self, epochs: u64) {
        self.owed -= self.total.saturating_mul(epochs - 1).min(self.owed);
        let last = self.owed.min(self.total);
        self.owed -= last;
        self.remaining = self.total - last;
    }
}

/// A class's part of the capacity, rounded down so that the parts never sum to more.
fn part(capacity: u64, weight: u32, weights: u64) -> u64 {
    let bytes = u128::from(capacity) * u128::from(weight) / u128::from(weights);
    u64::try_from(bytes).expect("at most the capacity: a weight is one of the weights")
}
