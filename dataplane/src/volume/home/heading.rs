//! Heads on their way: one at a time, to all members, and durable on all of them before it counts.

use bireme_control::units::Nanos;

use super::{Home, Waiter};
use crate::port::Port;
use crate::volume::head::{BITS_BYTES, Head, Owner};

/// The heads of a home's lane.
#[derive(Debug)]
pub(super) struct Heads {
    stage: Stage,
    /// Rises with each.
    count: u64,
    /// How many were asked for.
    wanted: u64,
    /// How many of those the head under way answers.
    answers: u64,
    /// How many were answered.
    answered: u64,
    outstanding: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Write,
    Flush(u64),
}

impl Heads {
    pub(super) fn new() -> Heads {
        Heads { stage: Stage::Idle, count: 0, wanted: 0, answers: 0, answered: 0, outstanding: 0 }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) {
        self.outstanding -= 1;
    }
}

impl<P: Port> Home<P> {
    /// Asks for a head with what holds now.
    pub(super) fn want_head(&mut self) {
        self.heads.wanted += 1;
    }

    /// Whether a head with what held when the last one was asked for is durable.
    pub(super) fn head_is_written(&self) -> bool {
        self.heads.answered == self.heads.wanted
    }

    /// Goes on with the heads; whether a stage was reached.
    pub(super) fn go_on_heading(&mut self, now: Nanos) -> bool {
        let before = self.heads.stage;
        self.heads.stage = match before {
            Stage::Idle if self.heads.wanted > self.heads.answered => {
                self.write_head(now);
                Stage::Write
            }
            Stage::Write if self.heads.outstanding == 0 => Stage::Flush(self.flushes.want(self.living())),
            Stage::Flush(tick) if self.all_durable(tick) => {
                self.heads.answered = self.heads.answers;
                self.intents.written();
                Stage::Idle
            }
            same => same,
        };
        self.heads.stage != before
    }

    fn write_head(&mut self, now: Nanos) {
        self.heads.count += 1;
        self.heads.answers = self.heads.wanted;
        let volume = &self.map.volume;
        let owner = Owner { pool: volume.pool, generation: volume.generation, epoch: volume.epoch, lane: self.index };
        let head = Head { owner, count: self.heads.count, tail: self.lane.tail() };
        let mut bits = [0; BITS_BYTES];
        self.intents.write(&mut bits);
        let span = self.memory.head();
        head.encode(&bits, self.requests.port().region_mut().bytes_mut(span));
        let place = u32::try_from(self.heads.count % u64::from(crate::volume::lane::HEADS)).expect("0 or 1");
        let offset = self.lane.offset(place);
        for member in self.living().iter() {
            self.heads.outstanding += self.push(now, Waiter::Head { member }, offset, span, true);
        }
    }
}
