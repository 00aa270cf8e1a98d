//! A report as one page for people: headline, verdict, pictures over time, latencies, where the time went, and how it was
//! measured.
//!
//! ```text
//!   JSON of a run ─▶ source ─▶ summary, rates, curves, band, states, facts ─▶ one file
//!   JSON of several ─▶ jobs: each as above ────────────────────────────────────▲
//! ```
//!
//! The page is made of the JSON alone, so that it can be made later too, of any report that has its keys; parts that a
//! report lacks are left out. It needs no network and no script. All that comes from outside is escaped.

use serde_json::Value;

use self::source::Source;

mod band;
mod curves;
mod facts;
mod jobs;
mod ladder;
mod moments;
mod plot;
mod rates;
mod source;
mod states;
mod summary;
mod sweep;
mod text;

/// The page.
pub fn to_html(report: &Value) -> String {
    let source = Source::new(report);
    let (title, body) = match jobs::parts(&source) {
        Some(parts) => (jobs::title(&parts), jobs::body(&parts)),
        None => (summary::title(&source), one(&source)),
    };
    let title = text::escape(&title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// A report of one run.
fn one(source: &Source<'_>) -> String {
    [summary::header(source), of_run(source), facts::of_one(source), facts::of_all(source)].concat()
}

/// What was measured.
fn of_run(source: &Source<'_>) -> String {
    let (moments, together) = moments::of(source);
    [
        summary::cards(source),
        summary::verdict(source),
        sweep::section(source),
        ladder::section(source),
        rates::section(source, &moments, together),
        curves::section("Latency by percentile", &source.curves()),
        summary::latencies(source),
        band::section(source, &moments, together),
        states::section(source),
    ]
    .concat()
}

const STYLE: &str = include_str!("html/page.css");

#[cfg(test)]
mod tests;
