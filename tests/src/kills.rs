//! Killing an offload at random moments, and what must be true afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::child::Child;
use crate::data::{generated, noise};
use crate::loops::{Loops, Place};
use crate::pool::Pool;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `bireme` to kill.
    pub program: PathBuf,
    /// How often.
    pub kills: u32,
    /// Of each set.
    pub bytes: u64,
    /// The moments derive from it.
    pub seed: u64,
    /// How many loop devices.
    pub devices: u32,
    /// Whether their files lie in memory.
    pub tmpfs: bool,
}

/// Kills as often as asked; the answer is a summary, or what was lost.
///
/// # Errors
/// A sentence that says what was lost, and after which kill.
///
/// # Panics
/// When devices cannot be had or a command does not end.
pub fn kill_loop(options: &Options) -> Result<String, String> {
    let place = if options.tmpfs { Place::Tmpfs } else { Place::Disk };
    let share = options.bytes / u64::from(options.devices);
    let loops = Loops::new(place, options.devices, (share * 3).next_multiple_of(1 << 20) + (64 << 20), 4096);
    let pool = Pool::new(&options.program, loops.paths());
    let (size, seed) = (options.bytes.to_string(), options.seed.to_string());
    // Set 1 gives the time that a whole run takes; the moments are spread over three of them.
    let began = std::time::Instant::now();
    pool.write(&["--size", &size, "--seed", &seed]);
    let span = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) * 3;
    let input = loops.folder().join("input");
    let pattern = generated(options.seed, 0, usize::try_from(options.bytes).expect("fits into memory"));
    std::fs::write(&input, pattern).map_err(|error| format!("the input cannot be written: {error}"))?;

    let mut known = Known { number: 1, generated: true };
    let moments = noise(options.seed, options.kills as usize * 8);
    let mut moments = moments.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes) % span);
    let mut states = BTreeMap::new();
    for kill in 1..=options.kills {
        let from_file = kill % 2 == 0;
        let source = if from_file {
            vec!["--input", input.to_str().expect("a plain path")]
        } else {
            vec!["--size", &size, "--seed", &seed]
        };
        let mut child = pool.offload(&[&source[..], &["--sets", "1000000"]].concat());
        let delay = Duration::from_micros(moments.next().expect("a moment for each kill"));
        std::thread::sleep(delay);
        let phase = phase(&child);
        child.signal(Signal::SIGKILL);
        let context = || format!("kill {kill} (seed {}, after {delay:?}, {phase})", options.seed);
        let ended = child.wait(REAP).ok_or_else(|| format!("{}: the process cannot be killed", context()))?;
        if ended.code != 137 {
            return Err(format!("{}: it had ended by itself ({}): {}", context(), ended.code, ended.stderr));
        }
        let newest = pool.newest().ok_or_else(|| format!("{}: no set is left", context()))?;
        let said = known.number + sets_said(&ended.stderr);
        if newest < said {
            return Err(format!("{}: set {said} was committed, and {newest} is the newest", context()));
        }
        if newest > known.number {
            known = Known { number: newest, generated: !from_file };
        }
        // An input file holds the pattern of set 0, which no generated set has.
        let number = if known.generated { known.number } else { 0 };
        pool.compare(options.seed, number, options.bytes, loops.folder())
            .map_err(|difference| format!("{}, newest set {newest}: {difference}", context()))?;
        *states.entry(phase).or_insert(0u32) += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let (kills, number) = (options.kills, known.number);
    Ok(format!("{kills} kills ({}), {number} sets committed, each newest one restored bit for bit", states.join(", ")))
}

/// The newest set, and whether its data were generated.
struct Known {
    number: u64,
    generated: bool,
}

/// How far the child was, by its threads.
fn phase(child: &Child) -> &'static str {
    match (child.thread("peer 0"), child.thread("signals")) {
        (Some(_), _) => "while writing sets",
        (None, Some(_)) => "while opening the pool",
        (None, None) => "before opening",
    }
}

/// What the last live line said of committed sets.
fn sets_said(stderr: &str) -> u64 {
    let lines = stderr.lines().rev();
    let mut counts = lines.filter_map(|line| line.split_once(" sets done")?.0.rsplit(' ').next()?.parse().ok());
    counts.next().unwrap_or(0)
}

const REAP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_live_line_counts() {
        let stderr = "1 MiB of 2 (3 %), 4 s left, 7 sets done; devices 1\n9 s left, 12 sets done; devices 1\nx\n";
        assert_eq!(sets_said(stderr), 12);
        assert_eq!(sets_said("nothing"), 0);
    }
}
