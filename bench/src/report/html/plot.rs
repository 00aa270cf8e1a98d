//! Pictures as SVG in the page: axes, steps, lines and bands. Colours are classes, so that the page's style decides on them,
//! by day and by night.
//!
//! Text does not shrink with a picture: each is drawn twice, for wide and for narrow pages, and the style shows one of both.

use super::text::{escape, time};
use crate::size::{digits, print_count};

/// How large a picture is, in units of the page's pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) class: &'static str,
    width: f64,
    height: f64,
    /// How many labels there is room for.
    pub(super) labels: f64,
}

/// From figures to places between 0 and 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) log: bool,
}

/// A mark on an axis.
pub(super) type Tick = (f64, String);

/// A picture that is being drawn.
pub(super) struct Plot {
    size: Size,
    x: Scale,
    y: Scale,
    body: String,
}

/// The same picture for wide and for narrow pages.
pub(super) fn both(label: &str, draw: impl Fn(Size) -> Plot) -> String {
    [WIDE, NARROW].map(|size| draw(size).finish(label)).concat()
}

impl Scale {
    pub(super) fn linear(to: f64) -> Scale {
        Scale { from: 0.0, to: if to > 0.0 { to } else { 1.0 }, log: false }
    }

    /// Bounds are widened until they differ.
    pub(super) fn log(from: f64, to: f64) -> Scale {
        let from = from.max(1.0);
        Scale { from, to: to.max(from * 2.0), log: true }
    }

    fn at(self, value: f64) -> f64 {
        let place = match self.log {
            true => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round figures of a linear axis from zero, with a round one at its end: about so many.
    pub(super) fn round(most: f64, about: f64) -> (Scale, Vec<f64>) {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        let step = round_step(most / about);
        let count = (most / step).ceil().max(1.0);
        let ticks = std::iter::successors(Some(0.0), |tick| Some(tick + 1.0)).take_while(|tick| *tick <= count);
        (Scale::linear(step * count), ticks.map(|tick| tick * step).collect())
    }

    /// Round times of a logarithmic axis of nanoseconds.
    pub(super) fn time_ticks(self) -> Vec<Tick> {
        let decades = (self.to / self.from).log10();
        let inner: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (0..16).map(|power| 10f64.powi(power));
        let all = powers.flat_map(|power| inner.iter().map(move |part| power * part));
        let within = |value: &f64| (self.from * 0.999..=self.to * 1.001).contains(value);
        all.filter(within).map(|value| (value, time(value))).collect()
    }
}

impl Plot {
    pub(super) fn new(size: Size, x: Scale, y: Scale) -> Plot {
        Plot { size, x, y, body: String::new() }
    }

    fn left(x: f64) -> f64 {
        LEFT + x
    }

    fn place_x(&self, value: f64) -> f64 {
        Plot::left(self.x.at(value) * (self.size.width - LEFT - RIGHT))
    }

    fn place_y(&self, value: f64) -> f64 {
        self.size.height - BOTTOM - self.y.at(value) * (self.size.height - TOP - BOTTOM)
    }

    /// Lines across, with labels at the left.
    pub(super) fn marks_y(&mut self, ticks: &[Tick]) {
        let right = self.size.width - RIGHT;
        for (value, label) in ticks {
            let (y, text) = (self.place_y(*value), escape(label));
            self.body.push_str(&format!(
                r#"<path class="grid" d="M{LEFT:.1} {y:.1}H{right:.1}"/><text class="end" x="{:.1}" y="{:.1}">{text}</text>"#,
                LEFT - 8.0,
                y + 4.0,
            ));
        }
    }

    /// Labels below; those at the ends stay inside.
    pub(super) fn marks_x(&mut self, ticks: &[Tick]) {
        let (top, bottom) = (TOP, self.size.height - BOTTOM);
        for (value, label) in ticks {
            let (x, text) = (self.place_x(*value), escape(label));
            let anchor = match x {
                x if x > self.size.width - RIGHT - 16.0 => "end",
                x if x < LEFT + 8.0 => "start",
                _ => "middle",
            };
            self.body.push_str(&format!(
                r#"<path class="grid x" d="M{x:.1} {top:.1}V{bottom:.1}"/><text class="{anchor}" x="{x:.1}" y="{:.1}">{text}</text>"#,
                bottom + 18.0,
            ));
        }
    }

    /// A value for each span.
    pub(super) fn steps(&mut self, class: &str, spans: impl Iterator<Item = (f64, f64, f64)>) {
        let mut path = String::new();
        for (from, to, value) in spans {
            let (left, right, y) = (self.place_x(from), self.place_x(to), self.place_y(value));
            path.push_str(&format!("{}{left:.1} {y:.1}H{right:.1}", if path.is_empty() { 'M' } else { 'L' }));
        }
        if !path.is_empty() {
            self.body.push_str(&format!(r#"<path class="line {class}" d="{path}"/>"#));
        }
    }

    pub(super) fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            path.push_str(&format!("{command}{:.1} {:.1}", self.place_x(x), self.place_y(y)));
        }
        if !path.is_empty() {
            self.body.push_str(&format!(r#"<path class="line {class}" d="{path}"/>"#));
        }
    }

    /// What lies between two values, span by span.
    pub(super) fn band(&mut self, class: &str, spans: &[(f64, f64, f64, f64)]) {
        let mut path = String::new();
        for (from, to, _, high) in spans {
            let (left, right, y) = (self.place_x(*from), self.place_x(*to), self.place_y(*high));
            path.push_str(&format!("{}{left:.1} {y:.1}H{right:.1}", if path.is_empty() { 'M' } else { 'L' }));
        }
        for (from, to, low, _) in spans.iter().rev() {
            let (left, right, y) = (self.place_x(*from), self.place_x(*to), self.place_y(*low));
            path.push_str(&format!("L{right:.1} {y:.1}H{left:.1}"));
        }
        if !path.is_empty() {
            self.body.push_str(&format!(r#"<path class="band {class}" d="{path}Z"/>"#));
        }
    }

    /// What the pointer is told about each span.
    pub(super) fn hints(&mut self, spans: impl Iterator<Item = (f64, f64, String)>) {
        let height = self.size.height - TOP - BOTTOM;
        for (from, to, text) in spans {
            let (left, right) = (self.place_x(from), self.place_x(to));
            self.body.push_str(&format!(
                r#"<rect class="hint" x="{left:.1}" y="{TOP:.1}" width="{:.1}" height="{height:.1}"><title>{}</title></rect>"#,
                right - left,
                escape(&text),
            ));
        }
    }

    fn finish(self, label: &str) -> String {
        let Size { class, width, height, .. } = self.size;
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">{}</svg>\n",
            escape(label),
            self.body
        )
    }
}

/// Marks of an axis of time that ends here, in seconds.
pub(super) fn clock_ticks(seconds: f64, about: f64) -> Vec<Tick> {
    let (unit, name) = match seconds {
        short if short < 2.0 => (1e-3, "ms"),
        some if some < 180.0 => (1.0, "s"),
        long if long < 3.0 * 3600.0 => (60.0, "min"),
        _ => (3600.0, "h"),
    };
    let step = round_step(seconds / unit / about);
    let ticks = std::iter::successors(Some(0.0), |tick| Some(tick + step));
    let within = ticks.take_while(|tick| tick * unit <= seconds * 1.02);
    within.map(|tick| (tick * unit, format!("{} {name}", digits(tick)))).collect()
}

/// Marks of an axis of rates.
pub(super) fn rate_ticks(ticks: &[f64]) -> Vec<Tick> {
    ticks.iter().map(|tick| (*tick, print_count(*tick))).collect()
}

/// 1, 2 or 5 times a power of ten, not below.
fn round_step(least: f64) -> f64 {
    let least = if least > 0.0 && least.is_finite() { least } else { 1.0 };
    let power = 10f64.powf(least.log10().floor());
    let part = [1.0, 2.0, 5.0].into_iter().find(|part| part * power >= least * 0.999).unwrap_or(10.0);
    part * power
}

const WIDE: Size = Size { class: "wide", width: 984.0, height: 250.0, labels: 10.0 };
const NARROW: Size = Size { class: "narrow", width: 330.0, height: 210.0, labels: 4.0 };
const LEFT: f64 = 56.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks_that_hold_everything() {
        let (scale, ticks) = Scale::round(312_456.0, 5.0);
        assert_eq!((scale.to, ticks.last()), (400_000.0, Some(&400_000.0)));
        assert_eq!(
            rate_ticks(&ticks).iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["0", "100k", "200k", "300k", "400k"]
        );
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Scale::round(odd, 5.0).0.to > 0.0);
        }
        let labels = |seconds| clock_ticks(seconds, 5.0).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(labels(10.0), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]);
        assert_eq!(labels(3600.0).last().map(String::as_str), Some("60 min"));
        let times: Vec<_> = Scale::log(900.0, 6e4).time_ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(times, ["1 µs", "2 µs", "5 µs", "10 µs", "20 µs", "50 µs"]);
    }

    #[test]
    fn whatever_the_figures_are_places_are_numbers() {
        for scale in [Scale::linear(0.0), Scale::log(0.0, 0.0), Scale::log(5.0, 5.0)] {
            for value in [0.0, -1.0, 1e300, f64::NAN] {
                assert!((0.0..=1.0).contains(&scale.at(value)));
            }
        }
    }
}
