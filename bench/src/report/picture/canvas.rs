//! Where pictures are drawn: shapes and text at whole pixels of an SVG.

use bireme_control::units::PeerId;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Right, and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point(pub(crate) i32, pub(crate) i32);

/// Where a text lies beside its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A white sheet.
pub(crate) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, plotters::coord::Shift>);

impl<'a> Canvas<'a> {
    pub(crate) fn new(svg: &'a mut String, width: i32, height: i32) -> Canvas<'a> {
        let size = [width, height].map(|length| u32::try_from(length).expect("a picture has a size"));
        let area = SVGBackend::with_string(svg, (size[0], size[1])).into_drawing_area();
        area.fill(&WHITE).expect(NO_FAILURE);
        Canvas(area)
    }

    /// A filled rectangle. One without height or width is not drawn.
    pub(crate) fn bar(&self, from: Point, to: Point, color: RGBColor, opacity: f64) {
        if from.0 < to.0 && from.1 < to.1 {
            let corners = [(from.0, from.1), (to.0, to.1)];
            self.0.draw(&Rectangle::new(corners, color.mix(opacity).filled())).expect(NO_FAILURE);
        }
    }

    pub(crate) fn line(&self, points: &[Point], color: RGBColor, width: u32) {
        let points: Vec<_> = points.iter().map(|point| (point.0, point.1)).collect();
        self.0.draw(&PathElement::new(points, color.stroke_width(width))).expect(NO_FAILURE);
    }

    pub(crate) fn dot(&self, center: Point, radius: i32, color: RGBColor) {
        self.0.draw(&Circle::new((center.0, center.1), radius, color.filled())).expect(NO_FAILURE);
    }

    /// A small circle with nothing in it.
    pub(crate) fn ring(&self, center: Point, radius: i32, color: RGBColor) {
        self.dot(center, radius, WHITE);
        self.0.draw(&Circle::new((center.0, center.1), radius, color.stroke_width(1))).expect(NO_FAILURE);
    }

    /// A line from a dot to a point.
    pub(crate) fn arrow(&self, from: Point, to: Point, color: RGBColor, width: u32) {
        let back = if to.1 > from.1 { -HEAD } else { HEAD };
        self.line(&[from, Point(to.0, to.1 + back)], color, width);
        self.dot(from, 2, color);
        let head = vec![(to.0, to.1), (to.0 - HEAD / 2, to.1 + back), (to.0 + HEAD / 2, to.1 + back)];
        self.0.draw(&Polygon::new(head, color.filled())).expect(NO_FAILURE);
    }

    pub(crate) fn cross(&self, center: Point, color: RGBColor) {
        let Point(x, y) = center;
        self.line(&[Point(x - HEAD, y - HEAD), Point(x + HEAD, y + HEAD)], color, 3);
        self.line(&[Point(x - HEAD, y + HEAD), Point(x + HEAD, y - HEAD)], color, 3);
    }

    /// Text, its middle at the height of the point.
    pub(crate) fn text(&self, at: Point, text: &str, pixels: u32, color: RGBColor, anchor: Anchor) {
        self.write(at, text, pixels, color, anchor, FontStyle::Normal);
    }

    pub(crate) fn heading(&self, at: Point, text: &str, pixels: u32) {
        self.write(at, text, pixels, INK, Anchor::Start, FontStyle::Bold);
    }

    fn write(&self, at: Point, text: &str, pixels: u32, color: RGBColor, anchor: Anchor, style: FontStyle) {
        let side = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        // The backend divides sizes by this.
        let size = f64::from(pixels) * 1.24;
        let style = TextStyle::from((FontFamily::SansSerif, size, style).into_font())
            .color(&color)
            .pos(Pos::new(side, VPos::Center));
        self.0.draw(&Text::new(text.to_owned(), (at.0, at.1), style)).expect(NO_FAILURE);
    }

    pub(crate) fn finish(self) {
        self.0.present().expect(NO_FAILURE);
    }
}

/// About how wide a text of that many pixels is: digits and small letters of common fonts are a little narrower.
pub(crate) fn width_of(text: &str, pixels: i32) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 100).saturating_mul(pixels * 3 / 5)
}

/// A peer's colour; after eight they come again.
pub(crate) fn color_of(peer: PeerId) -> RGBColor {
    PEERS[peer.index() % PEERS.len()]
}

/// What lies under everything.
pub(crate) const PAPER: RGBColor = WHITE;
/// Text and marks.
pub(crate) const INK: RGBColor = RGBColor(51, 51, 51);
/// What was refused.
pub(crate) const GREY: RGBColor = RGBColor(128, 128, 128);
/// Lines of the ground.
pub(crate) const PALE: RGBColor = RGBColor(222, 222, 222);
/// The ground of a set.
pub(crate) const GROUND: RGBColor = RGBColor(244, 244, 244);
/// The colours of Okabe and Ito, the yellow among them darkened so that it is seen on white.
const PEERS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(70, 70, 70),
    RGBColor(150, 130, 0),
];
const HEAD: i32 = 7;
const NO_FAILURE: &str = "drawing into memory does not fail";
