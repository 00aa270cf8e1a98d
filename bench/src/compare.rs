//! Two sets of runs against each other: is the second one the same, faster or slower, and how sure is that?
//!
//! ```text
//!   reports ─▶ figures of each run ─▶ ratio of the means, with its interval over the repeats ─▶ verdict
//! ```
//!
//! A figure of a run is one observation, whatever the run counted: the parts of one run resemble each other more than runs do,
//! so that they say nothing on how far another run would come out. Without repeats on both sides there is a ratio, and no
//! confidence.

use serde::Serialize;
use serde_json::Value;

use self::figures::Figure;
use self::welch::Interval;
use crate::report::Columns;
use crate::size;
use crate::versus::interval::median;

mod differences;
mod figures;
mod welch;

/// The runs of one side: where each came from, and its report.
pub type Run = (String, Value);

/// What is compared, figure by figure.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// How many runs there are of what was before.
    pub base_runs: usize,
    /// How many there are of what is judged.
    pub new_runs: usize,
    /// The figures that all runs have.
    pub figures: Vec<Compared>,
    /// What makes the comparison doubtful, in sentences.
    pub warnings: Vec<String>,
}

/// One figure of both sides.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Such as `read p99`.
    pub name: String,
    /// `per_s`, `bytes_per_s` or `ns`.
    pub unit: Unit,
    /// Its geometric mean over the runs of what was before.
    pub base: f64,
    /// The same of what is judged.
    pub new: f64,
    /// `new` / `base`.
    pub ratio: f64,
    /// Where the ratio is with a confidence of 95 %; `None` without repeats.
    pub interval: Option<Interval>,
    /// The ratios pair by pair, where both sides have the same number of runs, more than one.
    pub pairs: Option<Pairs>,
    /// What follows.
    pub verdict: Verdict,
}

/// Ratios of the first run of both sides, of the second, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pairs {
    /// In their middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// The more the better.
    PerS,
    /// The more the better.
    BytesPerS,
    /// The less the better.
    Ns,
}

/// What a figure says of the second set of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval is within 5 % of equality, and has it.
    Same,
    /// The interval is on the better side.
    Faster,
    /// The interval is on the worse side.
    Slower,
    /// The interval has equality, and is too wide to say more.
    Unclear,
    /// There is no interval.
    NoConfidence,
}

/// Compares; an error is a sentence.
///
/// # Errors
/// A report without figures, or none that all have.
pub fn compare(base: &[Run], new: &[Run]) -> Result<Comparison, String> {
    let read = |runs: &[Run]| runs.iter().map(figures::of).collect::<Result<Vec<_>, _>>();
    let (before, after) = (read(base)?, read(new)?);
    let first = before.first().ok_or("there is no run to compare with: name files on both sides")?;
    if after.is_empty() {
        return Err("there is no run to judge: name files on both sides".to_owned());
    }
    let compared = first.iter().filter_map(|figure| {
        let of = |runs: &[Vec<Figure>]| -> Option<Vec<f64>> {
            runs.iter().map(|run| Some(run.iter().find(|own| own.name == figure.name)?.value)).collect()
        };
        Some(Compared::of(figure, &of(&before)?, &of(&after)?))
    });
    let figures: Vec<Compared> = compared.collect();
    if figures.is_empty() {
        return Err("the reports have no figure in common: compare runs of the same kind and direction".to_owned());
    }
    let mut warnings = differences::between(base, new);
    if base.len() < 2 || new.len() < 2 {
        warnings.push(
            "a side has one run only: the ratio is told without confidence, as how far runs differ by themselves is not known; \
             give several files per side"
                .to_owned(),
        );
    }
    Ok(Comparison { base_runs: base.len(), new_runs: new.len(), figures, warnings })
}

impl Compared {
    fn of(figure: &Figure, base: &[f64], new: &[f64]) -> Compared {
        let (before, after) = (welch::geometric_mean(base), welch::geometric_mean(new));
        let ratio = after / before;
        let interval = welch::interval(base, new);
        let paired = base.len() == new.len() && base.len() > 1;
        let pairs = paired.then(|| {
            let ratios: Vec<f64> = base.iter().zip(new).map(|(base, new)| new / base).collect();
            let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            Pairs { median: median(&ratios), low, high: ratios.iter().copied().fold(0.0, f64::max) }
        });
        let verdict = verdict(figure.unit, interval);
        Compared {
            name: figure.name.clone(),
            unit: figure.unit,
            base: before,
            new: after,
            ratio,
            interval,
            pairs,
            verdict,
        }
    }

    /// By how much of a hundred it is worse; below zero if it is better.
    fn worse_percent(&self) -> f64 {
        match self.unit {
            Unit::Ns => (self.ratio - 1.0) * 100.0,
            Unit::PerS | Unit::BytesPerS => (1.0 - self.ratio) * 100.0,
        }
    }
}

fn verdict(unit: Unit, interval: Option<Interval>) -> Verdict {
    let Some(Interval { low, high, .. }) = interval else { return Verdict::NoConfidence };
    let (more, less) = match unit {
        Unit::Ns => (Verdict::Slower, Verdict::Faster),
        Unit::PerS | Unit::BytesPerS => (Verdict::Faster, Verdict::Slower),
    };
    match (low, high) {
        _ if low > 1.0 => more,
        _ if high < 1.0 => less,
        _ if low >= 1.0 / (1.0 + SAME) && high <= 1.0 + SAME => Verdict::Same,
        _ => Verdict::Unclear,
    }
}

impl Comparison {
    /// The figures that have become worse by at least so many percent: surely if there are repeats, else as they are.
    pub fn regressions(&self, percent: f64) -> Vec<&Compared> {
        let worse = |figure: &&Compared| {
            matches!(figure.verdict, Verdict::Slower | Verdict::NoConfidence)
                && figure.worse_percent() >= percent.max(1e-9)
        };
        self.figures.iter().filter(worse).collect()
    }

    /// For people.
    pub fn to_table(&self) -> String {
        let paired = self.figures.iter().any(|figure| figure.pairs.is_some());
        let mut headings = vec!["Figure", "before", "now", "ratio", "95 % interval"];
        headings.extend(paired.then_some(["median of pairs", "range"]).into_iter().flatten());
        headings.push("verdict");
        let mut columns = Columns::new(&headings);
        for figure in &self.figures {
            let range = |low: f64, high: f64| format!("{low:.3} to {high:.3}");
            let mut cells = vec![figure.name.clone(), figure.unit.print(figure.base), figure.unit.print(figure.new)];
            cells.push(format!("{:.3}", figure.ratio));
            cells.push(figure.interval.map_or("-".to_owned(), |interval| range(interval.low, interval.high)));
            if let (true, Some(pairs)) = (paired, figure.pairs) {
                cells.extend([format!("{:.3}", pairs.median), range(pairs.low, pairs.high)]);
            }
            cells.push(figure.verdict.print().to_owned());
            columns.row(cells);
        }
        let intervals = match self.figures.iter().any(|figure| figure.interval.is_some()) {
            true => "Intervals are Welch's, of the logarithms: one figure in twenty is outside of its own by chance.\n",
            false => "",
        };
        let warnings = crate::report::paragraphs("Read with care", &self.warnings);
        let gap = if warnings.is_empty() { "" } else { "\n" };
        format!(
            "{} runs before, {} now\n\n{}{intervals}{gap}{warnings}",
            self.base_runs,
            self.new_runs,
            columns.print()
        )
    }
}

impl Unit {
    fn print(self, value: f64) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that a report has")]
        match self {
            Unit::PerS => format!("{}/s", size::print_count(value)),
            Unit::BytesPerS => size::print_rate(value),
            Unit::Ns => bireme_control::units::Nanos(value.round() as u64).to_string(),
        }
    }
}

impl Verdict {
    fn print(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Unclear => "unclear: repeat more",
            Verdict::NoConfidence => "no confidence",
        }
    }
}

/// What is called the same.
const SAME: f64 = 0.05;

#[cfg(test)]
mod tests;
