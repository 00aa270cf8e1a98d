//! Who had what of the link while a class came and went: a panel for each contender, on one axis of time.
//!
//! ```text
//!   tags   100 %|__      ____
//!               |  \____/    \___   class 0, which floods the link
//!             0 |__/~~~~\____/~~~   class 2, which comes and goes
//! ```

use super::{Outcome, Scenario, Shares};
use crate::report::canvas::{Anchor, Canvas, INK, PALE, Point, color_of};
use crate::report::scale::Scale;
use bireme_control::units::{Nanos, PeerId};

/// The picture; none where nobody came and went.
pub fn to_svg(scenario: &Scenario, outcomes: &[Outcome]) -> Option<String> {
    let panels: Vec<(&str, &Shares)> = outcomes
        .iter()
        .filter_map(|outcome| Some((outcome.contender.name.as_str(), outcome.shares.as_ref()?)))
        .collect();
    let (_, first) = panels.first()?;
    let windows = first.percent.len() as u64;
    let scale = Scale::new(Nanos(first.window.0 * windows), LEFT, WIDTH - RIGHT);
    let count = i32::try_from(panels.len()).unwrap_or(i32::MAX / PITCH / 2);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, WIDTH, TOP + count * PITCH + BOTTOM);
    canvas.heading(Point(MARGIN, 28), "What classes have of the link, in percent, when one comes and goes", 17);
    legend(&canvas, scenario);
    for (top, (name, shares)) in (0..count).map(|index| TOP + index * PITCH).zip(&panels) {
        panel(&canvas, &scale, top, name, shares);
    }
    let (ticks, unit) = scale.ticks();
    for (x, label) in ticks {
        canvas.text(Point(x, TOP + count * PITCH), &label, 11, INK, Anchor::Middle);
    }
    canvas.text(Point(LEFT - 12, TOP + count * PITCH), unit, 11, INK, Anchor::End);
    canvas.finish();
    Some(svg)
}

fn legend(canvas: &Canvas, scenario: &Scenario) {
    let high = scenario.high();
    let names = [(0, "the lowest class, which floods the link"), (high.0, "the highest class, which comes and goes")];
    for (x, (class, name)) in [MARGIN, MARGIN + 400].into_iter().zip(names) {
        let weight = scenario.weights[usize::from(class)];
        canvas.line(&[Point(x, 54), Point(x + 24, 54)], color(class), 3);
        canvas.text(Point(x + 32, 54), &format!("{name} (weight {weight})"), 12, INK, Anchor::Start);
    }
}

fn panel(canvas: &Canvas, scale: &Scale, top: i32, name: &str, shares: &Shares) {
    canvas.heading(Point(LEFT, top - 28), name, 12);
    for percent in [0, 50, 100] {
        let y = top + HEIGHT - HEIGHT * percent / 100;
        canvas.line(&[Point(scale.left(), y), Point(scale.right(), y)], PALE, 1);
        canvas.text(Point(scale.left() - 12, y), &format!("{percent} %"), 11, INK, Anchor::End);
    }
    let classes = shares.percent.first().map_or(0, Vec::len);
    for class in [0, classes.saturating_sub(1)] {
        let point = |(index, percent): (u64, &Vec<f64>)| {
            Point(scale.x(Nanos(shares.window.0 * index + shares.window.0 / 2)), level(top, percent[class]))
        };
        let points: Vec<_> = (0..).zip(&shares.percent).map(point).collect();
        canvas.line(&points, color(u16::try_from(class).unwrap_or(u16::MAX)), 2);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a height in pixels")]
fn level(top: i32, percent: f64) -> i32 {
    // A window in which large requests end may have more than the link carries in it.
    top + HEIGHT - (f64::from(HEIGHT) * percent.clamp(0.0, PERCENT_MAX) / 100.0) as i32
}

/// Classes have the colours of peers: never are both in one picture.
fn color(class: u16) -> plotters::style::RGBColor {
    color_of(PeerId(class))
}

const WIDTH: i32 = 1200;
const MARGIN: i32 = 20;
const LEFT: i32 = 80;
const RIGHT: i32 = 30;
const TOP: i32 = 120;
const BOTTOM: i32 = 30;
const HEIGHT: i32 = 110;
const PITCH: i32 = 172;
const PERCENT_MAX: f64 = 115.0;
