//! The table's part on how peers shared the work: who had what, what was handed over, who died.
//!
//! Each piece is shown only where there is something to show: a single peer shares nothing.

use bireme_control::balance::{HandOver, Reason, Strategy};
use bireme_control::units::Nanos;
use bireme_dataplane::outcome::{Balance, Outcome, SetOutcome};
use bireme_dataplane::telemetry::LatencySummary;

use super::table::{INDENT, LINES_SHOWN, WIDTH, paragraphs};
use crate::report::Columns;

pub(super) fn sections(outcome: &Outcome) -> [String; 4] {
    [division(outcome), hand_overs(outcome), round_trip(&outcome.balance), story(&outcome.balance)]
}

/// The name on the command line.
pub(super) const fn name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Fixed => "fixed",
        Strategy::Pull => "pull",
        Strategy::StealHalf => "steal-half",
        Strategy::Ratio => "ratio",
        Strategy::Measured => "measured",
    }
}

pub(super) const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Dry => "dry",
        Reason::Early => "early",
        Reason::Probe => "probe",
    }
}

/// Asks, and what became of them: hand-overs, the transfers in them, refusals.
pub(super) fn totals(balance: &Balance) -> (u64, u64, u64) {
    let given = || balance.hand_overs.iter().filter(|hand_over| hand_over.transfers > 0);
    let count = given().count() as u64;
    (count, given().map(|hand_over| hand_over.transfers).sum(), balance.hand_overs.len() as u64 - count)
}

/// Who had what: transfers of the first division, and those written in the end.
fn division(outcome: &Outcome) -> String {
    let peers = outcome.peers.len();
    let sets: Vec<_> = outcome.sets.iter().filter(|set| set.done.len() == peers).collect();
    if peers < 2 || sets.is_empty() {
        return String::new();
    }
    let cell = |set: &SetOutcome, peer: usize| match set.divided.get(peer) {
        Some(divided) => format!("{divided} -> {}", set.done[peer]),
        None => set.done[peer].to_string(),
    };
    let what = if sets.iter().any(|set| !set.divided.is_empty()) { "transfers divided -> done" } else { "transfers" };
    let heading = format!("Balance \"{}\": {what}", name(outcome.balance.strategy));
    let names: Vec<_> = outcome.peers.iter().map(|peer| peer.peer.to_string()).collect();
    let mut columns =
        Columns::new(&std::iter::once(heading.as_str()).chain(names.iter().map(String::as_str)).collect::<Vec<_>>());
    let mut lines = Vec::new();
    for set in sets.iter().take(LINES_SHOWN) {
        let cells: Vec<_> = (0..peers).map(|peer| cell(set, peer)).collect();
        lines.push(format!("set {}: {}", set.number, cells.join(", ")));
        columns.row(std::iter::once(format!("set {}", set.number)).chain(cells).collect());
    }
    let table = columns.print();
    let fits = table.lines().all(|line| line.chars().count() <= WIDTH);
    (if fits { table } else { paragraphs(&format!("{heading}, by peer"), &lines) }) + &more(sets.len())
}

fn hand_overs(outcome: &Outcome) -> String {
    let balance = &outcome.balance;
    if balance.hand_overs.is_empty() {
        return String::new();
    }
    let mut columns = Columns::new(&["Hand-overs", "set", "from", "to", "transfers", "why", "share", "round trip"]);
    for HandOver { at, round_trip, sequence, from, to, transfers, reason: why, share } in
        balance.hand_overs.iter().take(LINES_SHOWN).copied()
    {
        columns.row(vec![
            format!("after {at}"),
            outcome.sets.get(sequence as usize).map_or("?".to_owned(), |set| set.number.to_string()),
            from.to_string(),
            to.to_string(),
            if transfers == 0 { "refused".to_owned() } else { transfers.to_string() },
            reason(why).to_owned(),
            format!("{}.{} %", share.get() / 10, share.get() % 10),
            round_trip.to_string(),
        ]);
    }
    columns.print() + &more(balance.hand_overs.len())
}

fn round_trip(balance: &Balance) -> String {
    if balance.round_trip.count() == 0 {
        return String::new();
    }
    let LatencySummary { count, mean, p50, p90, p99, p99_9, max } = balance.round_trip.summary();
    let mut columns = Columns::new(&["From offer to answer, in us", "p50", "p90", "p99", "p99.9", "max", "mean"]);
    let micros = |nanos: Nanos| format!("{}.{}", nanos.0 / 1000, nanos.0 % 1000 / 100);
    let figures = [p50, p90, p99, p99_9, max, mean].map(micros);
    columns.row(std::iter::once(format!("{count} asks")).chain(figures).collect());
    columns.print()
}

/// What is best said in sentences.
fn story(balance: &Balance) -> String {
    let mut lines = Vec::new();
    let (given, transfers, refused) = totals(balance);
    if given + refused > 0 {
        let messages = balance.messages;
        lines.push(format!(
            "hand-overs: {given}, transfers in them: {transfers}, asks refused: {refused}, messages in all: {messages}"
        ));
    }
    if balance.left_out > 0 {
        lines.push(format!("asks that the logs had no room to list: {}", balance.left_out));
    }
    if balance.repeated > 0 {
        let (repeated, won) = (balance.repeated, balance.repeats_won);
        lines.push(format!(
            "transfers repeated in the end game by a peer without work: {repeated}, of these first: {won}"
        ));
    }
    for death in &balance.deaths {
        let (peer, at, taken_over) = (death.peer.0, death.at, death.taken_over);
        lines.push(format!(
            "Peer {peer} died after {at}; the others took over what it had left: {taken_over} transfers."
        ));
    }
    paragraphs("What the peers did for each other", &lines)
}

fn more(all: usize) -> String {
    match all.saturating_sub(LINES_SHOWN) {
        0 => String::new(),
        more => format!("{:INDENT$}and {more} more, listed in the JSON\n", ""),
    }
}
