//! Where a peer's time goes: it is in exactly one state at each moment, so the states sum to the elapsed time.
//!
//! ```text
//!   Turn --switch--> Filling --switch--> Kernel --switch--> Devices --switch--> Turn ...
//!        charges the time since the last switch to the state that is left
//! ```
//!
//! A state that is too short for two clock reads each time (the checksum of one block) is timed now and then, and
//! [`Stopwatch::split`] moves its part out of the state that it was charged to.

use bireme_control::units::Nanos;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What a peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asleep until a device answers.
    Devices,
    /// In the kernel: handing requests over and taking answers.
    Kernel,
    /// Making or copying the data to write.
    Filling,
    /// Computing checksums.
    Checksum,
    /// Computing parity and making copies, or bringing back what is lost.
    Parity,
    /// Waiting for the input or the output file.
    Input,
    /// Giving work to other peers or taking it.
    Handover,
    /// Held back by its rate.
    Throttled,
    /// The peer's own bookkeeping: the rest of its turn.
    Turn,
    /// Asleep with nothing to do.
    Idle,
}

impl State {
    /// All of them, in the order of reports.
    pub const ALL: [State; STATES] = [
        State::Devices,
        State::Kernel,
        State::Filling,
        State::Checksum,
        State::Parity,
        State::Input,
        State::Handover,
        State::Throttled,
        State::Turn,
        State::Idle,
    ];

    /// The name in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            State::Devices => "devices",
            State::Kernel => "kernel",
            State::Filling => "filling",
            State::Checksum => "checksum",
            State::Parity => "parity",
            State::Input => "input",
            State::Handover => "handover",
            State::Throttled => "throttled",
            State::Turn => "turn",
            State::Idle => "idle",
        }
    }
}

/// Charges each moment to one state.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    state: State,
    since: Nanos,
    totals: TimeStates,
}

impl Stopwatch {
    /// Starts in `state`.
    pub fn new(now: Nanos, state: State) -> Stopwatch {
        Stopwatch { state, since: now, totals: TimeStates::default() }
    }

    /// Charges the time since the last switch to the state left. A clock that went back charges nothing.
    #[inline]
    pub fn switch(&mut self, now: Nanos, state: State) {
        self.totals.0[self.state as usize] += now.since(self.since);
        self.since = self.since.max(now);
        self.state = state;
    }

    /// Moves time that was charged to `from` over to `to`: at most what `from` has.
    #[inline]
    pub fn split(&mut self, from: State, to: State, nanos: Nanos) {
        let moved = nanos.min(self.totals.of(from));
        self.totals.0[from as usize] = self.totals.of(from) - moved;
        self.totals.0[to as usize] += moved;
    }

    /// The state it is in.
    pub fn state(&self) -> State {
        self.state
    }

    /// What was charged up to the last switch; switch first to include the present state.
    pub fn totals(&self) -> TimeStates {
        self.totals
    }
}

/// The time in each state. In JSON an object of nanoseconds by state name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeStates([Nanos; STATES]);

impl TimeStates {
    /// The time in one state.
    pub fn of(&self, state: State) -> Nanos {
        self.0[state as usize]
    }

    /// All states together: the elapsed time.
    pub fn elapsed(&self) -> Nanos {
        self.0.iter().fold(Nanos::ZERO, |sum, &nanos| sum + nanos)
    }

    /// Adds the times of another peer.
    pub fn merge(&mut self, other: &TimeStates) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Tenths of a percent that sum to exactly 1000, or are all 0 when no time has passed: each is rounded down, and
    /// the tenths left over go to the states that lost most by it.
    pub fn percent_tenths(&self) -> [(State, u16); STATES] {
        let elapsed = u128::from(self.elapsed().0);
        let mut shares = State::ALL.map(|state| (state, 0));
        if elapsed == 0 {
            return shares;
        }
        let mut losses = [(0, 0); STATES];
        let mut left = 1000;
        for (index, nanos) in self.0.iter().enumerate() {
            let product = u128::from(nanos.0) * 1000;
            let tenths = u16::try_from(product / elapsed).expect("a part is at most the whole");
            shares[index].1 = tenths;
            losses[index] = (product % elapsed, index);
            left -= usize::from(tenths);
        }
        losses.sort_unstable_by(|a, b| b.cmp(a));
        for &(_, index) in losses.iter().take(left) {
            shares[index].1 += 1;
        }
        shares
    }
}

impl Serialize for TimeStates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(STATES))?;
        for state in State::ALL {
            map.serialize_entry(state.name(), &self.of(state))?;
        }
        map.end()
    }
}

const STATES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_names_stand_in_the_order_of_the_states() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
    }

    #[test]
    fn time_is_charged_to_the_state_left_and_a_sample_moves_it() {
        let mut watch = Stopwatch::new(Nanos(100), State::Turn);
        watch.switch(Nanos(130), State::Filling);
        watch.switch(Nanos(120), State::Filling);
        watch.switch(Nanos(200), State::Idle);
        watch.split(State::Filling, State::Checksum, Nanos(20));
        watch.split(State::Turn, State::Input, Nanos(1000));
        let totals = watch.totals();
        assert_eq!(totals.of(State::Turn), Nanos(0));
        assert_eq!(totals.of(State::Input), Nanos(30));
        assert_eq!(totals.of(State::Filling), Nanos(50));
        assert_eq!(totals.of(State::Checksum), Nanos(20));
        assert_eq!(totals.elapsed(), Nanos(100));
    }

    proptest! {
        #[test]
        fn states_sum_to_the_elapsed_time_and_percents_to_a_hundred(
            steps in prop::collection::vec((0usize..STATES, 0u64..1 << 40, 0usize..STATES, 0u64..1 << 40), 1..50),
        ) {
            let mut now = Nanos(7);
            let mut watch = Stopwatch::new(now, State::Idle);
            for (state, nanos, to, moved) in steps {
                now += Nanos(nanos);
                watch.switch(now, State::ALL[state]);
                watch.split(State::ALL[state], State::ALL[to], Nanos(moved));
            }
            let totals = watch.totals();
            prop_assert_eq!(totals.elapsed(), now.since(Nanos(7)));
            let sum: u32 = totals.percent_tenths().iter().map(|&(_, tenths)| u32::from(tenths)).sum();
            prop_assert_eq!(sum, if totals.elapsed() == Nanos::ZERO { 0 } else { 1000 });
        }
    }
}
