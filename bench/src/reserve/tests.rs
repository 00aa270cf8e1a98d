//! The model against the figures that a model in floating point gives, and against itself.

use super::*;

fn epoch(millis: u64, booking: Booking) -> Rule {
    Rule::Epoch { length: Nanos::from_millis(millis), booking }
}

fn one(scenario: &Scenario, rule: Rule, situations: &[Situation]) -> Outcome {
    let contender = Contender { name: "one".to_owned(), rule };
    simulate(scenario, &[contender], situations).pop().expect("one contender")
}

#[test]
fn the_known_comparison_ends_as_the_reference_says() {
    // Link use, the high class's p99 in milliseconds, and the error of the shares, of a model that shares nothing with
    // this one. `tags` may be better.
    #[rustfmt::skip]
    let rows = [
        ("epoch, 2 s",                          [(43.2, 2663), (68.6, 2595), (29.2, 46)],   4.1),
        ("epoch, 0.5 s",                        [(51.5, 786),  (68.4, 684),  (10.1, 20)],   36.0),
        ("epoch, 2 s, lending",                 [(95.9, 3901), (95.9, 3892), (99.9, 2173)], 4.1),
        ("epoch, 0.1 s, lending, carried over", [(95.5, 658),  (98.9, 577),  (65.1, 107)],  0.0),
        ("tags, 128 MB window",                 [(100.0, 514), (100.0, 509), (100.0, 357)], 0.0),
        ("tags, 64 MB window",                  [(100.0, 352), (100.0, 256), (100.0, 191)], 0.0),
        ("tags, 16 MB window, 4 MB quanta",     [(100.0, 343), (100.0, 256), (100.0, 64)],  0.0),
    ];
    let cells = known(1, Nanos::from_secs(2000));
    let mut wrong = Vec::new();
    for (name, wants, isolation) in rows {
        for (cell, (use_percent, p99_ms)) in cells.iter().zip(wants) {
            let is_it = |outcome: &&Outcome| outcome.contender.name == name;
            let outcome = cell.outcomes.iter().find(is_it).expect("a row of the table");
            let have_use = outcome.link_use_percent.expect("simulated");
            let have_p99 = outcome.flood.expect("simulated").p99 as f64 / 1e6;
            let have_error = outcome.isolation.expect("simulated").error.run;
            let ratio = have_p99 / f64::from(p99_ms);
            // The chance of when requests come moves the tail by some percent.
            let is_slower = ratio > 1.0 + TOLERANCE;
            let is_faster = ratio < 1.0 - TOLERANCE && outcome.contender.rule.scheme() != "tags";
            if (have_use - use_percent).abs() > 3.0 || is_slower || is_faster || (have_error - isolation).abs() > 0.5 {
                wrong.push(format!("{name}, {}: {have_use:.1} %, {have_p99:.0} ms, {have_error:.1} %", cell.title));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn tags_hold_what_the_others_do_not() {
    let scenario = Scenario { runtime: Nanos::from_secs(60), ..Scenario::default() };
    let tags = one(&scenario, Rule::Tags { window: 1 << 20, cut: None }, &Situation::ALL);
    let none = one(&scenario, Rule::None, &Situation::ALL);
    let epoch = one(&scenario, epoch(2000, Booking::Off), &Situation::ALL);
    let ratio =
        |outcome: &Outcome| outcome.flood.expect("simulated").p99 as f64 / outcome.alone.expect("simulated").p99 as f64;
    assert!(ratio(&tags) < 3.0 && ratio(&none) > 15.0 && ratio(&epoch) > 15.0);
    assert!(tags.link_use_percent >= Some(99.0) && epoch.link_use_percent < Some(60.0));
    let error = |outcome: &Outcome| outcome.isolation.expect("simulated").error.ms100;
    let one_request = tags.isolation.expect("simulated").one_request.ms100;
    assert!(error(&tags) <= one_request.max(1.0), "{} of {one_request}", error(&tags));
    assert!(error(&none) > 50.0 && error(&epoch) > 50.0);
    let back = |outcome: &Outcome| outcome.snap_back.expect("simulated").mean;
    assert!(back(&tags) < Nanos::from_millis(20) && back(&epoch) > Nanos::from_millis(500));
    assert!(back(&none) >= scenario.phase, "it never gets its share");
    assert!(tags.many.expect("simulated").error.run < 1.0);
}

#[test]
fn a_run_is_a_function_of_its_arguments() {
    let scenario = Scenario { runtime: Nanos::from_secs(20), ..Scenario::default() };
    let without_time =
        |scenario: &Scenario, rule| Outcome { decision_ns: None, ..one(scenario, rule, &Situation::ALL) };
    for rule in [Rule::None, epoch(500, Booking::Ahead), Rule::Tags { window: 1 << 20, cut: Some(65_536) }] {
        assert_eq!(without_time(&scenario, rule), without_time(&scenario, rule));
        let other = Scenario { seed: 2, ..scenario.clone() };
        assert_ne!(without_time(&scenario, rule), without_time(&other, rule));
    }
}

#[test]
fn requests_are_neither_lost_nor_made_on_either_kind_of_link() {
    for service in [Service::Sharing, Service::Fifo] {
        let scenario = Scenario { service, runtime: Nanos::from_secs(20), ..Scenario::default() };
        for rule in [Rule::None, epoch(2000, Booking::Off), Rule::Tags { window: 4 << 20, cut: None }] {
            let load = Load::new(&scenario, Situation::Backlogged, None);
            let record = model::run(&scenario, rule, &load);
            let bytes: u64 = record.ended.iter().map(|ended| ended.bytes).sum();
            let carried = record.busy.0 as f64 * scenario.link as f64 / 1e9;
            // Requests that are in flight at the one end and not at the other.
            let open = (3 * scenario.depth as u64 * scenario.request) as f64;
            assert!((bytes as f64 - carried).abs() <= open, "{service:?} {rule:?}: {bytes} of {carried}");
            assert!(record.ended.is_sorted_by_key(|ended| ended.at));
        }
    }
}

#[test]
fn reports_have_what_their_readers_rely_on() {
    let scenario = Scenario { runtime: Nanos::from_secs(20), ..Scenario::default() };
    let contender = Contender { name: "tags".to_owned(), rule: Rule::Tags { window: 1 << 20, cut: None } };
    let outcomes = simulate(&scenario, std::slice::from_ref(&contender), &Situation::ALL);
    let json = to_json(&scenario, &outcomes);
    for pointer in [
        "/kind",
        "/arguments/link_bytes_per_s",
        "/arguments/weights/2",
        "/arguments/runtime_ns",
        "/schemes/0/scheme",
        "/schemes/0/link_use_percent",
        "/schemes/0/isolation_error_percent/ms10",
        "/schemes/0/isolation_error_percent/ms100",
        "/schemes/0/isolation_error_percent/ms1000",
        "/schemes/0/one_request_percent/ms100",
        "/schemes/0/high_latency_ns/alone/p99",
        "/schemes/0/high_latency_ns/flood/p99_9",
        "/schemes/0/high_p99_ratio",
        "/schemes/0/snap_back_ns",
        "/schemes/0/many/isolation_error_percent/ms1000",
        "/schemes/0/cpu_ns_per_decision",
    ] {
        assert!(json.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer} is missing");
    }
    assert_eq!((&json["schemes"][0]["scheme"], &json["kind"]), (&"tags".into(), &"reserve-simulation".into()));
    let svg = to_svg(&scenario, &outcomes).expect("a class came and went");
    assert!(svg.contains("tags") && svg.ends_with("</svg>\n") && !svg.contains("<script"));

    let outcomes = simulate(&scenario, &[contender], &[Situation::Backlogged]);
    assert!(to_json(&scenario, &outcomes)["schemes"][0]["link_use_percent"].is_null());
    assert!(to_table(&scenario, &outcomes).contains(" - "), "what was left out is not a zero");
    assert_eq!(to_svg(&scenario, &outcomes), None);
}

const TOLERANCE: f64 = 0.1;
