//! What a rebuild has cost those who worked meanwhile, and what they have cost the rebuild.

use bireme_control::raid::pace::{FLOOR, INTERVAL};
use bireme_dataplane::engine::volumes::Served;
use serde_json::{Value, json};

use super::{Measured, Options};
use crate::array::phase::Phase;
use crate::array::worker::{Progress, Rebuild, Worker};
use crate::report::Columns;
use crate::size;

/// The phases, and the rebuild.
struct Found {
    healthy: Phase,
    beside: Phase,
    after: Option<Phase>,
    progress: Progress,
}

impl Found {
    fn of(healthy: &Served<Worker>, rebuilding: &Served<Worker>) -> Found {
        let homes = rebuilding.homes.iter().filter_map(|home| home.client.rebuild.as_ref());
        Found {
            healthy: Phase::whole(healthy),
            beside: Phase::beside_rebuild(rebuilding),
            after: Phase::after_rebuild(rebuilding),
            progress: Progress::of_all(homes.map(Rebuild::progress)),
        }
    }

    fn phases(&self) -> impl Iterator<Item = (&'static str, &Phase)> {
        let always = [("healthy", &self.healthy), ("while rebuilding", &self.beside)];
        always.into_iter().chain(self.after.iter().map(|after| ("after", after)))
    }
}

/// For people; nothing when nothing was rebuilt.
pub(super) fn to_table(measured: &Measured<'_>) -> String {
    let Some(healthy) = measured.healthy else { return String::new() };
    let found = Found::of(healthy, measured.served);
    let mut columns =
        Columns::new(&["Foreground", "operations/s", "of healthy", "p50", "p99", "of healthy", "p99.9", "for"]);
    let base = (found.healthy.iops, found.healthy.summary().p99);
    for (name, phase) in found.phases() {
        let all = phase.summary();
        columns.row(vec![
            name.to_owned(),
            format!("{:.0}", phase.iops),
            times(ratio(phase.iops, base.0)),
            all.p50.to_string(),
            all.p99.to_string(),
            times(ratio(all.p99.0 as f64, base.1.0 as f64)),
            all.p99_9.to_string(),
            phase.elapsed.to_string(),
        ]);
    }
    format!("{}\n{}", sentences(measured, &found), columns.print())
}

fn sentences(measured: &Measured<'_>, found: &Found) -> String {
    let (progress, options) = (found.progress, measured.options);
    let rate = |bytes, time| size::print_rate(size::rate(bytes, time));
    let spare = options.spare.as_ref().map_or(String::new(), |spare| spare.display().to_string());
    let mut text = format!(
        "Rebuilt {spare} at {} beside the workload: {} of data in {}",
        rate(progress.bytes_beside, progress.beside),
        size::print(progress.bytes_beside),
        progress.beside,
    );
    text.push_str(&match progress.bytes_alone {
        0 => "; then it was whole\n".to_owned(),
        bytes => {
            let alone = (size::print(bytes), progress.alone, rate(bytes, progress.alone));
            format!("; the rest alone: {} in {}, {}\n", alone.0, alone.1, alone.2)
        }
    });
    if let Some(most) = options.rebuild_rate {
        text.push_str(&format!("  permitted at most {}\n", size::print_rate(most as f64)));
    }
    if let Some(target) = options.p99_target {
        text.push_str(&format!(
            "  target: a p99 of {target}; reached {}, exceeded in {} of {} intervals of {INTERVAL} of a peer; never slower \
             than {}\n",
            found.beside.summary().p99,
            progress.judged.exceeded,
            progress.judged.intervals,
            size::print_rate(floor(options) as f64),
        ));
        if found.healthy.summary().p99 > target {
            text.push_str("  the workload misses this target by itself: choose one above the healthy p99\n");
        }
    }
    text
}

/// For programs; null when nothing was rebuilt.
pub(super) fn to_json(measured: &Measured<'_>) -> Value {
    let (Some(healthy), options) = (measured.healthy, measured.options) else { return Value::Null };
    let found = Found::of(healthy, measured.served);
    let phase = |phase: &Phase| {
        json!({
            "elapsed_ns": phase.elapsed,
            "operations": phase.operations,
            "operations_per_s": phase.iops,
            "throughput_bytes_per_s": phase.rate,
            "latency_ns": phase.summary(),
            "iops_ratio": ratio(phase.iops, found.healthy.iops),
            "p99_ratio": ratio(phase.summary().p99.0 as f64, found.healthy.summary().p99.0 as f64),
        })
    };
    let progress = found.progress;
    let work = |bytes, time| json!({ "bytes": bytes, "elapsed_ns": time, "bytes_per_s": size::rate(bytes, time) });
    let judged = options.p99_target.map(|_| progress.judged);
    json!({
        "spare": options.spare,
        "beside": work(progress.bytes_beside, progress.beside),
        "alone": work(progress.bytes_alone, progress.alone),
        "rate_bytes_per_s_max": options.rebuild_rate,
        "floor_bytes_per_s": options.p99_target.map(|_| floor(options)),
        "p99_target_ns": options.p99_target,
        "intervals": judged.map(|judged| judged.intervals),
        "intervals_exceeded": judged.map(|judged| judged.exceeded),
        "healthy": phase(&found.healthy),
        "while": phase(&found.beside),
        "after": found.after.as_ref().map(phase),
    })
}

/// What no target takes from the rebuild at all peers together.
fn floor(options: &Options) -> u64 {
    (FLOOR * u64::from(options.peers)).min(options.rebuild_rate.unwrap_or(u64::MAX))
}

/// Nothing is compared with nothing.
fn ratio(one: f64, other: f64) -> Option<f64> {
    (one > 0.0 && other > 0.0).then(|| one / other)
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2} x"))
}
