//! What `bench-device` has found, for people and for programs.

use bireme_control::units::Nanos;
use bireme_dataplane::device::{DeviceFacts, Kind};
use bireme_dataplane::engine::raw::Peer;
use bireme_dataplane::telemetry::{Latencies, State};
use serde_json::{Map, Value, json};

use super::arrivals::Arrivals;
use super::checks::Verified;
use super::load::Data;
use super::verdict::Verdict;
use super::workload::Workload;
use super::{Measured, Options, share};
use crate::class;
use crate::recording::recorder::Direction;
use crate::report::{self, Columns};
use crate::size;

/// For people: first the result, then what explains it, last how it was measured.
pub(super) fn to_table(measured: &Measured<'_>) -> String {
    let sections = [
        headline(measured),
        latencies(measured),
        moments(measured),
        times(measured),
        report::paragraphs("Configuration in effect", &configuration(measured)),
        report::paragraphs("Environment", &report::surroundings(measured.environment)),
        report::paragraphs("Notes", &notes(measured)),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn headline(measured: &Measured<'_>) -> String {
    let (total, elapsed) = (&measured.series.total, measured.series.elapsed());
    let sizes: Vec<String> = measured.load.sizes.iter().map(|(bytes, _)| size::print(u64::from(*bytes))).collect();
    let operations = total.operations();
    let mut text = format!(
        "{} of {}: {:.0} operations/s, {} over {elapsed}\n",
        measured.options.rw.name(),
        sizes.join(" and "),
        size::rate(operations, elapsed),
        size::print_rate(size::rate(total.bytes(), elapsed)),
    );
    let usage = measured.ran.usage;
    text.push_str(&format!(
        "  {:.1} requests in flight on average, of {} asked for; {:.1} per system call\n",
        measured.series.mean_depth(),
        measured.load.depth * u32::from(measured.options.peers),
        operations as f64 / total.submissions.max(1) as f64,
    ));
    let each = |time: Nanos| time.0 as f64 / (operations + measured.series.warm_up).max(1) as f64;
    text.push_str(&format!(
        "  CPU time per operation: {:.0} ns, of which {:.0} in the kernel; whole process, warm-up and filling included\n",
        each(usage.cpu()),
        each(usage.system),
    ));
    text.push_str(&schedule(measured));
    text.push_str(&steady(measured));
    text.push_str(&verified(measured));
    text.push_str(&format!("  Verdict: {}\n", Verdict::of(measured).sentence()));
    text
}

/// Whether the rate became steady, where that ends the run.
fn steady(measured: &Measured<'_>) -> String {
    let Some(steady) = measured.steady else { return String::new() };
    let when = match steady.reached() {
        Some(time) => format!("reached after {time}"),
        None => format!("not reached within {}", measured.series.elapsed()),
    };
    format!("  Steady state {when}; {}\n", steady.sentence())
}

fn verified(measured: &Measured<'_>) -> String {
    let Some(all) = measured.verified else { return String::new() };
    let mut text = format!(
        "  Verified: {} blocks read in the run and {} read back at the end are what was written last; {} blocks that were read \
         had not been written by this run\n",
        all.in_run, all.at_end, all.not_owed,
    );
    if measured.options.journal.is_some() {
        let Verified { journalled, left_out, .. } = all;
        text.push_str(&format!(
            "  Journal: {journalled} durable blocks written down, {left_out} left out as it was behind\n"
        ));
    }
    text
}

/// What was asked for, achieved and missed, where there was a schedule.
fn schedule(measured: &Measured<'_>) -> String {
    let Some(asked) = asked_per_s(measured) else { return String::new() };
    let elapsed = measured.series.elapsed();
    let achieved = size::rate(measured.series.total.operations(), elapsed);
    let missed = missed(measured, asked);
    format!(
        "  Schedule: {asked:.0} per second asked for, {achieved:.0} achieved ({:.2} %), {missed} arrivals not started in time\n",
        achieved * 100.0 / asked,
    )
}

/// Of all peers.
pub(super) fn asked_per_s(measured: &Measured<'_>) -> Option<f64> {
    let each = match measured.load.arrivals {
        Arrivals::Closed => return None,
        Arrivals::Constant { per_s } | Arrivals::Poisson { per_s } => per_s,
    };
    Some(each * f64::from(measured.options.peers))
}

/// Arrivals of the measured time that were not started within it.
fn missed(measured: &Measured<'_>, asked: f64) -> u64 {
    let due = asked * measured.series.elapsed().0 as f64 / 1e9;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count far below 2^64")]
    let due = due as u64;
    match measured.load.arrivals {
        // How many a Poisson process has had is not known from its rate: within three standard deviations none is missed.
        Arrivals::Poisson { .. } => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count far below 2^64")]
            let spread = ((due as f64).sqrt() * 3.0) as u64;
            due.saturating_sub(spread).saturating_sub(measured.series.total.due)
        }
        _ => due.saturating_sub(measured.series.total.due),
    }
}

fn latencies(measured: &Measured<'_>) -> String {
    let mut columns = Columns::new(&["Latency", "count", "p50", "p90", "p99", "p99.9", "max", "mean"]);
    let mut row = |name: String, latencies: &Latencies| {
        if latencies.count() > 0 {
            let all = latencies.summary();
            let times = [all.p50, all.p90, all.p99, all.p99_9, all.max, all.mean].map(|time| time.to_string());
            columns.row([name, all.count.to_string()].into_iter().chain(times).collect());
        }
    };
    for direction in Direction::ALL {
        let figures = &measured.series.total.directions[direction as usize];
        row(format!("{}, response", direction.name()), &figures.response);
        row(format!("{}, service", direction.name()), &figures.service);
    }
    row("flush".to_owned(), &measured.series.total.flushes);
    columns.print()
}

/// The first and the last intervals: whether it was steady.
fn moments(measured: &Measured<'_>) -> String {
    let moments = &measured.series.moments;
    if moments.len() < 2 {
        return String::new();
    }
    let mut columns = Columns::new(&["Over time", "operations/s", "rate", "p50", "p99", "max"]);
    let half = LINES_SHOWN / 2;
    for (index, moment) in moments.iter().enumerate() {
        if moments.len() > LINES_SHOWN && (half..moments.len() - half).contains(&index) {
            if index == half {
                let left_out = moments.len() - 2 * half;
                columns.row(vec![
                    format!("({left_out} more)"),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
            }
            continue;
        }
        let slowest = |figure: fn(&bireme_dataplane::telemetry::LatencySummary) -> Nanos| {
            moment.directions().map(|(_, all)| figure(&all)).max().unwrap_or_default().to_string()
        };
        columns.row(vec![
            moment.from_ns.to_string(),
            format!("{:.0}", size::rate(moment.all(), moment.elapsed())),
            size::print_rate(size::rate(moment.bytes, moment.elapsed())),
            slowest(|all| all.p50),
            slowest(|all| all.p99),
            slowest(|all| all.max),
        ]);
    }
    columns.print()
}

fn times(measured: &Measured<'_>) -> String {
    let shown = [State::Devices, State::Kernel, State::Filling, State::Turn, State::Idle];
    let headings = std::iter::once("Time in %").chain(shown.map(report::heading));
    let mut columns = Columns::new(&headings.collect::<Vec<_>>());
    for (index, peer) in measured.ran.peers.iter().enumerate() {
        let shares = peer.times.percent_tenths().into_iter().filter(|(state, _)| shown.contains(state));
        let shares = shares.map(|(_, tenths)| format!("{}.{}", tenths / 10, tenths % 10));
        columns.row(std::iter::once(format!("peer {index}")).chain(shares).collect());
    }
    columns.print()
}

fn configuration(measured: &Measured<'_>) -> Vec<String> {
    let (load, options) = (measured.load, measured.options);
    let arrivals = match load.arrivals {
        Arrivals::Closed => "closed loop".to_owned(),
        Arrivals::Constant { .. } => "open loop, constant arrivals".to_owned(),
        Arrivals::Poisson { .. } => "open loop, Poisson arrivals".to_owned(),
    };
    let waits = match load.batch_complete {
        Some(count) => format!("{count} completions waited for"),
        None => "as many completions waited for as end within 100 us, up to a twentieth of the depth".to_owned(),
    };
    let mut lines = vec![format!(
        "io_uring, {}, registered files and buffers; {}; {} peers, depth {} each, {arrivals}; at most {} requests per \
         submission, {waits}",
        ways(measured.facts),
        completions(options),
        options.peers,
        load.depth,
        load.batch_submit,
    )];
    lines.extend(measured.class.as_ref().map(|held| class::line(held, class::EACH_DEVICE)));
    if load.fua {
        lines.push("writes are made durable each (RWF_DSYNC: FUA, or a flush of the kernel's)".to_owned());
    }
    if load.mix.trims > 0 {
        let block = measured.facts.iter().any(|device| device.kind == Kind::Block);
        let file = measured.facts.iter().any(|device| device.kind == Kind::File);
        let ways =
            [(block, "BLOCK_URING_CMD_DISCARD on block devices"), (file, "FALLOCATE that punches holes into files")];
        let ways: Vec<&str> = ways.into_iter().filter(|(used, _)| *used).map(|(_, way)| way).collect();
        lines.push(format!("trims by {}", ways.join(" and ")));
    }
    if load.mix.writes() {
        lines.push(match load.data {
            Data::Random => "data that cannot be compressed, the same in each place of the queue".to_owned(),
            Data::Zero => "data of zeroes".to_owned(),
            Data::Verified => {
                let step = size::print(u64::from(load.step()));
                format!("data with place, stamp and checksum in each sector, verified in blocks of {step}; one request per block at \
                         a time; the comparing is part of the CPU time")
            }
        });
    }
    let flags = |flags: &[&str]| if flags.is_empty() { "none".to_owned() } else { flags.join(" ") };
    if let Some(peer) = measured.ran.peers.first() {
        let effective = &peer.effective;
        lines.push(format!(
            "ring flags: {}; refused by the kernel: {}; kernel workers seen: {}; {} of {}",
            flags(&effective.device_flags),
            flags(&effective.refused_flags),
            measured.ran.workers,
            size::print(effective.registered_bytes),
            effective.paging,
        ));
    }
    lines
}

/// How requests reach the devices.
fn ways(facts: &[DeviceFacts]) -> &'static str {
    let commands = facts.iter().filter(|facts| facts.namespace.is_some()).count();
    match (commands, facts.len() - commands) {
        (0, _) => "O_DIRECT, READ_FIXED/WRITE_FIXED",
        (_, 0) => "NVMe commands past the block layer (URING_CMD)",
        _ => {
            "NVMe commands past the block layer (URING_CMD) to some devices, O_DIRECT and READ_FIXED/WRITE_FIXED to others"
        }
    }
}

fn completions(options: &Options) -> &'static str {
    match (options.iopoll, options.sqpoll) {
        (true, _) => "completions polled for (IOPOLL)",
        (_, true) => "requests handed over by a thread of the kernel (SQPOLL)",
        _ => "completions by interrupt",
    }
}

fn notes(measured: &Measured<'_>) -> Vec<String> {
    let mut notes = measured.options.notes.clone();
    notes.extend(measured.ran.notes.iter().cloned());
    if measured.ran.stopped {
        notes.push("interrupted by a signal: the figures are those of the time until then".to_owned());
    }
    if measured.ran.workers > 0 {
        notes.push(format!(
            "{} kernel workers did requests that could not be issued without blocking: sparse files and some file systems \
             make them; fallocate the file, or measure a block device",
            measured.ran.workers
        ));
    }
    notes
}

/// Our own data for programs; the names carry their units.
pub(super) fn to_json(measured: &Measured<'_>) -> Value {
    let (total, elapsed) = (&measured.series.total, measured.series.elapsed());
    let each = |direction: Direction| {
        let figures = &total.directions[direction as usize];
        let value = json!({
            "operations": figures.service.count(),
            "bytes": figures.bytes,
            "service_ns": figures.service,
            "response_ns": (figures.response.count() > 0).then_some(&figures.response),
            "service_curve": report::curve_of(&figures.service),
            "response_curve": (figures.response.count() > 0).then(|| report::curve_of(&figures.response)),
        });
        (direction.name().to_owned(), value)
    };
    let used = Direction::ALL.into_iter().filter(|&direction| total.directions[direction as usize].service.count() > 0);
    let directions: Map<String, Value> = used.map(each).collect();
    let (peers, devices) = (measured.ran.peers.len(), measured.facts.len());
    let peer = |(index, own): (usize, &Peer<Workload>)| {
        let (times, effective) = (&own.times, &own.effective);
        let shares = times.percent_tenths();
        let percent: Map<String, Value> =
            shares.iter().map(|&(state, tenths)| (state.name().to_owned(), json!(f64::from(tenths) / 10.0))).collect();
        json!({
            "core": own.core,
            "devices": share(index, peers, devices).collect::<Vec<_>>(),
            "time_ns": times,
            "time_percent": percent,
            "ring_flags": effective.device_flags,
            "refused_flags": effective.refused_flags,
        })
    };
    let each: Vec<Value> = measured.ran.peers.iter().enumerate().map(peer).collect();
    let usage = measured.ran.usage;
    json!({
        "kind": "device",
        "rw": measured.options.rw.name(),
        "fua": measured.load.fua,
        "flush_every": measured.load.flush_every,
        "steady": measured.steady.map(|steady| {
            let (slope, range) = steady.figures().unzip();
            json!({
                "sentence": steady.sentence(),
                "reached_ns": steady.reached(),
                "slope_percent": slope,
                "range_percent": range,
            })
        }),
        "verified": measured.verified,
        "depth_asked": measured.load.depth * u32::from(measured.options.peers),
        "depth_mean": measured.series.mean_depth(),
        "elapsed_ns": elapsed,
        "operations": total.operations(),
        "bytes": total.bytes(),
        "operations_per_s": size::rate(total.operations(), elapsed),
        "throughput_bytes_per_s": size::rate(total.bytes(), elapsed),
        "asked_per_s": asked_per_s(measured),
        "missed": asked_per_s(measured).map(|asked| missed(measured, asked)),
        "requests_per_submission": total.operations() as f64 / total.submissions.max(1) as f64,
        "cpu_ns": { "user": usage.user, "system": usage.system },
        "cpu_ns_per_operation": usage.cpu().0 as f64 / (total.operations() + measured.series.warm_up).max(1) as f64,
        "held_back_ns": measured.held_back,
        "classes": measured.class.iter().collect::<Vec<_>>(),
        "verdict": Verdict::of(measured).name(),
        "verdict_sentence": Verdict::of(measured).sentence(),
        "directions": directions,
        "flush_ns": (total.flushes.count() > 0).then_some(&total.flushes),
        "intervals": measured.series.moments,
        "peers": each,
        "kernel_workers": measured.ran.workers,
        "interrupted": measured.ran.stopped,
        "configuration": configuration(measured),
        "notes": notes(measured),
        "environment": measured.environment,
    })
}

const LINES_SHOWN: usize = 12;
