//! The same rules once more, written to be seen through: every epoch is opened, one after the other, on every link, and
//! every booking is kept by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Booking};
use crate::reservation::{ClassId, Path};

pub(super) struct Slow {
    pub(super) capacities: Vec<u64>,
    weights: Vec<u32>,
    booking: Booking,
    epoch: u64,
    /// Link and class.
    asked: BTreeSet<(usize, usize)>,
    pub(super) totals: BTreeMap<(usize, usize), u64>,
    pub(super) remaining: BTreeMap<(usize, usize), u64>,
    /// Bytes of single requests that later pools are to pay, the oldest first.
    bookings: BTreeMap<(usize, usize), Vec<u64>>,
    /// Bytes that went over each link in the running epoch, those booked earlier too.
    pub(super) used: Vec<u64>,
}

impl Slow {
    pub(super) fn new(capacities: &[u64], weights: &[u32], booking: Booking) -> Slow {
        let mut slow = Slow {
            capacities: capacities.to_vec(),
            weights: weights.to_vec(),
            booking,
            epoch: 0,
            asked: BTreeSet::new(),
            totals: BTreeMap::new(),
            remaining: BTreeMap::new(),
            bookings: BTreeMap::new(),
            used: vec![0; capacities.len()],
        };
        slow.open();
        slow
    }

    pub(super) fn go_to(&mut self, epoch: u64) {
        while self.epoch < epoch {
            self.epoch += 1;
            self.open();
        }
    }

    fn open(&mut self) {
        self.totals.clear();
        self.remaining.clear();
        for link in 0..self.capacities.len() {
            let everybody = 0..self.weights.len();
            let is_active = |&class: &usize| self.asked.contains(&(link, class)) || self.owed((link, class)) > 0;
            let mut active: Vec<usize> = everybody.clone().filter(is_active).collect();
            if active.is_empty() {
                active = everybody.collect();
            }
            let weights: u64 = active.iter().map(|&class| u64::from(self.weights[class])).sum();
            self.used[link] = 0;
            for class in active {
                let total = self.capacities[link] * u64::from(self.weights[class]) / weights;
                let mut left = total;
                for booking in self.bookings.entry((link, class)).or_default() {
                    let paid = left.min(*booking);
                    (*booking, left) = (*booking - paid, left - paid);
                }
                self.used[link] += total - left;
                self.totals.insert((link, class), total);
                self.remaining.insert((link, class), left);
            }
        }
        self.asked.clear();
    }

    pub(super) fn owed(&self, at: (usize, usize)) -> u64 {
        self.bookings.get(&at).map_or(0, |bookings| bookings.iter().sum())
    }

    pub(super) fn ask(&mut self, sources: &[Path], class: ClassId, bytes: u64) -> Answer {
        for (source, path) in sources.iter().enumerate() {
            let links: Vec<usize> = path.links().iter().map(|link| link.index()).collect();
            self.asked.extend(links.iter().map(|&link| (link, class.index())));
            let pools: Vec<_> = links.iter().filter_map(|&link| self.pool(link, class)).collect();
            if pools.len() == links.len() && pools.iter().all(|pool| self.remaining[pool] >= bytes) {
                return self.take(source, &pools, bytes);
            }
        }
        if self.booking == Booking::Off {
            return Answer::Denied;
        }
        for (source, path) in sources.iter().enumerate() {
            let pools: Vec<_> = path.links().iter().filter_map(|link| self.pool(link.index(), class)).collect();
            if pools.len() == path.links().len() && pools.iter().all(|&pool| self.reaches(pool, bytes)) {
                return self.take(source, &pools, bytes);
            }
        }
        Answer::Denied
    }

    /// The class itself, or the highest one below it.
    fn pool(&self, link: usize, class: ClassId) -> Option<(usize, usize)> {
        (0..=class.index()).rev().map(|class| (link, class)).find(|pool| self.totals.contains_key(pool))
    }

    /// Fills pools one after the other, and counts how many of those to come it takes.
    fn reaches(&self, pool: (usize, usize), bytes: u64) -> bool {
        let total = self.totals[&pool];
        if total == 0 {
            return false;
        }
        let most = bytes.div_ceil(total) + 1;
        let mut missing = self.owed(pool) + bytes.saturating_sub(self.remaining[&pool]);
        for _ in 0..most {
            missing = missing.saturating_sub(total);
        }
        missing == 0
    }

    fn take(&mut self, source: usize, pools: &[(usize, usize)], bytes: u64) -> Answer {
        let mut booked = 0;
        for pool in pools {
            let now = bytes.min(self.remaining[pool]);
            *self.remaining.entry(*pool).or_default() -= now;
            self.used[pool.0] += now;
            self.bookings.entry(*pool).or_default().push(bytes - now);
            booked = booked.max(bytes - now);
        }
        let lowest = pools.iter().map(|(_, class)| *class).min().expect("a path has links");
        Answer::Granted { source, charged: ClassId(u16::try_from(lowest).expect("classes are few")), booked }
    }
}
