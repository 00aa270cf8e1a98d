//! Silent faults: whatever a device shows in the place of what was written is found, and healed where the level allows.

use bireme_control::raid::geometry::{Content, Place};

use super::rig::{FRAME, Rig, shapes, without};
use crate::checksum::{Leaf, Root};
use crate::job::Mend;
use crate::message::Failure;

/// The blocks of all members that a page of the set has written, by member: data, then leaves.
fn written(rig: &Rig, page: u64) -> Vec<(usize, u64, u64)> {
    let geometry = rig.array.geometry;
    let page_bytes = u64::from(geometry.page_bytes());
    let bytes = u32::try_from((rig.bytes - page * page_bytes).min(page_bytes)).expect("small");
    let column = u64::from(rig.array.rows_of(bytes) * geometry.chunk_bytes());
    let (data, leaves) = rig.places(page);
    let members = 0..usize::from(rig.array.members());
    members.flat_map(|member| [(member, data, column), (member, leaves, column / 4096 * 8)]).collect()
}

/// A fault is healed on levels with redundancy, and named on others; healed it is mended, and then nothing is wrong.
fn expect(rig: &Rig, member: usize, why: &str) {
    if !rig.array.is_redundant() {
        let failure = rig.read(Default::default(), Mend::Nothing, true).map(|_| ()).expect_err(why);
        assert!(matches!(failure, Failure::Damaged { .. } | Failure::Checksums { .. }), "{why}: {failure:?}");
        return;
    }
    let before = rig.devices();
    rig.check(&[], why);
    assert!(rig.devices() == before, "{why}: reading has written");
    let mended = rig.read(Default::default(), Mend::Damage, false).unwrap_or_else(|e| panic!("{why}: {e:?}"));
    let damaged: Vec<_> = (0..).zip(&mended.healed).filter(|(_, h)| h.damaged > 0).map(|(m, _)| m).collect();
    assert_eq!(damaged, [member], "{why}");
    let again = rig.read(Default::default(), Mend::Damage, false).expect("mended");
    assert!(again.healed.iter().all(|healed| healed.damaged == 0), "{why}: not mended");
}

#[test]
fn flipped_bits_are_found_wherever_they_are() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, page + 5000);
        let sound = rig.devices();
        for (number, (member, start, bytes)) in (0..2).flat_map(|page| written(&rig, page)).enumerate() {
            for within in [number as u64 * 8 % bytes, bytes - 1 - number as u64 * 4096 % bytes] {
                rig.flip(member, start + within);
                expect(&rig, member, &format!("{level} over {members}: a bit of {member} at {start} + {within}"));
                rig.put(member, &sound[member]);
            }
        }
    }
}

#[test]
fn lost_misdirected_and_old_writes_are_found() {
    for (level, members, chunk, page) in shapes() {
        let mut rig = Rig::written(level, members, chunk, page, page + 5000);
        let old = rig.devices();
        rig.write(Default::default()).expect("sound devices");
        let sound = rig.devices();
        let at = |offset: u64| usize::try_from(offset - rig.start()).expect("small");
        let length_of = |bytes: u64| usize::try_from(bytes).expect("small");
        for (member, start, bytes) in (0..2).flat_map(|page| written(&rig, page)) {
            let (block, length) = (start + bytes / 2 / 4096 * 4096, 4096);
            let cases: [(&str, Vec<u8>); 4] = [
                ("the last write was lost", old[member][at(block)..][..length].to_vec()),
                ("all writes were lost", old[member][at(start)..][..length_of(bytes)].to_vec()),
                ("another member's was written", sound[(member + 1) % members][at(block)..][..length].to_vec()),
                ("nothing was ever written", vec![0; length]),
            ];
            for (case, shown) in cases {
                let place = if shown.len() == length { block } else { start };
                if sound[member][at(place)..][..shown.len()] == shown {
                    continue;
                }
                rig.world.poke(member, place, &shown);
                expect(&rig, member, &format!("{level} over {members}, member {member} at {place}: {case}"));
                rig.put(member, &sound[member]);
            }
        }
    }
}

/// Writes a block with a leaf that fits it, in the right place and of the right generation: only the root can tell.
fn forge(rig: &Rig, member: usize) {
    let (data, leaves) = rig.places(0);
    rig.flip(member, data + 9);
    let leaf = Leaf::of(&rig.world.peek(member, data, 4096), data / 4096, rig.generation);
    rig.world.poke(member, leaves, &leaf.0.to_le_bytes());
}

#[test]
fn a_block_forged_with_its_leaf_is_healed_or_named_and_never_given_away() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, page + 5000);
        forge(&rig, 0);
        let why = format!("{level} over {members}, forged");
        if rig.array.is_redundant() {
            rig.check(&[], &why);
        } else {
            assert!(rig.read(Default::default(), Mend::Nothing, true).is_err(), "{why}");
        }
        for lost in super::levels::losses(&rig).into_iter().filter(|lost| !lost.contains(&0)) {
            let all: Vec<_> = lost.iter().copied().chain([0]).collect();
            if rig.array.geometry.survives(&all) {
                rig.check(&lost, &format!("{why}, without {lost:?}"));
            } else {
                let read = rig.read(without(&lost), Mend::Nothing, true).map(|_| ());
                let failure = read.expect_err("the root does not fit, and nobody is left to suspect");
                assert!(matches!(failure, Failure::Checksums { .. }), "{why}, without {lost:?}: {failure:?}");
            }
        }
    }
}

/// A writer whose parity or copies do not fit its data, though all sums do: what they would bring back is not believed.
#[test]
fn what_is_brought_back_is_compared_with_its_leaf() {
    for (level, members, chunk, page) in shapes() {
        let mut rig = Rig::written(level, members, chunk, page, page);
        if !rig.array.is_redundant() {
            continue;
        }
        // All other copies, or one chunk of data of the same unit.
        let geometry = rig.array.geometry;
        let row = rig.array.array_row(FRAME, 0);
        let is_data = |&member: &u16| {
            let content = geometry.content(Place { member, row });
            geometry.parities() == 0 || matches!(content, Content::Chunk { .. })
        };
        let others = (1..geometry.group_members()).filter(is_data);
        let forged = if geometry.parities() > 0 { 1 } else { members };
        others.take(forged).for_each(|member| forge(&rig, member.into()));
        let leaves = rig.places(0).1;
        let mut root = Root::new();
        for member in 0..members {
            root.feed(&rig.world.peek(member, leaves, usize::try_from(rig.array.layout.leaf_bytes()).expect("small")));
        }
        rig.roots[0] = root.finish();
        rig.flip(0, rig.places(0).0 + 77);
        let failure = rig.read(Default::default(), Mend::Damage, false).map(|_| ());
        let failure = failure.expect_err("it cannot be brought back");
        assert!(matches!(failure, Failure::Damaged { file: 0, .. }), "{level} over {members}: {failure:?}");
    }
}

/// In each unit as many members may lie as it has parities, in data and in leaves at once.
#[test]
fn all_that_a_level_can_bear_is_healed_and_no_more() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, page + 5000);
        if !rig.array.is_redundant() {
            continue;
        }
        let (data, leaves) = rig.places(0);
        for lost in super::levels::losses(&rig) {
            let flip = || {
                for (number, &member) in (0..).zip(&lost) {
                    rig.flip(member.into(), data + 3);
                    rig.flip(member.into(), leaves + number * 8);
                }
            };
            flip();
            rig.check(&[], &format!("{level} over {members}: {lost:?} lie"));
            // One liar is lost. However often a page is read, what is brought back counts once.
            let why = format!("{level} over {members}: {lost:?} lie, one is lost");
            let found = rig.check(&lost[..1], &why)[usize::from(lost[0])];
            flip();
            assert_eq!(found, rig.check(&lost[..1], "sound")[usize::from(lost[0])], "{why}");
        }
        let all: Vec<_> = (0..members).collect();
        all.iter().for_each(|&member| rig.flip(member, data + 3));
        let failure = rig.read(Default::default(), Mend::Nothing, true).map(|_| ()).expect_err("nothing is left");
        assert!(matches!(failure, Failure::Damaged { .. }), "{level}: {failure:?}");
    }
}
