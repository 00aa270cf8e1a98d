//! Letters that the ledger has written and not yet delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::{ToMain, ToPeer};
use crate::port::Port;
use crate::queue::Mailbox;

/// One queue per reader, so that a full mailbox holds up nobody else and each reader gets its letters in order.
///
/// The queues are bounded by what a run can say: two sets, one failure and one end at a time.
#[derive(Debug)]
pub(super) struct Post {
    /// `None` of one that reads no more.
    peers: Vec<Option<Queue<ToPeer>>>,
    main: Queue<ToMain>,
}

/// A mailbox, and the letters that wait for room in it.
type Queue<T> = (Arc<Mailbox<T>>, VecDeque<T>);

impl Post {
    pub(super) fn new(peers: Vec<Arc<Mailbox<ToPeer>>>, main: Arc<Mailbox<ToMain>>) -> Post {
        let peers = peers.into_iter().map(|mailbox| Some((mailbox, VecDeque::new()))).collect();
        Post { peers, main: (main, VecDeque::new()) }
    }

    pub(super) fn peer(&mut self, peer: usize, letter: ToPeer) {
        if let Some((_, letters)) = &mut self.peers[peer] {
            letters.push_back(letter);
        }
    }

    /// A reader has gone, and its mailbox may be full for ever.
    pub(super) fn forget(&mut self, peer: usize) {
        if let Some(place) = self.peers.get_mut(peer) {
            *place = None;
        }
    }

    pub(super) fn main(&mut self, letter: ToMain) {
        self.main.1.push_back(letter);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.main.1.is_empty() && self.peers.iter().flatten().all(|(_, letters)| letters.is_empty())
    }

    /// Posts what fits; `true` when nothing is left.
    pub(super) fn deliver<P: Port>(&mut self, port: &mut P) -> bool {
        self.peers.iter_mut().flatten().for_each(|(mailbox, letters)| empty(mailbox, letters, port));
        empty(&self.main.0, &mut self.main.1, port);
        self.is_empty()
    }
}

fn empty<T, P: Port>(mailbox: &Mailbox<T>, letters: &mut VecDeque<T>, port: &mut P) {
    while let Some(letter) = letters.pop_front() {
        match mailbox.post(letter) {
            Ok(bell) => bell.into_iter().for_each(|bell| port.wake(bell)),
            Err(back) => return letters.push_front(back),
        }
    }
}
