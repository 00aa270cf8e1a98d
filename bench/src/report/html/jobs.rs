//! Several jobs of one file: an overview that compares them, then each job as it would be alone, and last what all have in
//! common.

use serde_json::{Value, json};

use super::source::{CURVES_MAX, Curve, Source};
use super::text::{escape, time, whole};
use super::{curves, facts, of_run, summary};

/// The report of each job by itself, if this one is of several.
pub(super) fn parts(source: &Source<'_>) -> Option<Vec<Value>> {
    if source.kind() != "device-jobs" {
        return None;
    }
    let mut entries = source.jobs().iter();
    let part = |own: &Value| match own["kind"].as_str() {
        // Fio's form has no entry for these.
        Some("sweep" | "latency target") => own.clone(),
        _ => json!({ "jobs": entries.next().into_iter().collect::<Vec<_>>(), "bireme": own }),
    };
    Some(source.list("/jobs").iter().map(part).collect())
}

/// For the window.
pub(super) fn title(parts: &[Value]) -> String {
    let names: Vec<String> = (0..).zip(parts).map(|(index, part)| name(index, &Source::new(part))).collect();
    format!("{}: {}", count(parts), names.join(", "))
}

/// All of it.
pub(super) fn body(parts: &[Value]) -> String {
    let sources: Vec<Source<'_>> = parts.iter().map(Source::new).collect();
    // Sweeps do not say where they ran.
    let told = sources.iter().find(|source| source.own["environment"].is_object());
    let header = format!(
        "<header>\n<p class=\"eyebrow\">Bireme bench-device</p>\n<h1>{}</h1>\n<p class=\"facts\">{}</p>\n</header>\n",
        count(parts),
        told.map(|source| summary::facts(source, false)).unwrap_or_default()
    );
    let each: String = sources.iter().enumerate().map(|(index, source)| article(index, source)).collect();
    let common = told.map(facts::of_all).unwrap_or_default();
    [header, overview(&sources), curves::section("All jobs: latency by percentile", &together(&sources)), each, common]
        .concat()
}

fn count(parts: &[Value]) -> String {
    if parts.len() == 1 { "1 job".to_owned() } else { format!("{} jobs", parts.len()) }
}

fn name(index: usize, source: &Source<'_>) -> String {
    let name = source.jobs().first().and_then(|job| job["jobname"].as_str()).or_else(|| source.text("/name"));
    name.map_or_else(|| format!("job {}", index + 1), str::to_owned)
}

/// The jobs beside each other.
fn overview(sources: &[Source<'_>]) -> String {
    let none = || "–".to_owned();
    let row = |(index, source): (usize, &Source<'_>)| {
        let latencies = source.latencies();
        let latency = latencies.first();
        // Of a sweep that is the rate that it has found.
        let found = source.number("/best_per_s");
        let cells = [
            source.operations_per_s().or(found).map(whole),
            source.bytes_per_s().map(crate::size::print_rate),
            latency.map(|row| time(row.p50)),
            latency.map(|row| time(row.p99)),
            source.number("/cpu_ns_per_operation").map(time),
            source.text("/verdict").or(found.map(|_| "rate that was found")).map(escape),
        ];
        let cells: String = cells.into_iter().map(|cell| format!("<td>{}</td>", cell.unwrap_or_else(none))).collect();
        format!(
            "<tr><th><a href=\"#job-{index}\">{}</a><small>{}</small></th>{cells}</tr>\n",
            escape(&name(index, source)),
            escape(&summary::title(source))
        )
    };
    format!(
        "<section>\n<h2>The jobs</h2>\n<p class=\"note\">They ran one after another. Latencies are those of the first \
         direction of each.</p>\n<div class=\"scroll\"><table class=\"jobs\"><thead><tr><th></th><th>operations/s</th>\
         <th>throughput</th><th>p50</th><th>p99</th><th>CPU per operation</th><th>verdict</th></tr></thead><tbody>\n{}\
         </tbody></table></div></section>\n",
        sources.iter().enumerate().map(row).collect::<String>()
    )
}

/// The curve that users of each job would have seen, of every direction.
fn together(sources: &[Source<'_>]) -> Vec<Curve> {
    let of_job = |(index, source): (usize, &Source<'_>)| {
        let curves = source.curves();
        let has_schedule = curves.iter().any(|curve| curve.name.ends_with("response"));
        let seen = move |curve: &Curve| !has_schedule || curve.name.ends_with("response");
        let name = name(index, source);
        let named = move |curve: Curve| Curve { name: format!("{name}: {}", curve.name), ..curve };
        curves.into_iter().filter(seen).map(named)
    };
    sources.iter().enumerate().flat_map(of_job).take(CURVES_MAX).collect()
}

fn article(index: usize, source: &Source<'_>) -> String {
    let mut facts = vec![escape(&summary::title(source)), summary::facts(source, true)];
    facts.retain(|text| !text.is_empty());
    let facts = facts.join("<span> · </span>");
    format!(
        "<article id=\"job-{index}\">\n<h2 class=\"job\">{}</h2>\n<p class=\"facts\">{facts}</p>\n{}{}</article>\n",
        escape(&name(index, source)),
        of_run(source),
        facts::of_one(source)
    )
}
