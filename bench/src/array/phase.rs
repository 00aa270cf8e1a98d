//! What the workloads of all peers have counted in one phase of a run.

use bireme_control::units::Nanos;
use bireme_dataplane::engine::volumes::Served;
use bireme_dataplane::telemetry::{Latencies, LatencySummary};

use super::worker::Worker;
use crate::size;

/// The figures of all peers together.
pub(super) struct Phase {
    pub(super) latencies: [(&'static str, Latencies); 3],
    /// Reads and writes; bytes of them.
    pub(super) operations: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Nanos,
    pub(super) iops: f64,
    pub(super) rate: f64,
}

impl Phase {
    /// From the first operation to the last.
    pub(super) fn whole(served: &Served<Worker>) -> Phase {
        Phase::of(served, &[0, 1])
    }

    /// What was asked while the rebuild went on.
    pub(super) fn beside_rebuild(served: &Served<Worker>) -> Phase {
        Phase::of(served, &[0])
    }

    /// What was asked when the rebuild had ended, if anything was.
    pub(super) fn after_rebuild(served: &Served<Worker>) -> Option<Phase> {
        Some(Phase::of(served, &[1])).filter(|phase| phase.operations > 0)
    }

    fn of(served: &Served<Worker>, parts: &[usize]) -> Phase {
        let mut latencies = ["reads", "writes", "flushes"].map(|name| (name, Latencies::new()));
        let (mut bytes, mut elapsed) = (0, Nanos::ZERO);
        for home in &served.homes {
            let mut span = Nanos::ZERO;
            let all = home.client.workload.parts();
            for (figures, time) in parts.iter().map(|&part| all[part]) {
                let each = [&figures.reads, &figures.writes, &figures.flushes];
                latencies.iter_mut().zip(each).for_each(|((_, sum), latencies)| sum.merge(latencies));
                bytes += figures.bytes;
                span += time;
            }
            elapsed = elapsed.max(span);
        }
        let operations = latencies[0].1.count() + latencies[1].1.count();
        let (iops, rate) = (size::rate(operations, elapsed), size::rate(bytes, elapsed));
        Phase { latencies, operations, bytes, elapsed, iops, rate }
    }

    /// Of reads and writes together.
    pub(super) fn summary(&self) -> LatencySummary {
        let mut both = self.latencies[0].1.clone();
        both.merge(&self.latencies[1].1);
        both.summary()
    }
}
