//! A lane for each peer: what it wrote of each set, and arrows between lanes for what was handed over.
//!
//! A full lane is the largest part of a set that any peer had, so that eight peers fill theirs as two do.

use bireme_control::balance::HandOver;
use bireme_control::units::PeerId;
use bireme_dataplane::outcome::{Outcome, PeerOutcome, SetOutcome};

use super::canvas::{Anchor, Canvas, GREY, GROUND, INK, PAPER, Point, color_of, width_of};
use super::scale::Scale;

/// Where the lanes lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    peers: i32,
    top: i32,
    height: i32,
    gap: i32,
}

impl Lanes {
    pub(super) fn new(peers: usize, top: i32) -> Lanes {
        let (height, gap) = match peers {
            0..=4 => (58, 34),
            5..=8 => (46, 30),
            _ => (22, 18),
        };
        Lanes { peers: i32::try_from(peers).expect("few peers"), top, height, gap }
    }

    pub(super) fn top(&self) -> i32 {
        self.top
    }

    pub(super) fn bottom(&self) -> i32 {
        self.top + self.peers * (self.height + self.gap) - self.gap
    }

    fn top_of(&self, peer: PeerId) -> i32 {
        self.top + i32::from(peer.0) * (self.height + self.gap)
    }

    fn bottom_of(&self, peer: PeerId) -> i32 {
        self.top_of(peer) + self.height
    }

    pub(super) fn draw(&self, canvas: &Canvas, scale: &Scale, outcome: &Outcome) {
        self.name_sets(canvas, scale, &outcome.sets);
        let full = outcome.sets.iter().map(largest_part).fold(0.0, f64::max);
        for peer in &outcome.peers {
            self.name_peer(canvas, scale, peer);
            for set in &outcome.sets {
                self.draw_set(canvas, scale, peer.peer, set, full);
            }
        }
        // Many small ones lie under the few large ones, which are labelled first.
        let mut asks: Vec<&HandOver> = outcome.balance.hand_overs.iter().collect();
        asks.retain(|ask| ask.from != ask.to && ask.from.index().max(ask.to.index()) < outcome.peers.len());
        asks.sort_by_key(|ask| (ask.transfers, ask.at));
        asks.iter().for_each(|ask| self.draw_ask(canvas, scale, ask));
        self.label(canvas, scale, asks.iter().rev().filter(|ask| ask.transfers > 0));
        for death in outcome.balance.deaths.iter().filter(|death| death.peer.index() < outcome.peers.len()) {
            let Point(x, y) = Point(scale.x(death.at), self.top_of(death.peer) + self.height / 2);
            canvas.bar(Point(x, self.top_of(death.peer)), Point(scale.right(), self.bottom_of(death.peer)), GREY, 0.5);
            canvas.cross(Point(x, y), INK);
        }
    }

    /// Numbers of sets over the lanes, as many as have room, and a line where each begins.
    fn name_sets(&self, canvas: &Canvas, scale: &Scale, sets: &[SetOutcome]) {
        canvas.text(Point(scale.left() - 12, self.top - 14), "set", 11, INK, Anchor::End);
        let mut free = 0;
        for set in sets {
            let (left, right) = (scale.x(set.start), scale.x(set.start + set.write));
            canvas.line(&[Point(left, self.top - 6), Point(left, self.bottom())], GREY, 1);
            let label = set.number.to_string();
            let middle = i32::midpoint(left, right);
            let half = width_of(&label, 11) / 2 + 3;
            if middle - half >= free {
                canvas.text(Point(middle, self.top - 14), &label, 11, INK, Anchor::Middle);
                free = middle + half;
            }
        }
    }

    fn name_peer(&self, canvas: &Canvas, scale: &Scale, peer: &PeerOutcome) {
        let (x, y) = (scale.left() - 12, self.top_of(peer.peer) + self.height / 2);
        let roomy = self.height > 30;
        let name = Point(x, if roomy { y - 8 } else { y });
        canvas.text(name, &peer.peer.to_string(), 13, color_of(peer.peer), Anchor::End);
        if roomy {
            let transfers = format!("{} transfers", peer.transfers);
            canvas.text(Point(x, y + 9), &transfers, 11, INK, Anchor::End);
        }
    }

    /// The part that the peer wrote as a bar, the part that it was first given as a line.
    fn draw_set(&self, canvas: &Canvas, scale: &Scale, peer: PeerId, set: &SetOutcome, full: f64) {
        let (left, right) = (scale.x(set.start) + 1, scale.x(set.start + set.write));
        let (top, bottom) = (self.top_of(peer), self.bottom_of(peer));
        canvas.bar(Point(left, top), Point(right, bottom), GROUND, 1.0);
        let level = |counts: &[u64]| bottom - pixels(part_of(counts, peer) / full * f64::from(self.height));
        canvas.bar(Point(left, level(&set.done)), Point(right, bottom), color_of(peer), 0.4);
        let (done, divided) = (set.done.get(peer.index()), set.divided.get(peer.index()));
        let given = level(&set.divided).max(top + 1);
        if divided.is_some() && left < right {
            canvas.line(&[Point(left, given), Point(right, given)], color_of(peer), 2);
        }
        let Some(done) = done else { return };
        let long = divided.map(|divided| format!("{divided} → {done}"));
        let fits = |text: &String| width_of(text, 11) <= right - left;
        if let Some(text) = long.into_iter().chain([done.to_string()]).find(fits) {
            // Where the line does not cross it.
            let y = if divided.is_some() && given > bottom - 18 { top + 9 } else { bottom - 9 };
            canvas.text(Point(i32::midpoint(left, right), y), &text, 11, INK, Anchor::Middle);
        }
    }

    fn draw_ask(&self, canvas: &Canvas, scale: &Scale, ask: &HandOver) {
        let x = scale.x(ask.at);
        let [start, end] = self.edges(ask);
        match ask.transfers {
            0 => refusal(canvas, Point(x, end), if ask.from > ask.to { 1 } else { -1 }),
            transfers => {
                let width = if transfers >= THICK_FROM { 2 } else { 1 };
                canvas.arrow(Point(x, start), Point(x, end), color_of(ask.to), width);
            }
        }
    }

    /// The edges of the two lanes that face each other: the giver's, the asker's.
    fn edges(&self, ask: &HandOver) -> [i32; 2] {
        match ask.from < ask.to {
            true => [self.bottom_of(ask.from), self.top_of(ask.to)],
            false => [self.top_of(ask.from), self.bottom_of(ask.to)],
        }
    }

    /// Numbers beside arrows, in the gap before the asker's lane, where they do not lie on others.
    fn label<'a>(&self, canvas: &Canvas, scale: &Scale, asks: impl Iterator<Item = &'a &'a HandOver>) {
        let mut taken: Vec<(i32, i32, i32)> = Vec::new();
        for ask in asks {
            let [_, end] = self.edges(ask);
            let y = if ask.from < ask.to { end - self.gap / 2 } else { end + self.gap / 2 };
            let (text, x) = (ask.transfers.to_string(), scale.x(ask.at));
            let width = width_of(&text, 11) + 2;
            let left = if x + width + 6 > scale.right() { x - width - 6 } else { x + 6 };
            if taken.iter().any(|&(row, from, to)| row == y && left < to && from < left + width) {
                continue;
            }
            taken.push((y, left, left + width));
            canvas.bar(Point(left - 2, y - 6), Point(left + width, y + 6), PAPER, 0.8);
            canvas.text(Point(left, y), &text, 11, INK, Anchor::Start);
        }
    }
}

/// A stub before the asker's lane that goes nowhere; `side` is 1 where it hangs under the lane.
fn refusal(canvas: &Canvas, edge: Point, side: i32) {
    let end = edge.1 + side * 7;
    canvas.line(&[edge, Point(edge.0, end)], GREY, 1);
    canvas.line(&[Point(edge.0 - 3, end), Point(edge.0 + 3, end)], GREY, 1);
}

/// What the marks mean.
pub(super) fn legend(canvas: &Canvas, outcome: &Outcome, at: Point) {
    let Point(mut x, y) = at;
    let mut entry = |width: i32, text: &str| {
        canvas.text(Point(x + width + 6, y), text, 11, INK, Anchor::Start);
        let start = x;
        x += width + 6 + width_of(text, 11) + 10;
        start
    };
    let full = outcome.sets.iter().map(largest_part).fold(0.0, f64::max) * 100.0;
    if full > 0.0 {
        let start = entry(18, &format!("part of a set that the peer wrote; a full lane is {full:.0} %"));
        canvas.bar(Point(start, y - 6), Point(start + 18, y + 6), color_of(PeerId(0)), 0.4);
    }
    if outcome.sets.iter().any(|set| !set.divided.is_empty()) {
        let start = entry(18, "part that it was first given");
        canvas.line(&[Point(start, y), Point(start + 18, y)], color_of(PeerId(0)), 2);
    }
    let asks = &outcome.balance.hand_overs;
    if asks.iter().any(|ask| ask.transfers > 0) {
        let start = entry(10, "hand-over and its transfers");
        canvas.arrow(Point(start + 5, y - 9), Point(start + 5, y + 9), color_of(PeerId(1)), 1);
    }
    if asks.iter().any(|ask| ask.transfers == 0) {
        let start = entry(10, "refused ask");
        refusal(canvas, Point(start + 5, y - 4), 1);
    }
    if !outcome.balance.deaths.is_empty() {
        let start = entry(16, "peer died");
        canvas.cross(Point(start + 8, y), INK);
    }
}

fn part_of(counts: &[u64], peer: PeerId) -> f64 {
    let all: u64 = counts.iter().sum();
    counts.get(peer.index()).map_or(0.0, |&count| count as f64 / all.max(1) as f64)
}

/// The largest part that a peer wrote of a set, or was first given.
fn largest_part(set: &SetOutcome) -> f64 {
    let largest = |counts: &[u64]| {
        counts.iter().max().map_or(0.0, |&count| count as f64 / counts.iter().sum::<u64>().max(1) as f64)
    };
    largest(&set.done).max(largest(&set.divided))
}

#[expect(clippy::cast_possible_truncation, reason = "a cast from a float saturates, and a lane is a few pixels high")]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}

/// Transfers of a hand-over whose arrow is thick.
const THICK_FROM: u64 = 16;
