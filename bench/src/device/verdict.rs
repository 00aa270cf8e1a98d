//! What the figures say about where the limit was, drawn from where the peers' time went.

use bireme_dataplane::reservation::InForce;
use bireme_dataplane::telemetry::{State, TimeStates};

use super::Measured;
use super::report::asked_per_s;
use crate::size;

/// Where the limit was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The peers mostly waited for the devices.
    Devices,
    /// The peers never waited: a faster device would change nothing.
    Cpu,
    /// Both had part in it.
    Both,
    /// The peers looked into the devices' queues, so that their work and their waiting cannot be told apart.
    Polling,
    /// The kernel held the process back, as its CPU time is limited.
    Throttled,
    /// They had all that their class may use.
    Class,
    /// The schedule was kept: the load was the limit.
    Schedule,
    /// Less was started than the schedule asked for.
    Missed,
}

impl Verdict {
    pub(super) fn of(measured: &Measured<'_>) -> Verdict {
        let mut times = TimeStates::default();
        measured.ran.peers.iter().for_each(|peer| times.merge(&peer.times));
        let schedule = asked_per_s(measured).map(|asked| {
            let achieved = size::rate(measured.series.total.operations(), measured.series.elapsed());
            achieved >= asked * KEPT
        });
        let held_back = measured.held_back.0 as f64 / measured.series.elapsed().0.max(1) as f64;
        let moved = size::rate(measured.series.total.bytes(), measured.series.elapsed());
        let most =
            measured.class.as_ref().and_then(InForce::most).map(|rate| rate as f64 * measured.facts.len() as f64);
        match schedule {
            _ if held_back >= HELD_BACK => Verdict::Throttled,
            None if most.is_some_and(|most| moved >= most * USED) => Verdict::Class,
            None if measured.options.iopoll => Verdict::Polling,
            _ => Verdict::draw(&times, schedule),
        }
    }

    /// From the states of all peers, and whether the schedule was kept if there was one.
    fn draw(times: &TimeStates, schedule: Option<bool>) -> Verdict {
        let waited = times.of(State::Devices).0 as f64 / times.elapsed().0.max(1) as f64;
        match schedule {
            Some(true) => Verdict::Schedule,
            Some(false) => Verdict::Missed,
            None if waited >= WAITED_MOSTLY => Verdict::Devices,
            None if waited <= WAITED_NEVER => Verdict::Cpu,
            None => Verdict::Both,
        }
    }

    /// In JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::Devices => "device-bound",
            Verdict::Cpu => "cpu-bound",
            Verdict::Both => "mixed",
            Verdict::Polling => "polling",
            Verdict::Throttled => "throttled",
            Verdict::Class => "class",
            Verdict::Schedule => "schedule kept",
            Verdict::Missed => "schedule missed",
        }
    }

    /// For people.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Verdict::Devices => "device-bound: the peers mostly waited for the devices",
            Verdict::Cpu => {
                "CPU-bound: the peers hardly waited; more peers, larger requests or larger batches would show more"
            }
            Verdict::Both => "device and CPU both: the peers waited for a part of the time",
            Verdict::Polling => {
                "polling: the peers' work and their waiting cannot be told apart; if a greater depth changes nothing, the device is the limit"
            }
            Verdict::Throttled => {
                "throttled: a limit on the CPU time of this process (cgroup cpu.max) held it back, so these are not the figures of the device"
            }
            Verdict::Class => {
                "held to its class: this is what --class and --link-rate leave for it, and the devices could do more"
            }
            Verdict::Schedule => "schedule kept: the device could do more than was asked for",
            Verdict::Missed => "schedule missed: read the response times, which count the waiting, and ask for less",
        }
    }
}

const WAITED_MOSTLY: f64 = 0.5;
const WAITED_NEVER: f64 = 0.1;
/// A process counts as held back when it was for so much of the measured time.
const HELD_BACK: f64 = 0.02;
/// A class has what it may use when it has so much of it.
const USED: f64 = 0.97;
/// A schedule counts as kept when so much of it was achieved.
pub(super) const KEPT: f64 = 0.99;

#[cfg(test)]
mod tests {
    use bireme_control::units::Nanos;
    use bireme_dataplane::telemetry::Stopwatch;

    use super::*;

    fn times(waited: u64) -> TimeStates {
        let mut watch = Stopwatch::new(Nanos(0), State::Devices);
        watch.switch(Nanos(waited), State::Turn);
        watch.switch(Nanos(100), State::Idle);
        watch.totals()
    }

    #[test]
    fn the_limit_is_where_the_time_went() {
        let verdicts = [90, 50, 30, 10, 0].map(|waited| Verdict::draw(&times(waited), None));
        assert_eq!(verdicts, [Verdict::Devices, Verdict::Devices, Verdict::Both, Verdict::Cpu, Verdict::Cpu]);
        assert_eq!(Verdict::draw(&times(90), Some(true)), Verdict::Schedule);
        assert_eq!(Verdict::draw(&times(90), Some(false)), Verdict::Missed);
    }
}
