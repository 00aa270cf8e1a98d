//! What is recorded while a load runs, and the files that it goes to: the same for devices and for volumes.
//!
//! ```text
//!   peers: recorder ─▶ intervals ─▶ series ─▶ parts of the time: interval log, lines of JSON, report
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bireme_control::units::Nanos;
pub(crate) use bireme_dataplane::telemetry::recorder;
use bireme_dataplane::telemetry::{Gauges, Latencies};
use clap::Args;

use self::recorder::{Direction, Exchange, INTERVAL_MIN, Interval};
use self::series::{Moment, Series};
use crate::duration;

mod hdr;
pub(crate) mod series;

pub use self::series::Figures;

/// What operators write.
#[derive(Args, Clone, Debug)]
pub struct Recording {
    /// Figures are kept for spans of this length.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    pub interval: Nanos,
    /// Write an interval log of histograms as HdrHistogram's tools read it.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Write the percentiles as HdrHistogram's plotter reads them: FILE for one direction, FILE.read and so on for several.
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Write one line of JSON for each interval, as the run goes on.
    #[arg(long, value_name = "FILE")]
    pub intervals: Option<PathBuf>,
}

impl Recording {
    /// How long intervals are: no shorter than a reporter can follow.
    pub fn length(&self) -> Nanos {
        self.interval.max(INTERVAL_MIN)
    }
}

/// Runs something whose peers record into the exchange, and puts together what they hand over meanwhile. The files grow, and
/// the gauges have the newest p99, as the run goes on.
///
/// # Errors
/// A sentence for the operator: of the run, or of a file that cannot be written.
pub fn while_running<T>(
    recording: &Recording,
    peers: u16,
    exchange: &Exchange,
    gauges: Option<&Gauges>,
    run: impl FnOnce() -> Result<T, String>,
) -> Result<(T, Figures), String> {
    let mut outputs = Outputs::new(recording)?;
    let ended = AtomicBool::new(false);
    let (ran, series) = std::thread::scope(|scope| {
        let reporter = scope.spawn(|| {
            let sink = |moment: &Moment, all: &Interval| {
                outputs.add(moment, all);
                gauges.inspect(|gauges| gauges.set_p99(moment.p99()));
            };
            let mut series = Series::new(peers, recording.length(), Box::new(sink));
            loop {
                let last = ended.load(Ordering::Acquire);
                while exchange.take(|interval| series.add(interval)) {}
                if last {
                    break;
                }
                std::thread::park_timeout(TICK);
            }
            series.finish();
            series.into_figures()
        });
        let ran = run();
        ended.store(true, Ordering::Release);
        reporter.thread().unpark();
        (ran, reporter.join())
    });
    let ran = ran?;
    let series = series.map_err(|_| "the thread that collects what was recorded has died".to_owned())?;
    outputs.finish()?;
    recording.hgrm.as_deref().map_or(Ok(()), |path| write_hgrms(path, &series))?;
    Ok((ran, series))
}

/// The table of percentiles that HdrHistogram's plotter reads (`.hgrm`); values in microseconds.
pub fn percentiles(latencies: &Latencies) -> String {
    hdr::hgrm_text(latencies)
}

/// The files that grow while the run goes on.
pub(crate) struct Outputs {
    hlog: Option<hdr::Log>,
    lines: Option<(PathBuf, BufWriter<File>, Option<io::Error>)>,
}

impl Outputs {
    pub(crate) fn new(options: &Recording) -> Result<Outputs, String> {
        let hlog = options.hlog.as_deref().map(hdr::Log::create).transpose()?;
        let create = |path: &PathBuf| {
            let file = create(path)?;
            Ok::<_, String>((path.clone(), BufWriter::new(file), None))
        };
        Ok(Outputs { hlog, lines: options.intervals.as_ref().map(create).transpose()? })
    }

    /// A part of the measured time is complete.
    pub(crate) fn add(&mut self, moment: &Moment, all: &Interval) {
        if let Some(log) = &mut self.hlog {
            log.add(moment, all);
        }
        if let Some((_, file, failed)) = &mut self.lines {
            // An error is told at the end: the run is not to suffer from it.
            let written =
                serde_json::to_writer(&mut *file, moment).map_err(io::Error::from).and_then(|()| writeln!(file));
            let written = written.and_then(|()| file.flush());
            *failed = failed.take().or(written.err());
        }
    }

    /// All is written.
    pub(crate) fn finish(self) -> Result<(), String> {
        if let Some((path, _, Some(error))) = &self.lines {
            return Err(cannot(path, error));
        }
        self.hlog.map_or(Ok(()), hdr::Log::finish)
    }
}

/// The percentiles of each direction that occurred.
pub(crate) fn write_hgrms(path: &Path, series: &Figures) -> Result<(), String> {
    let used: Vec<Direction> =
        Direction::ALL.into_iter().filter(|&direction| series.latencies(direction).count() > 0).collect();
    for &direction in &used {
        let mut name = path.as_os_str().to_owned();
        if used.len() > 1 {
            name.push(format!(".{}", direction.name()));
        }
        hdr::write_hgrm(Path::new(&name), series.latencies(direction))?;
    }
    Ok(())
}

/// A new file, or one in an old one's place; a device is none.
fn create(path: &Path) -> Result<File, String> {
    if std::fs::metadata(path).is_ok_and(|facts| facts.file_type().is_block_device()) {
        return Err(cannot(path, &"it is a device, whose data would be lost; name a file"));
    }
    File::create(path).map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{} cannot be written: {error}", path.display())
}

/// How often the reporter looks.
const TICK: Duration = Duration::from_millis(50);
