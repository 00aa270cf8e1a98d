//! Operations that wait for more than their pieces: flushes, and the settling before a volume is closed.

use bireme_control::units::Nanos;

use super::Home;
use super::operations::{Step, What};
use crate::port::Port;
use crate::volume::work::Kind;

impl<P: Port> Home<P> {
    /// Takes an operation that waits one step on; whether that was possible.
    pub(super) fn go_on_waiting(&mut self, now: Nanos, index: u16) -> bool {
        if let Some(failure) = self.broken.filter(|_| self.operations.is_asked(index)) {
            let asked = self.operations.at(index);
            let all_cut = asked.all_cut || matches!(asked.what, What::Flush | What::Settle);
            let idle = asked.left == 0 && all_cut;
            if idle {
                self.let_go(index);
                self.operations.finish(index, Err(failure));
            }
            return idle;
        }
        let Some(asked) = self.operations.waits(index) else { return false };
        match asked.what {
            What::Flush => self.go_on_flushing(index, asked.step, asked.ticket),
            What::Settle => self.go_on_settling(index, asked.step, asked.ticket),
            What::Rebuild => self.go_on_filling(now, index, asked.step),
            _ => false,
        }
    }

    /// Writes that were answered before the flush was asked for have all been cut into pieces by then, and their pieces
    /// were written somewhere.
    fn go_on_flushing(&mut self, index: u16, step: Step, ticket: u64) -> bool {
        match step {
            Step::Earlier => {
                let mut earlier = self.works.all().filter(|work| work.ticket <= ticket);
                if earlier.any(|work| work.kind == Kind::Write && !work.answered) {
                    return false;
                }
                let tick = self.flushes.want(self.living());
                self.operations.at(index).step = Step::Durable(tick);
                true
            }
            Step::Durable(tick) if self.all_durable(tick) => {
                self.operations.finish(index, Ok(()));
                true
            }
            Step::Durable(_) | Step::Drain => false,
        }
    }

    fn go_on_settling(&mut self, index: u16, step: Step, ticket: u64) -> bool {
        match step {
            Step::Earlier => {
                let busy = self.works.all().any(|work| work.ticket <= ticket) || self.drain_is_wanted();
                if busy || !self.drain.is_idle() {
                    return false;
                }
                self.ask_for_drain();
                self.operations.at(index).step = Step::Drain;
                true
            }
            Step::Drain if self.drain.is_idle() && !self.drain_is_wanted() => {
                self.operations.finish(index, Ok(()));
                true
            }
            Step::Drain | Step::Durable(_) => false,
        }
    }
}
