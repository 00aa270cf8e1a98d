//! The main thread while homes serve: it keeps the metadata, and waits for the homes' end.
//!
//! ```text
//!   a home: Lost ───▶ the member is failed in the superblocks of the others ───▶ all homes: Health
//!   a home: Failed ─▶ all homes: GiveUp                     a signal ──────────▶ all homes: Stop
//!   a home: Settled ▶ when all have: closed in order
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bireme_control::units::Nanos;

use super::driver::{ToHome, ToKeeper};
use crate::engine::Handles;
use crate::engine::offloading::SIGNAL_LATENCY;
use crate::message::Failure;
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::port::uring::Uring;
use crate::port::{Next, Port};
use crate::queue::Mailbox;

/// The keeper of one run.
pub(super) struct Keeper<'a> {
    pub(super) pool: &'a mut Pool,
    pub(super) port: &'a mut Uring,
    pub(super) inbox: &'a Mailbox<ToKeeper>,
    pub(super) homes: &'a [Arc<Mailbox<ToHome>>],
    /// Whether the thread of a home has ended.
    pub(super) has_ended: &'a dyn Fn(usize) -> bool,
    pub(super) handles: &'a Handles,
}

/// What became of a run when all homes have ended.
#[derive(Debug)]
pub(super) struct Kept {
    /// The last client was done.
    pub(super) served_until: Nanos,
    /// Members that were lost on the way.
    pub(super) lost: Vec<(u16, Failure)>,
    /// Why not everything was done, if so.
    pub(super) halt: Option<Halt>,
}

/// Why a run has ended early.
#[derive(Debug)]
pub(super) enum Halt {
    /// The operator has asked for it; the homes have settled.
    Signal,
    /// A home cannot go on.
    Failed(Failure),
    /// The metadata cannot be changed.
    Pool(PoolError),
    /// A thread has died.
    Died,
}

impl Keeper<'_> {
    /// Waits until every home has settled, or has failed and said so.
    pub(super) fn keep(mut self) -> Kept {
        let mut kept = Kept { served_until: Nanos::ZERO, lost: Vec::new(), halt: None };
        let mut serving: Vec<bool> = vec![true; self.homes.len()];
        while serving.contains(&true) {
            if kept.halt.is_none() && self.handles.stop.load(Ordering::Acquire) {
                self.halt(&mut kept, Halt::Signal);
            }
            // What a thread said before it ended comes first.
            let ended: Vec<bool> = (0..serving.len()).map(|home| (self.has_ended)(home)).collect();
            match self.inbox.take() {
                Some(ToKeeper::Settled { home, served_until }) => {
                    serving[usize::from(home)] = false;
                    kept.served_until = kept.served_until.max(served_until);
                }
                Some(ToKeeper::Failed { home, failure }) => {
                    serving[usize::from(home)] = false;
                    self.halt(&mut kept, Halt::Failed(failure));
                }
                Some(ToKeeper::Lost { member, failure }) => self.lose(&mut kept, member, failure),
                None => match (0..serving.len()).find(|&home| serving[home] && ended[home]) {
                    Some(home) => {
                        serving[home] = false;
                        self.halt(&mut kept, Halt::Died);
                    }
                    None => self.sleep(),
                },
            }
        }
        kept
    }

    /// A member is failed durably, once, before any home may go on without it.
    fn lose(&mut self, kept: &mut Kept, member: u16, failure: Failure) {
        if kept.lost.iter().any(|(known, _)| *known == member) {
            return;
        }
        kept.lost.push((member, failure));
        if !self.pool.health().without(member).survives(&self.pool.geometry()) {
            return self.halt(kept, Halt::Failed(failure));
        }
        match self.pool.fail(member, self.port) {
            Ok(health) => self.tell(ToHome::Health(health)),
            Err(error) => self.halt(kept, Halt::Pool(error)),
        }
    }

    fn halt(&mut self, kept: &mut Kept, halt: Halt) {
        // The first cause counts; a signal that came before a failure does not hide it.
        if !matches!(kept.halt, None | Some(Halt::Signal)) {
            return;
        }
        let letter = if matches!(halt, Halt::Signal) { ToHome::Stop } else { ToHome::GiveUp };
        kept.halt = Some(halt);
        self.tell(letter);
    }

    fn tell(&mut self, letter: ToHome) {
        for home in self.homes {
            // A home is told of each member once, to stop and to give up: only one that has ended leaves letters lying.
            if let Ok(Some(bell)) = home.post(letter) {
                self.port.wake(bell);
            }
        }
        // A port that cannot send wake-ups leaves the homes to their own looks at the inbox.
        let _ = self.port.submit(Next::Ready);
    }

    fn sleep(&mut self) {
        if self.inbox.doze() {
            let until = self.port.now() + SIGNAL_LATENCY;
            // Without a working port the mailbox is still looked at, each time round.
            let _ = self.port.submit(Next::At(until));
            while self.port.reap().is_some() {}
        }
        self.inbox.rouse();
    }
}
