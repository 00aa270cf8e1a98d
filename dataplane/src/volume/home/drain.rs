//! What lies in the log is made unneeded, so that its room can be used again.
//!
//! ```text
//!   Idle ─ half a lane is full ─▶ Quiet ─ its changes are durable in place ─▶ Leaves ─ those dirty by now are written
//!     ▲                                                                         │
//!     └── the half is free ── Head ◀─ all of it is durable ─────── Flush ◀──────┘
//! ```

use bireme_control::units::Nanos;

use super::Home;
use crate::port::Port;

/// The drain of a home.
#[derive(Debug)]
pub(super) struct Drain {
    stage: Stage,
    /// Rises with each.
    serial: u64,
    /// When the bits of what is no longer written to are cleared.
    due: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Quiet,
    Leaves,
    Flush(u64),
    Head,
}

impl Drain {
    pub(super) fn new() -> Drain {
        Drain { stage: Stage::Idle, serial: 0, due: Nanos::ZERO }
    }

    /// Which one is under way, or was last.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }
}

impl<P: Port> Home<P> {
    /// Goes on with the drain; whether a stage was reached.
    pub(super) fn go_on_draining(&mut self, now: Nanos) -> bool {
        let before = self.drain.stage;
        if before == Stage::Idle && self.next_drain().is_some_and(|due| now >= due) {
            self.intents.drain = true;
        }
        self.drain.stage = match before {
            Stage::Idle if self.drain_is_wanted() => Stage::Quiet,
            Stage::Quiet if self.may_drain() => {
                self.begin_leaves(now);
                Stage::Leaves
            }
            Stage::Leaves if self.leaves_are_written(now) => Stage::Flush(self.flushes.want(self.living())),
            Stage::Flush(tick) if self.all_durable(tick) => {
                self.intents.clear_untouched();
                self.want_head();
                Stage::Head
            }
            Stage::Head if self.head_is_written() => {
                self.drained();
                Stage::Idle
            }
            same => same,
        };
        self.drain.stage != before
    }

    /// Everything that is dirty now is due.
    fn begin_leaves(&mut self, now: Nanos) {
        (self.drain.serial, self.drain.due) = (self.drain.serial + 1, now + CLEAR_TIME);
        if self.map.is_copied() {
            self.intents.begin_drain();
            let homes = u64::from(self.map.volume.homes);
            for work in self.works.all().filter(|work| work.stage.is_announced()) {
                self.intents.announce(work.page / homes);
            }
        }
        for (_, entry) in self.leaves.entries() {
            entry.due = entry.dirty;
        }
    }

    fn leaves_are_written(&mut self, now: Nanos) -> bool {
        let mut left = false;
        for index in 0..self.options.pages.max(1) {
            let due = self.leaves.entry(index).due;
            if !due.is_empty() {
                left = true;
                self.write_back(now, index);
            }
        }
        !left && !self.bounces.write_from_before(self.drain.serial)
    }

    /// Whether what had been written by `tick` is durable on all members, and no loss is in doubt.
    pub(super) fn all_durable(&self, tick: u64) -> bool {
        let living = self.living();
        self.doubt.is_empty() && living.iter().all(|member| self.flushes.is_durable(member, tick))
    }
}

impl<P: Port> Home<P> {
    /// Asks that all that is under the protection of log or bitmap now no longer needs it.
    pub(super) fn ask_for_drain(&mut self) {
        if self.map.is_copied() {
            self.intents.drain = true;
        } else {
            self.lane.turn_over(self.sequence + 1);
        }
    }

    /// When bits are to be cleared, if any are set.
    pub(super) fn next_drain(&self) -> Option<Nanos> {
        (self.map.is_copied() && !self.intents.is_clear()).then_some(self.drain.due)
    }

    pub(super) fn drain_is_wanted(&self) -> bool {
        if self.map.is_copied() { self.intents.drain } else { self.lane.wants_drain() }
    }

    fn may_drain(&self) -> bool {
        self.map.is_copied() || self.lane.other_is_quiet()
    }

    fn drained(&mut self) {
        if !self.map.is_copied() {
            self.lane.drained();
        }
    }

    /// Whether a write to the region of a piece's page has been announced durably; announces it otherwise.
    pub(super) fn is_announced(&mut self, index: u16) -> bool {
        let page = self.works.at(index).page / u64::from(self.map.volume.homes);
        if self.intents.announce(page) {
            self.want_head();
        }
        self.intents.is_durable(page)
    }
}

/// The bit of a region that is not written to any more stays for so long at most twice: what a crash meanwhile costs is a
/// look at the region, and clearing it costs a flush of everything.
const CLEAR_TIME: Nanos = Nanos::from_secs(5);
