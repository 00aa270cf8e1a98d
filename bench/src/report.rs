//! An outcome for people and for programs.
//!
//! [`to_table`] is what an operator reads, [`to_json`] what programs read; `bench/docs/json.md` explains the latter.
//! [`to_svg`] is the balance between the peers as a picture, [`to_html`] a page made from the JSON of any run.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use bireme_dataplane::outcome::Outcome;
use serde_json::{Map, Value, json};

use crate::environment::Environment;

mod balance;
pub mod columns;
mod curve;
mod html;
mod picture;
#[cfg(test)]
mod sample;
mod table;

pub use columns::Columns;
pub(crate) use curve::{curve, curve_of};
pub use html::to_html;
pub use picture::to_svg;
pub(crate) use picture::{canvas, scale};
pub use table::to_table;
pub(crate) use table::{heading, paragraphs, surroundings};

/// An outcome as JSON: its own fields, what is derived from them, and the environment.
pub fn to_json(outcome: &Outcome, environment: &Environment) -> Value {
    let mut json = serde_json::to_value(outcome).expect("an outcome has text keys and finite numbers only");
    json["throughput_bytes_per_s"] = json!(bytes_per_second(outcome));
    for (peer, object) in outcome.peers.iter().zip(json["peers"].as_array_mut().into_iter().flatten()) {
        let shares = peer.times.percent_tenths();
        let percent: Map<String, Value> =
            shares.iter().map(|&(state, tenths)| (state.name().to_owned(), json!(f64::from(tenths) / 10.0))).collect();
        object["idle_percent"] = percent["idle"].clone();
        object["time_percent"] = Value::Object(percent);
    }
    let octave = |(from, to, count)| json!({ "from_ns": from, "to_ns": to, "count": count });
    json["balance"]["round_trip_histogram"] = outcome.balance.round_trip.octaves().into_iter().map(octave).collect();
    json["latency_curve"] = json!(curve_of(&outcome.latency));
    json["environment"] = serde_json::to_value(environment).expect("an environment has text keys only");
    json
}

/// Prints the table, and stores the JSON in a file if one is named; "-" is standard output, in place of the table.
///
/// # Errors
/// The file cannot be written.
pub fn give(table: &str, json: &Value, file: Option<&Path>) -> Result<(), String> {
    let json = format!("{json:#}\n");
    match file {
        Some(path) if path == Path::new("-") => print!("{json}"),
        Some(path) => {
            print!("{table}");
            store(path, &json)?;
        }
        None => print!("{table}"),
    }
    Ok(())
}

/// Stores the page that [`to_html`] makes of the JSON.
///
/// # Errors
/// The file cannot be written.
pub fn give_html(json: &Value, file: &Path) -> Result<(), String> {
    store(file, &to_html(json))
}

/// Stores a picture.
///
/// # Errors
/// The file cannot be written.
pub fn give_svg(svg: &str, file: &Path) -> Result<(), String> {
    store(file, svg)
}

fn store(path: &Path, text: &str) -> Result<(), String> {
    let cannot = |why: &dyn std::fmt::Display| format!("{} cannot be written: {why}", path.display());
    if std::fs::metadata(path).is_ok_and(|facts| facts.file_type().is_block_device()) {
        return Err(cannot(&"it is a device, whose data would be lost; name a file"));
    }
    std::fs::write(path, text).map_err(|error| cannot(&error))
}

/// Rounded down; 0 when no time has passed.
fn bytes_per_second(outcome: &Outcome) -> u64 {
    let billion = u128::from(outcome.bytes) * 1_000_000_000;
    billion.checked_div(u128::from(outcome.elapsed.0)).map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_control::units::{Nanos, PeerId};
    use bireme_dataplane::outcome::Death;

    #[test]
    fn json_has_what_its_readers_rely_on() {
        let mut outcome = sample::outcome();
        outcome.balance.deaths.push(Death { peer: PeerId(1), at: Nanos(5), taken_over: 3 });
        let json = to_json(&outcome, &sample::environment());
        for pointer in [
            "/kind",
            "/elapsed_ns",
            "/write_ns",
            "/bytes",
            "/throughput_bytes_per_s",
            "/cpu_ns",
            "/sets/0/number",
            "/sets/0/elapsed_ns",
            "/sets/0/write_ns",
            "/sets/0/flush_ns",
            "/sets/0/commit_ns",
            "/sets/0/bytes",
            "/peers/0/peer",
            "/peers/0/core",
            "/peers/0/bytes",
            "/peers/0/transfers",
            "/peers/0/idle_percent",
            "/peers/0/time_percent/devices",
            "/peers/0/time_percent/idle",
            "/peers/0/time_ns/filling",
            "/peers/0/achieved_depth",
            "/peers/0/latency_ns/p99",
            "/peers/0/died",
            "/peers/0/time_percent/throttled",
            "/sets/0/start_ns",
            "/sets/0/divided/1",
            "/sets/0/done/1",
            "/balance/strategy",
            "/balance/left_out",
            "/balance/messages",
            "/balance/round_trip_ns/p99",
            "/balance/repeated",
            "/balance/repeats_won",
            "/balance/deaths/0/at_ns",
            "/balance/deaths/0/taken_over",
            "/balance/hand_overs/0/at_ns",
            "/balance/hand_overs/0/round_trip_ns",
            "/balance/hand_overs/0/sequence",
            "/balance/hand_overs/0/from",
            "/balance/hand_overs/0/to",
            "/balance/hand_overs/0/transfers",
            "/balance/hand_overs/0/reason",
            "/balance/hand_overs/0/share",
            "/devices/0/path",
            "/devices/0/state",
            "/devices/0/bytes",
            "/devices/0/writes",
            "/devices/0/reads",
            "/devices/0/blocks_damaged",
            "/devices/0/blocks_reconstructed",
            "/latency_ns/p50",
            "/latency_ns/p90",
            "/latency_ns/p99",
            "/latency_ns/p99_9",
            "/latency_ns/max",
            "/latency_ns/mean",
            "/latency_ns/count",
            "/latency_curve/0/1",
            "/ring/device_flags/0",
            "/ring/depth",
            "/ring/iou_workers",
            "/pool/uuid",
            "/pool/chunk_bytes",
            "/notes/0",
            "/environment/kernel",
            "/environment/limits/memlock_bytes",
            "/environment/devices/0/path",
        ] {
            assert!(json.pointer(pointer).is_some(), "{pointer} is missing");
        }
        assert_eq!(json["kind"], "offload");
        assert_eq!(json["throughput_bytes_per_s"], 2_147_483_648u64);
        assert_eq!(json["balance"]["strategy"], "measured");
        assert_eq!(json["peers"][0]["idle_percent"], 2.5);
        let percent = json["peers"][0]["time_percent"].as_object().expect("an object");
        let tenths: f64 = percent.values().map(|value| (value.as_f64().expect("a number") * 10.0).round()).sum();
        assert_eq!(tenths, 1000.0);
    }
}
