//! What the ledger does when a member is lost: the run goes on without it, if the array survives that.

use bireme_control::units::Nanos;

use super::Ledger;
use super::errands::Trouble;
use crate::message::{Failure, ToMain, ToPeer};
use crate::port::{Completion, Port};

impl<P: Port> Ledger<P> {
    /// A peer has lost a member. Its letter comes before those about pages that skipped it, so what is committed already,
    /// or being replayed, has not.
    pub(super) fn heard_of_loss(&mut self, member: u16, failure: Failure) -> Result<(), Failure> {
        if self.lose(member, failure) { Ok(()) } else { Err(failure) }
    }

    /// An answer to a request of the ledger's own.
    pub(super) fn answered(&mut self, end: Completion) {
        let ended = if self.roster.own(&end) { self.roster.ended(end) } else { self.replay.ended(end) };
        let Err(Trouble { file, failure }) = ended else { return };
        let of_device = matches!(failure, Failure::Device { .. });
        if !(of_device && self.lose(file, failure)) {
            self.give_up(failure);
        }
    }

    /// Makes lost members durable, and tells the peers when they are.
    pub(super) fn drive_roster(&mut self, now: Nanos) {
        if !self.broken && self.roster.drive(&mut self.pool, &mut self.port, now) {
            self.tell_peers(&ToPeer::Health(self.pool.health()));
        }
    }

    /// Whether nothing is on its way to the devices that a commit must wait for.
    pub(super) fn is_settled(&self) -> bool {
        self.replay.is_done() && self.roster.is_durable()
    }

    /// Goes on without a device; `false` when the array does not survive that.
    fn lose(&mut self, file: u16, failure: Failure) -> bool {
        // Others have seen it too.
        let Some(row) = self.pool.row_of(file) else { return true };
        let Some(loss) = self.pool.lose(row) else { return false };
        self.replay.forsake(file);
        self.roster.changed(file);
        self.post.main(ToMain::Lost { file, failure, spare: loss.spare });
        true
    }
}
