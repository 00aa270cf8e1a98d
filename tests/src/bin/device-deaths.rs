//! Kills loop devices in the middle of runs, at moments that seeds draw; see `bireme_tests::device_deaths`.

use std::path::PathBuf;

use bireme_tests::device_deaths::{Case, Programs, SHAPES, play};
use clap::Parser;

/// Kills loop devices in the middle of offloads, volumes' writes, rebuilds and scrubs, on several levels. Needs root.
#[derive(Debug, Parser)]
struct Arguments {
    /// Play so many seeds of each case on each level.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Begin with this one.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// One case only: offload, volume, bench, rebuild, replacement or scrub.
    #[arg(long)]
    case: Option<String>,
    /// One array only, by its place in the list of them.
    #[arg(long)]
    shape: Option<usize>,
}

fn main() {
    let arguments = Arguments::parse();
    let beside = |name: &str| {
        let own = std::env::current_exe().ok();
        own.and_then(|path| Some(path.parent()?.join(name))).unwrap_or_else(|| PathBuf::from(name))
    };
    let programs = Programs {
        bireme: beside("bireme-under-test"),
        disk: beside("fuse-disk"),
        writer: beside("acknowledge"),
        bench: beside("bench-array-under-test"),
    };
    let mut played = 0;
    for seed in arguments.from..arguments.from + arguments.seeds {
        for case in Case::ALL {
            let name = format!("{case:?}").to_lowercase();
            if arguments.case.as_ref().is_some_and(|wanted| *wanted != name) {
                continue;
            }
            let shapes = SHAPES.into_iter().enumerate();
            for (_, shape) in shapes.filter(|(index, _)| arguments.shape.is_none_or(|wanted| wanted == *index)) {
                play(&programs, case, shape, seed);
                played += 1;
            }
        }
    }
    println!("{played} deaths played, and nothing was lost");
}
