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
use crate::port::{Next, Port};
use crate::queue::Mailbox;
use crate::reservation::{Manager, PERIOD};

/// The keeper of one run.
pub(super) struct Keeper<'a, P: Port> {
    pub(super) pool: &'a mut Pool,
    pub(super) port: &'a mut P,
    pub(super) inbox: &'a Mailbox<ToKeeper>,
    pub(super) homes: &'a [Arc<Mailbox<ToHome>>],
    /// Whether the thread of a home has ended.
    pub(super) has_ended: &'a dyn Fn(usize) -> bool,
    pub(super) handles: &'a Handles,
    /// Homes that have not settled, and have not failed.
    pub(super) serving: Vec<bool>,
    /// What classes are promised.
    pub(super) reservation: Option<Manager>,
    pub(super) kept: Kept,
}

/// What became of a run when all homes have ended.
#[derive(Debug, Default)]
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

impl<P: Port> Keeper<'_, P> {
    /// Waits until every home has settled, or has failed and said so.
    pub(super) fn keep(mut self) -> Kept {
        while let Some(next) = self.turn() {
            if let Some(reservation) = &mut self.reservation {
                reservation.step(self.port.now());
            }
            if next != Next::Ready {
                self.sleep();
            }
        }
        self.kept
    }

    /// One look at what homes have to say; `None` when all have ended.
    pub(super) fn turn(&mut self) -> Option<Next> {
        if !self.serving.contains(&true) {
            return None;
        }
        if self.kept.halt.is_none() && self.handles.stop.load(Ordering::Acquire) {
            self.halt(Halt::Signal);
        }
        // What a thread said before it ended comes first.
        let died = (0..self.serving.len()).find(|&home| self.serving[home] && (self.has_ended)(home));
        match self.inbox.take() {
            Some(ToKeeper::Settled { home, served_until }) => {
                self.serving[usize::from(home)] = false;
                self.kept.served_until = self.kept.served_until.max(served_until);
            }
            Some(ToKeeper::Failed { home, failure }) => {
                self.serving[usize::from(home)] = false;
                self.halt(Halt::Failed(failure));
            }
            Some(ToKeeper::Lost { member, failure }) => self.lose(member, failure),
            None => {
                let Some(home) = died else { return Some(Next::Event) };
                self.serving[home] = false;
                self.halt(Halt::Died);
            }
        }
        Some(Next::Ready)
    }

    /// A member is failed durably, once, before any home may go on without it.
    fn lose(&mut self, member: u16, failure: Failure) {
        if self.kept.lost.iter().any(|(known, _)| *known == member) {
            return;
        }
        self.kept.lost.push((member, failure));
        if !self.pool.health().without(member).survives(&self.pool.geometry()) {
            return self.halt(Halt::Failed(failure));
        }
        match self.pool.fail(member, self.port) {
            Ok(health) => self.tell(ToHome::Health(health)),
            Err(error) => self.halt(Halt::Pool(error)),
        }
    }

    fn halt(&mut self, halt: Halt) {
        // The first cause counts; a signal that came before a failure does not hide it.
        if !matches!(self.kept.halt, None | Some(Halt::Signal)) {
            return;
        }
        let letter = if matches!(halt, Halt::Signal) { ToHome::Stop } else { ToHome::GiveUp };
        self.kept.halt = Some(halt);
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
            let period = if self.reservation.is_some() { PERIOD } else { SIGNAL_LATENCY };
            let until = self.port.now() + period.min(SIGNAL_LATENCY);
            // Without a working port the mailbox is still looked at, each time round.
            let _ = self.port.submit(Next::At(until));
            while self.port.reap().is_some() {}
        }
        self.inbox.rouse();
    }
}
