//! A peer's side where one class works: whether the next one may start.
//!
//! What is to start uses several links at once, as a slot does with the devices of an array, and starts when the class has
//! enough at hand on all of them.

use std::sync::Arc;

use bireme_control::reservation::balance::Draw;
use bireme_control::reservation::{ClassId, LinkId};
use bireme_control::units::Nanos;

use super::Balances;

/// What one class has at hand at one peer.
#[derive(Clone, Debug)]
pub struct Allowance {
    balances: Arc<Balances>,
    class: ClassId,
    /// Drawn and not spent, by link.
    at_hand: Box<[u64]>,
}

impl Allowance {
    /// For a peer that works for this class.
    pub fn new(balances: Arc<Balances>, class: ClassId) -> Allowance {
        let links = balances.links.len();
        Allowance { balances, class, at_hand: vec![0; links].into_boxed_slice() }
    }

    /// Whether `bytes` may go over each of these links, after which they are spent; until when not otherwise.
    ///
    /// # Errors
    /// The point in time before which it is of no use to ask again.
    pub fn take(&mut self, now: Nanos, links: impl Iterator<Item = LinkId> + Clone, bytes: u64) -> Result<(), Nanos> {
        for link in links.clone() {
            let at_hand = &mut self.at_hand[link.index()];
            if *at_hand >= bytes {
                continue;
            }
            match self.balances.draw(now, link, self.class, bytes - *at_hand) {
                Draw::Granted(more) => *at_hand += more,
                // Rates may have changed by then.
                Draw::Wait(until) => return Err(until.min(now + super::PERIOD).max(now + Nanos(1))),
            }
        }
        links.for_each(|link| self.at_hand[link.index()] -= bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bireme_control::reservation::Terms;
    use bireme_control::reservation::plan::Capacity;

    use super::super::Manager;
    use super::*;

    #[test]
    fn a_limit_holds_on_each_link_and_for_all_peers_together() {
        let terms = Terms { limit: Some(1_000_000), ..Terms::default() };
        let manager = Manager::new(&[Capacity::Unknown; 2], &[terms]);
        let mut peers = [(); 2].map(|()| Allowance::new(manager.balances().clone(), ClassId(0)));
        let mut taken = 0;
        for micro in 0..1_000_000 {
            let now = Nanos::from_secs(1) + Nanos(micro * 1000);
            for peer in &mut peers {
                if peer.take(now, [LinkId(0), LinkId(1)].into_iter(), 1000).is_ok() {
                    taken += 1000;
                }
            }
        }
        assert!((1_000_000..=1_020_000).contains(&taken), "{taken} bytes in a second of 1 MB");
    }
}
