//! Operations and throughput over time: all together, by peer and by device.

use super::moments::Moment;
use super::plot::{self, Plot, Scale, clock_ticks, rate_ticks};
use super::source::Source;
use super::text::{escape, whole};
use crate::size::digits;

/// One line: its name, and the rate of each moment.
struct Line {
    name: String,
    rates: Vec<f64>,
}

/// Both pictures, or nothing without intervals.
pub(super) fn section(source: &Source<'_>, moments: &[Moment], together: usize) -> String {
    if moments.is_empty() {
        return String::new();
    }
    let total = Line { name: "all".into(), rates: moments.iter().map(Moment::operations_per_s).collect() };
    let mut operations = vec![total];
    operations.extend(by_peer(moments, |moment| &moment.operations));
    let unit = 1024.0 * 1024.0;
    let total = moments.iter().map(|moment| moment.bytes / unit / moment.seconds()).collect();
    let mut throughput = vec![Line { name: "all".into(), rates: total }];
    let devices = by_device(source, moments, unit);
    throughput.extend(devices.unwrap_or_else(|| {
        let mut lines = by_peer(moments, |moment| &moment.bytes_by_peer);
        lines.iter_mut().for_each(|line| line.rates.iter_mut().for_each(|rate| *rate /= unit));
        lines
    }));
    if moments.iter().any(|moment| moment.mended > 0.0) {
        let rates = moments.iter().map(|moment| moment.mended / unit / moment.seconds()).collect();
        throughput.push(Line { name: "rebuild beside".into(), rates });
    }
    let joined = match together {
        1 => String::new(),
        several => format!(" Each step is {several} intervals."),
    };
    format!(
        "<section>\n<h2>Over time</h2>\n<p class=\"note\">Each step is the mean of its interval; warm-up excluded.{joined}</p>\n\
         {}{}</section>\n",
        picture("Operations per second", &operations, moments),
        picture("Throughput in MiB/s", &throughput, moments),
    )
}

/// None where there is one peer, or where they are too many to tell apart: then the slowest and the fastest.
fn by_peer(moments: &[Moment], amounts: fn(&Moment) -> &[f64]) -> Vec<Line> {
    let peers = moments.iter().map(|moment| amounts(moment).len()).max().unwrap_or(0);
    let rate = |moment: &Moment, peer: usize| amounts(moment).get(peer).unwrap_or(&0.0) / moment.seconds();
    match peers {
        0 | 1 => Vec::new(),
        2..=LINES_MAX => (0..peers)
            .map(|peer| Line {
                name: format!("peer {peer}"),
                rates: moments.iter().map(|moment| rate(moment, peer)).collect(),
            })
            .collect(),
        _ => {
            let of = |choose: fn(f64, f64) -> f64, start: f64| {
                let each = |moment: &Moment| (0..peers).map(|peer| rate(moment, peer)).fold(start, choose);
                moments.iter().map(each).collect()
            };
            let (low, high) = (of(f64::min, f64::INFINITY), of(f64::max, 0.0));
            vec![Line { name: "slowest peer".into(), rates: low }, Line { name: "fastest peer".into(), rates: high }]
        }
    }
}

/// A peer takes its devices in turn, so that each has the same part of what the peer moved.
fn by_device(source: &Source<'_>, moments: &[Moment], unit: f64) -> Option<Vec<Line>> {
    let devices = source.list("/environment/devices");
    let owned: Vec<Vec<u64>> = source
        .list("/peers")
        .iter()
        .map(|peer| peer["devices"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect())
        .collect();
    if !(2..=LINES_MAX).contains(&devices.len()) || owned.iter().any(Vec::is_empty) || owned.is_empty() {
        return None;
    }
    let line = |(index, device): (u64, &serde_json::Value)| {
        let rate = |moment: &Moment| {
            let shares = moment.bytes_by_peer.iter().zip(&owned);
            let own = shares.filter(|(_, owned)| owned.contains(&index));
            own.map(|(bytes, owned)| bytes / owned.len() as f64).sum::<f64>() / unit / moment.seconds()
        };
        Line { name: device["path"].as_str().unwrap_or("device").into(), rates: moments.iter().map(rate).collect() }
    };
    Some((0..).zip(devices).map(line).collect())
}

fn picture(title: &str, lines: &[Line], moments: &[Moment]) -> String {
    let end = moments.iter().map(|moment| moment.to).fold(0.0, f64::max);
    let most = lines.iter().flat_map(|line| &line.rates).copied().fold(0.0, f64::max);
    let draw = |size: plot::Size| {
        let (y, ticks) = Scale::round(most, 4.0);
        let mut plot = Plot::new(size, Scale::linear(end), y);
        plot.marks_y(&rate_ticks(&ticks));
        plot.marks_x(&clock_ticks(end, size.labels));
        // The sum lies on top.
        for (index, line) in lines.iter().enumerate().rev() {
            let class = if index == 0 { "all".to_owned() } else { format!("s{}", (index - 1) % LINES_MAX) };
            plot.steps(&class, moments.iter().zip(&line.rates).map(|(moment, rate)| (moment.from, moment.to, *rate)));
        }
        plot.hints(moments.iter().enumerate().map(|(index, moment)| {
            let each = lines.iter().map(|line| format!("{}: {}", line.name, whole(line.rates[index])));
            let text = format!("{} to {} s", digits(moment.from), digits(moment.to));
            (moment.from, moment.to, std::iter::once(text).chain(each).collect::<Vec<_>>().join("\n"))
        }));
        plot
    };
    format!("<h3>{title}</h3>\n{}{}", legend(lines), plot::both(title, draw))
}

fn legend(lines: &[Line]) -> String {
    if lines.len() < 2 {
        return String::new();
    }
    let each = |(index, line): (usize, &Line)| {
        let class = if index == 0 { "all".to_owned() } else { format!("s{}", (index - 1) % LINES_MAX) };
        format!("<li><i class=\"{class}\"></i>{}</li>", escape(&line.name))
    };
    format!("<ul class=\"legend\">{}</ul>\n", lines.iter().enumerate().map(each).collect::<String>())
}

const LINES_MAX: usize = 8;
