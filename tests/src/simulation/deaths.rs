//! Peers that die: when, with what under way, and when the main thread sees that their threads have ended.
//!
//! ```text
//!   the call comes ─▶ the peer unwinds: letters unposted are lost, what it pushed leaves
//!                  ─▶ its port is drained: all in flight ends, or the limit is over
//!                  ─▶ main looks ─▶ Died
//! ```

use bireme_control::balance::{Answer, Message};
use bireme_control::units::{Nanos, PeerId};
use bireme_dataplane::message::ToPeer;
use bireme_dataplane::queue::Mailbox;

use super::tally::Kind;

/// Somebody who has died.
#[derive(Clone, Debug)]
pub struct Dead {
    /// Who.
    pub peer: PeerId,
    /// When.
    pub at: Nanos,
    /// An offer of its was out.
    pub asked: bool,
    /// When main sees it, once it is known when its port is drained.
    pub seen_at: Option<Nanos>,
    /// The ledger was told, or need not be any more.
    pub told: bool,
}

impl Dead {
    /// The moment of a death.
    pub fn new(peer: PeerId, at: Nanos, asked: bool) -> Dead {
        Dead { peer, at, asked, seen_at: None, told: false }
    }

    /// When main shall look, if it has not.
    pub fn alarm(&self) -> Option<Nanos> {
        self.seen_at.filter(|_| !self.told)
    }
}

/// What nobody read.
pub fn unread(mailbox: &Mailbox<ToPeer>) -> Vec<Kind> {
    let kind = |letter| match letter {
        ToPeer::Begin(_) => Some(Kind::DiedBeforeBegin),
        ToPeer::Balance { message: Message::Answer(Answer { extents, .. }), .. } if !extents.is_empty() => {
            Some(Kind::DiedAnswered)
        }
        ToPeer::LayDown { .. } => Some(Kind::DiedBeforeLayingDown),
        ToPeer::TakeUp { .. } => Some(Kind::DiedBeforeTakingUp),
        _ => None,
    };
    std::iter::from_fn(|| mailbox.take()).filter_map(kind).collect()
}
