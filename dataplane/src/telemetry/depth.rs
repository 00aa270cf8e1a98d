//! How many requests were under way, as a mean over time: the depth achieved, beside the depth asked for.

use bireme_control::units::Nanos;

/// Integrates the number of requests in flight over time.
#[derive(Clone, Debug)]
pub struct Depth {
    start: Nanos,
    since: Nanos,
    in_flight: u64,
    area: u128,
}

impl Depth {
    /// Nothing in flight yet.
    pub fn new(now: Nanos) -> Depth {
        Depth { start: now, since: now, in_flight: 0, area: 0 }
    }

    /// From now on this many are in flight. Called with an unchanged number it extends the time covered.
    #[inline]
    pub fn change(&mut self, now: Nanos, in_flight: usize) {
        self.area += u128::from(now.since(self.since).0) * u128::from(self.in_flight);
        self.since = self.since.max(now);
        self.in_flight = in_flight as u64;
    }

    /// The mean from the start to the last change; 0 when no time has passed.
    pub fn mean(&self) -> f64 {
        match self.since.since(self.start).0 {
            0 => 0.0,
            elapsed => self.area as f64 / elapsed as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_weighted_by_time() {
        let mut depth = Depth::new(Nanos(1000));
        assert_eq!(depth.mean(), 0.0);
        depth.change(Nanos(1000), 8);
        depth.change(Nanos(1030), 4);
        depth.change(Nanos(1020), 0);
        depth.change(Nanos(1040), 0);
        assert_eq!(depth.mean(), 6.0);
    }
}
