//! The parameters that control sets anew each period, and nothing that a transfer would wait for.
//!
//! Today these are two figures per peer. The *run* is how many transfers it starts, or draws from the common cursor, at
//! once: what it moves in [`RUN_TIME`], so that drawing stays rare on fast devices, and at most an equal part of what one
//! more period will leave, so that the end is not ragged by a long run. The *minimum* is the portion that is not worth a
//! hand-over: what the peer does itself in the time that an asker waits for it, and as long again.

use crate::units::Nanos;

/// What the data plane counted, all since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Transfers completed, per peer.
    pub completed: Vec<u64>,
    /// Transfers of the newest set that nobody has started.
    pub remaining: u64,
    /// How long a hand-over takes, per peer as it measured it; zero where it has not.
    pub round_trip: Vec<Nanos>,
}

/// One peer's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Transfers to start or to draw at once.
    pub run: u64,
    /// A portion of at most this is not worth a hand-over by this peer.
    pub minimum: u64,
}

impl Default for Orders {
    fn default() -> Orders {
        Orders { run: 1, minimum: 1 }
    }
}

/// Remembers the last observation, and derives orders from the change.
#[derive(Clone, Debug)]
pub struct Controller {
    last: Option<(Nanos, Vec<u64>)>,
    orders: Vec<Orders>,
}

impl Controller {
    /// A controller for so many peers.
    pub fn new(peers: u16) -> Controller {
        Controller { last: None, orders: vec![Orders::default(); usize::from(peers)] }
    }

    /// One period: the orders of every peer, by index.
    pub fn step(&mut self, now: Nanos, seen: &Observation) -> &[Orders] {
        let peers = self.orders.len() as u64;
        if let Some((then, completed)) = &self.last {
            let elapsed = now.since(*then).0.max(1);
            for (index, orders) in self.orders.iter_mut().enumerate() {
                let done = seen.completed[index].saturating_sub(completed[index]);
                let speed_run = done.saturating_mul(RUN_TIME.0) / elapsed;
                let fair = seen.remaining / (2 * peers);
                orders.run = speed_run.min(fair).clamp(1, RUN_MAX);
                // Those who ask this peer are the others, and it is they who wait.
                let round_trips = seen.round_trip.iter().enumerate().filter(|&(asker, _)| asker != index);
                let round_trip = round_trips.map(|(_, time)| time.0).max().unwrap_or(0);
                orders.minimum = done.saturating_mul(2).saturating_mul(round_trip).div_ceil(elapsed).max(1);
            }
        }
        self.last = Some((now, seen.completed.clone()));
        &self.orders
    }
}

/// How long a run should take: long enough that its leaf blocks are written as one, and several periods of control.
pub const RUN_TIME: Nanos = Nanos::from_millis(40);
/// The longest run: its checksums are held in memory until they are written as one.
pub const RUN_MAX: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(completed: &[u64], remaining: u64, round_trip: &[Nanos]) -> Observation {
        Observation { completed: completed.to_vec(), remaining, round_trip: round_trip.to_vec() }
    }

    #[test]
    fn a_run_follows_the_speed_and_shrinks_towards_the_end() {
        #[rustfmt::skip]
        let cases = [
            // why,                          done in 10 ms, remaining, run
            ("nothing was measured",         0,             1000,      1),
            ("as many as 40 ms bring",       2,             1000,      8),
            ("no longer than the bound",     500,           1000,      RUN_MAX),
            ("an equal part of the rest",    500,           20,        5),
            ("the last ones singly",         500,           3,         1),
        ];
        for (why, done, remaining, want) in cases {
            let mut controller = Controller::new(2);
            controller.step(Nanos(0), &seen(&[100, 100], remaining, &[]));
            let seen = seen(&[100 + done, 100 + done], remaining, &[]);
            assert_eq!(controller.step(Nanos::from_millis(10), &seen)[0].run, want, "{why}");
        }
    }

    #[test]
    fn the_minimum_is_what_the_victim_does_while_an_asker_waits() {
        #[rustfmt::skip]
        let cases = [
            // why,                                      done in 10 ms, round trips in us,  minimum of peer 0
            ("nobody has asked",                         50,            [0, 0, 0],          1),
            ("next to nothing",                          50,            [0, 10, 0],         1),
            ("twice what 4 ms bring",                    50,            [0, 4_000, 0],      40),
            ("rounded up",                               1,             [0, 8_000, 0],      2),
            ("the slowest of those who ask",             50,            [0, 4_000, 6_000],  60),
            ("not its own: it does not ask itself",      50,            [9_000, 4_000, 0],  40),
            ("it stands still",                          0,             [0, 4_000, 0],      1),
        ];
        for (why, done, round_trips, want) in cases {
            let mut controller = Controller::new(3);
            let round_trips = round_trips.map(|micros| Nanos(micros * 1_000));
            controller.step(Nanos(0), &seen(&[100; 3], 9, &round_trips));
            let orders = controller.step(Nanos::from_millis(10), &seen(&[100 + done; 3], 9, &round_trips))[0];
            assert_eq!(orders.minimum, want, "{why}");
        }
    }

    #[test]
    fn two_steps_at_one_time_do_not_divide_by_zero() {
        let mut controller = Controller::new(1);
        controller.step(Nanos(5), &seen(&[3], 9, &[Nanos(7)]));
        assert_eq!(controller.step(Nanos(5), &seen(&[3], 9, &[Nanos(7)]))[0], Orders::default());
    }
}
