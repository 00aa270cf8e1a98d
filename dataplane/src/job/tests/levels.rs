//! Whole arrays, and arrays without each member and each two that they survive.

use super::rig::{Rig, shapes, without};
use crate::job::Mend;
use crate::telemetry::Healed;

#[test]
fn what_is_written_comes_back_on_every_level() {
    for (level, members, chunk, page) in shapes() {
        for bytes in [1, page, 3 * page + 5000] {
            let rig = Rig::written(level, members, chunk, page, bytes);
            let why = format!("{level} over {members}, {bytes} bytes");
            let healed = rig.check(&[], &why);
            assert!(healed.iter().all(|healed| *healed == Healed::default()), "{why}: {healed:?}");
            let before = rig.devices();
            let mended = rig.read(without(&[]), Mend::Damage, false).expect("sound devices");
            assert!(mended.healed.iter().all(|healed| *healed == Healed::default()), "{why}");
            assert!(rig.devices() == before, "{why}: mending has written to a sound array");
        }
    }
}

#[test]
fn a_sound_array_is_read_without_its_redundancy() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, 4 * page);
        rig.world.watch();
        rig.check(&[], "sound");
        let started = rig.world.take_started();
        let data: u64 = started.iter().filter(|started| started.disk < members).map(read_bytes).sum();
        let geometry = rig.array.geometry;
        let frame = u64::from(geometry.frame_chunks() * geometry.chunk_bytes());
        let leaves = rig.array.layout.leaf_bytes() * members as u64;
        let stripes = u64::from(rig.array.rows_of(geometry.page_bytes()) / geometry.stripe_rows());
        assert!(data <= 4 * (stripes * u64::from(geometry.stripe_bytes()) + leaves), "{level}: {data} of {frame}");
    }
}

fn read_bytes(started: &crate::port::simulated::Started) -> u64 {
    match started.request.operation {
        crate::port::Operation::Read(span) => u64::from(started.result.map_or(span.bytes, |bytes| bytes)),
        _ => 0,
    }
}

/// Those that the array survives, of each and each two.
pub(super) fn losses(rig: &Rig) -> Vec<Vec<u16>> {
    let members = rig.array.members();
    let singles = (0..members).map(|one| vec![one]);
    let pairs = (0..members).flat_map(|one| (one + 1..members).map(move |two| vec![one, two]));
    singles.chain(pairs).filter(|lost| rig.array.geometry.survives(lost)).collect()
}

#[test]
fn without_any_members_that_the_level_survives_it_comes_back() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, 2 * page + 5000);
        for lost in losses(&rig) {
            // What lies on them is not looked at.
            let whole: Vec<_> = lost.iter().map(|&member| rig.device(member.into())).collect();
            lost.iter().for_each(|&member| rig.put(member.into(), &vec![0x5A; rig.device(0).len()]));
            let healed = rig.check(&lost, &format!("{level} over {members} without {lost:?}"));
            for (member, healed) in (0..).zip(healed) {
                assert_eq!(healed.damaged, 0, "{level} without {lost:?}");
                assert_eq!(healed.reconstructed > 0, lost.contains(&member), "{level} without {lost:?}: {member}");
            }
            lost.iter().zip(whole).for_each(|(&member, bytes)| rig.put(member.into(), &bytes));
        }
    }
}

#[test]
fn what_is_written_without_members_comes_back_without_them() {
    for (level, members, chunk, page) in shapes() {
        let mut rig = Rig::new(level, members, chunk, page, 2 * page + 5000);
        for lost in losses(&rig) {
            assert_eq!(rig.write(without(&lost)), Ok(Vec::new()), "{level} without {lost:?}");
            let asked = |disk: usize| u16::try_from(disk).is_ok_and(|member| lost.contains(&member));
            assert!(!rig.started.iter().any(|started| asked(started.disk)), "{level} without {lost:?}");
            rig.check(&lost, &format!("{level} over {members} written without {lost:?}"));
        }
    }
}
