//! Lines that operators may write, and reports of sets that were never written.

use bireme_control::balance::HandOver;
use bireme_control::units::Nanos;
use bireme_dataplane::outcome::{Balance, SetOutcome};
use bireme_dataplane::telemetry::Latencies;
use clap::Parser;

use super::rounds::{Calibration, Comparison, Row, RunFigures};
use super::*;
use crate::balance::arguments;

/// As the program has it.
#[derive(Debug, Parser)]
struct Line {
    #[arg(long)]
    simulate: bool,
    #[arg(long, value_delimiter = ',', value_parser = arguments::parse_contender)]
    strategies: Vec<Contender>,
    #[arg(long)]
    sets: Option<u16>,
    #[arg(long)]
    flip: Option<u16>,
    #[command(flatten)]
    options: Options,
}

fn plan(line: &str) -> Result<Plan, String> {
    let line = format!("bench-balance {line}");
    let Line { strategies, sets, flip, options, .. } =
        Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    let increment = Permille::new(50).expect("a share");
    let minimum = Minimum::Transfers(1);
    options.plan(&Common { contenders: strategies, sets, flip, depth: None, minimum, increment })
}

#[test]
fn a_plan_is_read_with_its_defaults() {
    let plan = plan("/a /b --destroy-data --peer-rate 1=40MiB/s,0=1MiB --throttle-peer 1=2MiB --cores 1,0 --flip 2");
    let plan = plan.expect("a good line");
    assert_eq!((plan.transfers(), plan.sets, plan.peers, plan.rounds, plan.pairs), (1024, 10, 2, 1, None));
    assert_eq!((plan.rates, plan.caps), (vec![Some(1 << 20), Some(40 << 20)], vec![None, Some(2 << 20)]));
    assert_eq!((plan.capped_device, plan.cores, plan.flip), (PathBuf::from("/a"), vec![1, 0], Some(2)));
    assert_eq!(plan.contenders.last(), Some(&Contender::Measured));
    assert!(!plan.contenders.contains(&Contender::Fixed), "the calibrations show it");
}

#[test]
fn what_cannot_be_measured_is_answered_with_what_to_write() {
    #[rustfmt::skip]
    let cases = [
        ("/a",                                                           "permit it with --destroy-data"),
        ("--size 1GiB --destroy-data",                                   "name devices"),
        ("--size 1GiB --simulate",                                       "cannot be used with"),
        ("/a --simulate --destroy-data",                                 "cannot be used with"),
        ("/a --destroy-data --size 15MiB",                               "has 15 transfers, and 2 peers need 16"),
        ("/a --destroy-data --page 0",                                   "has 0 transfers"),
        ("/a --destroy-data --peer-rate 2=1MiB",                         "--peer-rate names peer 2, but the last one is 1"),
        ("/a --destroy-data --throttle-peer 2=1MiB",                     "--throttle-peer names peer 2"),
        ("/a --destroy-data --compete 2",                                "--compete names peer 2"),
        ("/a --destroy-data --peers 1",                                  "is not in 2.."),
        ("/a --destroy-data --cores 1,1",                                "names a core twice"),
        ("/a --destroy-data --throttle-peer 1=1MiB --throttle-device /b", "none of the devices"),
        ("/a --destroy-data --throttle-device /a",                       "--throttle-peer"),
        ("/a --destroy-data --sets 3 --flip 4 --peer-rate 1=1MiB",       "no set 4 to flip in: raise --sets (3)"),
        ("/a --destroy-data --flip 4",                                   "they have none"),
        ("/a --destroy-data --peers 3 --flip 4 --peer-rate 2=1MiB",      "they have none"),
        ("/a --destroy-data --flip 4 --peer-rate 1=1MiB --compete 1",    "--compete to another core"),
        ("/a --destroy-data --pairs 6",                                  "compares two strategies"),
        ("/a --destroy-data --pairs 6 --strategies pull",                "compares two strategies"),
        ("/a --destroy-data --pairs 6 --strategies pull,measured --flip 1 --peer-rate 1=1MiB", "no meaning with --pairs"),
    ];
    for (line, want) in cases {
        let error = plan(line).expect_err(line);
        assert!(error.contains(want), "{line}: {error}");
    }
}

#[test]
fn devices_that_are_not_there_are_named() {
    let options = ["x", "/nonexistent/device", "--destroy-data"];
    let line = Line::try_parse_from(options).expect("a good line");
    let common = Common {
        contenders: Vec::new(),
        sets: None,
        flip: None,
        depth: None,
        minimum: Minimum::Transfers(1),
        increment: Permille::default(),
    };
    assert!(measure(&line.options, &common).expect_err("absent").contains("/nonexistent/device"));
}

fn set(done: [u64; 2], finished_millis: [u64; 2]) -> SetOutcome {
    let finished = finished_millis.map(Nanos::from_millis);
    SetOutcome {
        write: finished[0].max(finished[1]),
        done: done.to_vec(),
        finished: finished.to_vec(),
        ..SetOutcome::default()
    }
}

/// Two rounds at four to one; the second ends each set later.
fn comparison(plan: &Plan) -> Comparison {
    let fixed = [set([512, 512], [1280, 5120])];
    let calibration = Calibration::new(plan, &fixed, &fixed).expect("speeds");
    let mut balance = Balance { messages: 8, repeated: 2, repeats_won: 1, ..Balance::default() };
    [700, 900, 70_000].into_iter().for_each(|nanos| balance.round_trip.record(Nanos(nanos)));
    let hand_over = |transfers| HandOver {
        at: Nanos::ZERO,
        round_trip: Nanos::ZERO,
        sequence: 0,
        from: PeerId(0),
        to: PeerId(1),
        transfers,
        reason: bireme_control::balance::Reason::Dry,
        share: Permille::default(),
    };
    balance.hand_overs = vec![hand_over(3), hand_over(0)];
    let run = |late: u64| {
        let sets = [set([800, 224], [2253, 2000]), set([819, 205], [2050 + late, 1025])];
        RunFigures::new(plan, &calibration, &sets, &balance)
    };
    let rows = vec![Row { contender: Contender::Measured, runs: vec![run(0), run(40)] }];
    Comparison { calibrations: vec![calibration.clone(), calibration.clone()], rows }
}

#[test]
fn makespans_are_compared_with_the_ideal_of_the_calibrations() {
    let plan = plan("/a --destroy-data --sets 2 --peer-rate 1=1MiB --flip 2").expect("a good line");
    let environment = Environment::gather(&[], &[] as &[Value], None);
    let (table, json) = comparison(&plan).print(&plan, &environment);
    assert!(table.contains("peers write 400 MiB/s, 100 MiB/s; ideal 2050.0 ms\n"), "{table}");
    // The first set ends 203 ms late in both rounds, the second on time and 40 ms late; the flip makes its ideal
    // 1.2 ms shorter, as what is under way goes on faster.
    let over = &json["strategies"][0]["over_percent"];
    let close = |value: &Value, want: f64| (value.as_f64().expect("a number") - want).abs() < 0.01;
    assert!(close(&over["cold"], 9.9) && close(&over["median"], 1.04) && close(&over["worst"], 1.04), "{over}");
    assert!(table.contains("Over by set, %     1  2 (flip)\n  measured      9.90      1.04\n"), "{table}");
    let idle = &json["strategies"][0]["idle_percent"];
    assert!(close(&idle[0], 0.0) && close(&idle[1], 100.0 * 2596.0 / 8646.0), "{idle}");
    let strategy = &json["strategies"][0];
    // Peer 1 idles for 1025 of 2050 ms, and for 1065 of 2090; since the flip it is the fast one.
    assert!(close(&strategy["lost_percent"], 100.0 * (1025.0 / 2050.0 + 1065.0 / 2090.0) / 2.0 * 0.8), "{strategy}");
    let lost = &strategy["rounds"][0]["sets"][0]["lost_percent"];
    assert!(close(lost, 100.0 * 253.0 / 2253.0 * 0.2), "before the flip it is the slow one: {lost}");
    assert_eq!(
        (&strategy["messages_per_set"], &strategy["hand_overs_per_set"]),
        (&Value::from(4.0), &Value::from(0.5))
    );
    let repeats = (&strategy["repeats_per_set"], &strategy["repeats_won_per_set"]);
    assert_eq!(repeats, (&Value::from(1.0), &Value::from(0.5)));
    assert_eq!(strategy["round_trip_ns"]["count"], 6);
    let buckets = serde_json::json!([{ "up_to_ns": 1024, "count": 4 }, { "up_to_ns": 131_072, "count": 2 }]);
    assert_eq!(strategy["round_trips"], buckets);
    assert!(table.contains("1.0: 4, 131.1: 2"), "{table}");
    assert_eq!((&json["kind"], &json["calibrations"][0]["speeds"][0]), (&"balance-live".into(), &Value::from(400.0)));
    assert!(close(&json["calibrations"][0]["sets"][0]["over_percent"], 100.0 * (5120.0 / 2050.0 - 1.0)));
}

#[test]
fn a_noisy_machine_is_reported() {
    let plan = plan("/a --destroy-data --sets 1").expect("a good line");
    let (before, after) = ([set([512, 512], [1280, 5120])], [set([512, 512], [1280, 5400])]);
    let noisy = Calibration::new(&plan, &before, &after).expect("speeds");
    let environment = Environment::gather(&[], &[] as &[Value], None);
    let quiet = comparison(&plan).print(&plan, &environment).0;
    let comparison = Comparison { calibrations: vec![noisy], ..comparison(&plan) };
    assert!(comparison.print(&plan, &environment).0.contains("differ by 5.5 %"));
    assert!(!quiet.contains("differ"), "{quiet}");
}

#[test]
fn an_empty_histogram_is_no_row() {
    let rows = [("pull", Latencies::new())];
    assert_eq!(report::hand_over_table(rows.into_iter()).lines().count(), 1);
}
