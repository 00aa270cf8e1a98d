//! What a reader wants to know first: what was run, the figures, and where the limit was.

use serde_json::Value;

use super::source::{Row, Source};
use super::states;
use super::text::{escape, time, whole};
use crate::size::digits;

/// What was run, for the title.
pub(super) fn title(source: &Source<'_>) -> String {
    let options = source.jobs().first().map(|job| &job["job options"]);
    let option = |name: &str| options.and_then(|options| options[name].as_str());
    match source.kind() {
        kind @ ("sweep" | "latency target") => format!("{kind} of {}", source.text("/rw").unwrap_or("rates")),
        "ladder" => "what each layer costs".to_owned(),
        "" | "device" | "array" => {
            let what = source.text("/rw").or_else(|| option("rw")).unwrap_or("a run");
            let size = option("bs").map(str::to_owned).or_else(|| source.number("/block_bytes").map(|n| n.to_string()));
            let size = size.map(|text| text.split(',').map(bytes).collect::<Vec<_>>().join(" and "));
            format!("{what}{}", size.map_or(String::new(), |size| format!(" of {size}")))
        }
        other => other.to_owned(),
    }
}

/// `4096` as `4 KiB`; what is no whole number stays.
fn bytes(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), crate::size::print)
}

/// The name of the job, the title, and on what and when it ran.
pub(super) fn header(source: &Source<'_>) -> String {
    let tool = match source.kind() {
        "" => source.whole["fio version"].as_str().unwrap_or("report"),
        "device" | "sweep" | "latency target" => "Bireme bench-device",
        "array" => "Bireme bench-array",
        "ladder" => "Bireme bench-ladder",
        _ => "Bireme",
    };
    let name = source.jobs().first().and_then(|job| job["jobname"].as_str()).filter(|name| *name != "bireme");
    let name = name.map_or(String::new(), |name| format!(" · {}", escape(name)));
    format!(
        "<header>\n<p class=\"eyebrow\">{}{name}</p>\n<h1>{}</h1>\n<p class=\"facts\">{}</p>\n</header>\n",
        escape(tool),
        escape(&title(source)),
        facts(source, true),
    )
}

/// On what and when it ran.
pub(super) fn facts(source: &Source<'_>, with_paths: bool) -> String {
    let paths: Vec<&str> =
        source.list("/environment/devices").iter().filter_map(|device| device["path"].as_str()).collect();
    let paths = match paths.as_slice() {
        [] => None,
        _ if !with_paths => None,
        few if few.len() <= 4 => Some(few.join(", ")),
        [first, .., last] => Some(format!("{} devices, {first} to {last}", paths.len())),
        _ => None,
    };
    let cpu = source.text("/environment/cpu").map(str::to_owned);
    let kernel = source.text("/environment/kernel").map(|kernel| format!("Linux {kernel}"));
    let when = source.text("/environment/time").or_else(|| source.whole["time"].as_str()).map(str::to_owned);
    let facts: Vec<String> = [paths, cpu, kernel, when].into_iter().flatten().map(|text| escape(&text)).collect();
    facts.join("<span> · </span>")
}

/// The headline figures, each with what qualifies it.
pub(super) fn cards(source: &Source<'_>) -> String {
    let mut cards = Vec::new();
    if let Some(rate) = source.operations_per_s() {
        let asked = source.number("/asked_per_s").map(|asked| format!("{} asked for", whole(asked)));
        let direction = directions(source);
        cards.push(("Operations/s", whole(rate), asked.or(direction).unwrap_or_default()));
    }
    if let Some(rate) = source.bytes_per_s() {
        let text = crate::size::print_rate(rate);
        let (figure, unit) = text.split_once(' ').unwrap_or((&text, ""));
        let elapsed = source.number("/elapsed_ns").map(|nanos| format!("over {}", time(nanos)));
        cards.push(("Throughput", format!("{figure}<small> {unit}</small>"), elapsed.unwrap_or_default()));
    }
    let rows = source.latencies();
    if let Some(row) = rows.first() {
        cards.push(("Median latency", unit_small(&time(row.p50)), escape(&row.name)));
        cards.push(("p99 latency", unit_small(&time(row.p99)), format!("longest {}", time(row.max))));
    }
    if let Some(depth) = source.number("/depth_mean") {
        let asked = source.number("/depth_asked").map(|asked| format!("of {} asked for", whole(asked)));
        cards.push(("Mean depth", digits(depth), asked.unwrap_or_default()));
    }
    if let Some(each) = source.number("/cpu_ns_per_operation") {
        cards.push(("CPU per operation", unit_small(&time(each)), "whole process".to_owned()));
    }
    let card = |(name, figure, more): (&str, String, String)| {
        format!(
            "<div class=\"card\"><h3>{name}</h3><p class=\"figure\">{figure}</p><p class=\"note\">{more}</p></div>\n"
        )
    };
    if cards.is_empty() {
        String::new()
    } else {
        format!("<div class=\"cards\">\n{}</div>\n", cards.into_iter().map(card).collect::<String>())
    }
}

fn unit_small(text: &str) -> String {
    text.split_once(' ').map_or(text.to_owned(), |(figure, unit)| format!("{figure}<small> {unit}</small>"))
}

/// How many of which, where there is more than one direction.
fn directions(source: &Source<'_>) -> Option<String> {
    let all = source.own["directions"].as_object().filter(|all| all.len() > 1)?;
    let each = |(name, figures): (&String, &Value)| {
        Some(format!("{} {}s", whole(figures["operations"].as_f64()?), escape(name)))
    };
    Some(all.iter().filter_map(each).collect::<Vec<_>>().join(", "))
}

/// Where the limit was, and what says so.
pub(super) fn verdict(source: &Source<'_>) -> String {
    let Some(verdict) = source.text("/verdict") else { return String::new() };
    let tone = match verdict {
        "schedule missed" | "throttled" => "bad",
        "cpu-bound" | "mixed" | "polling" => "fair",
        _ => "good",
    };
    let sentence = source
        .text("/verdict_sentence")
        .map_or(String::new(), |text| capital(text.split_once(": ").map_or(text, |(_, why)| why)));
    let parts: Vec<String> = states::longest(source)
        .into_iter()
        .take(3)
        .map(|(phrase, percent)| format!("{phrase} {percent:.1}\u{a0}%"))
        .collect();
    let why = match parts.as_slice() {
        [] => String::new(),
        [one] => format!(" The peers {one} of their time."),
        [first, rest @ ..] => format!(" The peers {first} of their time, {}.", rest.join(", ")),
    };
    let steady = source.text("/steady/sentence").map_or(String::new(), |text| format!(" {}", escape(&capital(text))));
    format!(
        "<div class=\"verdict {tone}\"><strong>{}</strong><p>{}{}{steady}</p></div>\n",
        escape(verdict),
        escape(&sentence),
        escape(&why)
    )
}

/// A sentence of its own.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// All latencies as a table.
pub(super) fn latencies(source: &Source<'_>) -> String {
    let rows = source.latencies();
    if rows.is_empty() {
        return String::new();
    }
    let each = |row: &Row| {
        let times =
            [row.p50, row.p90, row.p99, row.p99_9, row.max, row.mean].map(|nanos| format!("<td>{}</td>", time(nanos)));
        format!("<tr><th>{}</th><td>{}</td>{}</tr>\n", escape(&row.name), whole(row.count), times.concat())
    };
    format!(
        "<section>\n<h2>Latencies</h2>\n<div class=\"scroll\"><table><thead><tr><th></th><th>count</th><th>p50</th><th>p90</th>\
         <th>p99</th><th>p99.9</th><th>longest</th><th>mean</th></tr></thead><tbody>\n{}</tbody></table></div></section>\n",
        rows.iter().map(each).collect::<String>()
    )
}
