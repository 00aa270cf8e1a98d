//! The balance between peers as a picture: an SVG without scripts, on one axis of time.
//!
//! ```text
//!              set 1        set 2
//!   peer 0   |▃▃▃▃▃▃▃▃▃▃ |▅▅▅▅▅▅▅▅▅▅▅|     lanes: the part of each set that the peer wrote
//!                     |19       ▲ 4        arrows: who handed over how many transfers, and when
//!   peer 1   |▇▇▇▇▇▇▇▇▼▇ |▇▇▇▇▇▇|▇▇▇▇|
//!             share over time, by asker
//!   peer 0   ████████████████████░░        busy, hand-over, throttled, idle
//! ```
//!
//! Colours are those that the colour-blind tell apart; whatever they say, a label says too.

use bireme_control::units::Nanos;
use bireme_dataplane::outcome::Outcome;

use super::balance;
use crate::size;
use canvas::{Anchor, Canvas, INK, PALE, Point};
use lanes::Lanes;
use scale::Scale;

pub(crate) mod canvas;
mod lanes;
pub(crate) mod scale;
mod shares;
mod times;

/// The picture; none where nothing was shared: with fewer than two peers, or without a data set.
pub fn to_svg(outcome: &Outcome) -> Option<String> {
    if outcome.peers.len() < 2 || outcome.sets.is_empty() {
        return None;
    }
    let lanes = Lanes::new(outcome.peers.len(), LANES_TOP);
    let shares_top = lanes.bottom() + AXIS_HEIGHT;
    let shares_height = if outcome.balance.hand_overs.is_empty() { 0 } else { shares::HEIGHT + AXIS_HEIGHT };
    let times_top = shares_top + shares_height;
    let height = times_top + times::height(outcome.peers.len());
    let scale = Scale::new(end(outcome), LEFT, WIDTH - RIGHT);

    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, WIDTH, height);
    headline(&canvas, outcome);
    axis(&canvas, &scale, lanes.top(), lanes.bottom());
    lanes.draw(&canvas, &scale, outcome);
    if shares_height > 0 {
        axis(&canvas, &scale, shares_top, shares_top + shares::HEIGHT);
        shares::draw(&canvas, &scale, outcome, shares_top);
    }
    times::draw(&canvas, outcome, times_top, [LEFT, WIDTH - RIGHT]);
    canvas.finish();
    Some(svg)
}

/// The last moment that the picture shows.
fn end(outcome: &Outcome) -> Nanos {
    let sets = outcome.sets.iter().map(|set| set.start + set.write);
    let asks = outcome.balance.hand_overs.iter().map(|hand_over| hand_over.at);
    sets.chain(asks).fold(outcome.write, Nanos::max)
}

fn headline(canvas: &Canvas, outcome: &Outcome) {
    let balance = &outcome.balance;
    let (given, transfers, refused) = balance::totals(balance);
    let rate = size::print_rate(size::rate(outcome.bytes, outcome.elapsed));
    let title = format!(
        "Balance \"{}\": {} peers, data sets: {}, {} in {} ({rate})",
        balance::name(balance.strategy),
        outcome.peers.len(),
        outcome.sets.len(),
        size::print(outcome.bytes),
        outcome.elapsed
    );
    canvas.heading(Point(MARGIN, 28), &title, 17);
    let mut facts = vec![format!("hand-overs: {given} with {transfers} transfers"), format!("refused: {refused}")];
    if balance.round_trip.count() > 0 {
        let trip = balance.round_trip.summary();
        facts.push(format!("from offer to answer: median {}, p99 {}", trip.p50, trip.p99));
    }
    if balance.left_out > 0 {
        facts.push(format!("not listed: {}", balance.left_out));
    }
    if balance.repeated > 0 {
        facts.push(format!("repeated in the end game: {}, first: {}", balance.repeated, balance.repeats_won));
    }
    canvas.text(Point(MARGIN, 52), &facts.join("   ·   "), 12, INK, Anchor::Start);
    lanes::legend(canvas, outcome, Point(MARGIN, 76));
}

/// Lines down a panel at round times, and their labels under it.
fn axis(canvas: &Canvas, scale: &Scale, top: i32, bottom: i32) {
    let (ticks, unit) = scale.ticks();
    for (x, label) in ticks {
        canvas.line(&[Point(x, top), Point(x, bottom)], PALE, 1);
        canvas.text(Point(x, bottom + 12), &label, 11, INK, Anchor::Middle);
    }
    canvas.text(Point(LEFT - 12, bottom + 12), unit, 11, INK, Anchor::End);
}

const WIDTH: i32 = 1200;
const MARGIN: i32 = 20;
const LEFT: i32 = 130;
const RIGHT: i32 = 70;
const LANES_TOP: i32 = 122;
const AXIS_HEIGHT: i32 = 58;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use bireme_control::units::PeerId;
    use bireme_dataplane::outcome::Death;

    #[test]
    fn the_picture_has_every_part_and_nothing_that_runs() {
        let svg = to_svg(&sample::outcome()).expect("two peers");
        for part in
            ["Balance &quot;measured&quot;", "peer 0", "peer 1", ">\nset\n", ">\n3\n", "128 → 150", "hand-over", "idle"]
        {
            assert!(svg.contains(part), "{part} is missing:\n{svg}");
        }
        for word in ["<script", "href", "@import", "<image"] {
            assert!(!svg.contains(word), "{word}");
        }
        assert!(svg.contains("font-family=\"sans-serif\""));
    }

    #[test]
    fn the_legend_names_what_is_drawn_and_nothing_else() {
        let mut outcome = sample::outcome();
        let legend = |outcome: &Outcome| {
            let svg = to_svg(outcome).expect("two peers");
            ["refused ask", "peer died", "throttled", "first given"].map(|words| svg.contains(words))
        };
        assert_eq!(legend(&outcome), [true, false, false, true]);
        outcome.balance.hand_overs.retain(|ask| ask.transfers > 0);
        outcome.balance.deaths.push(Death { peer: PeerId(1), at: Nanos::from_millis(300), taken_over: 9 });
        outcome.sets[0].divided.clear();
        assert_eq!(legend(&outcome), [false, true, false, false]);
    }

    #[test]
    fn any_number_of_peers_sets_and_asks_fits() {
        for (peers, sets, asks) in [(2, 1, 0), (2, 30, 30), (8, 10, 60), (256, 2, 700)] {
            let svg = to_svg(&sample::shared(peers, sets, asks)).expect("several peers");
            assert!(svg.ends_with("</svg>\n"), "{peers} peers, {sets} sets, {asks} asks");
        }
    }

    #[test]
    fn what_is_not_there_is_not_drawn() {
        let mut outcome = sample::outcome();
        outcome.balance.hand_overs.clear();
        outcome.sets[0].divided.clear();
        outcome.sets[0].done.clear();
        (outcome.write, outcome.sets[0].write) = (Nanos::ZERO, Nanos::ZERO);
        assert!(to_svg(&outcome).is_some_and(|svg| !svg.contains("Share")));
        outcome.peers.pop();
        assert_eq!(to_svg(&outcome), None);
        let mut outcome = sample::outcome();
        outcome.sets.clear();
        assert_eq!(to_svg(&outcome), None);
    }
}
