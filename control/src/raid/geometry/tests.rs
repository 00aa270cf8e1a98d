//! The mapping against rows drawn by hand, and its promises for any shape.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn geometry(level: Level, members: usize) -> Geometry {
    Geometry::new(level, members, 4096, 64 << 10).expect("a usable shape")
}

/// Members in columns; a number is a data chunk or a copy of it.
#[rustfmt::skip]
const GOLDEN: &[(Level, usize, &[&str])] = &[
    (Level::Raid0, 1, &["0", "1", "2"]),
    (Level::Raid0, 3, &["0 1 2", "3 4 5"]),
    (Level::Raid1, 3, &["0 0 0", "1 1 1"]),
    (Level::Raid10, 2, &["0 0", "1 1"]),
    (Level::Raid10, 3, &["0 0 1", "1 2 2", "3 3 4", "4 5 5"]),
    (Level::Raid10, 4, &["0 0 1 1", "2 2 3 3"]),
    (Level::Raid10, 5, &["0 0 1 1 2", "2 3 3 4 4", "5 5 6 6 7"]),
    (Level::Raid5, 3, &["0 1 P", "3 P 2", "P 4 5", "6 7 P"]),
    (Level::Raid5, 4, &["0 1 2 P", "4 5 P 3", "8 P 6 7", "P 9 10 11", "12 13 14 P"]),
    (Level::Raid6, 4, &["Q 0 1 P", "2 3 P Q", "5 P Q 4", "P Q 6 7", "Q 8 9 P"]),
    (Level::Raid6, 5, &["Q 0 1 2 P", "3 4 5 P Q", "7 8 P Q 6", "11 P Q 9 10", "P Q 12 13 14"]),
    (Level::Raid50 { groups: 2 }, 6, &["0 1 P  2 3 P", "5 P 4  7 P 6", "P 8 9  P 10 11"]),
    (Level::Raid50 { groups: 3 }, 9, &["0 1 P  2 3 P  4 5 P", "7 P 6  9 P 8  11 P 10"]),
    (Level::Raid60 { groups: 2 }, 8, &["Q 0 1 P  Q 2 3 P", "4 5 P Q  6 7 P Q", "9 P Q 8  11 P Q 10"]),
];

#[test]
fn rows_are_those_drawn_by_hand() {
    for &(level, members, rows) in GOLDEN {
        let geometry = geometry(level, members);
        let mut copies = std::collections::BTreeMap::new();
        for (row, drawn) in (0..).zip(rows) {
            for (member, cell) in (0..).zip(drawn.split_whitespace()) {
                let place = Place { member, row };
                let unit = row * u64::from(geometry.groups()) + u64::from(member / geometry.group_members());
                let want = match cell {
                    "P" => Content::P { unit },
                    "Q" => Content::Q { unit },
                    chunk => {
                        let chunk = chunk.parse().expect("a number");
                        let copy = copies.entry(chunk).or_insert(0);
                        *copy += 1;
                        Content::Chunk { chunk, copy: *copy - 1 }
                    }
                };
                assert_eq!(geometry.content(place), want, "{level} over {members}, {place:?}");
                assert_eq!(home(&geometry, want), place, "{level} over {members}, {want:?}");
            }
            assert_eq!(drawn.split_whitespace().count(), members, "{level}: the drawing has each member");
        }
    }
}

/// The way back from what lies at a place.
fn home(geometry: &Geometry, content: Content) -> Place {
    match content {
        Content::Chunk { chunk, copy } => geometry.place(chunk, copy),
        Content::P { unit } => geometry.p(unit).expect("a level with P"),
        Content::Q { unit } => geometry.q(unit).expect("a level with Q"),
    }
}

fn any_shape() -> impl Strategy<Value = Geometry> {
    (0usize..7, 2u16..5, 1usize..17, 1u64..17, 1u64..300).prop_filter_map(
        "a usable shape",
        |(level, groups, n, c, p)| {
            let levels = [Level::Raid0, Level::Raid1, Level::Raid10, Level::Raid5, Level::Raid6];
            let grouped = [Level::Raid50 { groups }, Level::Raid60 { groups }];
            let level = *levels.iter().chain(&grouped).nth(level)?;
            let members = n * usize::from(level.groups());
            Geometry::new(level, members, c * 4096, p * 4096).ok()
        },
    )
}

/// All places of a unit: its data with all copies, and its parities.
fn places(geometry: &Geometry, unit: u64) -> Vec<Place> {
    let k = u64::from(geometry.unit_chunks());
    let chunks = unit * k..(unit + 1) * k;
    let data = chunks.flat_map(|chunk| (0..geometry.copies()).map(move |copy| geometry.place(chunk, copy)));
    data.chain(geometry.p(unit)).chain(geometry.q(unit)).collect()
}

proptest! {
    #[test]
    fn the_two_ways_are_inverse(geometry in any_shape(), row in 0u64..1 << 40, chunk in 0u64..1 << 40) {
        for row in row..row + 2 * u64::from(geometry.members()) {
            for member in 0..geometry.members() {
                let place = Place { member, row };
                prop_assert_eq!(home(&geometry, geometry.content(place)), place);
            }
        }
        for chunk in chunk..chunk + 2 * u64::from(geometry.stripe_chunks()) {
            for copy in 0..geometry.copies() {
                let place = geometry.place(chunk, copy);
                prop_assert!(place.member < geometry.members());
                prop_assert_eq!(geometry.content(place), Content::Chunk { chunk, copy });
            }
        }
    }

    #[test]
    fn a_unit_lies_on_different_members_of_one_group(geometry in any_shape(), unit in 0u64..1 << 40) {
        let places = places(&geometry, unit);
        let members: Members = places.iter().map(|place| place.member).collect();
        prop_assert_eq!(members.count() as usize, places.len(), "no member holds two of them");
        prop_assert_eq!(members, geometry.unit_members(unit));
        if geometry.parities() > 0 {
            let group = |place: &Place| place.member / geometry.group_members();
            prop_assert!(places.iter().all(|place| group(place) == group(&places[0]) && place.row == places[0].row));
            prop_assert_eq!(places.len(), usize::from(geometry.group_members()), "each member exactly once");
            prop_assert_eq!(u64::from(group(&places[0])), unit % u64::from(geometry.groups()));
        }
    }

    #[test]
    fn a_unit_is_a_contiguous_run_and_its_chunks_have_each_power_once(geometry in any_shape(), chunk in 0u64..1 << 40) {
        let k = u64::from(geometry.unit_chunks());
        let unit = geometry.unit_of(chunk);
        let first = unit * k;
        prop_assert!((first..first + k).contains(&chunk));
        prop_assert!((first..first + k).all(|chunk| geometry.unit_of(chunk) == unit));
        prop_assert!((first..first + k).zip(0..).all(|(chunk, power)| geometry.exponent(chunk) == power));
    }

    #[test]
    fn parity_rotates_evenly(geometry in any_shape(), row in 0u64..1 << 40) {
        let rows = row..row + u64::from(geometry.group_members());
        let groups = u64::from(geometry.groups());
        for parity in [Geometry::p, Geometry::q] {
            let units = rows.start * groups..rows.end * groups;
            let members: Vec<u16> = units.filter_map(|unit| parity(&geometry, unit)).map(|place| place.member).collect();
            let different: BTreeSet<u16> = members.iter().copied().collect();
            prop_assert_eq!(members.len(), different.len());
            prop_assert!(members.is_empty() || members.len() == usize::from(geometry.members()));
        }
    }

    #[test]
    fn frames_hold_a_page_in_whole_stripes_and_share_no_row(geometry in any_shape(), frame in 0u64..1000) {
        let chunks = u64::from(geometry.frame_chunks());
        let bytes = chunks * u64::from(geometry.chunk_bytes());
        let page = u64::from(geometry.page_bytes());
        prop_assert!((page..page + u64::from(geometry.stripe_bytes())).contains(&bytes));
        prop_assert_eq!(u64::from(geometry.frame_member_bytes()),
            u64::from(geometry.frame_rows()) * u64::from(geometry.chunk_bytes()));
        let rows = frame * u64::from(geometry.frame_rows())..(frame + 1) * u64::from(geometry.frame_rows());
        let units = geometry.unit_of(frame * chunks)..geometry.unit_of((frame + 1) * chunks);
        let placed: BTreeSet<Place> = units.flat_map(|unit| places(&geometry, unit)).collect();
        prop_assert!(placed.iter().all(|place| rows.contains(&place.row)));
        prop_assert_eq!(placed.len() as u64, (rows.end - rows.start) * u64::from(geometry.members()));
    }

    #[test]
    fn what_survives_is_what_can_be_computed(geometry in any_shape(), lost in proptest::collection::vec(0u16..80, 0..5)) {
        let is_lost = |place: &Place| lost.contains(&place.member);
        let units = 0..2 * u64::from(geometry.members() * geometry.groups());
        let lives = |unit| {
            let places = places(&geometry, unit);
            match geometry.parities() {
                0 => !places.iter().all(is_lost),
                parities => places.iter().filter(|place| is_lost(place)).count() <= usize::from(parities),
            }
        };
        prop_assert_eq!(geometry.survives(&lost), units.clone().all(lives));
    }
}

#[test]
fn losses_that_a_level_survives() {
    #[rustfmt::skip]
    let cases: &[(Level, usize, &[u16], bool)] = &[
        (Level::Raid0, 2, &[], true), (Level::Raid0, 2, &[1], false),
        (Level::Raid1, 3, &[0, 2], true), (Level::Raid1, 3, &[0, 1, 2], false),
        (Level::Raid10, 4, &[1, 2], true), (Level::Raid10, 4, &[2, 3], false), (Level::Raid10, 4, &[0, 3], true),
        (Level::Raid10, 3, &[0], true), (Level::Raid10, 3, &[0, 2], false), (Level::Raid10, 5, &[1, 3], true),
        (Level::Raid5, 5, &[4, 4, 9], true), (Level::Raid5, 5, &[0, 1], false),
        (Level::Raid6, 5, &[0, 4], true), (Level::Raid6, 5, &[0, 1, 2], false),
        (Level::Raid50 { groups: 2 }, 6, &[2, 3], true), (Level::Raid50 { groups: 2 }, 6, &[3, 5], false),
        (Level::Raid60 { groups: 2 }, 8, &[0, 1, 4, 7], true), (Level::Raid60 { groups: 2 }, 8, &[4, 5, 6], false),
    ];
    for &(level, members, lost, want) in cases {
        assert_eq!(geometry(level, members).survives(lost), want, "{level} over {members} without {lost:?}");
    }
}

#[test]
fn figures_of_each_level() {
    #[rustfmt::skip]
    let cases = [
        // level, members: chunks of a unit, of a stripe, rows of a stripe; frame of 16 chunks: rows, data chunks
        (Level::Raid0, 5,                   1, 5, 1,  4, 20),
        (Level::Raid1, 3,                   1, 1, 1, 16, 16),
        (Level::Raid10, 4,                  1, 2, 1,  8, 16),
        (Level::Raid10, 5,                  1, 5, 2,  8, 20),
        (Level::Raid5, 5,                   4, 4, 1,  4, 16),
        (Level::Raid6, 5,                   3, 3, 1,  6, 18),
        (Level::Raid50 { groups: 2 }, 10,   4, 8, 1,  2, 16),
        (Level::Raid60 { groups: 3 }, 12,   2, 6, 1,  3, 18),
    ];
    for (level, members, unit, stripe, stripe_rows, rows, chunks) in cases {
        let shape = geometry(level, members);
        let have = (shape.unit_chunks(), shape.stripe_chunks(), shape.stripe_rows(), shape.frame_rows());
        assert_eq!(have, (unit, stripe, stripe_rows, rows), "{level} over {members}");
        assert_eq!((shape.frame_chunks(), shape.stripe_bytes()), (chunks, stripe * 4096), "{level} over {members}");
    }
}

#[test]
fn the_default_chunk_pads_little() {
    #[rustfmt::skip]
    let cases = [
        // level, members, page, chunk
        (Level::Raid0, 1, 4 << 20, 65536), (Level::Raid0, 2, 4 << 20, 65536), (Level::Raid0, 4, 4 << 20, 65536),
        (Level::Raid0, 3, 4 << 20, 65536), (Level::Raid0, 5, 4 << 20, 65536), (Level::Raid0, 7, 4 << 20, 32768),
        (Level::Raid0, 60, 64 << 10, 4096), (Level::Raid0, 0, 4 << 20, 65536), (Level::Raid0, 2, u64::MAX, 65536),
        (Level::Raid5, 8, 4 << 20, 32768), (Level::Raid6, 10, 4 << 20, 65536), (Level::Raid1, 7, 64 << 10, 65536),
        (Level::Raid10, 14, 4 << 20, 32768), (Level::Raid10, 7, 4 << 20, 32768), (Level::Raid5, 2, 4 << 20, 65536),
        (Level::Raid0, 26, 25 << 16, 65536), (Level::Raid0, 23, 44 << 16, 4096),
        (Level::Raid50 { groups: 2 }, 10, 4 << 20, 65536), (Level::Raid50 { groups: 0 }, 10, 4 << 20, 65536),
    ];
    for (level, members, page, want) in cases {
        assert_eq!(default_chunk(level, members, page), want, "{level} over {members}, page {page}");
    }
}

#[test]
fn figures_that_cannot_work_are_refused() {
    let shape = |members, chunk, page| Geometry::new(Level::Raid0, members, chunk, page);
    assert_eq!(shape(0, 65536, 4 << 20), Err(GeometryError::Members(0)));
    assert_eq!(shape(65, 65536, 4 << 20), Err(GeometryError::Members(65)));
    assert_eq!(shape(2, 5000, 4 << 20), Err(GeometryError::Chunk(5000)));
    assert_eq!(shape(2, 65536, 0), Err(GeometryError::Page(0)));
    assert!(matches!(shape(64, 16 << 20, 4 << 20), Err(GeometryError::Stripe { .. })));
    #[rustfmt::skip]
    let cases = [
        (Level::Raid1, 1, "RAID 1 needs at least 2 devices, and 1 were named: name more, or choose another level"),
        (Level::Raid10, 1, "RAID 10 needs at least 2 devices, and 1 were named: name more, or choose another level"),
        (Level::Raid5, 2, "RAID 5 needs at least 3 devices, and 2 were named: name more, or choose another level"),
        (Level::Raid6, 3, "RAID 6 needs at least 4 devices, and 3 were named: name more, or choose another level"),
        (Level::Raid60 { groups: 2 }, 6,
            "RAID 60 needs at least 8 devices for 2 groups, and 6 were named: name more, or choose another level"),
        (Level::Raid50 { groups: 2 }, 7,
            "7 devices cannot be dealt to 2 groups of one size: name a multiple of 2"),
        (Level::Raid50 { groups: 1 }, 6, "RAID 50 stripes over groups, and 1 cannot be striped over: choose 2 or more"),
        (Level::Raid60 { groups: 0 }, 8, "RAID 60 stripes over groups, and 0 cannot be striped over: choose 2 or more"),
    ];
    for (level, members, sentence) in cases {
        let error = Geometry::new(level, members, 65536, 4 << 20).expect_err(sentence);
        assert_eq!(error.to_string(), sentence);
    }
    assert!(Geometry::new(Level::Raid60 { groups: u16::MAX }, 64, 65536, 4 << 20).is_err());
}
