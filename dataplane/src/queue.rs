//! Bounded mailboxes between threads, whose reader may sleep in its port; and the newest value of something.
//!
//! A writer must not miss a reader that is about to sleep, and must not pay a system call for one that is awake:
//!
//! ```text
//!   reader                          writer
//!   doze: asleep = true             push
//!         look again, empty?        if asleep.swap(false): ring the bell
//!         sleep in the port
//! ```
//!
//! Every change of `asleep` is a swap, so the changes are in one order and each sees all that was done before the one
//! that it replaces. If the writer's comes first, the second look finds its letter; if the reader's does, the writer
//! rings. A plain store in between would break that chain.
//!
//! Under `cfg(loom)` everything here is made of loom's primitives, and the tests explore all orders of events.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(loom))]
use crossbeam::queue::ArrayQueue;

use crate::port::Bell;

#[cfg(all(test, loom))]
mod explored;
#[cfg(loom)]
mod places;

#[cfg(loom)]
use places::ArrayQueue;

/// Many writers, one reader, a fixed number of places.
#[derive(Debug)]
pub struct Mailbox<T> {
    places: ArrayQueue<T>,
    asleep: AtomicBool,
    bell: Bell,
}

impl<T> Mailbox<T> {
    /// A mailbox whose reader sleeps in the port behind `bell`.
    pub fn new(places: usize, bell: Bell) -> Mailbox<T> {
        Mailbox { places: ArrayQueue::new(places), asleep: AtomicBool::new(false), bell }
    }

    /// Posts a letter. `Ok(Some(bell))`: the reader sleeps, and this writer must ring. `Err`: full, the letter is back.
    pub fn post(&self, letter: T) -> Result<Option<Bell>, T> {
        self.places.push(letter)?;
        Ok(self.asleep.swap(false, Ordering::AcqRel).then_some(self.bell))
    }

    /// The reader's next letter.
    pub fn take(&self) -> Option<T> {
        self.places.pop()
    }

    /// The reader is about to sleep. `false`: something came in meanwhile, so it must not.
    pub fn doze(&self) -> bool {
        self.asleep.swap(true, Ordering::AcqRel);
        let empty = self.places.is_empty();
        if !empty {
            self.asleep.swap(false, Ordering::AcqRel);
        }
        empty
    }

    /// The reader is awake again, for whatever reason.
    pub fn rouse(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }
}

/// The newest value of something: written by one thread, taken by another, older ones are lost unseen.
#[derive(Debug)]
pub struct Latest<T>(ArrayQueue<T>);

impl<T> Latest<T> {
    /// Nothing yet.
    pub fn new() -> Latest<T> {
        Latest(ArrayQueue::new(1))
    }

    /// Replaces what was not taken.
    pub fn publish(&self, value: T) {
        drop(self.0.force_push(value));
    }

    /// What was published since the last call. One load when that is nothing.
    pub fn take(&self) -> Option<T> {
        self.0.pop()
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Latest<T> {
        Latest::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeping_reader_is_rung_for_and_only_once() {
        let mailbox = Mailbox::new(4, Bell(3));
        assert_eq!(mailbox.post(1), Ok(None));
        assert!(!mailbox.doze(), "there is a letter");
        assert_eq!(mailbox.take(), Some(1));
        assert!(mailbox.doze());
        assert_eq!(mailbox.post(2), Ok(Some(Bell(3))));
        assert_eq!(mailbox.post(3), Ok(None));
    }

    #[test]
    fn a_full_mailbox_returns_the_letter() {
        let mailbox = Mailbox::new(1, Bell(0));
        assert_eq!(mailbox.post(1), Ok(None));
        assert_eq!(mailbox.post(2), Err(2));
    }

    /// A reader that sleeps by parking, and four writers: were a wake-up lost, the reader would sleep for ever and the
    /// test would not end.
    #[test]
    fn no_wake_up_is_lost_between_threads() {
        const LETTERS: u64 = 20_000;
        let mailbox = Mailbox::new(8, Bell(0));
        let reader = std::thread::current();
        std::thread::scope(|scope| {
            for writer in 0..4u64 {
                let (mailbox, reader) = (&mailbox, reader.clone());
                scope.spawn(move || {
                    for number in 0..LETTERS {
                        let mut letter = writer * LETTERS + number;
                        loop {
                            match mailbox.post(letter) {
                                Ok(Some(_)) => break reader.unpark(),
                                Ok(None) => break,
                                Err(back) => letter = back,
                            }
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let mut sum = 0;
            for _ in 0..4 * LETTERS {
                let letter = loop {
                    if let Some(letter) = mailbox.take() {
                        break letter;
                    }
                    if mailbox.doze() {
                        std::thread::park();
                        mailbox.rouse();
                    }
                };
                sum += letter;
            }
            assert_eq!(sum, (0..4 * LETTERS).sum::<u64>());
        });
    }
}
