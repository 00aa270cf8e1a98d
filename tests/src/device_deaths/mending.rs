//! Devices that die while a member is rebuilt, or all is scrubbed.

use super::model::Model;
use super::rig::{Fate, Rig};
use super::volume;

/// A member that is not being rebuilt dies.
pub(super) fn rebuild(rig: Rig) {
    let (mut rig, model) = prepare(rig);
    let (filled, requests) = being_rebuilt(&mut rig);
    let other = (filled + 1 + rig.below(rig.disks.len() - 1)) % rig.disks.len();
    rig.doom(other, requests[other]);
    let fate = mend(&mut rig, "rebuild");
    if !rig.survives_without(&[filled]) && rig.dead[other] && !matches!(fate, Fate::Good(_)) {
        rig.heal();
        rig.forgive();
        if rig.dead[other] {
            // It is gone for good: what was not filled yet is lost, and is not made up.
            let ended = rig.run_on(&["restore", "--verify"], &rig.living());
            assert!(ended.code == 1 && !ended.sentence().is_empty(), "{ended:?}");
            return;
        }
    }
    expect(&rig, &model, "after the rebuild");
    if rig.states(&rig.living()).contains(&"rebuilding".to_owned()) {
        rig.good(&["array", "rebuild"]);
    }
    expect(&rig, &model, "rebuilt");
    rig.make_whole();
    expect(&rig, &model, "whole again");
}

/// The member that is being rebuilt dies.
pub(super) fn replacement(rig: Rig) {
    let (mut rig, model) = prepare(rig);
    let (filled, requests) = being_rebuilt(&mut rig);
    rig.doom(filled, requests[filled]);
    mend(&mut rig, "rebuild");
    if rig.half() {
        // It comes back, and the rebuild goes on where it was.
        rig.heal();
        expect(&rig, &model, "come back");
        rig.forgive();
        let states = rig.states(&rig.living());
        rig.dead[filled] |= states[filled] == "failed";
    }
    expect(&rig, &model, "after the rebuild");
    if !rig.dead[filled] && rig.states(&rig.living()).contains(&"rebuilding".to_owned()) {
        rig.good(&["array", "rebuild"]);
    }
    rig.make_whole();
    expect(&rig, &model, "whole again");
}

/// A member dies that was damaged before.
pub(super) fn scrub(rig: Rig) {
    let (mut rig, model) = prepare(rig);
    let requests = rig.requests_of(|rig| {
        rig.good(&["array", "scrub"]);
    });
    let count = 1 + rig.below(rig.shape.deaths);
    for member in rig.draw_victims(count) {
        rig.damage(member, 6);
        rig.doom(member, requests[member]);
    }
    mend(&mut rig, "scrub");
    if rig.half() {
        rig.heal();
        expect(&rig, &model, "come back");
        rig.forgive();
        rig.note_marked();
    }
    expect(&rig, &model, "after the scrub");
    rig.good(&["array", "scrub"]);
    rig.heal();
    rig.make_whole();
    expect(&rig, &model, "whole again");
}

/// An array with a set and a volume.
fn prepare(rig: Rig) -> (Rig, Model) {
    let mut rig = rig.with_set();
    let model = volume::create(&mut rig);
    (rig, model)
}

/// Another disk in a member's place, and how many requests a rebuild shows each.
fn being_rebuilt(rig: &mut Rig) -> (usize, Vec<u64>) {
    let member = rig.draw_victims(1)[0];
    rig.replace(member);
    let requests = rig.requests_of(|rig| {
        rig.good(&["array", "rebuild"]);
    });
    rig.replace(member);
    (member, requests)
}

/// Runs a command that mends, which ends well or says whom it could not do without.
fn mend(rig: &mut Rig, what: &str) -> Fate {
    let program = rig.programs.bireme.clone();
    let fate = rig.deadly(&program, &["array", what], None);
    match &fate {
        Fate::Good(ended) => println!("  {}", ended.stdout.replace('\n', "\n  ")),
        Fate::Failed(ended) => {
            let mut dead = rig.disks.iter().zip(&rig.dead).filter(|(_, dead)| **dead);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(dead.any(|(disk, _)| said.contains(&disk.path().display().to_string())), "{said}");
        }
        Fate::Refused => {}
        Fate::Killed(_) => unreachable!("nobody kills it"),
    }
    fate
}

#[track_caller]
fn expect(rig: &Rig, model: &Model, when: &str) {
    rig.expect_set(1, &rig.living(), when);
    volume::expect(rig, model, &rig.living(), when);
}
