//! What each layer costs, and what is left of the devices: the rungs of a ladder as bars.

use bireme_dataplane::telemetry::State;
use serde_json::Value;

use super::source::Source;
use super::text::{escape, time, whole};
use crate::report::heading;
use crate::size;

/// The bars and the rungs as a table, or nothing in other reports.
pub(super) fn section(source: &Source<'_>) -> String {
    let rungs = source.list("/rungs");
    if rungs.is_empty() {
        return String::new();
    }
    let memory = source
        .number("/memory_bytes_per_s")
        .map_or(String::new(), |rate| format!(" The memory gives {}, read and written.", size::print_rate(rate)));
    let request = source.number("/request_bytes").map_or(String::new(), |bytes| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size of a request")]
        let bytes = bytes as u64;
        format!(" of {}", size::print(bytes))
    });
    format!(
        "<section>\n<h2>What each layer leaves</h2>\n<p class=\"note\">Data written per second; each rung has all layers above \
         it as well. What devices write besides data (parity, log) is not counted.{memory}</p>\n{}</section>\n\
         <section>\n<h2>What each layer costs</h2>\n<p class=\"note\">CPU time of the whole process for each request{request} of \
         data.</p>\n<ul class=\"legend\"><li><i class=\"t-devices\"></i>the layers above</li><li><i class=\"t-kernel\"></i>this \
         layer</li></ul>\n{}</section>\n{}<section>\n<h2>The rungs</h2>\n{}</section>\n",
        rates(rungs),
        costs(rungs),
        shares(rungs),
        table(rungs),
    )
}

fn rates(rungs: &[Value]) -> String {
    let most = rungs.iter().map(|rung| figure(rung, "throughput_bytes_per_s")).fold(0.0, f64::max);
    let bar = |rung: &Value| {
        let rate = figure(rung, "throughput_bytes_per_s");
        row(rung, &part("t-devices", rate / most, &size::print_rate(rate)))
    };
    rungs.iter().map(bar).collect()
}

fn costs(rungs: &[Value]) -> String {
    let cost = |rung: &Value| figure(rung, "cpu_ns_per_operation");
    let most = rungs.iter().map(cost).fold(0.0, f64::max);
    let mut below = 0.0;
    let mut text = String::new();
    for rung in rungs {
        let own = cost(rung);
        let more = (own - below).max(0.0);
        let bars =
            part("t-devices", (own - more) / most, &time(own - more)) + &part("t-kernel", more / most, &time(more));
        text.push_str(&row(rung, &bars));
        below = own;
    }
    text
}

/// Where the peers' time went on the rungs that tell it.
fn shares(rungs: &[Value]) -> String {
    let mut used = Vec::new();
    let mut rows = String::new();
    for rung in rungs {
        let Some(times) = rung["rounds"].as_array().and_then(|rounds| rounds.last()?.get("time_ns")?.as_object())
        else {
            continue;
        };
        let nanos = |state: State| times.get(state.name()).and_then(Value::as_f64).unwrap_or(0.0);
        let all: f64 = State::ALL.into_iter().map(nanos).sum();
        let mut bars = String::new();
        for state in State::ALL.into_iter().filter(|&state| nanos(state) > 0.005 * all) {
            if !used.contains(&state) {
                used.push(state);
            }
            let share = nanos(state) / all;
            bars.push_str(&part(&format!("t-{}", state.name()), share, &format!("{:.0} %", share * 100.0)));
        }
        rows.push_str(&row(rung, &bars));
    }
    if rows.is_empty() {
        return String::new();
    }
    let key = |state: &State| format!("<li><i class=\"t-{}\"></i>{}</li>", state.name(), heading(*state));
    format!(
        "<section>\n<h2>Where the peers' time went</h2>\n<p class=\"note\">Of the rungs that are data sets.</p>\n\
         <ul class=\"legend\">{}</ul>\n{rows}</section>\n",
        used.iter().map(key).collect::<String>()
    )
}

fn table(rungs: &[Value]) -> String {
    let first = rungs.first().map_or(1.0, |rung| figure(rung, "throughput_bytes_per_s"));
    let each = |rung: &Value| {
        let ratio = |name: &str| rung[name].as_f64().map_or("–".to_owned(), |value| format!("{value:.2}"));
        format!(
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{:.3}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            name(rung),
            whole(figure(rung, "operations_per_s")),
            size::print_rate(figure(rung, "throughput_bytes_per_s")),
            figure(rung, "throughput_bytes_per_s") / first,
            time(figure(rung, "cpu_ns_per_operation")),
            rung["p99_ns"].as_f64().map_or("–".to_owned(), time),
            ratio("written_per_byte"),
            ratio("memory_per_byte"),
        )
    };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th></th><th>operations/s</th><th>rate</th><th>of bare</th><th>CPU each</th>\
         <th>p99</th><th>written/B</th><th>memory/B</th></tr></thead><tbody>\n{}</tbody></table></div>\n",
        rungs.iter().map(each).collect::<String>()
    )
}

fn row(rung: &Value, bars: &str) -> String {
    format!("<div class=\"peer\"><span>{}</span><div class=\"bar\">{bars}</div></div>\n", name(rung))
}

/// A part of a bar; its text where there is room for it.
fn part(class: &str, share: f64, text: &str) -> String {
    let percent = (share * 100.0).clamp(0.0, 100.0);
    if percent < 0.05 || !percent.is_finite() {
        return String::new();
    }
    let shown = if percent >= LABELLED { text } else { "" };
    format!("<b class=\"{class}\" style=\"width:{percent:.1}%\" title=\"{0}\">{shown}</b>", escape(text))
}

fn name(rung: &Value) -> String {
    escape(rung["name"].as_str().unwrap_or("rung"))
}

fn figure(rung: &Value, name: &str) -> f64 {
    rung[name].as_f64().unwrap_or(0.0)
}

/// Narrower parts have no room for a figure, in percent.
const LABELLED: f64 = 14.0;
