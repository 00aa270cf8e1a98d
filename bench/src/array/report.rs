//! What `bench-array` has found, for people and for programs.

use bireme_control::units::Nanos;
use bireme_dataplane::engine::volumes::Served;
use bireme_dataplane::reservation::InForce;
use bireme_dataplane::telemetry::{Latencies, TimeStates};
use serde_json::{Map, Value, json};

use super::Options;
use super::phase::Phase;
use super::worker::Worker;
use super::workload::Load;
use crate::class;
use crate::environment::Environment;
use crate::recording::series::Figures;
use crate::report::{self, Columns};
use crate::size;

mod rebuild;

/// All that is known at the end.
pub(super) struct Measured<'a> {
    pub(super) options: &'a Options,
    pub(super) load: &'a Load,
    pub(super) served: &'a Served<Worker>,
    /// The same by interval.
    pub(super) series: &'a Figures,
    /// The same load on the healthy array, where a rebuild is compared with it.
    pub(super) healthy: Option<&'a Served<Worker>>,
    /// The member that was failed before.
    pub(super) lost: Option<u16>,
    /// Everything was read back and compared, in this time.
    pub(super) verified: Option<Nanos>,
    /// What the classes were held to on the whole array.
    pub(super) classes: Vec<InForce>,
    pub(super) environment: &'a Environment,
}

/// For people: first the result, then what explains it, last how it was measured.
pub(super) fn to_table(measured: &Measured<'_>) -> String {
    let sum = Phase::whole(measured.served);
    let sections = [
        headline(measured, &sum),
        rebuild::to_table(measured),
        latencies(&sum),
        times(measured),
        report::paragraphs("Configuration in effect", &configuration(measured)),
        report::paragraphs("Environment", &report::surroundings(measured.environment)),
        report::paragraphs("Notes", &measured.served.notes),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn headline(measured: &Measured<'_>, sum: &Phase) -> String {
    let Measured { options, load, served, .. } = measured;
    let mut text = format!(
        "{} of {} over {}, {}: {:.0} operations/s, {} in {}\n",
        options.rw.name(),
        size::print(u64::from(load.block_bytes)),
        served.pool.level,
        options.state.name(),
        sum.iops,
        size::print_rate(sum.rate),
        sum.elapsed,
    );
    let per_operation = served.cpu.0.checked_div(sum.operations).unwrap_or(0);
    text.push_str(&format!(
        "  {} operations of {}; CPU time of the whole process {} ({} each); settled in {}\n",
        sum.operations,
        size::print(sum.bytes),
        served.cpu,
        Nanos(per_operation),
        served.settling,
    ));
    if let Some(time) = measured.verified {
        text.push_str(&format!("  read back in {time}: every block holds what was written last\n"));
    }
    if served.healed != Default::default() {
        let healed = served.healed;
        text.push_str(&format!("  {} blocks were healed, {} could not be\n", healed.blocks, healed.lost));
    }
    text
}

fn latencies(sum: &Phase) -> String {
    let mut columns = Columns::new(&["Latency of", "count", "p50", "p90", "p99", "p99.9", "max", "mean"]);
    for (name, latencies) in sum.latencies.iter().filter(|(_, latencies)| latencies.count() > 0) {
        let all = latencies.summary();
        let figures = [all.p50, all.p90, all.p99, all.p99_9, all.max, all.mean].map(|time| time.to_string());
        let first = [(*name).to_owned(), all.count.to_string()];
        columns.row(first.into_iter().chain(figures).collect());
    }
    columns.print()
}

fn times(measured: &Measured<'_>) -> String {
    let headings =
        std::iter::once("Time in %").chain(TimeStates::default().percent_tenths().map(|(s, _)| report::heading(s)));
    let mut columns = Columns::new(&headings.collect::<Vec<_>>());
    for (index, home) in measured.served.homes.iter().enumerate() {
        let shares = home.times.percent_tenths().map(|(_, tenths)| format!("{}.{}", tenths / 10, tenths % 10));
        columns.row(std::iter::once(format!("peer {index}")).chain(shares).collect());
    }
    columns.print()
}

fn configuration(measured: &Measured<'_>) -> Vec<String> {
    let Measured { options, load, served, lost, .. } = measured;
    let pool = &served.pool;
    let became = if options.spare.is_some() { "replaced" } else { "failed" };
    let gone = lost.map_or(String::new(), |member| format!(", member {member} {became}"));
    let durable = match (load.fua, load.flush_every) {
        (true, _) => "each write durable when acknowledged".to_owned(),
        (_, Some(every)) => format!("a flush after every {every} writes of a peer"),
        _ => "no flush before the end".to_owned(),
    };
    let mut lines = vec![
        format!(
            "{} over {} devices{gone}, chunk {}, page {}, volume {}{}",
            pool.level,
            pool.members,
            size::print(pool.chunk_bytes),
            size::print(pool.page_bytes),
            size::print(options.size),
            if options.no_fill { ", not filled before" } else { ", filled before" },
        ),
        format!("{} peers, {} operations under way each, {durable}", served.homes.len(), load.depth),
    ];
    if let Some(home) = served.homes.first() {
        let flags = |flags: &[&str]| if flags.is_empty() { "none".to_owned() } else { flags.join(" ") };
        let effective = &home.effective;
        lines.push(format!("device rings: {}", flags(&effective.device_flags)));
        lines.push(format!(
            "refused by the kernel: {}; kernel workers seen: {}; {} of {}",
            flags(&effective.refused_flags),
            served.workers,
            size::print(effective.registered_bytes),
            effective.paging,
        ));
    }
    lines.extend(measured.classes.iter().map(|held| class::line(held, class::WHOLE_ARRAY)));
    lines
}

/// For programs; the names carry their units.
pub(super) fn to_json(measured: &Measured<'_>) -> Value {
    let Measured { options, load, served, .. } = measured;
    let sum = Phase::whole(measured.served);
    let histogram = |latencies: &Latencies| -> Value {
        let octave = |(from, to, count)| json!({ "from_ns": from, "to_ns": to, "count": count });
        latencies.octaves().into_iter().map(octave).collect()
    };
    let latencies: Map<String, Value> = sum
        .latencies
        .iter()
        .map(|(name, all)| {
            (
                (*name).to_owned(),
                json!({ "latency_ns": all, "histogram": histogram(all), "curve": report::curve_of(all) }),
            )
        })
        .collect();
    let peers: Vec<Value> = served
        .homes
        .iter()
        .map(|home| {
            let shares = home.times.percent_tenths();
            let percent: Map<String, Value> =
                shares.iter().map(|&(state, tenths)| (state.name().to_owned(), json!(f64::from(tenths) / 10.0))).collect();
            json!({ "core": home.core, "bytes": home.client.workload.bytes(), "time_ns": home.times, "time_percent": percent })
        })
        .collect();
    json!({
        "kind": "array",
        "rw": options.rw.name(),
        "state": options.state.name(),
        "block_bytes": load.block_bytes,
        "depth": load.depth,
        "fua": load.fua,
        "flush_every": load.flush_every,
        "volume_bytes": options.size,
        "filled": !options.no_fill,
        "elapsed_ns": sum.elapsed,
        "settling_ns": served.settling,
        "cpu_ns": served.cpu,
        "operations": sum.operations,
        "bytes": sum.bytes,
        "operations_per_s": sum.iops,
        "throughput_bytes_per_s": sum.rate,
        "operation": latencies,
        "intervals": measured.series.moments,
        "peers": peers,
        "healed_blocks": served.healed.blocks,
        "lost_blocks": served.healed.lost,
        "rebuild": rebuild::to_json(measured),
        "verified": measured.verified.is_some(),
        "pool": served.pool,
        "classes": measured.classes,
        "notes": served.notes,
        "environment": measured.environment,
    })
}
