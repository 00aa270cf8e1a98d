//! Latencies by percentile, the tail as wide as the middle: the axis is 1/(1-p).

use super::plot::{self, Plot, Scale};
use super::source::Curve;
use super::text::escape;

/// The picture, or nothing without distributions.
pub(super) fn section(heading: &str, curves: &[Curve]) -> String {
    let values = || curves.iter().flat_map(|curve| curve.points.iter().map(|(_, nanos)| *nanos));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let deepest = curves.iter().flat_map(|curve| curve.points.iter().map(|(percent, _)| depth(*percent)));
    let deepest = deepest.fold(10.0, f64::max);
    if curves.is_empty() {
        return String::new();
    }
    let draw = |size: plot::Size| {
        let y = Scale::log(low / 1.15, high * 1.15);
        let mut plot = Plot::new(size, Scale::log(1.0, deepest), y);
        plot.marks_y(&y.time_ticks());
        plot.marks_x(&percent_ticks(deepest, size.labels));
        for (index, curve) in curves.iter().enumerate() {
            let points = curve.points.iter().map(|(percent, nanos)| (depth(*percent), *nanos));
            plot.line(&format!("thick s{index}"), points);
        }
        plot
    };
    // Reports of other kinds know one time only.
    let told = match curves.iter().any(|curve| curve.name.ends_with("service")) {
        true => "Response counts from when a request should have started, service from its hand-over to the kernel. ",
        false => "",
    };
    format!(
        "<section>\n<h2>{heading}</h2>\n<p class=\"note\">{told}Each mark to the right leaves a tenth of the \
         requests. The line ends at the longest.</p>\n{}{}</section>\n",
        legend(curves),
        plot::both(heading, draw),
    )
}

/// 1/(1-p).
fn depth(percent: f64) -> f64 {
    100.0 / (100.0 - percent).max(1e-10)
}

fn percent_ticks(deepest: f64, room: f64) -> Vec<plot::Tick> {
    let decades: Vec<u8> = (0..11).take_while(|decade| 10f64.powi(i32::from(*decade)) <= deepest * 1.001).collect();
    let each = if decades.len() as f64 > room { 2 } else { 1 };
    let label = |decade: u8| match decade {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(usize::from(more) - 2)),
    };
    decades.into_iter().step_by(each).map(|decade| (10f64.powi(i32::from(decade)), label(decade))).collect()
}

fn legend(curves: &[Curve]) -> String {
    let each = |(index, curve): (usize, &Curve)| format!("<li><i class=\"s{index}\"></i>{}</li>", escape(&curve.name));
    format!("<ul class=\"legend\">{}</ul>\n", curves.iter().enumerate().map(each).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_the_nines() {
        let labels = |deepest, room| percent_ticks(deepest, room).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(labels(1e4, 10.0), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert_eq!(labels(1e6, 5.0), ["0 %", "99 %", "99.99 %", "99.9999 %"]);
        assert!((depth(99.9) - 1000.0).abs() < 1e-6 && depth(100.0) > 1e11);
    }
}
