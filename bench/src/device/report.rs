//! What `bench-device` has found, for people and for programs.

use bireme_control::units::Nanos;
use serde_json::{Value, json};

use super::Measured;
use super::recorder::Direction;
use crate::report::{self, Columns};
use crate::size;

/// For people: first the result, then what explains it, last how it was measured.
pub(super) fn to_table(measured: &Measured<'_>) -> String {
    let total = &measured.series.total;
    let elapsed = measured.series.elapsed();
    let iops = size::rate(total.operations(), elapsed);
    let mut text = format!(
        "{}: {iops:.0} operations/s, {}, in {elapsed}\n",
        measured.options.rw.name(),
        size::print_rate(size::rate(total.bytes(), elapsed)),
    );
    let each = |nanos: Nanos| nanos.0 as f64 / total.operations().max(1) as f64;
    text.push_str(&format!(
        "  {} operations; CPU time of the whole process {} ({:.1} ns each); {:.1} requests per submission\n\n",
        total.operations(),
        measured.ran.cpu,
        each(measured.ran.cpu),
        total.operations() as f64 / total.submissions.max(1) as f64,
    ));
    let mut columns = Columns::new(&["Latency of", "count", "p50", "p90", "p99", "p99.9", "max", "mean"]);
    for direction in Direction::ALL {
        let figures = &total.directions[direction as usize];
        for (what, latencies) in [("", &figures.service), (", from schedule", &figures.response)] {
            if latencies.count() > 0 {
                let all = latencies.summary();
                let times = [all.p50, all.p90, all.p99, all.p99_9, all.max, all.mean].map(|time| time.to_string());
                columns.row(
                    [format!("{}{what}", direction.name()), all.count.to_string()].into_iter().chain(times).collect(),
                );
            }
        }
    }
    text.push_str(&columns.print());
    text.push_str(&report::paragraphs("Environment", &report::surroundings(measured.environment)));
    text
}

/// For programs; the names carry their units.
pub(super) fn to_json(measured: &Measured<'_>) -> Value {
    let total = &measured.series.total;
    let elapsed = measured.series.elapsed();
    json!({
        "kind": "device",
        "elapsed_ns": elapsed,
        "cpu_ns": measured.ran.cpu,
        "operations": total.operations(),
        "operations_per_s": size::rate(total.operations(), elapsed),
    })
}
