//! Enumerates crashes of volumes: of the log that protects one row, and of whole arrays drawn from seeds.

use std::process::ExitCode;
use std::time::Instant;

use bireme_control::raid::geometry::Level;
use bireme_tests::crash::arrays;
use bireme_tests::crash::rows::Row;
use clap::Parser;

/// Each moment of short stories is a crash, and what recovery makes of it is compared with what was promised.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Whole arrays of so many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Begin with this one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Leave the rows out.
    #[arg(long)]
    no_rows: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("crashes: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    for (level, members) in [(Level::Raid5, 4), (Level::Raid5, 5), (Level::Raid6, 5)] {
        if arguments.no_rows {
            break;
        }
        let began = Instant::now();
        let row = Row { level, members, row: 1, second_each: 97 };
        let visited = row.enumerate().map_err(|broken| format!("one row of {level} over {members}: {broken}"))?;
        println!(
            "one row of {level} over {members}: {} stories, {} crashes, {} more in their recoveries: nothing was broken ({:.0?})",
            visited.stories,
            visited.states,
            visited.second,
            began.elapsed()
        );
    }
    let (mut states, mut second) = (0, 0);
    let began = Instant::now();
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let visited = arrays::enumerate(seed).map_err(|broken| format!("seed {seed}: {broken}"))?;
        (states, second) = (states + visited.states, second + visited.second);
    }
    println!(
        "whole arrays of {} seeds from {}: {states} crashes, {second} more in their recoveries: nothing was broken ({:.0?})",
        arguments.seeds,
        arguments.from,
        began.elapsed()
    );
    Ok(())
}
