use serde_json::{Value, json};

use super::to_html;

/// A report of two peers on two devices, with intervals.
fn report() -> Value {
    let latencies = |scale: u64| json!({ "count": 1000, "mean": 20 * scale, "p50": 10 * scale, "p90": 20 * scale, "p99": 50 * scale, "p99_9": 90 * scale, "max": 400 * scale });
    let interval = |second: u64| {
        json!({ "from_ns": second * 1_000_000_000, "to_ns": (second + 1) * 1_000_000_000, "bytes": 8 << 20,
                "operations": [1000, 2000 + second], "bytes_by_peer": [3 << 20, 5 << 20], "write": latencies(1000 + second) })
    };
    let peer = |index: u64| {
        json!({ "core": index, "devices": [index],
                "time_percent": { "devices": 61.5, "kernel": 30.0, "turn": 8.5, "idle": 0.0 } })
    };
    json!({
        "jobs": [{ "jobname": "nightly <1>", "job options": { "rw": "randwrite", "bs": "4096", "iodepth": "32" } }],
        "bireme": {
            "kind": "device", "rw": "randwrite", "operations_per_s": 3001.5, "throughput_bytes_per_s": 8_388_608.0,
            "elapsed_ns": 5_000_000_000u64, "depth_mean": 31.2, "depth_asked": 64, "cpu_ns_per_operation": 812.0,
            "verdict": "device-bound", "verdict_sentence": "device-bound: the peers mostly waited for the devices",
            "steady": { "sentence": "steady: slope 1.0 of 10.0 %", "reached_ns": 3 },
            "directions": { "write": { "operations": 15000, "service_ns": latencies(1000), "response_ns": latencies(1200),
                                       "service_curve": [[0.0, 900], [50.0, 10_000], [99.0, 50_000], [99.9, 400_000]] } },
            "intervals": (0..5).map(interval).collect::<Vec<_>>(), "peers": [peer(0), peer(1)],
            "configuration": ["io_uring, O_DIRECT"], "notes": ["a <note> & more"],
            "environment": { "kernel": "6.18", "cpu": "A CPU", "cpus": 2, "cores": [{ "core": 0, "numa_node": 0 }],
                             "devices": [{ "path": "/dev/a", "bytes": 1 << 30 }, { "path": "/dev/b\"><script>", "model": "M" }],
                             "command": ["bench-device", "/dev/a", "--name", "it's <b>"], "time": "2026-11-22T00:00:00Z" }
        }
    })
}

#[test]
fn the_page_has_every_part_and_nothing_that_runs_or_is_fetched() {
    let page = to_html(&report());
    for part in [
        "<h1>randwrite of 4 KiB</h1>",
        "nightly &lt;1&gt;",
        "3,002",
        "device-bound",
        "The peers mostly waited for the devices. The peers waited for devices 61.5\u{a0}% of their time, were in the kernel 30.0\u{a0}%",
        "Steady: slope 1.0 of 10.0 %.",
        "Operations per second",
        "peer 1",
        "/dev/a</li>",
        "Latency by percentile",
        "99.9 %",
        "Latency over time",
        "width:61.5%",
        "Configuration in effect",
        "a &lt;note&gt; &amp; more",
        "&#39;it&#39;\\&#39;&#39;s &lt;b&gt;&#39;",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    for word in ["<script", "http", "@import", "<img", "url(", "src=", "NaN", "inf\"", "<note>"] {
        assert!(!page.contains(word), "{word}");
    }
    assert_eq!(page.matches("href=").count(), page.matches("href=\"data:,\"").count());
}

#[test]
fn every_tag_that_is_opened_is_closed() {
    let page = to_html(&report());
    for tag in ["main", "section", "div", "ul", "li", "table", "tr", "td", "svg", "p", "dl", "b", "details"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn what_a_report_lacks_is_left_out() {
    for report in
        [json!({}), json!(7), json!({ "bireme": 3 }), json!({ "jobs": [{}], "bireme": { "intervals": [{}, 1] } })]
    {
        let page = to_html(&report);
        assert!(page.ends_with("</html>\n") && !page.contains("<section>") && !page.contains("card\""), "{page}");
    }
    assert!(to_html(&json!({ "bireme": 3, "operations_per_s": 7 })).contains("card\""));
    let offload = json!({ "kind": "offload", "throughput_bytes_per_s": 1u64 << 31, "elapsed_ns": 5_000_000,
        "latency_ns": { "count": 5, "p50": 1, "p90": 2, "p99": 3, "p99_9": 4, "max": 5, "mean": 2 },
        "latency_curve": [[0.0, 1], [50.0, 1], [80.0, 5]],
        "peers": [{ "core": null, "time_percent": { "devices": 90.0, "checksum": 10.0 } }],
        "ring": { "depth": 4, "device_flags": ["SINGLE_ISSUER"] }, "environment": { "kernel": "6.18" } });
    let page = to_html(&offload);
    for part in [
        "<h1>offload</h1>",
        "2048<small> MiB/s</small>",
        "width:90.0%",
        "SINGLE_ISSUER",
        "checksum",
        "Latency by percentile",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(!page.contains("Over time"));
}

#[test]
fn a_sweep_is_drawn_by_rate() {
    let run = |rate: u64, nanos: u64| json!({ "asked_per_s": rate, "achieved_per_s": rate, "p50_ns": nanos, "p99_ns": 3 * nanos, "p99_9_ns": 9 * nanos });
    let closed = json!({ "asked_per_s": null, "achieved_per_s": 40_000, "p50_ns": 7 });
    let sweep = json!({ "kind": "sweep", "rw": "randread", "best_per_s": 20_000.0,
        "runs": [closed, run(30_000, 9_000_000), run(10_000, 100_000), run(20_000, 200_000)] });
    let page = to_html(&sweep);
    for part in
        ["<h1>sweep of randread</h1>", "Response time by rate", "knee: 20,000 per second", "<th>30,000</th>", "900 µs"]
    {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    assert!(!page.contains("40,000") && page.find("<th>10,000</th>") < page.find("<th>20,000</th>"));
}

#[test]
fn a_ladder_is_drawn_rung_by_rung() {
    let rung = |name: &str, rate: u64, cpu: u64| {
        json!({ "name": name, "throughput_bytes_per_s": rate, "operations_per_s": rate / 4096, "cpu_ns_per_operation": cpu,
            "p99_ns": null, "written_per_byte": 1.25, "memory_per_byte": null,
            "rounds": [{ "time_ns": if name == "parity" { json!({ "devices": 75, "parity": 25 }) } else { json!(null) } }] })
    };
    let ladder = json!({ "kind": "ladder", "request_bytes": 4096, "memory_bytes_per_s": 2e9,
        "rungs": [rung("bare <ring>", 8_192_000, 100), rung("parity", 4_096_000, 400)] });
    let page = to_html(&ladder);
    for part in [
        "<h1>what each layer costs</h1>",
        "bare &lt;ring&gt;",
        "of 4 KiB of data",
        "width:50.0%",
        "width:25.0%",
        "width:75.0%",
        "<td>2,000</td>",
        "<td>0.500</td>",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
}

#[test]
fn a_report_of_fio_is_drawn_too() {
    let clat = json!({ "N": 100, "max": 900, "mean": 20.5, "percentile": { "50.000000": 10, "90.000000": 20, "99.000000": 50, "99.900000": 80 } });
    let page = to_html(
        &json!({ "fio version": "fio-3.33", "jobs": [{ "jobname": "j", "job options": { "rw": "read", "bs": "4k" },
        "read": { "iops": 1234.5, "bw_bytes": 5_000_000, "total_ios": 100, "clat_ns": clat } }] }),
    );
    for part in ["fio-3.33", "<h1>read of 4k</h1>", "1,234", "Latency by percentile", "j, read"] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
}

#[test]
fn any_number_of_peers_has_a_page() {
    let mut report = report();
    for peers in [1u64, 9, 256] {
        report["bireme"]["peers"] =
            (0..peers).map(|index| json!({ "core": index, "time_percent": { "idle": 100.0 } })).collect();
        for moment in report["bireme"]["intervals"].as_array_mut().expect("a list") {
            moment["operations"] = (0..peers).collect();
            moment["bytes_by_peer"] = (0..peers).collect();
        }
        let page = to_html(&report);
        assert_eq!(page.contains("slowest peer"), peers > 8);
        assert!(!page.contains("NaN"));
    }
}

#[test]
fn each_job_of_a_file_has_all_that_a_run_has() {
    let one = report();
    let sweep = json!({ "kind": "sweep", "rw": "randread", "best_per_s": 2.0,
        "runs": [{ "asked_per_s": 10, "achieved_per_s": 10, "p50_ns": 7, "p99_ns": 8, "p99_9_ns": 9 }] });
    let job = |name: &str| {
        let mut job = one["jobs"][0].clone();
        job["jobname"] = json!(name);
        job
    };
    let page = to_html(&json!({ "jobs": [job("first <1>"), job("last")],
        "bireme": { "kind": "device-jobs", "jobs": [one["bireme"], sweep, one["bireme"]] } }));
    for part in ["<h1>3 jobs</h1>", "<title>3 jobs: first &lt;1&gt;, job 2, last</title>", "sweep of randread"] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    for (part, times) in [
        ("Over time</h2>", 2),
        ("Latency by percentile</h2>", 2),
        ("All jobs: latency by percentile</h2>", 1),
        ("Latency over time</h2>", 2),
        ("Where the peers' time went</h2>", 2),
        ("Configuration in effect</h2>", 2),
        ("Environment</h2>", 1),
        ("class=\"verdict", 2),
        ("<article id=\"job-2\">", 1),
        ("href=\"#job-2\"", 1),
    ] {
        assert_eq!(page.matches(part).count(), times, "{part}");
    }
    for tag in ["article", "section", "table", "tr", "th", "div", "svg", "small"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(!page.contains("NaN") && !page.contains("first <1>"));
    // Links lead to places of this page.
    let inside = page.matches("href=\"#job-").count() + page.matches("href=\"data:,\"").count();
    assert_eq!((page.matches("href=").count(), inside), (4, 4));
}

#[test]
fn a_rebuild_beside_is_drawn_with_the_p99_that_it_gives_way_at() {
    let mut report = report();
    let plain = to_html(&report);
    assert!(!plain.contains("rebuild beside") && !plain.contains("line target"));
    report["bireme"]["rebuild"] = json!({ "p99_target_ns": 40_000 });
    report["bireme"]["intervals"][2]["mended_bytes"] = json!(64 << 20);
    let page = to_html(&report);
    assert!(page.contains("rebuild beside: 64") && page.contains("line target"), "the rate and the target");
}
