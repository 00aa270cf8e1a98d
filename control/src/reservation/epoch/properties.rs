//! Whatever is asked for, and whenever: the answers are those of the slow model, and no link carries more than it can.

use proptest::collection::vec;
use proptest::prelude::*;

use super::slow::Slow;
use super::*;

/// A request: how long after the one before, from which sources, in which class, and how much.
type Request = (u64, Vec<Vec<u16>>, u16, u64);

fn requests() -> impl Strategy<Value = Vec<Request>> {
    // Most requests meet in one epoch; some come after the very next start, some long after.
    let pause = prop_oneof![8 => 0..LENGTH / 4, 2 => LENGTH..2 * LENGTH, 1 => 2 * LENGTH..300 * LENGTH];
    let links = proptest::sample::subsequence((0..LINKS).collect::<Vec<u16>>(), 1..=PATH_LINKS_MAX);
    vec((pause, vec(links, 1..4), 0..CLASSES, 0..700u64), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn answers_and_tables_are_those_of_the_slow_model(
        capacities in vec(0..3000u64, usize::from(LINKS)),
        weights in vec(1..6u32, usize::from(CLASSES)),
        ahead: bool,
        requests in requests(),
    ) {
        let booking = if ahead { Booking::Ahead } else { Booking::Off };
        let rates: Vec<u64> = capacities.iter().map(|capacity| capacity * 1_000_000_000 / LENGTH).collect();
        let mut epoch = Epoch::new(&rates, &weights, Nanos(LENGTH), booking);
        let mut slow = Slow::new(&capacities, &weights, booking);
        let mut now = 0;
        for (pause, sources, class, bytes) in requests {
            now += pause;
            slow.go_to(now / LENGTH);
            let paths: Vec<Path> = sources.iter().map(|links| path(links)).collect();
            let before = sums(&mut epoch, Nanos(now));
            let answer = epoch.ask(Nanos(now), &paths, ClassId(class), bytes);
            prop_assert_eq!(answer, slow.ask(&paths, ClassId(class), bytes));
            prop_assert_eq!(deducted(&before, &sums(&mut epoch, Nanos(now))), expected(&sources, answer, bytes));
            for (link, &capacity) in capacities.iter().enumerate() {
                prop_assert!(slow.used[link] <= capacity, "link {} is overspent", link);
                for class in 0..usize::from(CLASSES) {
                    let id = (LinkId(narrow(link)), ClassId(narrow(class)));
                    let want = [slow.totals.get(&(link, class)), slow.remaining.get(&(link, class))];
                    let [total, remaining] = want.map(|bytes| bytes.copied().unwrap_or(0));
                    prop_assert_eq!(epoch.total(Nanos(now), id.0, id.1), total);
                    prop_assert_eq!(epoch.remaining(Nanos(now), id.0, id.1), remaining);
                    prop_assert_eq!(epoch.owed(Nanos(now), id.0, id.1), slow.owed((link, class)));
                }
            }
        }
    }
}

/// By link, what is left and what is owed, over all classes.
fn sums(epoch: &mut Epoch, now: Nanos) -> Vec<(u64, u64)> {
    let sum = |link| {
        let classes = || (0..CLASSES).map(ClassId);
        let remaining = classes().map(|class| epoch.remaining(now, LinkId(link), class)).sum();
        (remaining, classes().map(|class| epoch.owed(now, LinkId(link), class)).sum())
    };
    (0..LINKS).map(sum).collect()
}

/// By link, what a request took from pools and added to debts.
fn deducted(before: &[(u64, u64)], after: &[(u64, u64)]) -> Vec<u64> {
    before.iter().zip(after).map(|(before, after)| (before.0 - after.0) + (after.1 - before.1)).collect()
}

/// The bytes on every link of the path that was granted, and nothing on any other.
fn expected(sources: &[Vec<u16>], answer: Answer, bytes: u64) -> Vec<u64> {
    let links = match answer {
        Answer::Granted { source, .. } => sources[source].as_slice(),
        Answer::Denied => &[],
    };
    (0..LINKS).map(|link| if links.contains(&link) { bytes } else { 0 }).collect()
}

fn path(links: &[u16]) -> Path {
    Path::new(&links.iter().copied().map(LinkId).collect::<Vec<_>>()).expect("distinct links")
}

fn narrow(index: usize) -> u16 {
    u16::try_from(index).expect("links and classes are few")
}

const LINKS: u16 = 9;
const CLASSES: u16 = 5;
/// A thousand bytes per second are a byte per epoch.
const LENGTH: u64 = 1_000_000;
