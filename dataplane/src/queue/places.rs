//! What stands in for crossbeam's queue while loom explores ours, because loom sees its own primitives only.
//!
//! It must not order anything that crossbeam does not promise to order, or the missing fence of a mailbox would go
//! unseen. So letters lie behind a lock, which spares unsafe code, but whether there are any is read beside the lock,
//! from a counter without any ordering. As in crossbeam a place is claimed before its letter lies there: for a moment
//! the queue is not empty, and yet nothing can be taken.

use std::collections::VecDeque;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};

/// As crossbeam's queue of this name.
#[derive(Debug)]
pub(super) struct ArrayQueue<T> {
    places: usize,
    claimed: AtomicUsize,
    letters: Mutex<VecDeque<T>>,
}

impl<T> ArrayQueue<T> {
    pub(super) fn new(places: usize) -> ArrayQueue<T> {
        ArrayQueue { places, claimed: AtomicUsize::new(0), letters: Mutex::new(VecDeque::with_capacity(places)) }
    }

    pub(super) fn push(&self, letter: T) -> Result<(), T> {
        let claim = |claimed| (claimed < self.places).then_some(claimed + 1);
        if self.claimed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_err() {
            return Err(letter);
        }
        self.letters.lock().expect("nobody panics with the lock").push_back(letter);
        Ok(())
    }

    pub(super) fn force_push(&self, letter: T) -> Option<T> {
        let mut letter = letter;
        let mut oldest = None;
        while let Err(back) = self.push(letter) {
            letter = back;
            oldest = self.pop();
        }
        oldest
    }

    pub(super) fn pop(&self) -> Option<T> {
        let letter = self.letters.lock().expect("nobody panics with the lock").pop_front()?;
        self.claimed.fetch_sub(1, Ordering::Relaxed);
        Some(letter)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claimed.load(Ordering::Relaxed) == 0
    }
}
