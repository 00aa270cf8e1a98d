//! What the thread of one home does: its client's turn, the home's, one submit.
//!
//! ```text
//!   serving ── the client is done ──▶ settling ── nothing is left to recover ──▶ done
//!      └──────────── failed ─────────────┴──▶ giving up: until nothing is in flight, or nobody can wait any longer
//! ```
//!
//! A member that is lost is told to the keeper, once. The home goes on without it when the keeper has answered.

use std::sync::Arc;

use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use super::client::{Client, Step};
use crate::message::Failure;
use crate::port::{Next, Port};
use crate::queue::Mailbox;
use crate::telemetry::{State, Stopwatch};
use crate::volume::home::{Home, Operation};

/// To a home's thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToHome {
    /// A member's loss is durable.
    Health(Health),
    /// Start nothing more, and settle.
    Stop,
    /// The run has failed elsewhere: end as after a crash.
    GiveUp,
}

/// To the keeper.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToKeeper {
    /// A member refuses requests.
    Lost {
        /// Which.
        member: u16,
        /// What it has refused.
        failure: Failure,
    },
    /// A home cannot go on.
    Failed {
        /// Which.
        home: u16,
        /// Why.
        failure: Failure,
    },
    /// A home has settled.
    Settled {
        /// Which.
        home: u16,
        /// When its client was done.
        served_until: Nanos,
    },
}

/// A home and its client, for as long as the run lasts.
pub(super) struct Driver<P: Port, C> {
    home: Home<P>,
    client: C,
    index: u16,
    inbox: Arc<Mailbox<ToHome>>,
    keeper: Arc<Mailbox<ToKeeper>>,
    hang_limit: Nanos,
    phase: Phase,
    stopping: bool,
    /// Members whose loss was told.
    told: Members,
    served_until: Nanos,
    stopwatch: Stopwatch,
    /// The client waits for a point in time that was set for it, not for a device.
    held: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Serving,
    Settling(Operation),
    GivingUp { since: Nanos },
    Done,
}

impl<P: Port, C: Client<P>> Driver<P, C> {
    pub(super) fn new(
        home: Home<P>,
        client: C,
        index: u16,
        (inbox, keeper): (Arc<Mailbox<ToHome>>, Arc<Mailbox<ToKeeper>>),
        hang_limit: Nanos,
    ) -> Driver<P, C> {
        let now = home.now();
        Driver {
            stopwatch: Stopwatch::new(now, State::Turn),
            held: false,
            home,
            client,
            index,
            inbox,
            keeper,
            hang_limit,
            phase: Phase::Serving,
            stopping: false,
            told: Members::NONE,
            served_until: now,
        }
    }

    /// Whether there is nothing left to do. The last turn has told so.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// One turn, without waiting.
    pub(super) fn turn(&mut self) -> Next {
        let now = self.home.now();
        self.stopwatch.switch(now, State::Turn);
        self.read_inbox(now);
        let wanted = match self.phase {
            Phase::Serving => self.serve(now),
            Phase::Settling(operation) => self.settle(now, operation),
            Phase::GivingUp { since } => self.give_up(now, since),
            Phase::Done => Next::Ready,
        };
        let next = earlier(wanted, self.home.turn(now));
        if let Some((member, failure)) = self.home.lost()
            && !self.told.contains(member)
        {
            self.told = self.told.with(member);
            self.tell(ToKeeper::Lost { member, failure });
        }
        if self.is_done() || next == Next::Ready || !self.inbox.doze() { Next::Ready } else { next }
    }

    /// Hands over what the turn has asked for, and sleeps as it said.
    pub(super) fn rest(&mut self, next: Next) {
        let state = match (next, self.home.in_flight()) {
            (Next::Ready, _) => State::Kernel,
            (_, 0) if self.held => State::Throttled,
            (_, 0) => State::Idle,
            _ => State::Devices,
        };
        self.stopwatch.switch(self.home.now(), state);
        self.home.submit(next);
        self.stopwatch.switch(self.home.now(), State::Turn);
        self.inbox.rouse();
    }

    /// What is left at the end.
    pub(super) fn into_parts(mut self) -> (Home<P>, C, Stopwatch) {
        self.stopwatch.switch(self.home.now(), State::Idle);
        (self.home, self.client, self.stopwatch)
    }

    fn read_inbox(&mut self, now: Nanos) {
        while let Some(letter) = self.inbox.take() {
            match letter {
                ToHome::Health(health) => self.home.set_health(health),
                ToHome::Stop => self.stopping = true,
                ToHome::GiveUp => self.fail(now, Failure::Broken("the run has failed at another home")),
            }
        }
    }

    fn serve(&mut self, now: Nanos) -> Next {
        self.held = false;
        self.stopwatch.switch(now, State::Filling);
        let step = self.client.turn(&mut self.home, now, self.stopping);
        self.stopwatch.switch(self.home.now(), State::Turn);
        match step {
            Ok(Step::On(next)) => next,
            Ok(Step::Held(until)) => {
                self.held = true;
                Next::At(until)
            }
            Ok(Step::Done) => {
                self.served_until = now;
                match self.home.begin() {
                    Some(operation) => {
                        self.home.settle(operation);
                        self.phase = Phase::Settling(operation);
                    }
                    None => self.fail(now, Failure::Broken("a client that is done has kept its operations")),
                }
                Next::Ready
            }
            Err(failure) => {
                self.fail(now, failure);
                Next::Ready
            }
        }
    }

    fn settle(&mut self, now: Nanos, operation: Operation) -> Next {
        let Some(ended) = self.home.reap() else { return Next::Event };
        self.home.end(operation);
        match ended.result {
            Ok(()) => {
                self.phase = Phase::Done;
                let (home, served_until) = (self.index, self.served_until);
                self.tell(ToKeeper::Settled { home, served_until });
            }
            Err(failure) => self.fail(now, failure),
        }
        Next::Ready
    }

    fn fail(&mut self, now: Nanos, failure: Failure) {
        if matches!(self.phase, Phase::GivingUp { .. } | Phase::Done) {
            return;
        }
        self.phase = Phase::GivingUp { since: now };
        self.tell(ToKeeper::Failed { home: self.index, failure });
    }

    /// Memory that a request in flight uses must not go away, so what was asked is waited for.
    fn give_up(&mut self, now: Nanos, since: Nanos) -> Next {
        while self.home.reap().is_some() {}
        if self.home.in_flight() == 0 || now.since(since) > self.hang_limit {
            self.phase = Phase::Done;
        }
        Next::At(since + self.hang_limit + Nanos(1))
    }

    fn tell(&mut self, letter: ToKeeper) {
        // A home tells of each member once, and of its own end once: there is a place for each.
        let posted = self.keeper.post(letter);
        if let Some(bell) = posted.expect("the keeper's mailbox has room for all that homes may tell") {
            self.home.wake(bell);
        }
    }
}

/// The places that the keeper's mailbox needs for all that homes may tell: each member once, and its own end.
pub(super) fn letters_to_keeper(homes: u16, members: u16) -> usize {
    usize::from(homes) * (usize::from(members) + 1)
}

/// The places that a home's mailbox needs: each member once, to stop and to give up.
pub(super) fn letters_to_home(members: u16) -> usize {
    usize::from(members) + 2
}

fn earlier(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::Ready, _) | (_, Next::Ready) => Next::Ready,
        (Next::Event, next) | (next, Next::Event) => next,
        (Next::At(one), Next::At(other)) => Next::At(one.min(other)),
    }
}
