//! Loop devices that die in mid-run, at a few moments each; `device-deaths` plays as many as one likes.

use bireme_tests::device_deaths::{Case, Programs, SHAPES, play};
use bireme_tests::loops::root_or_skip;

fn play_all(name: &str, case: Case) {
    if !root_or_skip(name) {
        return;
    }
    let programs = Programs {
        bireme: env!("CARGO_BIN_EXE_bireme-under-test").into(),
        disk: env!("CARGO_BIN_EXE_fuse-disk").into(),
        writer: env!("CARGO_BIN_EXE_acknowledge").into(),
        bench: env!("CARGO_BIN_EXE_bench-array-under-test").into(),
    };
    // The last of them adds nothing that a few moments can show.
    for (shape, seed) in SHAPES.into_iter().take(4).zip(1..) {
        play(&programs, case, shape, seed);
    }
}

#[test]
fn while_sets_are_written() {
    play_all("while_sets_are_written", Case::Offload);
}

#[test]
fn while_a_volume_is_written() {
    play_all("while_a_volume_is_written", Case::Volume);
}

#[test]
fn while_a_volume_is_measured() {
    play_all("while_a_volume_is_measured", Case::Bench);
}

#[test]
fn while_a_member_is_rebuilt() {
    play_all("while_a_member_is_rebuilt", Case::Rebuild);
}

#[test]
fn while_a_member_is_rebuilt_and_it_is_that_one() {
    play_all("while_a_member_is_rebuilt_and_it_is_that_one", Case::Replacement);
}

#[test]
fn while_all_is_scrubbed() {
    play_all("while_all_is_scrubbed", Case::Scrub);
}
