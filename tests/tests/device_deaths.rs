//! Loop devices that die in mid-run, at a few moments each; `device-deaths` plays as many as one likes.

use bireme_tests::device_deaths::{Case, Programs, SHAPES, play};
use bireme_tests::loops::root_or_skip;

/// On the arrays with these places in the list.
fn play_on(shapes: &[usize], name: &str, case: Case) {
    if !root_or_skip(name) {
        return;
    }
    let programs = Programs {
        bireme: env!("CARGO_BIN_EXE_bireme-under-test").into(),
        disk: env!("CARGO_BIN_EXE_fuse-disk").into(),
        writer: env!("CARGO_BIN_EXE_acknowledge").into(),
        bench: env!("CARGO_BIN_EXE_bench-array-under-test").into(),
    };
    for (&shape, seed) in shapes.iter().zip(1..) {
        play(&programs, case, SHAPES[shape], seed);
    }
}

#[test]
fn while_sets_are_written() {
    play_on(&[0, 1, 2, 3], "while_sets_are_written", Case::Offload);
}

#[test]
fn while_a_volume_is_written() {
    play_on(&[0, 2, 3], "while_a_volume_is_written", Case::Volume);
}

#[test]
fn while_a_volume_is_measured() {
    play_on(&[1, 3], "while_a_volume_is_measured", Case::Bench);
}

#[test]
fn while_a_member_is_rebuilt() {
    play_on(&[0, 2, 3], "while_a_member_is_rebuilt", Case::Rebuild);
}

#[test]
fn while_a_member_is_rebuilt_and_it_is_that_one() {
    play_on(&[1, 3], "while_a_member_is_rebuilt_and_it_is_that_one", Case::Replacement);
}

#[test]
fn while_all_is_scrubbed() {
    play_on(&[0, 2, 3], "while_all_is_scrubbed", Case::Scrub);
}
