//! What loom explores: every order in which threads can meet at a mailbox, up to a few preemptions, weak memory
//! included. A thread that sleeps for ever is a deadlock, which loom reports.
//!
//! The first half is the mailbox alone. The second is a hand-over as peers do it: each starts its own transfers from
//! the front, answers offers from the back between two of them, offers when it is dry, and sleeps when there is nothing
//! to do. Both end when each knows that everything is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bireme_control::units::Extent;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::Mailbox;
use crate::port::Bell;

#[test]
fn a_sleeping_reader_gets_every_letter() {
    explore(3, || {
        let (mailbox, tower) = (Arc::new(Mailbox::new(4, Bell(0))), Tower::new());
        let writers = [[1, 2], [10, 20]].map(|letters| {
            let (mailbox, tower) = (mailbox.clone(), tower.clone());
            thread::spawn(move || letters.into_iter().for_each(|letter| tower.post(&mailbox, letter)))
        });
        let mut sum = 0;
        for _ in 0..4 {
            sum += tower.next(&mailbox);
        }
        assert_eq!(sum, 33);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        assert_eq!(mailbox.take(), None);
    });
}

#[test]
fn one_peer_owns_all_and_the_other_helps() {
    hand_over([Extent::new(0, 4), Extent::default()]);
}

#[test]
fn both_are_dry_at_once_and_their_offers_cross() {
    hand_over([Extent::new(0, 2), Extent::new(2, 1)]);
}

fn hand_over(shares: [Extent; 2]) {
    explore(2, move || {
        let tower = Tower::new();
        let boxes = [0, 1].map(|peer| Arc::new(Mailbox::new(2, Bell(peer))));
        let starts: Arc<[AtomicU32]> = (0..shares[0].count + shares[1].count).map(|_| AtomicU32::new(0)).collect();
        let [mine, theirs] = [0, 1].map(|me| Peer {
            tower: tower.clone(),
            inbox: boxes[me].clone(),
            other: boxes[1 - me].clone(),
            starts: starts.clone(),
            own: shares[me],
            written: 0,
            told: 0,
            theirs: 0,
            offer: Offer::None,
        });
        let other = thread::spawn(move || theirs.run());
        mine.run();
        other.join().expect("the other peer");
        let counts: Vec<u32> = starts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert!(counts.iter().all(|&count| count == 1), "each transfer is started once: {counts:?}");
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    Offer,
    /// Empty: no assistance needed.
    Answer(Extent),
    /// So many transfers has the sender written.
    Written(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    None,
    Sent,
    Refused,
}

/// One of two peers, with the least that a hand-over needs.
struct Peer {
    tower: Tower,
    inbox: Arc<Mailbox<Letter>>,
    other: Arc<Mailbox<Letter>>,
    /// How often each transfer was started, counted outside of what loom explores.
    starts: Arc<[AtomicU32]>,
    own: Extent,
    written: u64,
    told: u64,
    theirs: u64,
    offer: Offer,
}

impl Peer {
    fn run(mut self) {
        loop {
            while let Some(letter) = self.inbox.take() {
                self.heard(letter);
            }
            if let Some(transfer) = self.own.take_front(1).iter().next() {
                let before = self.starts[usize::try_from(transfer).expect("few")].fetch_add(1, Ordering::Relaxed);
                assert_eq!(before, 0, "transfer {transfer} is owned twice");
                self.written += 1;
                continue;
            }
            if self.told < self.written {
                self.told = self.written;
                self.post(Letter::Written(self.written));
            }
            if self.written + self.theirs == self.starts.len() as u64 {
                return;
            }
            if self.offer == Offer::None {
                self.offer = Offer::Sent;
                self.post(Letter::Offer);
            }
            self.tower.rest(&self.inbox);
        }
    }

    fn heard(&mut self, letter: Letter) {
        match letter {
            Letter::Offer => {
                let kept = self.own.take_front(self.own.count.div_ceil(2));
                let given = std::mem::replace(&mut self.own, kept);
                self.post(Letter::Answer(given));
            }
            Letter::Answer(given) => {
                assert!(self.own.is_empty(), "nobody else gives to a peer that has offered once");
                self.offer = if given.is_empty() { Offer::Refused } else { Offer::None };
                self.own = given;
            }
            Letter::Written(transfers) => self.theirs = transfers,
        }
    }

    fn post(&self, letter: Letter) {
        self.tower.post(&self.other, letter);
    }
}

/// The bells of a test. As in a ring, one that is rung before its sleeper lies down wakes it at once.
#[derive(Clone, Debug)]
struct Tower(Arc<[(Mutex<bool>, Condvar); 2]>);

impl Tower {
    fn new() -> Tower {
        Tower(Arc::new([0, 1].map(|_| (Mutex::new(false), Condvar::new()))))
    }

    fn post<T>(&self, mailbox: &Mailbox<T>, letter: T) {
        let mut letter = letter;
        loop {
            match mailbox.post(letter) {
                Ok(bell) => return bell.into_iter().for_each(|bell| self.ring(bell)),
                Err(back) => letter = back,
            }
            thread::yield_now();
        }
    }

    fn ring(&self, bell: Bell) {
        let (rung, changed) = &self.0[usize::from(bell.0)];
        *rung.lock().expect("nobody panics with the lock") = true;
        changed.notify_one();
    }

    fn next<T>(&self, mailbox: &Mailbox<T>) -> T {
        loop {
            match mailbox.take() {
                Some(letter) => return letter,
                None => self.rest(mailbox),
            }
        }
    }

    /// Sleeps unless there is a letter.
    fn rest<T>(&self, mailbox: &Mailbox<T>) {
        if mailbox.doze() {
            let (rung, changed) = &self.0[usize::from(mailbox.bell.0)];
            let mut rung = rung.lock().expect("nobody panics with the lock");
            while !*rung {
                rung = changed.wait(rung).expect("nobody panics with the lock");
            }
            *rung = false;
        } else {
            thread::yield_now();
        }
        mailbox.rouse();
    }
}

fn explore(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}
