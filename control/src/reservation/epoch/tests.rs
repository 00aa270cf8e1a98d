//! The golden tests of the reference, by number, and what it leaves open.

use super::*;

/// Links that carry so many megabytes per epoch of a second, and the classes 0 to 4, weighted by their number but for 0.
fn epoch(megabytes: &[u64], booking: Booking) -> Epoch {
    let rates: Vec<_> = megabytes.iter().map(|megabytes| megabytes * MB).collect();
    Epoch::new(&rates, &[1, 1, 2, 3, 4], SECOND, booking)
}

/// The same when an epoch has just started for these classes, and the moment of that.
fn allocated(megabytes: &[u64], classes: &[&[u16]], booking: Booking) -> (Epoch, Nanos) {
    let mut epoch = epoch(megabytes, booking);
    for (link, classes) in classes.iter().enumerate() {
        for &class in *classes {
            // Nothing is too little for no pool, and flags its class.
            let source = path(&[u16::try_from(link).expect("links are few")]);
            assert!(matches!(epoch.ask(Nanos::ZERO, &[source], ClassId(class), 0), Answer::Granted { .. }));
        }
    }
    (epoch, SECOND)
}

fn path(links: &[u16]) -> Path {
    Path::new(&links.iter().copied().map(LinkId).collect::<Vec<_>>()).expect("distinct links")
}

fn granted(source: usize, charged: u16, booked: u64) -> Answer {
    Answer::Granted { source, charged: ClassId(charged), booked: booked * MB }
}

fn pools(epoch: &mut Epoch, now: Nanos, link: u16) -> [u64; 5] {
    [0, 1, 2, 3, 4].map(|class| epoch.remaining(now, LinkId(link), ClassId(class)) / MB)
}

#[test]
fn golden_1_totals_go_by_the_weights_of_those_that_asked() {
    let (mut epoch, now) = allocated(&[1000], &[&[2, 3]], Booking::Off);
    assert_eq!([0, 1, 2, 3, 4].map(|class| epoch.total(now, LinkId(0), ClassId(class))), [0, 0, 400 * MB, 600 * MB, 0]);
}

#[test]
fn golden_2_what_does_not_fit_into_the_rest_is_denied() {
    let (mut epoch, now) = allocated(&[1000], &[&[2, 3]], Booking::Off);
    let answers = [(); 5].map(|()| epoch.ask(now, &[path(&[0])], ClassId(2), 90 * MB));
    assert_eq!(answers[..4], [granted(0, 2, 0); 4]);
    assert_eq!(answers[4], Answer::Denied);
    assert_eq!(epoch.remaining(now, LinkId(0), ClassId(2)), 40 * MB);
    assert_eq!(epoch.ask(now, &[path(&[0])], ClassId(2), 40 * MB), granted(0, 2, 0), "a smaller one still fits");
}

#[test]
fn golden_3_the_next_source_is_asked_when_one_has_too_little() {
    #[rustfmt::skip]
    let cases = [
        // left at the first, granted by, left at each then
        (300,                 0,          [246, 400]),
        (32,                  1,          [32, 346]),
    ];
    for (left, source, then) in cases {
        let (mut epoch, now) = allocated(&[1000, 1000], &[&[2, 3], &[2, 3]], Booking::Off);
        epoch.ask(now, &[path(&[0])], ClassId(2), (400 - left) * MB);
        assert_eq!(epoch.ask(now, &[path(&[0]), path(&[1])], ClassId(2), 54 * MB), granted(source, 2, 0));
        assert_eq!([0, 1].map(|link| epoch.remaining(now, LinkId(link), ClassId(2)) / MB), then);
    }
}

#[test]
fn golden_4_what_is_missing_is_taken_from_the_next_pool() {
    let (mut epoch, now) = allocated(&[1000], &[&[2, 3]], Booking::Ahead);
    epoch.ask(now, &[path(&[0])], ClassId(2), 380 * MB);
    assert_eq!(epoch.ask(now, &[path(&[0])], ClassId(2), 64 * MB), granted(0, 2, 44));
    epoch.ask(now, &[path(&[0])], ClassId(3), 0);
    assert_eq!(pools(&mut epoch, now, 0), [0, 0, 0, 600, 0]);
    assert_eq!(pools(&mut epoch, now + SECOND, 0), [0, 0, 356, 600, 0]);
    assert_eq!(epoch.total(now + SECOND, LinkId(0), ClassId(2)), 400 * MB);
}

#[test]
fn golden_5_a_class_above_all_uses_the_highest_pool_and_no_other() {
    let classes: [&[u16]; 2] = [&[1, 2, 3], &[2, 4]];
    let ask = |taken: u64| {
        let (mut epoch, now) = allocated(&[600, 600], &classes, Booking::Off);
        epoch.ask(now, &[path(&[0])], ClassId(3), taken * MB);
        let answer = epoch.ask(now, &[path(&[0]), path(&[1])], ClassId(4), 64 * MB);
        (answer, pools(&mut epoch, now, 0), pools(&mut epoch, now, 1))
    };
    assert_eq!(ask(0), (granted(0, 3, 0), [0, 100, 200, 236, 0], [0, 0, 200, 0, 400]));
    assert_eq!(ask(250), (granted(1, 4, 0), [0, 100, 200, 50, 0], [0, 0, 200, 0, 336]), "200 are left in pool 2");
}

#[test]
fn golden_6_no_class_is_served_from_a_higher_one() {
    for booking in [Booking::Off, Booking::Ahead] {
        let (mut epoch, now) = allocated(&[1000], &[&[2, 3]], booking);
        assert_eq!(epoch.ask(now, &[path(&[0])], ClassId(1), MB), Answer::Denied);
        assert_eq!(pools(&mut epoch, now, 0), [0, 0, 400, 600, 0]);
        assert_eq!(pools(&mut epoch, now + SECOND, 0), [0, 1000, 0, 0, 0], "but it had asked");
    }
}

#[test]
fn golden_7_pools_strand_what_is_smaller_than_a_block_unless_it_is_booked() {
    #[rustfmt::skip]
    let cases = [
        // carries, booking,        admitted, stranded permille
        (1000,      Booking::Off,   [6, 9],   40),
        (200,       Booking::Off,   [1, 1],   360),
        (100,       Booking::Off,   [0, 0],   1000),
        // Each pool is used up at once, and `ceil(64 / pool) + 1` of the next are booked as far as whole blocks fill them.
        (1000,      Booking::Ahead, [18, 28], 0),
        (200,       Booking::Ahead, [3, 5],   0),
        (100,       Booking::Ahead, [2, 3],   0),
    ];
    for (carries, booking, admitted, stranded) in cases {
        let (mut epoch, now) = allocated(&[carries], &[&[2, 3]], booking);
        let mut blocks = |now, class| {
            let ask = |_: &u64| epoch.ask(now, &[path(&[0])], class, 64 * MB) != Answer::Denied;
            (0..).take_while(ask).count()
        };
        assert_eq!([ClassId(2), ClassId(3)].map(|class| blocks(now, class)), admitted, "{carries} {booking:?}");
        assert_eq!(pools(&mut epoch, now, 0).iter().sum::<u64>() * 1000 / carries, stranded, "{carries} {booking:?}");
    }
}

#[test]
fn with_booking_ahead_backlogged_classes_get_what_their_weights_entitle_them_to() {
    let (mut epoch, mut now) = allocated(&[100], &[&[2, 3]], Booking::Ahead);
    let mut blocks = [0, 0];
    for _ in 0..640 {
        for (blocks, class) in blocks.iter_mut().zip([2, 3]) {
            while epoch.ask(now, &[path(&[0])], ClassId(class), 64 * MB) != Answer::Denied {
                *blocks += 1;
            }
        }
        now += SECOND;
    }
    // Of 40 and 60 MB each, 640 pools and the next three.
    assert_eq!(blocks, [643 * 40 / 64, 643 * 60 / 64]);
}

#[test]
fn a_class_between_two_pools_uses_the_lower_one() {
    let (mut epoch, now) = allocated(&[1000], &[&[1, 4]], Booking::Off);
    assert_eq!(epoch.ask(now, &[path(&[0])], ClassId(3), 50 * MB), granted(0, 1, 0));
    assert_eq!(pools(&mut epoch, now, 0), [0, 150, 0, 0, 800]);
    assert_eq!(pools(&mut epoch, now + SECOND, 0), [0, 0, 0, 1000, 0], "the flag is that of the class that asked");
}

#[test]
fn a_cold_link_is_cut_for_everybody() {
    let mut epoch = epoch(&[1100], Booking::Off);
    assert_eq!(pools(&mut epoch, Nanos::ZERO, 0), [100, 100, 200, 300, 400]);
    epoch.ask(Nanos::ZERO, &[path(&[0])], ClassId(4), MB);
    assert_eq!(pools(&mut epoch, SECOND, 0), [0, 0, 0, 0, 1100]);
    assert_eq!(pools(&mut epoch, SECOND + SECOND, 0), [100, 100, 200, 300, 400]);
}

#[test]
fn a_path_is_charged_on_all_links_or_on_none_and_flagged_on_all_that_were_tried() {
    let (mut epoch, now) = allocated(&[1000, 50, 1000], &[&[2, 3], &[2], &[3]], Booking::Off);
    let sources = [path(&[0, 1]), path(&[0, 2])];
    assert_eq!(
        epoch.ask(now, &sources, ClassId(2), 64 * MB),
        Answer::Denied,
        "link 1 is too slow, link 2 is for 3 only"
    );
    assert_eq!([0, 1, 2].map(|link| pools(&mut epoch, now, link)[2]), [400, 50, 0]);
    assert_eq!([0, 1, 2].map(|link| pools(&mut epoch, now + SECOND, link)[2]), [1000, 50, 1000]);
    assert_eq!(epoch.ask(now + SECOND, &sources, ClassId(3), 64 * MB), granted(1, 2, 0), "down-graded on both links");
    assert_eq!([0, 1, 2].map(|link| pools(&mut epoch, now + SECOND, link)[2]), [936, 50, 936]);
}

#[test]
fn nothing_is_booked_while_another_source_has_it_now() {
    let (mut epoch, now) = allocated(&[100, 100], &[&[2], &[2]], Booking::Ahead);
    let sources = [path(&[0]), path(&[1])];
    let answers = [(); 4].map(|()| epoch.ask(now, &sources, ClassId(2), 70 * MB));
    assert_eq!(answers, [granted(0, 2, 0), granted(1, 2, 0), granted(0, 2, 40), granted(0, 2, 70)]);
}

#[test]
fn what_a_higher_class_books_in_a_lower_pool_keeps_its_room() {
    let (mut epoch, now) = allocated(&[100], &[&[2]], Booking::Ahead);
    assert_eq!(epoch.ask(now, &[path(&[0])], ClassId(4), 164 * MB), granted(0, 2, 64));
    let next = now + SECOND;
    // Only 4 asked, but 64 MB of pool 2 are under way.
    assert_eq!([2, 4].map(|class| epoch.total(next, LinkId(0), ClassId(class))), [33_333_333, 66_666_666]);
    assert_eq!(pools(&mut epoch, next, 0), [0, 0, 0, 0, 66]);
    assert_eq!(epoch.owed(next, LinkId(0), ClassId(2)), 64 * MB - 33_333_333);
    assert_eq!(pools(&mut epoch, next + SECOND, 0), [0, 0, 69, 0, 0]);
}

#[test]
fn a_jump_over_any_number_of_epochs_takes_few_steps() {
    let mut epoch = epoch(&[100], Booking::Ahead);
    for (class, terabytes) in [(2, 2), (3, 6)] {
        epoch.ask(Nanos::ZERO, &[path(&[0])], ClassId(class), terabytes * 1_000_000 * MB);
    }
    let mut owed = |seconds| [2, 3].map(|class| epoch.owed(Nanos::from_secs(seconds), LinkId(0), ClassId(class)) / MB);
    // 18.2 and 27.3 of the 100 MB were taken at once, as all five classes had a pool of the cold link.
    assert_eq!(owed(1), [1_999_941, 5_999_912]);
    assert_eq!(owed(40_000), [399_981, 3_599_972], "40 and 60 MB per epoch");
    assert_eq!(owed(60_000), [0, 1_999_972], "and all for class 3, once class 2 owes nothing");
    assert_eq!(pools(&mut epoch, Nanos(u64::MAX), 0), [9, 9, 18, 27, 36]);
    assert_eq!(epoch.next_start(Nanos::ZERO), Nanos(u64::MAX), "time does not go back");
}

#[test]
fn a_rate_changes_with_the_next_epoch() {
    let mut epoch = epoch(&[1100], Booking::Off);
    epoch.set_rate(Nanos::ZERO, LinkId(0), 11 * MB);
    assert_eq!(pools(&mut epoch, Nanos::ZERO, 0), [100, 100, 200, 300, 400]);
    assert_eq!(pools(&mut epoch, SECOND, 0), [1, 1, 2, 3, 4]);
}

const MB: u64 = 1_000_000;
const SECOND: Nanos = Nanos::from_secs(1);
