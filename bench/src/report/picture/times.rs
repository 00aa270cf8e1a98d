//! A bar for each peer: how much of its time it was busy, exchanged work, was held back, or had nothing to do.

use bireme_dataplane::outcome::{Outcome, PeerOutcome};
use bireme_dataplane::telemetry::State;
use plotters::style::RGBColor;

use super::canvas::{Anchor, Canvas, INK, Point, color_of, width_of};

/// From the top of the heading to the end of the picture.
pub(super) fn height(peers: usize) -> i32 {
    HEADING + ROW * i32::try_from(peers).expect("few peers") + 14
}

pub(super) fn draw(canvas: &Canvas, outcome: &Outcome, top: i32, columns: [i32; 2]) {
    let [left, right] = columns;
    canvas.heading(Point(left, top), "Time of each peer", 12);
    let throttled = outcome.peers.iter().any(|peer| parts(peer)[2] > 0);
    let mut x = left + 130;
    for (index, (name, color)) in KINDS.iter().enumerate().filter(|&(index, _)| index != 2 || throttled) {
        let color = if index == 0 { color_of(outcome.peers[0].peer) } else { *color };
        canvas.bar(Point(x, top - 5), Point(x + 12, top + 6), color, opacity(index));
        canvas.text(Point(x + 17, top), name, 11, INK, Anchor::Start);
        x += 17 + width_of(name, 11) + 16;
    }
    let length = right - left - FIGURES;
    for (row, peer) in outcome.peers.iter().enumerate() {
        let y = top + HEADING - 6 + ROW * i32::try_from(row).expect("few peers");
        canvas.text(Point(left - 12, y), &peer.peer.to_string(), 13, color_of(peer.peer), Anchor::End);
        let mut figures = Vec::new();
        let mut before = 0;
        for (index, tenths) in parts(peer).into_iter().enumerate() {
            let (name, color) = KINDS[index];
            let color = if index == 0 { color_of(peer.peer) } else { color };
            let column = |tenths: i32| left + length * tenths / 1000;
            let corners = [Point(column(before), y - 7), Point(column(before + tenths), y + 7)];
            canvas.bar(corners[0], corners[1], color, opacity(index));
            before += tenths;
            if index != 2 || throttled {
                figures.push(format!("{name} {}.{} %", tenths / 10, tenths % 10));
            }
        }
        canvas.text(Point(right - FIGURES + 12, y), &figures.join(" · "), 11, INK, Anchor::Start);
    }
}

/// Tenths of a percent of each kind.
fn parts(peer: &PeerOutcome) -> [i32; 4] {
    let mut parts = [0; 4];
    for (state, tenths) in peer.times.percent_tenths() {
        let kind = match state {
            State::Handover => 1,
            State::Throttled => 2,
            State::Idle => 3,
            _ => 0,
        };
        parts[kind] += i32::from(tenths);
    }
    parts
}

fn opacity(kind: usize) -> f64 {
    if kind == 0 { 0.4 } else { 1.0 }
}

/// What a peer's time is told apart into; the first has the peer's colour.
const KINDS: [(&str, RGBColor); 4] = [
    ("busy", RGBColor(255, 255, 255)),
    ("hand-over", RGBColor(60, 60, 60)),
    ("throttled", RGBColor(150, 150, 150)),
    ("idle", RGBColor(225, 225, 225)),
];
const HEADING: i32 = 30;
const ROW: i32 = 22;
/// Room for the figures beside a bar.
const FIGURES: i32 = 300;
