//! Whose leaf blocks are wrong, when the root says that some are and they do not tell whose: guesses in a fixed order.

use bireme_control::raid::geometry::{Geometry, MEMBERS_MAX};
use bireme_control::raid::members::Members;

/// The set of members that is tried as number `number`: those that are known to be leafless alone, then with each of the
/// others in turn, then with each two of them. Sets that the array does not survive are left out; their number is given
/// with the set that was found. `None`: there are no more.
pub(super) fn next(geometry: &Geometry, known: Members, number: u16) -> Option<(u16, Members)> {
    let members = geometry.members();
    let others = || (0..members).filter(|&member| !known.contains(member));
    let singles = others().map(|member| known.with(member));
    let pairs = others().flat_map(|one| others().filter(move |&two| two > one).map(move |two| (one, two)));
    let pairs = pairs.map(|(one, two)| known.with(one).with(two));
    let mut all = (0..).zip(std::iter::once(known).chain(singles).chain(pairs)).skip(usize::from(number));
    all.find(|(_, set)| survives(geometry, *set))
}

fn survives(geometry: &Geometry, lost: Members) -> bool {
    let mut list = [0; MEMBERS_MAX as usize];
    let mut count = 0;
    for member in lost.iter() {
        list[count] = member;
        count += 1;
    }
    geometry.survives(&list[..count])
}

#[cfg(test)]
mod tests {
    use bireme_control::raid::geometry::Level;

    use super::*;

    fn all(level: Level, members: usize, known: &[u16]) -> Vec<Vec<u16>> {
        let geometry = Geometry::new(level, members, 4096, 65536).expect("a usable shape");
        let known = known.iter().copied().collect();
        let mut number = 0;
        let mut sets = Vec::new();
        while let Some((found, set)) = next(&geometry, known, number) {
            sets.push(set.iter().collect());
            number = found + 1;
        }
        sets
    }

    #[test]
    fn sets_are_tried_from_the_likeliest_on_as_far_as_the_level_goes() {
        let none: Vec<Vec<u16>> = vec![vec![]];
        assert_eq!(all(Level::Raid0, 3, &[]), none);
        assert_eq!(all(Level::Raid5, 3, &[]), [vec![], vec![0], vec![1], vec![2]]);
        assert_eq!(all(Level::Raid5, 3, &[1]), [vec![1]]);
        assert_eq!(all(Level::Raid6, 4, &[2]), [vec![2], vec![0, 2], vec![1, 2], vec![2, 3]]);
        assert_eq!(all(Level::Raid6, 4, &[]).len(), 1 + 4 + 6);
        assert_eq!(all(Level::Raid10, 4, &[]).len(), 1 + 4 + 4, "not both of a pair");
        assert!(all(Level::Raid5, 3, &[0, 1]).is_empty());
    }
}
