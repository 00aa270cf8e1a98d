//! The reference scheme: pools that are cut at the start of each epoch, and answers at once.
//!
//! Time is cut into epochs of equal length. What a link can carry in one of them is shared out at its start, by weight,
//! among the classes that asked for the link in the epoch before, and from then on a class has what is left of its pool:
//!
//! ```text
//!   epoch 6: classes 1 and 2 ask      epoch 7: 1000 bytes are cut into  [ 1: 400 | 2: 600 ]   at weights 2:3
//!                                              class 1 asks for 90:     [ 1: 310 | 2: 600 ]   granted
//!                                              class 0 asks:            nothing at or below it: denied, but flagged
//!                                     epoch 8: cut for 0 and 1
//! ```
//!
//! A request names its sources by rank, each by the [`Path`] to the destination. The first path that has the bytes on
//! every link is granted, and the bytes are taken on all of its links or on none. The class is flagged on every link of
//! whatever was tried. Inside a class who asks first is served first; what does not fit is denied, and a smaller request
//! that comes later may still fit.
//!
//! *Down-grade:* a class without a pool on a link uses the one of the highest class below it that has one. So a class is
//! never served from what was cut for a higher one.
//!
//! *Booking ahead*, a switch: what no source has now may take the rest of a pool and owe what is missing to the pools of
//! the same class in the next epochs. Sources are first asked for all of it, and only then, again by rank, for a part:
//! nothing is put off while another source has it. A request of `size` may reach `ceil(size / pool) + 1` epochs ahead,
//! with all that is owed before it. A class that owes has a pool in the next epoch even where it did not ask: its bytes
//! are under way then, and nobody else may have that room.
//!
//! A link is brought up to date when somebody asks for it, so an epoch costs nothing on links that nobody uses.

use super::{ClassId, LinkId, PATH_LINKS_MAX, Path};
use crate::units::Nanos;
use link::Link;

mod link;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod tests;

/// The pools of all links.
#[derive(Clone, Debug)]
pub struct Epoch {
    length: Nanos,
    booking: Booking,
    links: Vec<Link>,
    current: u64,
}

/// What becomes of a request that no source has the bytes for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Booking {
    /// It is denied.
    Off,
    /// It takes what is left, and what is missing from the next epochs, within the bound.
    #[default]
    Ahead,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may begin.
    Granted {
        /// The index of its source in the list.
        source: usize,
        /// The class whose pool pays; the lowest of them where the links differ.
        charged: ClassId,
        /// Bytes that were missing in this epoch, on the link that missed most.
        booked: u64,
    },
    /// No source has it. It may ask again, in this epoch or a later one.
    Denied,
}

impl Epoch {
    /// Links with these rates, in bytes per second, that are shared by classes with these weights, in epochs of this
    /// length from the origin of time on. In the first epoch every class has a pool everywhere.
    ///
    /// # Panics
    /// If there are no links or more than a [`LinkId`] counts, no classes or more than a [`ClassId`] counts, a weight of
    /// 0, or a length of 0.
    pub fn new(links: &[u64], weights: &[u32], length: Nanos, booking: Booking) -> Epoch {
        let ids = usize::from(u16::MAX) + 1;
        assert!((1..=ids).contains(&links.len()), "{} links are not 1 to {ids}", links.len());
        assert!((1..=ids).contains(&weights.len()), "{} classes are not 1 to {ids}", weights.len());
        assert!(!weights.contains(&0), "a class with a weight of 0 would never have a pool");
        assert!(length > Nanos::ZERO, "an epoch takes time");
        let link = |&rate: &u64| Link::new(capacity(rate, length), weights);
        Epoch { length, booking, links: links.iter().map(link).collect(), current: 0 }
    }

    /// Asks for `bytes` from one of the sources, the best first. A `now` that lies before an earlier one counts as that.
    ///
    /// # Panics
    /// If the class or a link was not named at the start.
    pub fn ask(&mut self, now: Nanos, sources: &[Path], class: ClassId, bytes: u64) -> Answer {
        self.advance(now);
        for (source, path) in sources.iter().enumerate() {
            self.flag(path, class);
            if let Some(charged) = self.fit(path, class, bytes, Booking::Off) {
                return self.grant(source, path, charged, bytes);
            }
        }
        if self.booking == Booking::Ahead {
            for (source, path) in sources.iter().enumerate() {
                if let Some(charged) = self.fit(path, class, bytes, Booking::Ahead) {
                    return self.grant(source, path, charged, bytes);
                }
            }
        }
        Answer::Denied
    }

    /// Changes what a link carries, in bytes per second, from its next epoch on.
    ///
    /// # Panics
    /// If the link was not named at the start.
    pub fn set_rate(&mut self, now: Nanos, link: LinkId, rate: u64) {
        let capacity = capacity(rate, self.length);
        self.up_to_date(now, link).set_capacity(capacity);
    }

    /// Bytes that were cut for the class on the link in the current epoch; 0: it has no pool.
    ///
    /// # Panics
    /// As [`Epoch::ask`].
    pub fn total(&mut self, now: Nanos, link: LinkId, class: ClassId) -> u64 {
        self.up_to_date(now, link).pool(class).total
    }

    /// Bytes of it that are left.
    ///
    /// # Panics
    /// As [`Epoch::ask`].
    pub fn remaining(&mut self, now: Nanos, link: LinkId, class: ClassId) -> u64 {
        self.up_to_date(now, link).pool(class).remaining
    }

    /// Bytes that the class owes to its pools of the next epochs.
    ///
    /// # Panics
    /// As [`Epoch::ask`].
    pub fn owed(&mut self, now: Nanos, link: LinkId, class: ClassId) -> u64 {
        self.up_to_date(now, link).pool(class).owed
    }

    /// When the epoch after that of `now` starts: what was denied may then be granted.
    pub fn next_start(&self, now: Nanos) -> Nanos {
        Nanos((now.0 / self.length.0).max(self.current).saturating_add(1).saturating_mul(self.length.0))
    }

    fn advance(&mut self, now: Nanos) {
        self.current = self.current.max(now.0 / self.length.0);
    }

    fn up_to_date(&mut self, now: Nanos, link: LinkId) -> &mut Link {
        self.advance(now);
        let link = &mut self.links[link.index()];
        link.catch_up(self.current);
        link
    }

    fn flag(&mut self, path: &Path, class: ClassId) {
        for link in path.links() {
            let link = &mut self.links[link.index()];
            link.catch_up(self.current);
            link.flag(class);
        }
    }

    /// The class to charge on each link of the path; `None` if one of them cannot give its part.
    fn fit(&self, path: &Path, class: ClassId, bytes: u64, booking: Booking) -> Option<Charged> {
        let mut charged = [class; PATH_LINKS_MAX];
        for (charged, link) in charged.iter_mut().zip(path.links()) {
            *charged = self.links[link.index()].fit(class, bytes, booking)?;
        }
        Some(charged)
    }

    fn grant(&mut self, source: usize, path: &Path, charged: Charged, bytes: u64) -> Answer {
        let mut booked = 0;
        for (link, &class) in path.links().iter().zip(&charged) {
            booked = booked.max(self.links[link.index()].take(class, bytes));
        }
        // A path has at least one link, and places past its last hold the class that asked, which is none too low.
        let charged = charged.into_iter().min().unwrap_or_default();
        Answer::Granted { source, charged, booked }
    }
}

/// The class to charge, by place on the path.
type Charged = [ClassId; PATH_LINKS_MAX];

/// What a link carries in an epoch.
fn capacity(rate: u64, length: Nanos) -> u64 {
    let bytes = u128::from(rate) * u128::from(length.0) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
