//! Crashes and lives of volumes: what the test command has time for. The binaries `crashes` and `volumes` visit more.

use bireme_control::raid::geometry::Level;
use bireme_tests::crash::arrays;
use bireme_tests::crash::rows::Row;
use bireme_tests::volume_life::{Tally, live};

/// All stories of one row of RAID 5 over 3 + 1, the first model of the log.
#[test]
fn no_crash_of_two_changes_of_a_row_breaks_a_promise() {
    let row = Row { level: Level::Raid5, members: 4, row: 1, second_each: 97 };
    let visited = row.enumerate().expect("nothing is broken");
    assert!(visited.states > 20_000, "{visited:?}");
    assert!(visited.second > 1_000, "{visited:?}");
}

#[test]
fn no_crash_of_an_array_breaks_a_promise() {
    let mut visited = 0;
    for seed in 0..8 {
        visited += arrays::enumerate(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}")).states;
    }
    assert!(visited > 5_000, "{visited}");
}

#[test]
fn volumes_outlive_deaths_power_cuts_and_rot() {
    let mut tally = Tally::default();
    for seed in 0..400 {
        tally.merge(&live(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}")));
    }
    let Tally { operations, deaths, power_cuts, recovered, rebuilt, healed, refused, .. } = tally;
    let enough = operations > 20_000 && deaths > 100 && power_cuts > 150 && recovered > 200;
    assert!(enough && rebuilt > 100 && healed > 50 && refused > 0, "{tally:?}");
}
