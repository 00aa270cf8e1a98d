//! Equal parts by count, given out at the start, and nothing after that.

use super::{Action, Event};
use crate::units::{Extent, PeerId};

/// The machine of one peer.
#[derive(Clone, Debug)]
pub struct Fixed {
    me: PeerId,
    peers: u16,
}

impl Fixed {
    pub(super) fn new(me: PeerId, peers: u16) -> Fixed {
        Fixed { me, peers }
    }

    pub(super) fn handle(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Begin { transfers } => Some(Action::Assign(part(self.me, self.peers, transfers))),
            Event::Dry => Some(Action::Finished),
            Event::Drawn(_) => None,
        }
    }
}

/// Peer `me`'s part of `transfers`: parts differ by one at most and cover everything once.
fn part(me: PeerId, peers: u16, transfers: u64) -> Extent {
    let (peers, me) = (u64::from(peers), u64::from(me.0));
    let (each, more) = (transfers / peers, transfers % peers);
    Extent::new(me * each + me.min(more), each + u64::from(me < more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_and_cover_the_set() {
        #[rustfmt::skip]
        let cases = [
            // peers, transfers, parts
            (1, 5, vec![(0, 5)]),
            (2, 5, vec![(0, 3), (3, 2)]),
            (3, 2, vec![(0, 1), (1, 1), (2, 0)]),
            (2, 0, vec![(0, 0), (0, 0)]),
        ];
        for (peers, transfers, want) in cases {
            let parts: Vec<_> =
                (0..peers).map(|p| part(PeerId(p), peers, transfers)).map(|e| (e.start, e.count)).collect();
            assert_eq!(parts, want, "{peers} peers, {transfers} transfers");
        }
    }
}
