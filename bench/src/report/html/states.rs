//! Where each peer's time went: bars whose parts exclude each other and sum to 100 %.

use bireme_dataplane::telemetry::State;
use serde_json::Value;

use super::source::Source;
use super::text::escape;
use crate::report::heading;

/// The bars, or nothing where the report has none.
pub(super) fn section(source: &Source<'_>) -> String {
    let peers: Vec<&Value> = source.list("/peers").iter().filter(|peer| peer["time_percent"].is_object()).collect();
    let used: Vec<State> =
        State::ALL.into_iter().filter(|state| peers.iter().any(|peer| part(peer, *state) > 0.0)).collect();
    if used.is_empty() {
        return String::new();
    }
    let key = |state: &State| format!("<li><i class=\"{}\"></i>{}</li>", class(*state), heading(*state));
    let mut rows = String::new();
    for (index, peer) in peers.iter().enumerate().take(PEERS_MAX) {
        let core = peer["core"].as_u64().map_or(String::new(), |core| format!(" <small>core {core}</small>"));
        let parts: String = used.iter().map(|state| bar(*state, part(peer, *state))).collect();
        rows.push_str(&format!(
            "<div class=\"peer\"><span>peer {index}{core}</span><div class=\"bar\">{parts}</div></div>\n"
        ));
    }
    let left_out = match peers.len().saturating_sub(PEERS_MAX) {
        0 => String::new(),
        more => format!("<p class=\"note\">{more} more peers are in the JSON.</p>\n"),
    };
    format!(
        "<section>\n<h2>Where the peers' time went</h2>\n<p class=\"note\">A peer is in one state at each moment: the parts sum to 100 %.</p>\n\
         <ul class=\"legend\">{}</ul>\n{rows}{left_out}{}</section>\n",
        used.iter().map(key).collect::<String>(),
        table(&peers, &used),
    )
}

/// The states that took most of all peers' time, in percent, the longest first.
pub(super) fn longest(source: &Source<'_>) -> Vec<(&'static str, f64)> {
    let peers: Vec<&Value> = source.list("/peers").iter().filter(|peer| peer["time_percent"].is_object()).collect();
    let mean = |state: State| peers.iter().map(|peer| part(peer, state)).sum::<f64>() / peers.len().max(1) as f64;
    let mut all: Vec<_> = State::ALL.into_iter().map(|state| (phrase(state), mean(state))).collect();
    all.retain(|(_, percent)| *percent >= 0.5);
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

fn bar(state: State, percent: f64) -> String {
    if percent <= 0.0 {
        return String::new();
    }
    let text = if percent >= LABELLED { format!("{percent:.0} %") } else { String::new() };
    format!(
        "<b class=\"{}\" style=\"width:{percent:.1}%\" title=\"{}: {percent:.1} %\">{text}</b>",
        class(state),
        escape(heading(state))
    )
}

fn table(peers: &[&Value], used: &[State]) -> String {
    let head: String = used.iter().map(|state| format!("<th>{}</th>", heading(*state))).collect();
    let mut rows = String::new();
    for (index, peer) in peers.iter().enumerate().take(PEERS_MAX) {
        let cells: String = used.iter().map(|state| format!("<td>{:.1}</td>", part(peer, *state))).collect();
        rows.push_str(&format!("<tr><th>peer {index}</th>{cells}</tr>\n"));
    }
    format!(
        "<details><summary>In figures</summary><div class=\"scroll\"><table><thead><tr><th>%</th>{head}</tr></thead>\
         <tbody>\n{rows}</tbody></table></div></details>\n"
    )
}

fn part(peer: &Value, state: State) -> f64 {
    peer["time_percent"][state.name()].as_f64().unwrap_or(0.0).clamp(0.0, 100.0)
}

fn class(state: State) -> String {
    format!("t-{}", state.name())
}

/// To follow "the peers".
fn phrase(state: State) -> &'static str {
    match state {
        State::Devices => "waited for devices",
        State::Kernel => "were in the kernel",
        State::Filling => "filled buffers",
        State::Checksum => "computed checksums",
        State::Parity => "computed parity",
        State::Input => "waited for files",
        State::Handover => "handed work over",
        State::Throttled => "were held back by their rate",
        State::Turn => "did their own bookkeeping",
        State::Idle => "had nothing to do",
    }
}

/// Narrower parts have no room for a figure.
const LABELLED: f64 = 9.0;
const PEERS_MAX: usize = 64;
