//! What else differs between two sets of runs: another machine or another job makes another figure.

use serde_json::Value;

use super::Run;

/// Sentences, one for each thing that differs.
pub(super) fn between(base: &[Run], new: &[Run]) -> Vec<String> {
    let mut sentences = Vec::new();
    for (name, read) in FACTS {
        let values = |runs: &[Run]| {
            let mut values: Vec<String> = runs.iter().filter_map(|(_, report)| read(report)).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let (before, after) = (values(base), values(new));
        // What one side does not tell is not known to differ.
        if !before.is_empty() && !after.is_empty() && before != after {
            sentences.push(format!("{name} differs: {} before, {} now", before.join(" and "), after.join(" and ")));
        } else if before.len() > 1 {
            sentences.push(format!("{name} differs among the runs of each side: {}", before.join(" and ")));
        }
    }
    let ours = base.iter().chain(new).filter(|(_, report)| own(report)["kind"].is_string()).count();
    if ours > 0 && ours < base.len() + new.len() {
        sentences.push(
            "one side is of fio: its CPU time leaves out the kernel's workers, and its latencies count from the submission"
                .to_owned(),
        );
    }
    sentences
}

type Fact = (&'static str, fn(&Value) -> Option<String>);

const FACTS: [Fact; 14] = [
    ("the kind of run", |report| text(own(report), "kind")),
    ("rw", |report| text(own(report), "rw").or_else(|| option(report, "rw")).or_else(|| option(report, "readwrite"))),
    ("bs", |report| option(report, "bs").or_else(|| option(report, "blocksize")).map(|text| bytes(&text))),
    ("iodepth", |report| option(report, "iodepth")),
    ("numjobs", |report| option(report, "numjobs")),
    ("rwmixread", |report| {
        let mixed = option(report, "rw").is_some_and(|rw| rw.ends_with("rw"));
        option(report, "rwmixread").filter(|_| mixed)
    }),
    ("depth and flushing", |report| {
        let own = own(report);
        Some(format!("depth {}, flush after {}", own["depth"].as_u64()?, own["flush_every"]))
    }),
    ("the arrival rate", |report| own(report)["asked_per_s"].as_f64().map(|rate| rate.to_string())),
    ("the state of the array", |report| text(own(report), "state")),
    ("the processor", |report| text(environment(report), "cpu")),
    ("the number of processors", |report| environment(report)["cpus"].as_u64().map(|cpus| cpus.to_string())),
    ("the kernel", |report| text(environment(report), "kernel")),
    ("the cores of the peers", |report| {
        let cores: Vec<String> =
            environment(report)["cores"].as_array()?.iter().map(|core| core["core"].to_string()).collect();
        (!cores.is_empty()).then(|| cores.join(","))
    }),
    ("the devices", |report| {
        let device = |device: &Value| {
            let model = device["model"].as_str().map_or(String::new(), |model| format!(" {model}"));
            format!("{}{model} of {} bytes", device["path"].as_str().unwrap_or("?"), device["bytes"])
        };
        let all: Vec<String> = environment(report)["devices"].as_array()?.iter().map(device).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }),
];

fn own(report: &Value) -> &Value {
    report.get("bireme").unwrap_or(report)
}

fn environment(report: &Value) -> &Value {
    &own(report)["environment"]
}

fn text(object: &Value, name: &str) -> Option<String> {
    object[name].as_str().map(str::to_owned)
}

/// A job's own option, or that of all jobs.
fn option(report: &Value, name: &str) -> Option<String> {
    text(&report["jobs"][0]["job options"], name).or_else(|| text(&report["global options"], name))
}

/// fio's sizes: a letter counts in 1024s.
fn bytes(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    let (number, factor) = match lower.trim_end_matches('b').trim_end_matches('i') {
        number if number.ends_with('k') => (number.trim_end_matches('k').to_owned(), 1u64 << 10),
        number if number.ends_with('m') => (number.trim_end_matches('m').to_owned(), 1 << 20),
        number if number.ends_with('g') => (number.trim_end_matches('g').to_owned(), 1 << 30),
        number => (number.to_owned(), 1),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.map_or_else(|| text.to_owned(), |bytes| bytes.to_string())
}
