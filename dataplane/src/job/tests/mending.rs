//! Members filled again.

use bireme_control::raid::health::Health;

use super::levels::losses;
use super::rig::{FRAME, Rig, shapes, without};
use crate::job::Mend;

#[test]
fn members_are_filled_again_as_they_were() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, 2 * page + 5000);
        let sound = rig.devices();
        for lost in losses(&rig) {
            let why = format!("{level} over {members}: {lost:?}");
            lost.iter().for_each(|&member| rig.put(member.into(), &vec![0x5A; rig.device(0).len()]));
            let rebuilding = without(&lost).lost;
            let health = Health { rebuilding, ..Health::default() };
            let mend = Mend::Members(rebuilding);
            rig.read(health, mend, false).unwrap_or_else(|failure| panic!("{why}: {failure:?}"));
            // Each counts as whole now, and all that the set needs of it is there.
            rig.check(&[], &why);
            let again = rig.read(Health::default(), Mend::Damage, false).expect("whole");
            assert!(again.healed.iter().all(|healed| healed.damaged == 0), "{why}");
            lost.iter().for_each(|&member| rig.put(member.into(), &sound[usize::from(member)]));
        }
    }
}

#[test]
fn frames_below_the_watermark_count_and_the_others_are_filled() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, 3 * page);
        let Some(lost) = losses(&rig).into_iter().next() else { continue };
        let member = usize::from(lost[0]);
        let (data, leaves) = rig.places(1);
        rig.world.poke(member, leaves, &vec![0x5A; 8192]);
        rig.world.poke(member, data, &vec![0x5A; 2 * rig.array.geometry.frame_member_bytes() as usize]);
        // The first page is whole, but for one block.
        let (data, _) = rig.places(0);
        rig.flip(member, data);
        let health = Health { rebuilding: without(&lost).lost, watermark: FRAME + 1, ..Health::default() };
        let read = rig.read(health, Mend::Members(without(&lost).lost), false).expect("healed");
        assert_eq!(read.healed[member].damaged, 1, "{level} over {members}");
        let again = rig.read(Health::default(), Mend::Damage, false).expect("whole");
        assert!(again.healed.iter().all(|healed| healed.damaged == 0), "{level} over {members}");
    }
}

/// Where leaves are wrong too, nothing is written before the root has turned out right.
#[test]
fn a_member_is_filled_from_others_that_lie_where_the_level_allows() {
    for (level, members, chunk, page) in shapes() {
        let rig = Rig::written(level, members, chunk, page, page + 5000);
        let (data, leaves) = rig.places(0);
        for lost in losses(&rig).into_iter().filter(|lost| lost.len() == 2) {
            let (gone, liar) = (usize::from(lost[0]), usize::from(lost[1]));
            rig.world.poke(gone, leaves, &vec![0; 4096]);
            rig.world.poke(gone, data, &vec![0; rig.array.geometry.frame_member_bytes() as usize]);
            rig.flip(liar, data + 77);
            rig.flip(liar, leaves);
            let rebuilding = without(&lost[..1]).lost;
            let health = Health { rebuilding, ..Health::default() };
            rig.read(health, Mend::Members(rebuilding), false).unwrap_or_else(|e| panic!("{level} {lost:?}: {e:?}"));
            let again = rig.read(Health::default(), Mend::Damage, false).expect("whole");
            assert!(again.healed.iter().all(|healed| healed.damaged == 0), "{level} over {members}: {lost:?}");
        }
    }
}
