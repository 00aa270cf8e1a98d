//! What a scrape reads: Prometheus' text format, version 0.0.4.
//!
//! Counters begin with the run and have the warm-up in them; they are as new as the last interval. The bounds of the histogram
//! are the last nanoseconds before powers of two: there our buckets end, so that its counts are exact.

use std::fmt::Write;

use bireme_dataplane::telemetry::Latencies;

use crate::recording::recorder::{DIRECTIONS, Direction, Interval};

/// All that is told.
#[derive(Debug)]
pub(super) struct Exposition {
    peers: Vec<[Moved; DIRECTIONS]>,
    service: [Latencies; DIRECTIONS],
    response: [Latencies; DIRECTIONS],
    flushes: Latencies,
    submissions: u64,
    asked: u64,
    phase: &'static str,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    operations: u64,
    bytes: u64,
}

impl Exposition {
    pub(super) fn new(peers: u16, asked: u64) -> Exposition {
        Exposition {
            peers: vec![[Moved::default(); DIRECTIONS]; usize::from(peers)],
            service: Default::default(),
            response: Default::default(),
            flushes: Latencies::new(),
            submissions: 0,
            asked,
            phase: PHASES[0],
        }
    }

    pub(super) fn add(&mut self, interval: &Interval) {
        self.phase = if interval.warm_up { PHASES[1] } else { PHASES[2] };
        for (index, figures) in interval.directions.iter().enumerate().filter(|(_, all)| all.service.count() > 0) {
            let moved = &mut self.peers[usize::from(interval.peer)][index];
            moved.operations += figures.service.count();
            moved.bytes += figures.bytes;
            self.service[index].merge(&figures.service);
            self.response[index].merge(&figures.response);
        }
        self.flushes.merge(&interval.flushes);
        self.submissions += interval.submissions;
    }

    pub(super) fn text(&self) -> String {
        let mut page = Page(String::new());
        page.begin("bireme_build_info", "gauge", "The program; the value is always 1.");
        let commit = option_env!("BIREME_COMMIT").unwrap_or("unknown").replace(['\\', '"', '\n'], "_");
        page.line("bireme_build_info", &format!("version=\"{}\",commit=\"{commit}\"", env!("CARGO_PKG_VERSION")), 1);
        page.begin("bireme_phase", "gauge", "1 for the phase that the run was in at the end of the last interval.");
        for phase in PHASES {
            page.line("bireme_phase", &format!("phase=\"{phase}\""), u64::from(phase == self.phase));
        }
        page.begin(
            "bireme_requests_in_flight_asked",
            "gauge",
            "Requests that all peers together keep in flight at most.",
        );
        page.line("bireme_requests_in_flight_asked", "", self.asked);
        page.begin("bireme_submissions_total", "counter", "System calls that handed requests over.");
        page.line("bireme_submissions_total", "", self.submissions);
        self.by_peer(&mut page, "bireme_operations_total", "Requests that have ended.", |moved| moved.operations);
        self.by_peer(&mut page, "bireme_moved_bytes_total", "Bytes that they have moved.", |moved| moved.bytes);
        self.histogram(
            &mut page,
            "bireme_service_time_seconds",
            "From the hand-over to the kernel to the end of a request.",
            &self.service,
        );
        self.histogram(
            &mut page,
            "bireme_response_time_seconds",
            "From the intended start to the end of a request, where there is a schedule.",
            &self.response,
        );
        if self.flushes.count() > 0 {
            page.begin("bireme_flush_time_seconds", "histogram", "How long flushes took.");
            page.histogram("bireme_flush_time_seconds", "", &self.flushes);
        }
        page.0
    }

    fn by_peer(&self, page: &mut Page, name: &str, help: &str, value: fn(&Moved) -> u64) {
        page.begin(name, "counter", help);
        for (peer, all) in self.peers.iter().enumerate() {
            for direction in self.used() {
                let labels = format!("peer=\"{peer}\",direction=\"{}\"", direction.name());
                page.line(name, &labels, value(&all[direction as usize]));
            }
        }
    }

    fn histogram(&self, page: &mut Page, name: &str, help: &str, all: &[Latencies; DIRECTIONS]) {
        let used: Vec<Direction> = self.used().filter(|direction| all[*direction as usize].count() > 0).collect();
        if !used.is_empty() {
            page.begin(name, "histogram", help);
        }
        for direction in used {
            page.histogram(name, &format!("direction=\"{}\"", direction.name()), &all[direction as usize]);
        }
    }

    fn used(&self) -> impl Iterator<Item = Direction> {
        Direction::ALL.into_iter().filter(|direction| self.service[*direction as usize].count() > 0)
    }
}

/// The text so far. Writing into memory does not fail.
struct Page(String);

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn histogram(&mut self, name: &str, labels: &str, all: &Latencies) {
        let octaves = all.octaves();
        let comma = if labels.is_empty() { "" } else { "," };
        for power in POWERS {
            let bound = 1u64 << power;
            let below: u64 = octaves.iter().filter(|(_, to, _)| to.0 <= bound).map(|(.., count)| count).sum();
            let le = seconds(bound - 1);
            let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"{le}\"}} {below}");
        }
        let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", all.count());
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}_sum{braces} {}", seconds(all.sum().0));
        let _ = writeln!(self.0, "{name}_count{braces} {}", all.count());
    }
}

/// Nanoseconds as seconds, exactly.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

const PHASES: [&str; 3] = ["starting", "warm-up", "measuring"];
/// From a microsecond to 17 seconds.
const POWERS: std::ops::RangeInclusive<u32> = 10..=34;

#[cfg(test)]
mod tests {
    use bireme_control::units::Nanos;

    use super::*;

    #[test]
    fn counts_of_the_histogram_are_exact_at_its_bounds() {
        let mut exposition = Exposition::new(2, 64);
        let mut interval = Interval { peer: 1, ..Interval::default() };
        for nanos in [5, 1023, 1024, 2047, 2048, 1 << 20, 20_000_000_000] {
            interval.directions[0].service.record(Nanos(nanos));
            interval.directions[0].bytes += 4096;
        }
        interval.submissions = 3;
        exposition.add(&interval);
        exposition.add(&interval);
        let text = exposition.text();
        for line in [
            "bireme_operations_total{peer=\"0\",direction=\"read\"} 0",
            "bireme_operations_total{peer=\"1\",direction=\"read\"} 14",
            "bireme_moved_bytes_total{peer=\"1\",direction=\"read\"} 57344",
            "bireme_service_time_seconds_bucket{direction=\"read\",le=\"0.000001023\"} 4",
            "bireme_service_time_seconds_bucket{direction=\"read\",le=\"0.000002047\"} 8",
            "bireme_service_time_seconds_bucket{direction=\"read\",le=\"17.179869183\"} 12",
            "bireme_service_time_seconds_bucket{direction=\"read\",le=\"+Inf\"} 14",
            "bireme_service_time_seconds_sum{direction=\"read\"} 40.002109446",
            "bireme_service_time_seconds_count{direction=\"read\"} 14",
            "bireme_phase{phase=\"measuring\"} 1",
            "bireme_phase{phase=\"warm-up\"} 0",
            "bireme_requests_in_flight_asked 64",
            "bireme_submissions_total 6",
            "# TYPE bireme_service_time_seconds histogram",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is missing:\n{text}");
        }
        assert!(!text.contains("response") && !text.contains("flush") && text.ends_with('\n'));
    }
}
