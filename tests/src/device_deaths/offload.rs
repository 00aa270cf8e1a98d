//! Devices that die while sets are written, and the command with them at times.

use serde_json::Value;

use super::rig::{Fate, Rig};

pub(super) fn play(rig: Rig) {
    let mut rig = rig.with_set();
    if rig.half() { killed(rig) } else { finished(rig) }
}

/// The command is killed some sets after devices have died, which come back then.
fn killed(mut rig: Rig) {
    let requests = rig.requests_of(Rig::write_set);
    let mut victims = rig.draw_victims(rig.shape.deaths + 1);
    let watched = victims.pop().expect("one that lives");
    victims.iter().for_each(|&member| rig.doom(member, requests[member] * 2));
    let moment = rig.random.below(requests[watched] * 6);
    let (program, words) = (rig.programs.bireme.clone(), rig.offload("1000"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match rig.deadly(&program, &words, Some((watched, moment))) {
        Fate::Killed(_) | Fate::Refused => {}
        other => panic!("the array survives, and the run must: {other:?}"),
    }
    rig.heal();
    rig.forgive();
    let export: Value = serde_json::from_str(&rig.good(&["export"])).expect("JSON");
    let newest = export["sets"].as_array().and_then(|sets| sets.last()).expect("a set")["number"].as_u64();
    let newest = newest.filter(|&newest| newest >= 2).expect("what was committed before");
    rig.expect_set(newest, &rig.living(), "what comes back is not believed, or is as good");
    rig.note_marked();
    rig.make_whole();
    rig.expect_set(newest, &rig.living(), "whole again");
}

/// The command goes on to its end.
fn finished(mut rig: Rig) {
    let requests = rig.requests_of(Rig::write_set);
    let count = 1 + rig.below(rig.shape.deaths);
    for member in rig.draw_victims(count) {
        // A run of two sets opens and closes the pool once: the last moments lie behind its end.
        rig.doom(member, requests[member] * 2);
    }
    let (program, words) = (rig.programs.bireme.clone(), rig.offload("2"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let newest = match rig.deadly(&program, &words, None) {
        Fate::Good(ended) => {
            let said = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            for (disk, _) in rig.disks.iter().zip(&rig.dead).filter(|(_, dead)| **dead) {
                assert!(said.contains(&disk.path().display().to_string()), "{said}");
                assert!(FATES.iter().any(|fate| said.contains(fate)), "{said}");
            }
            rig.expect_marked();
            4
        }
        Fate::Refused => 2,
        other => panic!("the array survives, and the run must: {other:?}"),
    };
    rig.expect_set(newest, &rig.living(), "without what has died");
    if newest == 4 {
        rig.expect_set(newest, &rig.all(), "with what has died");
        rig.heal();
        rig.expect_set(newest, &rig.all(), "what comes back is not believed");
    }
    rig.heal();
    if newest == 2 {
        // Nothing was written, and so nobody is behind.
        rig.forgive();
        rig.expect_set(newest, &rig.living(), "what comes back is as good");
    }
    rig.make_whole();
    rig.expect_set(newest, &rig.living(), "whole again");
}

/// What is said of a member that has died.
const FATES: [&str; 3] = ["counts as failed", "the run went on without it", "it is left out"];
