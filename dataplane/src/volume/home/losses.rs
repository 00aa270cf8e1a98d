//! What has ended, and members that refuse what is asked of them.

use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use super::{Home, Waiter};
use crate::buffer::Span;
use crate::desk::REFUSALS_MAX;
use crate::message::Failure;
use crate::port::{Operation, Port};
use crate::requests::{Ask, Done};
use crate::volume::work::Stage;

impl<P: Port> Home<P> {
    /// Members that count for nothing in a page.
    pub(super) fn gone(&self, page: u64, frame: u64) -> Members {
        self.lost_of(page, frame) | self.dead
    }

    /// Those of them whose loss is known for good.
    pub(super) fn lost_of(&self, page: u64, frame: u64) -> Members {
        if self.filling.is_filled(self.page_of_home(page)) { self.health.lost } else { self.health.lost_of(frame) }
    }

    /// Members that can be asked at all.
    pub(super) fn living(&self) -> Members {
        let all: Members = (0..self.map.geometry().members()).collect();
        all - self.health.lost - self.dead
    }

    /// Asks for some bytes of a member, in requests of the allowed size; how many.
    pub(super) fn push(&mut self, now: Nanos, waiter: Waiter, offset: u64, span: Span, is_write: bool) -> u16 {
        let file = waiter.member();
        let (mut done, mut requests) = (0, 0);
        while done < span.bytes {
            let part = span.part(done, (span.bytes - done).min(self.options.request_bytes));
            let operation = if is_write { Operation::Write(part) } else { Operation::Read(part) };
            let ask = Ask {
                file,
                offset: offset + u64::from(done),
                operation,
                needed: part.bytes,
                by_block: !is_write && matches!(waiter, Waiter::Work { .. }),
            };
            self.requests.start(now, waiter, ask);
            (done, requests) = (done + part.bytes, requests + 1);
        }
        requests
    }

    /// A request has ended.
    pub(super) fn finished(&mut self, done: Done<Waiter>) {
        let Done { owner, result, .. } = done;
        match owner {
            Waiter::Work { work: index, member } => {
                let work = self.works.at(index);
                work.outstanding -= 1;
                if work.stage == Stage::Gather {
                    if let Err(failure) = result {
                        work.gather.failure.get_or_insert(failure);
                        self.refused_to_read(member, failure);
                    }
                    return;
                }
                if result.is_err() {
                    work.change.skipped = work.change.skipped.with(member);
                }
                self.wrote(member, result);
            }
            Waiter::Leaves { bounce, .. } => self.bounced(bounce, result),
            Waiter::Head { member } => {
                self.heads.answered();
                self.wrote(member, result);
            }
            Waiter::Flush { member } => {
                self.flushes.end(member, result.is_ok());
                if let Err(failure) = result {
                    self.member_lost(member, failure);
                }
            }
        }
    }

    fn wrote(&mut self, member: u16, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.flushes.wrote(member),
            Err(failure) => self.member_lost(member, failure),
        }
    }

    /// What could not be read is brought back and written again, which mends a bad sector. A member that goes on refusing is
    /// lost, if the level survives that: else the reads of what is left of it are worth more.
    fn refused_to_read(&mut self, member: u16, failure: Failure) {
        let refusals = &mut self.refusals[usize::from(member)];
        *refusals = refusals.saturating_add(1);
        let health = Health { lost: self.health.lost | self.dead, ..self.health };
        if *refusals >= REFUSALS_MAX && health.without(member).survives(self.map.geometry()) {
            self.member_lost(member, failure);
        }
    }

    /// A member has refused what cannot be done without it: nothing more is asked of it.
    pub(super) fn member_lost(&mut self, member: u16, failure: Failure) {
        if !self.living().contains(member) {
            return;
        }
        (self.doubt, self.dead) = (self.doubt.with(member), self.dead.with(member));
        self.failures[usize::from(member)].get_or_insert(failure);
        self.forget_gone();
        self.check_survival();
    }

    /// Leaves of members that are gone are of no use.
    pub(super) fn forget_gone(&mut self) {
        let homes = u64::from(self.map.volume.homes);
        for index in 0..self.options.pages.max(1) {
            let Some(page) = self.leaves.entry(index).page else { continue };
            let page = page as u64 * homes + u64::from(self.index);
            let frame = self.leaves.entry(index).frame;
            let filled = if self.is_claimed(page) { self.health.rebuilding - self.dead } else { Members::NONE };
            let gone = self.gone(page, frame) - filled;
            let entry = self.leaves.entry(index);
            (entry.known, entry.dirty, entry.due) = (entry.known - gone, entry.dirty - gone, entry.due - gone);
        }
    }

    /// Nothing goes on once more is lost than the level survives.
    pub(super) fn check_survival(&mut self) {
        let health = Health { lost: self.health.lost | self.dead, ..self.health };
        if !health.survives(self.map.geometry()) {
            let why = self.why_lost();
            self.broken.get_or_insert(why);
        }
    }

    /// The first refusal of a member, or what it means that there is none.
    pub(super) fn why_lost(&self) -> Failure {
        let none = Failure::Broken("a volume was opened with more members lost than its level survives");
        self.failures.iter().flatten().next().copied().unwrap_or(none)
    }

    /// A request that is not answered ends everything: the kernel may still use its memory.
    pub(super) fn look_for_stuck(&mut self, now: Nanos) {
        if now < self.stuck_check {
            return;
        }
        self.stuck_check = now + Nanos(self.options.hang_limit.0 / 4);
        if let Some(failure) = self.requests.stuck(now, self.options.hang_limit) {
            self.broken.get_or_insert(failure);
        }
    }
}

impl Waiter {
    fn member(self) -> u16 {
        match self {
            Waiter::Work { member, .. }
            | Waiter::Leaves { member, .. }
            | Waiter::Head { member }
            | Waiter::Flush { member } => member,
        }
    }
}
