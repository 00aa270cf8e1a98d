//! The choice against linear algebra: old blocks are unknowns, and parities are sums of them with known factors.
//!
//! The new parities follow from the blocks that were read exactly if what the *unchanged* data contribute to them is in
//! the span of what was read, given the new data. All subsets of the blocks that are left are tried, so that no other
//! choice, named or not, can read fewer.

use proptest::prelude::*;

use super::*;
use crate::raid::geometry::{Level, Place};

/// A sum of the unit's old data chunks, each times a factor in GF(2^8).
type Sum = Vec<u8>;

/// One unit, its members and what they mean.
struct Unit {
    geometry: Geometry,
    unit: u64,
    data: Vec<u16>,
}

impl Unit {
    fn new(level: Level, members: usize, unit: u64) -> Unit {
        let geometry = Geometry::new(level, members, 4096, 64 << 10).expect("a usable shape");
        let k = u64::from(geometry.unit_chunks());
        let data = (unit * k..(unit + 1) * k).map(|chunk| geometry.place(chunk, 0).member).collect();
        Unit { geometry, unit, data }
    }

    /// What the parity of a member is the sum of, restricted to some data members; `None` for a data member.
    fn parity(&self, member: u16, among: impl Fn(u16) -> bool) -> Option<Sum> {
        let is = |place: Option<Place>| place.is_some_and(|place| place.member == member);
        let factor = |power: usize| if is(self.geometry.q(self.unit)) { power_of_g(power) } else { 1 };
        let is_parity = is(self.geometry.p(self.unit)) || is(self.geometry.q(self.unit));
        let sum = || self.data.iter().enumerate().map(|(power, &data)| if among(data) { factor(power) } else { 0 });
        is_parity.then(|| sum().collect())
    }

    /// What the old block of a member is.
    fn block(&self, member: u16) -> Sum {
        let data = || self.data.iter().map(|&data| u8::from(data == member)).collect();
        self.parity(member, |_| true).unwrap_or_else(data)
    }

    /// Whether the blocks of `read` and the new data give every parity that is left.
    fn suffices(&self, read: Members, changed: Members, lost: Members) -> bool {
        let known: Vec<Sum> = read.iter().map(|member| self.block(member)).collect();
        let wanted = (self.geometry.unit_members(self.unit) - lost).iter();
        let mut wanted = wanted.filter_map(|member| self.parity(member, |data| !changed.contains(data)));
        wanted.all(|sum| is_in_span(&known, &sum))
    }
}

fn subsets(of: Members) -> impl Iterator<Item = Members> {
    let members: Vec<u16> = of.iter().collect();
    (0u32..1 << members.len()).map(move |bits| {
        members.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1).map(|(_, &member)| member).collect()
    })
}

#[test]
fn what_is_read_suffices_and_nothing_reads_fewer() {
    let mut choices = 0;
    #[rustfmt::skip]
    let shapes = [
        (Level::Raid5, 3, 1), (Level::Raid5, 4, 2), (Level::Raid5, 6, 0), (Level::Raid6, 4, 3), (Level::Raid6, 5, 1),
        (Level::Raid6, 7, 2), (Level::Raid50 { groups: 2 }, 8, 5), (Level::Raid60 { groups: 2 }, 10, 3),
    ];
    for (level, members, unit) in shapes {
        let unit = Unit::new(level, members, unit);
        let all = unit.geometry.unit_members(unit.unit);
        let data: Members = unit.data.iter().copied().collect();
        for lost in subsets(all) {
            for changed in subsets(data).filter(|changed| !changed.is_empty()) {
                let choice = choose(&unit.geometry, unit.unit, changed, lost);
                let can = lost.count() <= u32::from(unit.geometry.parities());
                assert_eq!(choice.is_some(), can, "{level} without {lost:?}");
                if let Some(choice) = choice {
                    check(&unit, changed, lost, choice);
                    choices += 1;
                }
            }
        }
    }
    assert!(choices > 1000, "{choices} choices were checked");
}

fn check(unit: &Unit, changed: Members, lost: Members, choice: Choice) {
    let all = unit.geometry.unit_members(unit.unit);
    let data: Members = unit.data.iter().copied().collect();
    let parity = all - data;
    let case = format!("{:?}, changed {changed:?}, lost {lost:?}: {choice:?}", unit.geometry);
    assert!((choice.read & lost).is_empty() && (choice.write & lost).is_empty(), "a lost member is used: {case}");
    assert_eq!(choice.write, (changed | parity) - lost, "{case}");
    assert!(unit.suffices(choice.read, changed, lost), "too little is read: {case}");
    let mut fewer = subsets(all - lost).filter(|read| read.count() < choice.read.count());
    assert!(!fewer.any(|read| unit.suffices(read, changed, lost)), "too much is read: {case}");
    match choice.way {
        Way::FullStripe => assert_eq!((changed, choice.read), (data, Members::NONE), "{case}"),
        Way::PlainWrite => assert!((parity - lost).is_empty() && choice.read.is_empty(), "{case}"),
        Way::ReadModifyWrite => assert_eq!(choice.read, changed | (parity - lost), "{case}"),
        Way::ReconstructWrite => {
            assert!(((data - changed) - lost - choice.read).is_empty(), "{case}");
            let difference = (changed & lost).is_empty().then(|| (changed | (parity - lost)).count());
            assert!(difference.is_none_or(|reads| reads > choice.read.count()), "a tie is read-modify-write: {case}");
        }
    }
}

type Case = ((Level, usize), &'static str, &'static [u16], &'static [u16], Way, &'static [u16], &'static [u16]);

#[test]
fn ties_and_losses_as_a_table() {
    use Way::{FullStripe, PlainWrite, ReadModifyWrite, ReconstructWrite};
    // Row 0 of RAID 5 over 5 is 0 1 2 3 P; that of RAID 6 over 6 is Q 0 1 2 3 P.
    let (five, six) = ((Level::Raid5, 5), (Level::Raid6, 6));
    #[rustfmt::skip]
    let cases: &[Case] = &[
        // shape, why, changed, lost: way, read, write
        (five, "all",                       &[0, 1, 2, 3], &[],     FullStripe,       &[],           &[0, 1, 2, 3, 4]),
        (five, "one: 2 reads against 3",    &[1],          &[],     ReadModifyWrite,  &[1, 4],       &[1, 4]),
        (five, "two: 3 reads against 2",    &[1, 2],       &[],     ReconstructWrite, &[0, 3],       &[1, 2, 4]),
        (five, "the parity is lost",        &[1, 2],       &[4],    PlainWrite,       &[],           &[1, 2]),
        (five, "changed and lost",          &[1],          &[1],    ReconstructWrite, &[0, 2, 3],    &[4]),
        (five, "another is lost",           &[1, 2, 3],    &[0],    ReadModifyWrite,  &[1, 2, 3, 4], &[1, 2, 3, 4]),
        (five, "all, one lost",             &[0, 1, 2, 3], &[2],    FullStripe,       &[],           &[0, 1, 3, 4]),
        (six,  "one: 3 against 3, a tie",   &[1],          &[],     ReadModifyWrite,  &[0, 1, 5],    &[0, 1, 5]),
        (six,  "two: 4 against 2",          &[1, 2],       &[],     ReconstructWrite, &[3, 4],       &[0, 1, 2, 5]),
        (six,  "Q lost: as RAID 5",         &[1],          &[0],    ReadModifyWrite,  &[1, 5],       &[1, 5]),
        (six,  "both parities are lost",    &[1],          &[0, 5], PlainWrite,       &[],           &[1]),
        (six,  "another is lost",           &[1, 2],       &[3],    ReadModifyWrite,  &[0, 1, 2, 5], &[0, 1, 2, 5]),
        (six,  "all but the lost one",      &[1, 2, 3],    &[4],    ReconstructWrite, &[1, 2, 3, 5], &[0, 1, 2, 3, 5]),
        (six,  "changed and another lost",  &[1],          &[1, 4], ReconstructWrite, &[0, 2, 3, 5], &[0, 5]),
        (six,  "all but the lost, no P",    &[1, 2, 3],    &[4, 5], ReadModifyWrite,  &[0, 1, 2, 3], &[0, 1, 2, 3]),
        ((Level::Raid10, 4), "copies",      &[0],          &[],     PlainWrite,       &[],           &[0, 1]),
        ((Level::Raid1, 3), "copies left",  &[0],          &[0, 2], PlainWrite,       &[],           &[1]),
    ];
    for &((level, members), why, changed, lost, way, read, write) in cases {
        let geometry = Geometry::new(level, members, 4096, 64 << 10).expect("a usable shape");
        let set = |members: &[u16]| members.iter().copied().collect();
        let want = Choice { way, read: set(read), write: set(write) };
        assert_eq!(choose(&geometry, 0, set(changed), set(lost)), Some(want), "{level}, {why}");
    }
    let pair = Geometry::new(Level::Raid10, 4, 4096, 64 << 10).expect("a usable shape");
    assert_eq!(choose(&pair, 1, Members::NONE.with(2), [2, 3].into_iter().collect()), None, "no copy is left");
}

proptest! {
    #[test]
    fn row_ranges_tell_each_row_once(
        pieces in proptest::collection::vec((0u16..5, 0u32..20, 0u32..20), 0..8),
    ) {
        let pieces: Vec<Piece> =
            pieces.into_iter().map(|(member, start, end)| Piece { member, blocks: start..end }).collect();
        let ranges: Vec<(Range<u32>, Members)> = row_ranges(&pieces).collect();
        for row in 0..20 {
            let holders = pieces.iter().filter(|piece| piece.blocks.contains(&row));
            let want: Members = holders.map(|piece| piece.member).collect();
            let told: Vec<Members> = ranges.iter().filter(|(rows, _)| rows.contains(&row)).map(|told| told.1).collect();
            prop_assert_eq!(told, if want.is_empty() { vec![] } else { vec![want] });
        }
        prop_assert!(ranges.iter().all(|(rows, _)| !rows.is_empty()));
        let seams = ranges.windows(2).map(|pair| (pair[0].0.end, pair[0].1, pair[1].0.start, pair[1].1));
        for (end, before, start, after) in seams {
            prop_assert!(end < start || (end == start && before != after), "in order and as long as can be");
        }
    }
}

fn is_in_span(known: &[Sum], wanted: &Sum) -> bool {
    let mut left = wanted.clone();
    let mut rows = known.to_vec();
    for column in 0..left.len() {
        let Some(pivot) = rows.iter().position(|row| row[column] != 0) else { continue };
        let pivot = rows.swap_remove(pivot);
        rows.iter_mut().chain([&mut left]).for_each(|row| clear(row, &pivot, column));
    }
    left.iter().all(|&factor| factor == 0)
}

/// Takes as much of `pivot` from `row` as makes its `column` zero.
fn clear(row: &mut Sum, pivot: &Sum, column: usize) {
    let factor = (0..=255).find(|&factor| times(factor, pivot[column]) == row[column]).expect("a field");
    row.iter_mut().zip(pivot).for_each(|(left, &right)| *left ^= times(factor, right));
}

fn power_of_g(power: usize) -> u8 {
    (0..power).fold(1, |value, _| times(value, 2))
}

fn times(a: u8, b: u8) -> u8 {
    let doubled = |a: u8| if a & 0x80 == 0 { a << 1 } else { a << 1 ^ 0x1d };
    let steps = std::iter::successors(Some(a), |&a| Some(doubled(a)));
    steps.take(8).enumerate().filter(|(bit, _)| b >> bit & 1 == 1).fold(0, |sum, (_, term)| sum ^ term)
}
