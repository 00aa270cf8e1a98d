//! bench-device on files, as those who watch it see it: the line, the metrics port, the page, and the comparison of runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bireme_bench::compare::{self, Verdict};
use bireme_bench::report;
use bireme_dataplane::device::file::scratch;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a file of 16 MiB that stands for a device.
fn device() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = scratch::create(folder.path(), 1, 16 << 20).expect("room for the file").remove(0);
    (folder, path)
}

fn program(device: &Path, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-device"));
    command.arg(device).args(options.split_whitespace());
    command
}

fn run(device: &Path, options: &str) -> Output {
    let output = program(device, options).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is read");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    text
}

/// The sum of all lines that begin like this.
fn sum(text: &str, name: &str) -> u64 {
    let values = text
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

#[test]
fn a_run_is_scraped_while_it_goes_on_and_whoever_hangs_does_not_delay_it() {
    let (_folder, device) = device();
    let options = "--rw randrw --depth 4 --peers 2 --arrival-rate 2k --runtime 2s --interval 100ms --metrics 127.0.0.1:0 \
                   --destroy-data --quiet --json -";
    let mut child = program(&device, options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut told = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut told).expect("a line");
    let address = told.trim().strip_prefix("metrics at http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("no address in '{told}'")).to_owned();
    // They say nothing, or half of something, for as long as the run lasts.
    let silent = TcpStream::connect(&address).expect("somebody listens");
    let mut half = TcpStream::connect(&address).expect("somebody listens");
    half.write_all(b"GET /metr").expect("it is read");
    let first = scrape(&address);
    // When the first interval is over; nobody listens any more when the run is.
    let second = loop {
        let text = scrape(&address);
        if sum(&text, "bireme_operations_total{") > 0 {
            break text;
        }
    };
    let output = child.wait_with_output().expect("it ends");
    drop((silent, half));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [before, after] = [&first, &second].map(|text| sum(text, "bireme_operations_total{"));
    let all = json["bireme"]["operations"].as_u64().expect("a number");
    assert!(before <= after && after <= all && after > 0, "{before}, {after}, {all}");
    assert_eq!(sum(&second, "bireme_moved_bytes_total{"), after * 4096);
    assert_eq!(sum(&second, "bireme_response_time_seconds_count{"), after);
    assert!(second.contains("peer=\"1\",direction=\"write\"") && second.contains("phase=\"measuring\"} 1"), "{second}");
    let elapsed = json["bireme"]["elapsed_ns"].as_f64().expect("a number");
    assert!((2e9..2.5e9).contains(&elapsed), "{elapsed}");
}

#[test]
fn the_line_is_listed_and_silenced() {
    let (_folder, device) = device();
    let told = |more: &str| {
        let output = run(&device, &format!("--rw randread --depth 2 --runtime 2200ms --interval 100ms {more}"));
        String::from_utf8(output.stderr).expect("text")
    };
    let lines = told("");
    let parts = ["of 2.2 s; ", "/s, ", "MiB/s, p99 ", " s left"];
    assert!(
        lines.lines().count() >= 1 && lines.lines().all(|line| parts.iter().all(|part| line.contains(part))),
        "{lines}"
    );
    assert_eq!(told("--quiet"), "");
    assert_eq!(told("--json -"), "");
    let (folder, device) = (TempDir::new().expect("a folder"), &device);
    let jobs = folder.path().join("jobs.toml");
    std::fs::write(&jobs, "[job]\nrw = \"randread\"\nruntime = \"1500ms\"\ninterval = \"100ms\"\n").expect("room");
    let output = run(device, &format!("--job {} --json -", jobs.display()));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "a job file is as quiet as its line");
}

#[test]
fn addresses_of_other_machines_are_refused() {
    let (_folder, device) = device();
    let output = program(&device, "--metrics 0.0.0.0:0").output().expect("it runs");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("other machines"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let output = program(&device, &format!("--metrics 127.0.0.1:{port}")).output().expect("it runs");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("choose another --metrics"));
}

#[test]
fn the_page_is_that_of_the_json_and_runs_are_compared() {
    let (folder, device) = device();
    let [page, file] = ["page.html", "run.json"].map(|name| folder.path().join(name));
    let each = |depth: u32| -> Value {
        let options = format!(
            "--rw randwrite --depth {depth} --runtime 300ms --interval 50ms --destroy-data --quiet --html {} --json {}",
            page.display(),
            file.display()
        );
        run(&device, &options);
        serde_json::from_slice(&std::fs::read(&file).expect("it was written")).expect("JSON")
    };
    let json = each(1);
    let html = std::fs::read_to_string(&page).expect("it was written");
    assert_eq!(html, report::to_html(&json));
    for part in
        ["randwrite of 4 KiB", "Over time", "Latency by percentile", "Latency over time", "time went", "--depth 1"]
    {
        assert!(html.contains(part), "{part} is missing");
    }
    let own = &json["bireme"];
    assert_eq!(own["peers"][0]["devices"], serde_json::json!([0]));
    let last = own["directions"]["write"]["service_curve"].as_array().and_then(|curve| curve.last()).expect("a curve");
    assert_eq!(last[1], own["directions"]["write"]["service_ns"]["max"]);
    let runs = |depth: u32| (0..3).map(|index| (format!("run {index}"), each(depth))).collect::<Vec<_>>();
    let comparison = compare::compare(&runs(1), &runs(64)).expect("runs");
    let p50 = comparison.figures.iter().find(|figure| figure.name == "write p50").expect("a figure");
    assert_eq!((p50.verdict, p50.ratio > 2.0), (Verdict::Slower, true), "{p50:?}");
    assert!(comparison.warnings.iter().any(|warning| warning.contains("iodepth differs: 1 before, 64 now")));
}
