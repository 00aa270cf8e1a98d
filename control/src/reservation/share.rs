//! How a link's rate is divided among those who want it.
//!
//! Each gets `max(reserve, level x weight)`, but at most its limit, with one level for all that makes the sum the
//! capacity: water that is poured into vessels as wide as their weights, whose floors are the reserves and whose lids are
//! the limits.
//!
//! ```text
//!   level ─ ─ ─ ┌──┐─ ─ ─ ─ ─       a: lid below the level    b: floor above it    c, d: their part of the rest
//!         ┌──┐  │  │┌──┐┌────┐
//!         │a │  │b ││c ││ d  │
//! ```
//!
//! Floors and lids are fixed in rounds, the side first on which more is missing, as browsers divide the width of a row
//! (CSS Flexible Box Layout, "Resolving Flexible Lengths"): at most one round for each class. Promises beyond the capacity
//! are cut in proportion.

use super::Terms;

/// Divides `capacity` bytes per second among the active; the others get 0. The sum is the capacity unless limits forbid it.
pub fn divide(capacity: u64, terms: &[Terms], active: &[bool], rates: &mut [u64]) {
    rates.fill(0);
    let promised: u128 = each(terms, active).map(|(_, terms)| u128::from(floor(terms))).sum();
    if promised >= u128::from(capacity) {
        for (at, terms) in each(terms, active) {
            rates[at] = part(capacity, u128::from(floor(terms)), promised);
        }
        return;
    }
    // A rate above 0 is fixed: floors and lids that are 0 bind nobody.
    let (mut rest, mut weights) = (capacity, each(terms, active).map(|(_, terms)| u128::from(terms.weight)).sum());
    loop {
        let (mut below, mut above) = (0u128, 0u128);
        for (_, terms) in each(terms, active).filter(|(at, _)| rates[*at] == 0) {
            let part = part(rest, u128::from(terms.weight), weights);
            below += u128::from(floor(terms).saturating_sub(part));
            above += u128::from(part.saturating_sub(lid(terms)));
        }
        let (left, among) = (rest, weights);
        for (at, terms) in each(terms, active) {
            if rates[at] != 0 {
                continue;
            }
            let part = part(left, u128::from(terms.weight), among);
            rates[at] = match () {
                () if below == 0 && above == 0 => part,
                () if below >= above && floor(terms) > part => floor(terms),
                () if above > below && lid(terms) < part => lid(terms).max(1),
                () => continue,
            };
            rest = rest.saturating_sub(rates[at]);
            weights -= u128::from(terms.weight);
        }
        if weights == 0 {
            return;
        }
    }
}

/// What a class would get if it wanted something too, beside active ones of so much weight: what it finds when it comes
/// back. Their floors and lids are left out of account: this holds for a period.
pub fn on_return(capacity: u64, terms: &Terms, weights: u64) -> u64 {
    let own = u128::from(terms.weight);
    floor(terms).max(part(capacity, own, u128::from(weights) + own)).min(lid(terms)).min(capacity)
}

fn each<'a>(terms: &'a [Terms], active: &'a [bool]) -> impl Iterator<Item = (usize, &'a Terms)> {
    terms.iter().enumerate().filter(|(at, _)| active[*at])
}

fn floor(terms: &Terms) -> u64 {
    terms.reserve.min(lid(terms))
}

fn lid(terms: &Terms) -> u64 {
    terms.limit.unwrap_or(u64::MAX)
}

fn part(whole: u64, share: u128, of: u128) -> u64 {
    u64::try_from(u128::from(whole) * share / of.max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn terms(reserve: u64, limit: u64, weight: u32) -> Terms {
        Terms { reserve, limit: if limit == 0 { None } else { Some(limit) }, weight }
    }

    fn divided(capacity: u64, terms: &[Terms], active: &[bool]) -> Vec<u64> {
        let mut rates = vec![7; terms.len()];
        divide(capacity, terms, active, &mut rates);
        rates
    }

    #[test]
    fn the_rest_goes_by_weight_between_floors_and_lids() {
        let w = |weight| terms(0, 0, weight);
        #[rustfmt::skip]
        let cases: [(&str, u64, Vec<Terms>, Vec<u64>); 9] = [
            ("by weight",                         500, vec![w(2), w(3)],                                 vec![200, 300]),
            ("a floor below its part is no more", 500, vec![terms(100, 0, 2), w(3)],                     vec![200, 300]),
            ("a floor above its part",            500, vec![terms(300, 0, 1), w(1), w(3)],               vec![300, 50, 150]),
            ("a lid below its part",              500, vec![terms(0, 100, 1), w(1), w(3)],               vec![100, 100, 300]),
            ("a lid, and the level rises",        600, vec![terms(0, 60, 2), w(1), w(1)],                vec![60, 270, 270]),
            ("a floor and a lid",                 600, vec![terms(400, 0, 1), terms(0, 50, 2), w(3)],    vec![400, 50, 150]),
            ("promises are cut in proportion",    300, vec![terms(400, 0, 1), terms(200, 0, 9), w(3)],   vec![200, 100, 0]),
            ("lids leave some of it to nobody",   600, vec![terms(0, 60, 2), terms(0, 70, 1)],           vec![60, 70]),
            ("a floor is not above its lid",      600, vec![terms(300, 100, 1), w(1)],                   vec![100, 500]),
        ];
        for (why, capacity, terms, want) in cases {
            assert_eq!(divided(capacity, &terms, &vec![true; terms.len()]), want, "{why}");
        }
        assert_eq!(divided(500, &[w(1), w(2), w(3)], &[false, true, true]), [0, 200, 300]);
        assert_eq!(divided(500, &[w(1)], &[false]), [0]);
    }

    #[test]
    fn who_comes_back_finds_its_part() {
        let classes = [terms(0, 0, 1), terms(0, 0, 3), terms(200, 0, 1), terms(0, 50, 3)];
        let found = classes.map(|class| on_return(400, &class, 1));
        assert_eq!(found, [200, 300, 200, 50]);
    }

    proptest! {
        /// Of all that may be: within floors and lids, all of the capacity unless lids forbid it, and one level for all.
        #[test]
        fn divisions_are_fair(
            capacity in 1u64..1 << 40,
            classes in prop::collection::vec((0u64..1 << 38, prop::option::of(1u64..1 << 39), 1u32..100, any::<bool>()), 1..12),
        ) {
            let all: Vec<Terms> = classes.iter().map(|c| Terms { reserve: c.0, limit: c.1, weight: c.2 }).collect();
            let active: Vec<bool> = classes.iter().map(|c| c.3).collect();
            let rates = divided(capacity, &all, &active);
            let sum: u64 = rates.iter().sum();
            prop_assert!(sum <= capacity);
            let floors: u64 = each(&all, &active).map(|(_, terms)| floor(terms)).sum();
            let lids = each(&all, &active).map(|(_, terms)| lid(terms)).fold(0u64, u64::saturating_add);
            let few = 2 * all.len() as u64;
            prop_assert!(sum + few >= capacity.min(lids.max(floors)), "{sum} of {capacity}");
            if floors >= capacity {
                return Ok(());
            }
            for (one, terms) in each(&all, &active) {
                prop_assert!((floor(terms)..=lid(terms)).contains(&rates[one]));
                for (other, others) in each(&all, &active) {
                    // Who has more for each of its weight is at its floor, or the other one is at its lid.
                    let more = u128::from(rates[one]) * u128::from(others.weight)
                        > (u128::from(rates[other]) + u128::from(few)) * u128::from(terms.weight) + u128::from(few) * 100;
                    prop_assert!(!more || rates[one] == floor(terms) || rates[other] == lid(others), "{rates:?}");
                }
            }
        }
    }
}
