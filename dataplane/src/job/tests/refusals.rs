//! Members that refuse requests while a set is written or read.

use super::rig::{Rig, shapes};
use crate::job::Mend;
use crate::message::{Doing, Failure};

/// Requests that a peer makes for a set, each of which may be the one that is refused.
fn steps(rig: &mut Rig) -> u64 {
    let before = rig.world.steps();
    rig.write(Default::default()).expect("sound devices");
    rig.world.steps() - before
}

#[test]
fn a_member_that_refuses_at_any_step_of_a_write_is_left_out() {
    for (level, members, chunk, page) in shapes() {
        let mut rig = Rig::new(level, members, chunk, page, 3 * page + 5000);
        rig.world.short_rate(0);
        let all = steps(&mut rig);
        for step in (1..=all).step_by(if all > 100 { 7 } else { 1 }) {
            rig.world.fail_at(rig.world.steps() + step, libc::EIO);
            let written = rig.write(Default::default());
            let failed = rig.started.iter().find(|started| started.result == Err(libc::EIO));
            let disk = u16::try_from(failed.expect("a step of this write").disk).expect("small");
            match written {
                Ok(lost) => {
                    assert_eq!(lost, [disk], "{level} over {members}, step {step}");
                    rig.check(&lost, &format!("{level} over {members}, step {step}"));
                }
                Err(failure) => {
                    assert!(!rig.array.is_redundant(), "{level}: {failure:?}");
                    assert!(matches!(failure, Failure::Device { file, .. } if file == disk), "{failure:?}");
                }
            }
        }
    }
}

#[test]
fn more_than_the_level_survives_ends_the_write() {
    for (level, members, chunk, page) in shapes() {
        let mut rig = Rig::new(level, members, chunk, page, page);
        rig.world.error_rate(1_000_000);
        let failure = rig.write(Default::default()).expect_err("nobody is left");
        assert!(matches!(failure, Failure::Device { doing: Doing::Write, .. }), "{level}: {failure:?}");
    }
}

#[test]
fn a_read_that_is_refused_at_any_step_is_healed() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, page + 5000);
        rig.world.short_rate(0);
        let before = rig.world.steps();
        rig.check(&[], "sound");
        let all = rig.world.steps() - before;
        for step in (1..=all).step_by(if all > 100 { 7 } else { 1 }) {
            rig.world.watch();
            // A medium error stays: the first block of what was refused as a whole is refused again.
            let at = rig.world.steps() + step;
            rig.world.fail_at(at, libc::ENODATA);
            rig.world.fail_at(at + 3, libc::EIO);
            let read = rig.read(Default::default(), Mend::Nothing, true);
            let started = rig.world.take_started();
            let failed: Vec<_> = started.iter().filter(|started| started.result.is_err()).collect();
            let output = failed.iter().any(|started| started.disk == members);
            match read {
                Ok(read) => {
                    assert!(!output, "{level}: an output that refuses ends the run");
                    assert!(read.data == rig.content(), "{level} over {members}, step {step}");
                }
                Err(failure) => {
                    let wanted = matches!(failure, Failure::Device { .. });
                    if matches!(failure, Failure::Device { doing: Doing::Flush, .. }) {
                        continue;
                    }
                    let two = failed.len() > 1 && failed[0].disk != failed[1].disk;
                    assert!(wanted && (output || two || !rig.array.is_redundant()), "{level}, {step}: {failure:?}");
                }
            }
        }
    }
}

/// Bad blocks of different members in different rows, though in one request each.
#[test]
fn a_refusal_costs_the_blocks_that_cannot_be_read_and_no_others() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, page);
        if !rig.array.is_redundant() {
            continue;
        }
        let (data, leaves) = rig.places(0);
        let column = u64::from(rig.array.rows_of(rig.array.geometry.page_bytes()) * rig.array.geometry.chunk_bytes());
        // Each block on one member only, and in every other row, as a chunk and its copy may lie in neighbours.
        let chunk_blocks = chunk / 4096;
        for block in (0..column / 4096).filter(|block| block / chunk_blocks % 2 == 0) {
            let member = usize::try_from(block).expect("small") % members;
            rig.world.bad_block(member, data + block * 4096);
        }
        rig.world.bad_block(0, leaves);
        rig.check(&[], &format!("{level} over {members}"));
    }
}

#[test]
fn a_member_that_reads_nothing_is_soon_asked_nothing() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, 16 * page);
        if !rig.array.is_redundant() {
            continue;
        }
        let (data, leaves) = rig.places(0);
        let frames = 16 * u64::from(rig.array.geometry.frame_member_bytes());
        for offset in (0..frames).step_by(4096) {
            rig.world.bad_block(1, data + offset);
        }
        (0..16).for_each(|page| rig.world.bad_block(1, leaves + page * rig.array.layout.leaf_bytes()));
        rig.check(&[], &format!("{level} over {members}"));
    }
}
