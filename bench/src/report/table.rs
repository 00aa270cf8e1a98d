//! The table for people: first the result, then what explains it, last how it was measured. At most 100 columns wide.

use std::fmt::Write;

use bireme_control::units::Nanos;
use bireme_dataplane::outcome::{Kind, Outcome, PeerOutcome};
use bireme_dataplane::telemetry::{Healed, LatencySummary, State};

use crate::class;
use crate::environment::Environment;
use crate::report::{Columns, balance};
use crate::size;

/// An outcome as text that is understood without the source.
pub fn to_table(outcome: &Outcome, environment: &Environment) -> String {
    let [division, hand_overs, round_trip, story] = balance::sections(outcome);
    let sections = [
        headline(outcome),
        sets(outcome),
        devices(outcome),
        peers(outcome),
        times(outcome),
        division,
        hand_overs,
        round_trip,
        story,
        latency(outcome),
        paragraphs("Configuration in effect", &configuration(outcome)),
        paragraphs("Environment", &surroundings(environment)),
        paragraphs("Notes", &outcome.notes),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn headline(outcome: &Outcome) -> String {
    let (done, end) = match outcome.kind {
        Kind::Offload => ("Offloaded", "from the first fill to the durable commit"),
        Kind::Restore => ("Restored", "from the first read to the last byte stored"),
        Kind::Verify => ("Verified", "from the first read to the last checksum"),
        Kind::Scrub => ("Scrubbed", "from the first read to the last flush"),
        Kind::Rebuild => ("Rebuilt", "from the first read to the last flush"),
    };
    let rate = size::print_rate(size::rate(outcome.bytes, outcome.elapsed));
    let mut text = format!("{done} {} in {}: {rate}, {end}\n", size::print(outcome.bytes), outcome.elapsed);
    if outcome.kind == Kind::Offload {
        let written = size::print_rate(size::rate(outcome.bytes, outcome.write));
        let _ =
            writeln!(text, "  data writes ended after {} ({written}); the rest was flush and commit", outcome.write);
    }
    let gib = outcome.bytes as f64 / (1u64 << 30) as f64;
    if gib > 0.0 {
        let per_gib = outcome.cpu.0 as f64 / 1e6 / gib;
        let _ = writeln!(text, "  CPU time of the whole process: {} ({per_gib:.0} ms per GiB)", outcome.cpu);
    }
    text
}

fn sets(outcome: &Outcome) -> String {
    if outcome.sets.is_empty() {
        return String::new();
    }
    let mut columns = Columns::new(&["Data sets", "data", "rate", "elapsed", "data writes", "flush", "commit"]);
    for set in outcome.sets.iter().take(LINES_SHOWN) {
        let rate = size::print_rate(size::rate(set.bytes, set.elapsed));
        let times = [set.elapsed, set.write, set.flush, set.commit].map(|time| time.to_string());
        columns.row([set.number.to_string(), size::print(set.bytes), rate].into_iter().chain(times).collect());
    }
    let more = outcome.sets.len().saturating_sub(LINES_SHOWN);
    let rest = if more > 0 { format!("{:INDENT$}and {more} more, listed in the JSON\n", "") } else { String::new() };
    columns.print() + &rest
}

fn devices(outcome: &Outcome) -> String {
    let healed = outcome.devices.iter().any(|device| device.healed != Healed::default());
    let mut headings = vec!["Devices (with padding)", "moved", "rate", "writes", "reads"];
    if healed {
        headings.extend(["blocks damaged", "reconstructed"]);
    }
    let mut columns = Columns::new(&headings);
    for device in &outcome.devices {
        let rate = size::print_rate(size::rate(device.bytes, outcome.write.max(Nanos(1))));
        let path = match device.state {
            "active" => device.path.display().to_string(),
            state => format!("{} ({state})", device.path.display()),
        };
        let mut row = vec![path, size::print(device.bytes), rate, device.writes.to_string(), device.reads.to_string()];
        if healed {
            row.extend([device.healed.damaged.to_string(), device.healed.reconstructed.to_string()]);
        }
        columns.row(row);
    }
    columns.print()
}

fn peers(outcome: &Outcome) -> String {
    let headings = ["Peers", "core", "data", "share", "transfers", "mean depth", "p50", "p99", "max"];
    let mut columns = Columns::new(&headings);
    for peer in &outcome.peers {
        let share = peer.bytes as f64 * 100.0 / outcome.bytes.max(1) as f64;
        let LatencySummary { p50, p99, max, .. } = peer.latency.summary();
        columns.row(vec![
            peer.peer.0.to_string(),
            peer.core.map_or("any".to_owned(), |core| core.to_string()),
            size::print(peer.bytes),
            format!("{share:.1} %"),
            peer.transfers.to_string(),
            format!("{:.1}", peer.achieved_depth),
            p50.to_string(),
            p99.to_string(),
            max.to_string(),
        ]);
    }
    columns.print()
}

fn times(outcome: &Outcome) -> String {
    let headings: Vec<_> = std::iter::once("Time in %").chain(State::ALL.map(heading)).collect();
    let mut columns = Columns::new(&headings);
    let row = |peer: &PeerOutcome| {
        let shares = peer.times.percent_tenths().map(|(_, tenths)| format!("{}.{}", tenths / 10, tenths % 10));
        std::iter::once(peer.peer.to_string()).chain(shares).collect()
    };
    outcome.peers.iter().for_each(|peer| columns.row(row(peer)));
    columns.print()
}

/// What a state means to somebody who has not read the source.
pub(crate) fn heading(state: State) -> &'static str {
    match state {
        State::Devices => "device wait",
        State::Kernel => "kernel",
        State::Filling => "fill",
        State::Checksum => "checksum",
        State::Parity => "parity",
        State::Input => "file I/O",
        State::Handover => "hand-over",
        State::Turn => "own",
        State::Idle => "idle",
        State::Throttled => "throttled",
    }
}

fn latency(outcome: &Outcome) -> String {
    let latency = outcome.latency.summary();
    let mut columns = Columns::new(&["Latency of a request", "p50", "p90", "p99", "p99.9", "max", "mean"]);
    let figures = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max, latency.mean];
    let first = format!("{} requests", latency.count);
    columns.row(std::iter::once(first).chain(figures.map(|time| time.to_string())).collect());
    columns.print()
}

fn configuration(outcome: &Outcome) -> Vec<String> {
    let (pool, ring) = (&outcome.pool, &outcome.ring);
    let yes = |on| if on { "registered" } else { "not registered" };
    let flags = |flags: &[String]| if flags.is_empty() { "none".to_owned() } else { flags.join(" ") };
    let mut lines = vec![
        format!(
            "pool {}: {} over {} devices, chunk {}, page {}, {} of {} frames free",
            pool.uuid,
            pool.level,
            pool.members,
            size::print(pool.chunk_bytes),
            size::print(pool.page_bytes),
            pool.frames_free,
            pool.frames
        ),
        format!(
            "{} of {} slots asked for per peer, slot {}, request {} at most",
            ring.depth,
            ring.depth_asked,
            size::print(ring.slot_bytes),
            size::print(ring.request_bytes)
        ),
        format!("device rings: {}", flags(&ring.device_flags)),
        format!("refused by the kernel: {}; event rings: {}", flags(&ring.refused_flags), flags(&ring.event_flags)),
        format!("gathered requests: {}; kernel workers seen: {}", ring.opcodes, ring.iou_workers),
        format!("files {}, buffers {}, {}", yes(ring.registered_files), yes(ring.registered_buffers), ring.paging),
    ];
    lines.extend(outcome.classes.iter().map(|held| class::line(held, class::EACH_DEVICE)));
    lines
}

pub(crate) fn surroundings(environment: &Environment) -> Vec<String> {
    let memlock = environment.limits.memlock_bytes.map_or("unlimited".to_owned(), size::print);
    let node = |node: Option<usize>| node.map_or("?".to_owned(), |node| node.to_string());
    let cores: Vec<_> =
        environment.cores.iter().map(|core| format!("{}@{}", core.core, node(core.numa_node))).collect();
    let mut lines = vec![
        format!("{}, Linux {}, {} processors", environment.cpu, environment.kernel, environment.cpus),
        format!("cores used, each @ its NUMA node: {}; memlock {memlock}", cores.join(" ")),
        format!("bireme {} (commit {}), {}", environment.version, environment.commit, environment.time),
        format!("command: {}", environment.command.join(" ")),
    ];
    lines.extend(environment.seed.map(|seed| format!("seed {seed}")));
    lines
}

/// A heading over paragraphs that are wrapped at the width.
pub(crate) fn paragraphs(heading: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("{heading}\n");
    for line in lines {
        let mut width = INDENT;
        text.push_str(&" ".repeat(INDENT));
        for (number, word) in line.split_whitespace().enumerate() {
            let length = word.chars().count();
            let gap = usize::from(number > 0);
            if number > 0 && width + gap + length > WIDTH {
                text.push_str(&format!("\n{:1$}", "", INDENT * 2));
                width = INDENT * 2;
            } else {
                text.push_str(&" ".repeat(gap));
                width += gap;
            }
            text.push_str(word);
            width += length;
        }
        text.push('\n');
    }
    text
}

pub(super) const INDENT: usize = 2;
pub(super) const WIDTH: usize = 100;
/// Of each list that may be long.
pub(super) const LINES_SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use bireme_control::units::PeerId;
    use bireme_dataplane::outcome::{Balance, Death};
    use bireme_dataplane::reservation::InForce;

    #[test]
    fn the_table_reads_as_recorded() {
        let table = to_table(&sample::outcome(), &sample::environment());
        assert_eq!(table, include_str!("golden.txt"), "the table is now:\n{table}");
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let mut outcome = sample::outcome();
        outcome.notes.push("a long story ".repeat(40));
        outcome.devices[0].path = "/very/long".repeat(30).into();
        outcome.sets = vec![outcome.sets[0].clone(); 40];
        let table = to_table(&outcome, &sample::environment());
        assert!(table.contains("and 28 more"));
        for line in table.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn what_was_healed_is_told_by_device() {
        let mut outcome = sample::outcome();
        outcome.devices[1].healed = Healed { damaged: 3, reconstructed: 41 };
        let table = to_table(&outcome, &sample::environment());
        let line = |start: &str| table.lines().find(|line| line.contains(start)).unwrap_or_default().to_owned();
        assert!(line("Devices").ends_with("blocks damaged  reconstructed"), "{table}");
        assert!(line("/dev/loop11").ends_with("3             41"), "{table}");
        assert!(line("/dev/loop0").ends_with("0              0"), "{table}");
    }

    #[test]
    fn many_peers_and_their_deaths_are_told_within_the_width() {
        let mut outcome = sample::shared(8, 20, 40);
        let death = Death { peer: PeerId(3), at: Nanos::from_millis(7), taken_over: 11 };
        (outcome.balance.deaths, outcome.balance.left_out) = (vec![death], 5);
        let table = to_table(&outcome, &sample::environment());
        let all = outcome.balance.hand_overs.len();
        for want in [
            "set 1: 128 -> 28, 128 -> 56",
            &format!("and {} more, listed in the JSON", all - LINES_SHOWN),
            "Peer 3 died after 7.00 ms; the others took over what it had left: 11 transfers.",
            "had no room to list: 5",
        ] {
            assert!(table.contains(want), "{want}:\n{table}");
        }
        let listed = table.lines().filter(|line| line.starts_with("  after ")).count();
        assert_eq!(listed, LINES_SHOWN, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
    }

    #[test]
    fn what_the_class_was_held_to_is_in_effect() {
        let mut outcome = sample::outcome();
        let held = InForce { class: "offload", reserve: 0, limit: Some(200 << 20), weight: 16, link_rate: None };
        outcome.classes.push(held);
        let table = to_table(&outcome, &sample::environment());
        assert!(table.contains("\n  class offload: at most 200 MiB/s on each device\n"), "{table}");
    }

    #[test]
    fn a_peer_alone_has_no_balance_to_show() {
        let mut outcome = sample::outcome();
        outcome.peers.pop();
        (outcome.sets[0].divided, outcome.sets[0].done) = (vec![256], vec![256]);
        outcome.balance = Balance::default();
        let table = to_table(&outcome, &sample::environment());
        for word in ["Balance", "Hand-overs", "From offer", "What the peers did"] {
            assert!(!table.contains(word), "{word}:\n{table}");
        }
    }

    #[test]
    fn an_empty_outcome_divides_by_nothing() {
        let mut outcome = sample::outcome();
        (outcome.bytes, outcome.elapsed, outcome.write) = (0, Nanos::ZERO, Nanos::ZERO);
        (outcome.sets, outcome.peers, outcome.devices) = (vec![], vec![], vec![]);
        assert!(to_table(&outcome, &sample::environment()).starts_with("Offloaded 0 B in 0 ns: 0 MiB/s"));
    }
}
