//! Runs from one cursor that all peers share: whoever is dry takes the next few transfers.
//!
//! Nobody plans, so nobody is wrong about speeds; the end is ragged by at most one run. The price is that a run must be
//! long enough to be one piece on the devices, and short enough to end together: the controller sets its length.

use super::{Action, Event};

/// The machine of one peer.
#[derive(Clone, Debug)]
pub struct Pull {
    run: u64,
}

impl Pull {
    pub(super) fn new() -> Pull {
        Pull { run: 1 }
    }

    pub(super) fn set_run(&mut self, transfers: u64) {
        self.run = transfers.max(1);
    }

    pub(super) fn handle(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Begin { .. } => None,
            Event::Dry => Some(Action::Draw { most: self.run }),
            Event::Drawn(extent) if extent.is_empty() => Some(Action::Finished),
            Event::Drawn(extent) => Some(Action::Assign(extent)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Extent;

    #[test]
    fn a_dry_peer_draws_until_the_cursor_is_at_its_end() {
        let mut pull = Pull::new();
        pull.set_run(4);
        #[rustfmt::skip]
        let cases = [
            // why,                     event,                             want
            ("a set begins",            Event::Begin { transfers: 9 },     None),
            ("dry",                     Event::Dry,                        Some(Action::Draw { most: 4 })),
            ("a whole run",             Event::Drawn(Extent::new(0, 4)),   Some(Action::Assign(Extent::new(0, 4)))),
            ("the rest of the set",     Event::Drawn(Extent::new(8, 1)),   Some(Action::Assign(Extent::new(8, 1)))),
            ("the end",                 Event::Drawn(Extent::new(9, 0)),   Some(Action::Finished)),
        ];
        for (why, event, want) in cases {
            assert_eq!(pull.handle(event), want, "{why}");
        }
    }
}
