//! Which peers are alive, and who of them has laid down what was under way when one died.
//!
//! ```text
//!   Died ──▶ LayDown to the living ──▶ LaidDown of each, with the number of deaths it knows of ──▶ deal anew
//! ```
//!
//! When the last of the living has laid down its work nothing is in flight: what was not reported is missing, whoever it
//! belonged to, and can be dealt out without two writers of one frame.

use bireme_control::units::PeerId;

/// The peers of a run.
#[derive(Debug)]
pub(super) struct Living {
    alive: Vec<bool>,
    deaths: u16,
    /// Those who still have to lay down their work; none when all goes its way.
    working: Vec<bool>,
}

impl Living {
    pub(super) fn new(peers: usize) -> Living {
        Living { alive: vec![true; peers], deaths: 0, working: vec![false; peers] }
    }

    /// One has died. `false` when that is known, or there is no such peer.
    pub(super) fn died(&mut self, peer: PeerId) -> bool {
        match self.alive.get_mut(peer.index()) {
            Some(alive) if *alive => *alive = false,
            _ => return false,
        }
        self.deaths += 1;
        self.working.clone_from(&self.alive);
        true
    }

    /// One has laid down its work; `true` when it was the last.
    pub(super) fn laid_down(&mut self, peer: PeerId, deaths: u16) -> bool {
        let before = self.is_laying_down();
        if deaths == self.deaths
            && let Some(working) = self.working.get_mut(peer.index())
        {
            *working = false;
        }
        before && !self.is_laying_down()
    }

    /// Whether work is being laid down.
    pub(super) fn is_laying_down(&self) -> bool {
        self.working.iter().any(|&working| working)
    }

    /// By peer.
    pub(super) fn alive(&self) -> &[bool] {
        &self.alive
    }

    /// The living in order.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        (0..).map(PeerId).zip(&self.alive).filter_map(|(peer, &alive)| alive.then_some(peer))
    }

    /// The dead in order.
    pub(super) fn dead(&self) -> impl Iterator<Item = PeerId> + '_ {
        (0..).map(PeerId).zip(&self.alive).filter_map(|(peer, &alive)| (!alive).then_some(peer))
    }

    /// Who flushes the devices of the dead; `None` when all are.
    pub(super) fn stand_in(&self) -> Option<PeerId> {
        self.peers().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_death_starts_the_laying_down_anew() {
        let mut living = Living::new(3);
        assert!(living.died(PeerId(0)) && !living.died(PeerId(0)) && !living.died(PeerId(7)));
        assert_eq!(living.stand_in(), Some(PeerId(1)));
        assert!(!living.laid_down(PeerId(1), 1));
        assert!(living.died(PeerId(1)));
        assert!(!living.laid_down(PeerId(2), 1), "it has not heard of the second death");
        assert!(living.is_laying_down());
        assert!(living.laid_down(PeerId(2), 2));
        assert!(!living.laid_down(PeerId(2), 2), "only once");
        assert_eq!(living.dead().collect::<Vec<_>>(), [PeerId(0), PeerId(1)]);
    }
}
