//! Latencies over time: between which values most requests of each interval lay, and the longest.

use super::moments::{Moment, Spread};
use super::plot::{self, Plot, Scale, clock_ticks};
use super::source::{DIRECTIONS, Source};
use super::text::time;
use crate::size::digits;

/// A picture for each direction that occurred.
pub(super) fn section(source: &Source<'_>, moments: &[Moment], together: usize) -> String {
    let target = source.number("/rebuild/p99_target_ns");
    let used = |index: &usize| moments.iter().any(|moment| moment.latencies[*index].is_some());
    let directions: Vec<usize> = (0..DIRECTIONS.len()).filter(used).collect();
    if directions.is_empty() {
        return String::new();
    }
    let highest = match together {
        1 => String::new(),
        several => format!(" Each step is the highest of {several} intervals."),
    };
    let titled = |index: usize| {
        let title = DIRECTIONS[index];
        let heading = if directions.len() > 1 { format!("<h3>{title}</h3>\n") } else { String::new() };
        format!("{heading}{}", picture(index, moments, target))
    };
    let legend = "<ul class=\"legend\"><li><i class=\"line50\"></i>p50</li><li><i class=\"b90\"></i>to p90</li>\
                  <li><i class=\"b99\"></i>to p99</li><li><i class=\"b999\"></i>to p99.9</li><li><i class=\"longest\"></i>longest</li>";
    let target_named =
        if target.is_some() { "<li><i class=\"target\"></i>p99 that the rebuild gives way at</li>" } else { "" };
    format!(
        "<section>\n<h2>Latency over time</h2>\n<p class=\"note\">Percentiles of each interval by itself, not of the run so far.{highest}</p>\n\
         {legend}{target_named}</ul>\n{}</section>\n",
        directions.iter().map(|index| titled(*index)).collect::<String>(),
    )
}

fn picture(direction: usize, moments: &[Moment], target: Option<f64>) -> String {
    let spans: Vec<(f64, f64, Spread)> =
        moments.iter().filter_map(|moment| Some((moment.from, moment.to, moment.latencies[direction]?))).collect();
    let end = moments.iter().map(|moment| moment.to).fold(0.0, f64::max);
    let target = target.filter(|_| !spans.is_empty());
    let low = spans.iter().map(|(.., all)| all.p50).chain(target).fold(f64::INFINITY, f64::min);
    let high = spans.iter().map(|(.., all)| all.max).chain(target).fold(0.0, f64::max);
    let band = |low: fn(&Spread) -> f64, high: fn(&Spread) -> f64| -> Vec<(f64, f64, f64, f64)> {
        spans.iter().map(|(from, to, all)| (*from, *to, low(all), high(all))).collect()
    };
    let draw = |size: plot::Size| {
        let y = Scale::log(low / 1.3, high * 1.15);
        let mut plot = Plot::new(size, Scale::linear(end), y);
        plot.marks_y(&y.time_ticks());
        plot.marks_x(&clock_ticks(end, size.labels));
        plot.band("b999", &band(|all| all.p99, |all| all.p99_9));
        plot.band("b99", &band(|all| all.p90, |all| all.p99));
        plot.band("b90", &band(|all| all.p50, |all| all.p90));
        plot.steps("line50", spans.iter().map(|(from, to, all)| (*from, *to, all.p50)));
        plot.steps("longest", spans.iter().map(|(from, to, all)| (*from, *to, all.max)));
        if let Some(target) = target {
            plot.steps("target", std::iter::once((0.0, end, target)));
        }
        plot.hints(spans.iter().map(|(from, to, all)| {
            let text = format!(
                "{} to {} s\np50 {}\np90 {}\np99 {}\np99.9 {}\nlongest {}",
                digits(*from),
                digits(*to),
                time(all.p50),
                time(all.p90),
                time(all.p99),
                time(all.p99_9),
                time(all.max)
            );
            (*from, *to, text)
        }));
        plot
    };
    plot::both(&format!("Latency of {} over time", DIRECTIONS[direction]), draw)
}
