//! Devices that die while a volume is written at random, by a command that is killed too at times.

use std::path::PathBuf;

use super::model::Model;
use super::rig::{Fate, Rig};
use crate::data::noise;

pub(super) fn play(mut rig: Rig) {
    rig.create();
    let mut model = create(&mut rig);
    let mut requests = rig.requests_of(|rig| expect(rig, &model, &rig.living(), "as written"));
    for round in 0..ROUNDS {
        let when = format!("round {round}");
        let alive = rig.living().len();
        let may_die = rig.shape.deaths + alive - rig.disks.len();
        let victims = if round == 0 { Vec::new() } else { rig.draw_victims(may_die.min(1)) };
        // Either while it is written, or while it is read again, and recovered if the writer was killed.
        let in_dump = rig.half();
        if !in_dump {
            victims.iter().for_each(|&member| rig.doom(member, requests[member]));
        }
        let before = rig.requests();
        let is_killed = rig.half();
        let watched = rig.draw_victims(1)[0];
        let kill = is_killed.then(|| (watched, rig.random.below(requests[watched])));
        let fate = if rig.half() { write(&mut rig, &mut model, kill) } else { copy(&mut rig, &mut model, kill) };
        if matches!(fate, Fate::Good(_)) && victims.is_empty() {
            requests = rig.requests().iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
        }
        if matches!(fate, Fate::Good(_)) {
            rig.expect_marked();
        }
        if rig.half() {
            // What has died and comes back before anybody has missed it must not be believed either.
            rig.heal();
            rig.forgive();
        }
        if in_dump {
            victims.iter().for_each(|&member| rig.doom(member, requests[member] / 2));
        }
        settle(&mut rig, &mut model, &when);
        rig.heal();
        rig.note_marked();
        expect(&rig, &model, &rig.living(), &when);
    }
    rig.heal();
    expect(&rig, &model, &rig.all(), "with all that died");
    rig.make_whole();
    expect(&rig, &model, &rig.living(), "whole again");
    while rig.survives_without(&[]) {
        expect(&rig, &model, &rig.living(), "without some");
        let living: Vec<usize> = (0..rig.disks.len()).filter(|&member| !rig.dead[member]).collect();
        let next = living[rig.below(living.len())];
        rig.dead[next] = true;
    }
}

/// What `bench-array` has written it finds again, whoever dies behind the making of the array.
pub(super) fn bench(mut rig: Rig) {
    let (program, size, level) = (rig.programs.bench.clone(), VOLUME_BYTES.to_string(), rig.shape.level);
    let shape = ["--raid", level, "--page", "1MiB", "--chunk", "16KiB", "--destroy-data"];
    let load = ["--size", &size, "--runtime", "1", "--bs", "16KiB", "--flush-every", "50", "--verify"];
    let words = [&shape[..], &load].concat();
    let made = rig.requests_of(|rig| {
        rig.good(&[&["array", "create"], &shape[..]].concat());
        rig.good(&["volume", "create", "--name", NAME, "--size", &size]);
    });
    let all = rig.requests_of(|rig| assert!(matches!(rig.deadly(&program, &words, None), Fate::Good(_))));
    let count = 1 + rig.below(rig.shape.deaths);
    for member in rig.draw_victims(count) {
        rig.doom_behind(member, made[member], all[member] - made[member]);
    }
    match rig.deadly(&program, &words, None) {
        Fate::Good(_) => rig.expect_marked(),
        Fate::Refused => {}
        other => panic!("the array survives, and the volume must: {other:?}"),
    }
}

/// Makes a volume and fills it.
pub(super) fn create(rig: &mut Rig) -> Model {
    let bytes = VOLUME_BYTES.to_string();
    rig.good(&["volume", "create", "--name", NAME, "--size", &bytes, "--peers", "3"]);
    let (mut model, data) = (Model::new(VOLUME_BYTES), noise(rig.seed, VOLUME_BYTES));
    let input = rig.path("input");
    std::fs::write(&input, &data).expect("room for the input");
    rig.good(&["volume", "write", "--name", NAME, "--input", text(&input)]);
    model.write(0, &data, true);
    model
}

/// The volume is as the model has it.
#[track_caller]
pub(super) fn expect(rig: &Rig, model: &Model, devices: &[PathBuf], when: &str) {
    let dump = rig.path("dump");
    rig.good_on(&["volume", "dump", "--name", NAME, "--output", text(&dump)], devices);
    model.clone().settle(&std::fs::read(&dump).expect("the dump"), when);
}

/// Reads what there is, while a member may die, and holds to it.
fn settle(rig: &mut Rig, model: &mut Model, when: &str) {
    let dump = rig.path("dump");
    let (program, words) = (rig.programs.bireme.clone(), ["volume", "dump", "--name", NAME, "--output", text(&dump)]);
    match rig.deadly(&program, &words, None) {
        Fate::Good(_) => {}
        Fate::Refused => {
            rig.good(&words);
        }
        other => panic!("{when}: the array survives, and the dump must: {other:?}"),
    }
    model.settle(&std::fs::read(&dump).expect("the dump"), when);
}

/// Writes blocks one by one, and hears which were acknowledged.
fn write(rig: &mut Rig, model: &mut Model, kill: Option<(usize, u64)>) -> Fate {
    let (program, seed) = (rig.programs.writer.clone(), rig.random.bits());
    let fate = rig.deadly(&program, &["--name", NAME, "--seed", &seed.to_string(), "--writes", WRITES], kill);
    match &fate {
        Fate::Good(ended) | Fate::Killed(ended) => model.hear(&ended.stdout, seed),
        Fate::Refused => {}
        other => panic!("the array survives, and the volume must: {other:?}"),
    }
    fate
}

/// Writes a list of extents by the command, which acknowledges all at its end.
fn copy(rig: &mut Rig, model: &mut Model, kill: Option<(usize, u64)>) -> Fate {
    let (input, extents) = (rig.path("input"), rig.path("extents"));
    let (mut data, mut list, mut pieces) = (Vec::new(), String::new(), Vec::new());
    for _ in 0..EXTENTS {
        let blocks = if rig.half() { 1 } else { 1 + rig.below(80) };
        let block = rig.below(VOLUME_BYTES / BLOCK - blocks + 1);
        list.push_str(&format!("{} {} {}\n", block * BLOCK, blocks * BLOCK, data.len()));
        pieces.push((block as u64, data.len()..data.len() + blocks * BLOCK));
        data.extend(noise(rig.random.bits(), blocks * BLOCK));
    }
    std::fs::write(&input, &data).and_then(|()| std::fs::write(&extents, list)).expect("room for the input");
    let program = rig.programs.bireme.clone();
    let words = ["volume", "write", "--name", NAME, "--input", text(&input), "--extents", text(&extents)];
    let fate = rig.deadly(&program, &words, kill);
    let acknowledged = match fate {
        Fate::Good(_) => true,
        Fate::Killed(_) => false,
        Fate::Refused => return fate,
        other => panic!("the array survives, and the volume must: {other:?}"),
    };
    pieces.into_iter().for_each(|(block, part)| model.write(block, &data[part], acknowledged));
    fate
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a plain path")
}

const NAME: &str = "disk";
const VOLUME_BYTES: usize = 5 << 20;
const BLOCK: usize = 4096;
const ROUNDS: u32 = 4;
const WRITES: &str = "200";
const EXTENTS: usize = 60;
