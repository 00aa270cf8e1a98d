//! A few kills in the test command; `kill-loop` does as many as one likes.

use bireme_tests::kills::{Options, kill_loop};
use bireme_tests::loops::root_or_skip;

#[test]
fn what_was_committed_survives_kills() {
    if !root_or_skip("what_was_committed_survives_kills") {
        return;
    }
    let program = env!("CARGO_BIN_EXE_bireme-under-test").into();
    let options = Options { program, kills: 5, bytes: 16 << 20, seed: 7, devices: 2, tmpfs: true };
    match kill_loop(&options) {
        Ok(summary) => println!("{summary}"),
        Err(sentence) => panic!("{sentence}"),
    }
}
