//! Holds a peer back to a rate: for experiments with peers of unequal speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bireme_control::units::Nanos;

/// Bytes of data that a peer may move per second. Clones are the same rate, and it may change while the peer works.
#[derive(Clone, Debug)]
pub struct Rate(Arc<AtomicU64>);

impl Rate {
    /// A rate; at least one byte per second.
    pub fn new(bytes_per_s: u64) -> Rate {
        Rate(Arc::new(AtomicU64::new(bytes_per_s.max(1))))
    }

    /// Changes it, also for what was spent last.
    pub fn set(&self, bytes_per_s: u64) {
        self.0.store(bytes_per_s.max(1), Ordering::Relaxed);
    }
}

/// What was spent lies on a line of its own time: the next slot may start when the present has reached its end.
#[derive(Clone, Debug)]
pub struct Pacer {
    rate: Rate,
    /// What was spent last, and where on the line it begins.
    from: Nanos,
    bytes: u32,
}

impl Pacer {
    /// A pacer that has spent nothing yet.
    pub fn new(rate: Rate) -> Pacer {
        Pacer { rate, from: Nanos::ZERO, bytes: 0 }
    }

    /// Until when nothing may start, if that is not now.
    pub fn holds_until(&self, now: Nanos) -> Option<Nanos> {
        Some(self.paid_until()).filter(|&until| until > now)
    }

    /// A slot has started. A late start is made up for within some milliseconds, so that late wake-ups do not lower
    /// the rate.
    pub fn spend(&mut self, now: Nanos, bytes: u32) {
        self.from = self.paid_until().max(now - CREDIT);
        self.bytes = bytes;
    }

    fn paid_until(&self) -> Nanos {
        let cost = u128::from(self.bytes) * 1_000_000_000 / u128::from(self.rate.0.load(Ordering::Relaxed));
        self.from + Nanos(u64::try_from(cost).unwrap_or(u64::MAX))
    }
}

const CREDIT: Nanos = Nanos::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_late_wake_ups() {
        let mut pacer = Pacer::new(Rate::new(1_000_000_000));
        let (mut now, mut spent) = (Nanos::from_secs(1), 0);
        while now < Nanos::from_secs(2) {
            if let Some(until) = pacer.holds_until(now) {
                now = until + Nanos(300_000);
                continue;
            }
            pacer.spend(now, 1_000_000);
            spent += 1;
        }
        assert!((1000..=1007).contains(&spent), "{spent} ms worth in a second");
        assert_eq!(pacer.holds_until(Nanos::from_secs(9)), None);
    }

    #[test]
    fn a_new_rate_counts_at_once() {
        let rate = Rate::new(1000);
        let mut pacer = Pacer::new(rate.clone());
        let now = Nanos::from_secs(9);
        pacer.spend(now, 5000);
        assert_eq!(pacer.holds_until(now), Some(now - CREDIT + Nanos::from_secs(5)));
        rate.set(10_000);
        assert_eq!(pacer.holds_until(now), Some(now - CREDIT + Nanos::from_millis(500)));
        rate.set(u64::MAX);
        assert_eq!(pacer.holds_until(now), None);
    }
}
