//! The ladder for people and for programs.

use bireme_control::raid::geometry::Geometry;
use bireme_control::units::Nanos;
use bireme_dataplane::telemetry::State;
use serde_json::{Value, json};

use super::rungs::Rung;
use super::{Climbed, Ladder, Step};
use crate::report::{self, Columns};
use crate::size;
use crate::versus::interval::median;

/// For people.
pub(super) fn to_table(ladder: &Ladder<'_>) -> String {
    let options = ladder.options;
    let request = size::print(options.request);
    let heading = format!("Writes of {request}");
    let mut columns = Columns::new(&[
        &heading,
        "operations/s",
        "rate",
        "of bare",
        "CPU/op",
        "more CPU",
        "p99",
        "written/B",
        "memory/B",
    ]);
    let bare = ladder.climbed.first().map_or(0.0, Climbed::rate);
    let mut below = None;
    for one in &ladder.climbed {
        let cpu = one.cpu_per_operation(options.request);
        columns.row(vec![
            one.rung.name().to_owned(),
            format!("{:.0}", one.rate() / options.request as f64),
            size::print_rate(one.rate()),
            format!("{:.3}", one.rate() / bare),
            time(cpu),
            below.map_or(String::new(), |below: f64| signed(cpu - below)),
            one.p99().map_or("-".to_owned(), |p99| p99.to_string()),
            one.written().map_or("-".to_owned(), |written| format!("{written:.2}")),
            one.memory(ladder.geometry.as_ref()).map_or("-".to_owned(), |bytes| format!("{bytes:.2}")),
        ]);
        below = Some(cpu);
    }
    let mut text =
        format!("The ladder: {} a rung, medians of {} rounds\n\n", size::print(options.size), options.rounds);
    text += &columns.print();
    text += "\n  CPU/op: CPU time of the whole process for each request's worth of data; the kernel's own threads are left out\n";
    text += "  written/B: what the kernel gave to the devices for each byte of data, as it counts it\n";
    text += "  memory/B: bytes that the CPU and the devices read and write in memory for each byte of data, computed\n";
    text += &shares(ladder);
    text += &left(ladder);
    text.push('\n');
    text += &report::paragraphs("Environment", &report::surroundings(&ladder.environment));
    text
}

/// Where the peers' time went on the rungs that are data sets.
fn shares(ladder: &Ladder<'_>) -> String {
    let shown = [State::Devices, State::Kernel, State::Filling, State::Checksum, State::Parity, State::Turn];
    let headings = std::iter::once("Peers' time in %").chain(shown.map(report::heading));
    let mut columns = Columns::new(&headings.collect::<Vec<_>>());
    let mut any = false;
    for one in &ladder.climbed {
        let Some(times) = one.steps.last().and_then(|step| step.times.as_ref()) else { continue };
        let all = times.percent_tenths();
        let tenths = shown.map(|state| all.iter().find(|(other, _)| *other == state).map_or(0, |(_, tenths)| *tenths));
        let cells = tenths.map(|tenths| format!("{}.{}", tenths / 10, tenths % 10));
        columns.row(std::iter::once(one.rung.name().to_owned()).chain(cells).collect());
        any = true;
    }
    if any { format!("\n{}", columns.print()) } else { String::new() }
}

/// The ceilings, and how far below them the highest rungs are.
fn left(ladder: &Ladder<'_>) -> String {
    let bare = ladder.climbed.first().map_or(0.0, Climbed::rate);
    let mut text = format!(
        "\nCeilings: devices {} (bare ring), memory {} (copied by {} threads, read and written)\n",
        size::print_rate(bare),
        size::print_rate(ladder.memory),
        ladder.options.peers,
    );
    for one in &ladder.climbed {
        let useful = match (one.rung, ladder.geometry.as_ref()) {
            (Rung::Stripe, _) => 1.0,
            (Rung::Parity | Rung::Volume, Some(geometry)) => useful(geometry),
            _ => continue,
        };
        let of_memory = one.memory(ladder.geometry.as_ref()).map_or(0.0, |bytes| one.rate() * bytes / ladder.memory);
        text += &format!(
            "  {}: {:.1} % of what the devices leave for data at this level, {:.1} % of the memory\n",
            one.rung.name().trim_start_matches("+ "),
            one.rate() / (bare * useful) * 100.0,
            of_memory * 100.0,
        );
    }
    text
}

/// The part of what is written that is data.
fn useful(geometry: &Geometry) -> f64 {
    let (members, parities) = (f64::from(geometry.members()), f64::from(geometry.parities()));
    (members - parities) / members
}

/// For programs; `bench/docs/json.md` explains it.
pub(super) fn to_json(ladder: &Ladder<'_>) -> Value {
    let options = ladder.options;
    let step = |step: &Step| {
        json!({
            "bytes": step.bytes,
            "elapsed_ns": step.elapsed,
            "cpu_ns": step.cpu,
            "p99_ns": step.p99,
            "written_per_byte": step.written,
            "time_ns": step.times,
        })
    };
    let rung = |one: &Climbed| {
        json!({
            "name": one.rung.name().trim_start_matches("+ "),
            "throughput_bytes_per_s": one.rate(),
            "operations_per_s": one.rate() / options.request as f64,
            "cpu_ns_per_operation": one.cpu_per_operation(options.request),
            "p99_ns": one.p99(),
            "written_per_byte": one.written(),
            "memory_per_byte": one.memory(ladder.geometry.as_ref()),
            "rounds": one.steps.iter().map(step).collect::<Vec<_>>(),
        })
    };
    json!({
        "kind": "ladder",
        "request_bytes": options.request,
        "bytes": options.size,
        "depth": options.depth,
        "peers": options.peers,
        "raid": options.raid,
        "memory_bytes_per_s": ladder.memory,
        "rungs": ladder.climbed.iter().map(rung).collect::<Vec<_>>(),
        "environment": ladder.environment,
    })
}

impl Climbed {
    fn median(&self, figure: impl Fn(&Step) -> Option<f64>) -> Option<f64> {
        let all: Vec<f64> = self.steps.iter().filter_map(figure).collect();
        (!all.is_empty()).then(|| median(&all))
    }

    /// Bytes of data per second.
    fn rate(&self) -> f64 {
        self.median(|step| Some(size::rate(step.bytes, step.elapsed))).unwrap_or(0.0)
    }

    fn cpu_per_operation(&self, request: u64) -> f64 {
        let each = |step: &Step| Some(step.cpu.0 as f64 / (step.bytes.max(1) as f64 / request as f64));
        self.median(each).unwrap_or(0.0)
    }

    fn p99(&self) -> Option<Nanos> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
        self.median(|step| Some(step.p99?.0 as f64)).map(|nanos| Nanos(nanos as u64))
    }

    fn written(&self) -> Option<f64> {
        self.median(|step| step.written)
    }

    /// What is read and written in memory for each byte of data.
    fn memory(&self, geometry: Option<&Geometry>) -> Option<f64> {
        match (self.rung, geometry) {
            // The device reads it.
            (Rung::Bare | Rung::Accounting | Rung::Peer | Rung::Class, _) => Some(1.0),
            // Generated, read for its checksum, read by the device.
            (Rung::Stripe, _) => Some(3.0),
            // Generated and read for the parity; parity written; all of it read for checksums and by the device.
            (Rung::Parity, Some(geometry)) => {
                let whole = 1.0 / useful(geometry);
                Some(2.0 + whole - 1.0 + 2.0 * whole)
            }
            // The same; but what devices read is what was written to them, log included.
            (Rung::Volume, Some(geometry)) => {
                let whole = 1.0 / useful(geometry);
                Some(2.0 + whole - 1.0 + whole + self.written()?)
            }
            _ => None,
        }
    }
}

fn time(nanos: f64) -> String {
    match nanos {
        n if n < 10_000.0 => format!("{n:.0} ns"),
        n => format!("{:.1} us", n / 1000.0),
    }
}

fn signed(nanos: f64) -> String {
    if nanos < 0.0 { format!("-{}", time(-nanos)) } else { format!("+{}", time(nanos)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_control::raid::geometry::Level;

    #[test]
    fn figures_are_medians_of_the_rounds() {
        let step = |millis| Step {
            bytes: 1 << 20,
            elapsed: Nanos::from_millis(millis),
            cpu: Nanos::from_millis(millis),
            p99: None,
            written: Some(1.25),
            times: None,
        };
        let one = Climbed { rung: Rung::Parity, steps: vec![step(1), step(4), step(2)] };
        assert_eq!(one.rate(), f64::from(1 << 20) / 0.002);
        assert_eq!(one.cpu_per_operation(1 << 19), 1e6);
        assert_eq!((one.p99(), one.written()), (None, Some(1.25)));
        let geometry = Geometry::new(Level::Raid5, 5, 65536, 4 << 20).expect("a geometry");
        // 1 + 1 + 0.25 + 1.25 + 1.25
        assert_eq!(one.memory(Some(&geometry)), Some(4.75));
        assert_eq!((signed(-1500.0), signed(25_000.0)), ("-1500 ns".to_owned(), "+25.0 us".to_owned()));
    }
}
