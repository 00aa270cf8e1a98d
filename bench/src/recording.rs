//! What is recorded while a load runs, and the files that it goes to: the same for devices and for volumes.
//!
//! ```text
//!   peers: recorder ─▶ intervals ─▶ series ─▶ parts of the time: interval log, lines of JSON, report
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bireme_control::units::Nanos;
use bireme_dataplane::telemetry::Latencies;
use clap::Args;

use self::recorder::{Direction, Interval};
use self::series::{Figures, Moment};
use crate::duration;

mod hdr;
pub(crate) mod recorder;
pub(crate) mod series;

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
            let file = File::create(path).map_err(|error| cannot(path, &error))?;
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

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}
