//! How fast this peer works: transfers completed in the time in which it had any in flight.
//!
//! Idle time is not in it, so that a peer that waited for work is not taken for a slow one. Older sets count half with
//! each new one, so that the rate follows the device.

use crate::units::Nanos;

/// Completions per busy time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    completed: u64,
    busy: Nanos,
    in_flight: u64,
    looked: Nanos,
}

impl Rate {
    pub(super) fn started(&mut self, now: Nanos, transfers: u64) {
        self.advance(now);
        self.in_flight += transfers;
    }

    pub(super) fn completed(&mut self, now: Nanos, transfers: u64) {
        self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(transfers);
        self.completed += transfers;
    }

    /// So many were not started after all.
    pub(super) fn returned(&mut self, now: Nanos, transfers: u64) {
        self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(transfers);
    }

    /// A new set begins: what is known counts half from now on.
    pub(super) fn age(&mut self) {
        self.completed /= 2;
        self.busy = Nanos(self.busy.0 / 2);
    }

    /// What is completed in a span, in millionths of a transfer.
    pub(super) fn millionths_in(&self, span: Nanos) -> u128 {
        let product = u128::from(self.completed) * u128::from(span.0) * 1_000_000;
        product.checked_div(u128::from(self.busy.0)).unwrap_or(0)
    }

    /// Whether so many transfers will be completed before a span is over.
    pub(super) fn outruns(&self, transfers: u64, span: Nanos) -> bool {
        u128::from(transfers) * u128::from(self.busy.0) < u128::from(self.completed) * u128::from(span.0)
    }

    fn advance(&mut self, now: Nanos) {
        if self.in_flight > 0 {
            self.busy += now.since(self.looked);
        }
        self.looked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_no_slowness() {
        let mut rate = Rate::default();
        assert_eq!(rate.millionths_in(Nanos(1_000)), 0, "nothing is known");
        rate.started(Nanos(100), 2);
        rate.completed(Nanos(200), 1);
        rate.completed(Nanos(300), 1);
        rate.started(Nanos(5_000), 1);
        rate.completed(Nanos(5_100), 1);
        assert_eq!(rate.millionths_in(Nanos(1_000)), 10_000_000, "three in 300 ns of work");
        assert!(rate.outruns(9, Nanos(1_000)) && !rate.outruns(10, Nanos(1_000)));
    }

    #[test]
    fn older_sets_count_half() {
        let mut rate = Rate::default();
        rate.started(Nanos(0), 8);
        rate.completed(Nanos(800), 8);
        rate.age();
        rate.started(Nanos(800), 4);
        rate.completed(Nanos(1_600), 4);
        assert_eq!(rate.millionths_in(Nanos(1_200)), 8_000_000, "4 + 4 in 400 + 800 ns");
    }
}
