//! What latency costs what rate: the runs of a sweep, or of a search for the highest rate within a target.

use serde_json::Value;

use super::plot::{self, Plot, Scale, rate_ticks};
use super::source::Source;
use super::text::{time, whole};

/// The picture and the runs as a table, or nothing in reports of single runs.
pub(super) fn section(source: &Source<'_>) -> String {
    let mut runs: Vec<&Value> = source.list("/runs").iter().filter(|run| run["asked_per_s"].is_number()).collect();
    runs.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    if runs.len() < 2 {
        return String::new();
    }
    let best = source.number("/best_per_s");
    let times = || runs.iter().flat_map(|run| FIELDS.map(|(field, ..)| run[field].as_f64().unwrap_or(0.0)));
    let (low, high) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let draw = |size: plot::Size| {
        let (x, ticks) = Scale::round(runs.iter().map(|run| rate(run)).fold(0.0, f64::max), size.labels);
        let y = Scale::log(low / 1.3, high * 1.15);
        let mut plot = Plot::new(size, x, y);
        plot.marks_y(&y.time_ticks());
        plot.marks_x(&rate_ticks(&ticks));
        for (field, _, class) in FIELDS {
            let points = runs.iter().map(|run| (rate(run), run[field].as_f64().unwrap_or(0.0)));
            plot.line(&format!("thick {class}"), points);
        }
        if let Some(best) = best {
            plot.line("all", [(best, y.from), (best, y.to)].into_iter());
        }
        plot
    };
    let keys = FIELDS.map(|(_, name, class)| format!("<li><i class=\"{class}\"></i>{name}</li>")).concat();
    let answer = best.map_or(String::new(), |best| {
        format!(
            "<li><i class=\"all\"></i>{}: {} per second</li>",
            if source.kind() == "sweep" { "knee" } else { "answer" },
            whole(best)
        )
    });
    let row = |run: &&Value| {
        let figures = FIELDS.map(|(field, ..)| format!("<td>{}</td>", time(run[field].as_f64().unwrap_or(0.0))));
        let asked = whole(run["asked_per_s"].as_f64().unwrap_or(0.0));
        format!("<tr><th>{asked}</th><td>{}</td>{}</tr>\n", whole(rate(run)), figures.concat())
    };
    format!(
        "<section>\n<h2>Response time by rate</h2>\n<p class=\"note\">Each point is a run of its own with arrivals on a schedule.</p>\n\
         <ul class=\"legend\">{keys}{answer}</ul>\n{}<div class=\"scroll\"><table><thead><tr><th>asked per s</th><th>achieved</th>\
         <th>p50</th><th>p99</th><th>p99.9</th></tr></thead><tbody>\n{}</tbody></table></div></section>\n",
        plot::both("Response time by rate", draw),
        runs.iter().map(row).collect::<String>(),
    )
}

fn rate(run: &Value) -> f64 {
    run["achieved_per_s"].as_f64().unwrap_or(0.0)
}

const FIELDS: [(&str, &str, &str); 3] = [("p50_ns", "p50", "s0"), ("p99_ns", "p99", "s2"), ("p99_9_ns", "p99.9", "s1")];
