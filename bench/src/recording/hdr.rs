//! Histograms in the formats of HdrHistogram's own tools: the interval log (`.hlog`) and the percentile table (`.hgrm`).
//!
//! Payloads of the log are compressed (V2 with DEFLATE), as readers other than ours take nothing else. One line per interval
//! and direction, the direction as its tag; values and maxima are nanoseconds.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bireme_dataplane::telemetry::Latencies;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::recorder::{Direction, Interval};
use super::series::Moment;
use super::{cannot, create};

/// An interval log that grows as the run goes on.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    began: SystemTime,
    headed: bool,
    failed: Option<String>,
}

impl Log {
    /// A new file.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn create(path: &Path) -> Result<Log, String> {
        let file = create(path)?;
        Ok(Log { path: path.into(), file: BufWriter::new(file), began: SystemTime::now(), headed: false, failed: None })
    }

    /// One more interval. An error is told at the end: the run is not to suffer from it.
    pub(crate) fn add(&mut self, moment: &Moment, all: &Interval) {
        let mut written = Vec::new();
        let added = self
            .lines(moment, all, &mut written)
            .and_then(|()| self.file.write_all(&written).map_err(|e| e.to_string()));
        if let Err(why) = added {
            self.failed.get_or_insert(why);
        }
    }

    fn lines(&mut self, moment: &Moment, all: &Interval, into: &mut Vec<u8>) -> Result<(), String> {
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        if !std::mem::replace(&mut self.headed, true) {
            // The version comes first: readers look for it there.
            builder.add_comment("[Histogram log format version 1.3]");
            builder.add_comment("Bireme: values and maxima in nanoseconds");
            builder.with_start_time(self.began).with_base_time(self.began);
        }
        let mut text = Vec::new();
        let mut writer = builder.begin_log_with(&mut text, &mut serializer).map_err(|error| error.to_string())?;
        for direction in Direction::ALL {
            let latencies = all.directions[direction as usize].latencies();
            if latencies.count() > 0 {
                let (from, elapsed) =
                    (Duration::from_nanos(moment.from_ns.0), Duration::from_nanos(moment.elapsed().0));
                let histogram = latencies.to_hdrhistogram();
                let written = writer.write_histogram(&histogram, from, elapsed, Tag::new(direction.name()));
                written.map_err(|error| format!("{error:?}"))?;
            }
        }
        into.extend_from_slice(&text);
        Ok(())
    }

    /// All is written.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        let flushed = self.file.flush();
        flushed.map_err(|error| cannot(&self.path, &error))?;
        self.failed.map_or(Ok(()), |why| Err(format!("{} is not complete: {why}", self.path.display())))
    }
}

/// The table of percentiles that HdrHistogram's plotter reads; values in microseconds.
pub(crate) fn write_hgrm(path: &Path, latencies: &Latencies) -> Result<(), String> {
    let file = create(path)?;
    hgrm(BufWriter::new(file), latencies).map_err(|error| cannot(path, &error))
}

/// The same as text.
pub(crate) fn hgrm_text(latencies: &Latencies) -> String {
    let mut text = Vec::new();
    // Memory takes all that is written.
    let _ = hgrm(&mut text, latencies);
    String::from_utf8_lossy(&text).into_owned()
}

fn hgrm(mut into: impl Write, latencies: &Latencies) -> io::Result<()> {
    const SCALE: f64 = 1000.0;
    let histogram = latencies.to_hdrhistogram();
    writeln!(into, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for value in histogram.iter_quantiles(5) {
        let (at, quantile) = (value.value_iterated_to() as f64 / SCALE, value.quantile_iterated_to());
        let count = histogram.count_between(0, value.value_iterated_to());
        match quantile < 1.0 {
            true => writeln!(into, "{at:12.3} {quantile:2.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile))?,
            false => writeln!(into, "{at:12.3} {quantile:2.12} {count:10}")?,
        }
    }
    writeln!(
        into,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        histogram.mean() / SCALE,
        histogram.stdev() / SCALE
    )?;
    writeln!(into, "#[Max     = {:12.3}, Total count    = {:12}]", histogram.max() as f64 / SCALE, histogram.len())?;
    writeln!(into, "#[Buckets = {:12}, SubBuckets     = {:12}]", 1, histogram.distinct_values())?;
    into.flush()
}
