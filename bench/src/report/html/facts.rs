//! How it was measured: the configuration in effect, the machine, the devices, and the command line.

use serde_json::Value;

use super::source::Source;
use super::text::escape;
use crate::size;

/// What is said of one run only.
pub(super) fn of_one(source: &Source<'_>) -> String {
    let notes: String = source
        .list("/notes")
        .iter()
        .filter_map(Value::as_str)
        .map(|note| format!("<li>{}</li>\n", escape(note)))
        .collect();
    let notes =
        if notes.is_empty() { notes } else { format!("<section>\n<h2>Notes</h2>\n<ul>\n{notes}</ul></section>\n") };
    format!("{notes}{}{}", configuration(source), devices(source))
}

/// What all runs of a report have in common: the last sections of the page.
pub(super) fn of_all(source: &Source<'_>) -> String {
    format!("{}{}", environment(source), command(source))
}

fn configuration(source: &Source<'_>) -> String {
    let lines = source.list("/configuration").iter().filter_map(Value::as_str);
    let lines: String = lines.map(|line| format!("<li>{}</li>\n", escape(line))).collect();
    let lines = if lines.is_empty() { lines } else { format!("<ul>\n{lines}</ul>\n") };
    let options = source.jobs().first().map_or(&Value::Null, |job| &job["job options"]);
    let pairs: Vec<(String, String)> =
        [options, &source.own["ring"], &source.own["pool"]].into_iter().flat_map(pairs_of).collect();
    if lines.is_empty() && pairs.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>Configuration in effect</h2>\n{lines}{}</section>\n", list(&pairs))
}

fn environment(source: &Source<'_>) -> String {
    let Some(environment) = source.own["environment"].as_object() else { return String::new() };
    let mut pairs = Vec::new();
    for (name, label) in [
        ("cpu", "processor"),
        ("cpus", "processors usable"),
        ("kernel", "kernel"),
        ("version", "Bireme"),
        ("commit", "commit"),
        ("seed", "seed"),
        ("time", "time"),
    ] {
        pairs.extend(environment.get(name).and_then(plain).map(|text| (label.to_owned(), text)));
    }
    let core = |core: &Value| {
        let node = core["numa_node"].as_u64().map_or(String::new(), |node| format!(" on node {node}"));
        core["core"].as_u64().map(|core| format!("{core}{node}"))
    };
    let cores: Vec<String> = source.list("/environment/cores").iter().filter_map(core).collect();
    if !cores.is_empty() {
        pairs.push(("cores of the peers".to_owned(), cores.join(", ")));
    }
    if let Some(limits) = environment.get("limits") {
        let memlock = limits["memlock_bytes"].as_u64().map_or("unlimited".to_owned(), size::print);
        pairs.push(("memory that may be locked".to_owned(), memlock));
    }
    format!("<section>\n<h2>Environment</h2>\n{}</section>\n", list(&pairs))
}

fn devices(source: &Source<'_>) -> String {
    let devices = source.list("/environment/devices");
    if devices.is_empty() {
        return String::new();
    }
    let cell = |device: &Value, name: &str| match name {
        "bytes" => device[name].as_u64().map(size::print),
        _ => plain(&device[name]),
    };
    // What the kernel tells of none of them has no column.
    let known = |name: &str| devices.iter().any(|device| cell(device, name).is_some());
    let columns: Vec<(&str, &str)> = COLUMNS.into_iter().filter(|(name, _)| known(name)).collect();
    let row = |device: &Value| {
        let text = |name: &str| cell(device, name).unwrap_or_else(|| "–".to_owned());
        let cells: String = columns.iter().map(|(name, _)| format!("<td>{}</td>", escape(&text(name)))).collect();
        format!("<tr><th>{}</th>{cells}</tr>\n", escape(device["path"].as_str().unwrap_or("")))
    };
    let head: String = columns.iter().map(|(_, label)| format!("<th>{label}</th>")).collect();
    let rows: String = devices.iter().map(row).collect();
    format!(
        "<section>\n<h2>Devices</h2>\n<div class=\"scroll\"><table><thead><tr><th></th>{head}</tr></thead><tbody>\n{rows}\
         </tbody></table></div></section>\n"
    )
}

fn command(source: &Source<'_>) -> String {
    let words: Vec<&str> = source.list("/environment/command").iter().filter_map(Value::as_str).collect();
    if words.is_empty() {
        return String::new();
    }
    let quoted = |word: &&str| match word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:,=+%@".contains(c)) {
        true if !word.is_empty() => (*word).to_owned(),
        _ => format!("'{}'", word.replace('\'', r"'\''")),
    };
    let line = words.iter().map(quoted).collect::<Vec<_>>().join(" ");
    format!("<section>\n<h2>Command line</h2>\n<pre>{}</pre></section>\n", escape(&line))
}

fn list(pairs: &[(String, String)]) -> String {
    let each =
        |(name, text): &(String, String)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(text));
    if pairs.is_empty() {
        String::new()
    } else {
        format!("<dl>\n{}</dl>\n", pairs.iter().map(each).collect::<String>())
    }
}

fn pairs_of(object: &Value) -> Vec<(String, String)> {
    let each = |(name, value): (&String, &Value)| Some((name.replace('_', " "), plain(value)?));
    object.as_object().into_iter().flatten().filter_map(each).collect()
}

/// Numbers, words, and lists of them; what is null or made of more is left out.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Array(all) => {
            let words: Vec<String> = all.iter().filter_map(plain).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        _ => None,
    }
}

const COLUMNS: [(&str, &str); 9] = [
    ("kind", "kind"),
    ("bytes", "size"),
    ("logical_block_bytes", "block"),
    ("model", "model"),
    ("firmware", "firmware"),
    ("scheduler", "scheduler"),
    ("queue_depth", "queue depth"),
    ("io_poll", "io_poll"),
    ("write_cache", "write cache"),
];
