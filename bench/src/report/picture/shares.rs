//! The share that each ask was answered with, over time: a line with steps for each asker.

use std::collections::BTreeMap;

use bireme_control::balance::HandOver;
use bireme_control::units::PeerId;
use bireme_dataplane::outcome::Outcome;

use super::canvas::{Anchor, Canvas, INK, PALE, Point, color_of};
use super::scale::Scale;

pub(super) fn draw(canvas: &Canvas, scale: &Scale, outcome: &Outcome, top: i32) {
    canvas.heading(Point(scale.left(), top - 14), "Share that the asker was to get of what the other had left", 12);
    for percent in [0, 25, 50, 75, 100] {
        let y = level(top, percent * 10);
        canvas.line(&[Point(scale.left(), y), Point(scale.right(), y)], PALE, 1);
        canvas.text(Point(scale.left() - 12, y), &format!("{percent} %"), 11, INK, Anchor::End);
    }
    let mut askers: BTreeMap<PeerId, Vec<&HandOver>> = BTreeMap::new();
    for ask in &outcome.balance.hand_overs {
        askers.entry(ask.to).or_default().push(ask);
    }
    let mut names = Vec::new();
    for (&peer, asks) in &askers {
        let mut points: Vec<Point> = Vec::with_capacity(2 * asks.len() + 1);
        for ask in asks {
            let next = Point(scale.x(ask.at), level(top, ask.share.get()));
            points.extend(points.last().map(|last| Point(next.0, last.1)));
            points.push(next);
        }
        let last = points.last().map_or(top, |last| last.1);
        points.push(Point(scale.right(), last));
        canvas.line(&points, color_of(peer), 1);
        let radius = if outcome.balance.hand_overs.len() > MANY { 2 } else { 3 };
        for ask in asks {
            let at = Point(scale.x(ask.at), level(top, ask.share.get()));
            if ask.transfers > 0 {
                canvas.dot(at, radius, color_of(peer))
            } else {
                canvas.ring(at, radius, color_of(peer))
            }
        }
        names.push((last, peer));
    }
    name(canvas, names, top, scale.right() + 8);
}

/// The askers' names at the ends of their lines, moved apart where they would lie on each other.
fn name(canvas: &Canvas, mut names: Vec<(i32, PeerId)>, top: i32, x: i32) {
    names.sort_unstable();
    let mut lowest = top + HEIGHT - 13 * i32::try_from(names.len().saturating_sub(1)).unwrap_or(0);
    let mut free = top.min(lowest);
    for (y, peer) in names {
        let y = y.clamp(free, lowest.max(free));
        canvas.text(Point(x, y), &peer.to_string(), 11, color_of(peer), Anchor::Start);
        (free, lowest) = (y + 13, lowest + 13);
    }
}

/// The height of so many thousandths.
fn level(top: i32, permille: u16) -> i32 {
    top + HEIGHT - HEIGHT * i32::from(permille) / 1000
}

/// Asks from which on their marks are small.
const MANY: usize = 200;
/// Of the panel, without its axis.
pub(super) const HEIGHT: i32 = 150;
