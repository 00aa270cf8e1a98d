//! What the classes of the engine are promised, as the operator has it.

use bireme_control::reservation::plan::Capacity;
use bireme_control::reservation::{ClassId, Terms};
use serde::Serialize;

use super::Manager;

/// What data is moved for. Lower ones give way to higher ones where they share devices and nobody has said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reading everything to find damage.
    Scrub,
    /// Filling members anew.
    Rebuild,
    /// Reading sets.
    Restore,
    /// Writing sets.
    Offload,
    /// Those for whom volumes are there.
    Foreground,
}

impl Class {
    /// All, the lowest first.
    pub const ALL: [Class; 5] = [Class::Scrub, Class::Rebuild, Class::Restore, Class::Offload, Class::Foreground];

    /// As operators write it.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Scrub => "scrub",
            Class::Rebuild => "rebuild",
            Class::Restore => "restore",
            Class::Offload => "offload",
            Class::Foreground => "foreground",
        }
    }

    /// The class of this name.
    pub fn of(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }

    pub(crate) const fn id(self) -> ClassId {
        ClassId(self as u16)
    }

    const fn usual(self) -> Terms {
        match self {
            Class::Scrub => Terms::weight(1),
            Class::Rebuild => Terms::weight(4),
            Class::Restore | Class::Offload => Terms::weight(16),
            Class::Foreground => Terms::weight(64),
        }
    }
}

/// The terms of all classes, and what links can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promises {
    terms: [Terms; Class::ALL.len()],
    /// What each link can do, in bytes per second, where the operator has said it.
    link_rate: Option<u64>,
}

impl Default for Promises {
    fn default() -> Promises {
        Promises { terms: Class::ALL.map(Class::usual), link_rate: None }
    }
}

/// What a class that worked was held to, for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// As operators write it.
    pub class: &'static str,
    /// Bytes per second that it was promised; 0 if none were.
    #[serde(rename = "reserve_bytes_per_s")]
    pub reserve: u64,
    /// Bytes per second that it did not exceed on a link.
    #[serde(rename = "limit_bytes_per_s")]
    pub limit: Option<u64>,
    /// Its part of what was left.
    pub weight: u32,
    /// What each link can do, of which the others are parts; `None` where nobody has said it.
    #[serde(rename = "link_bytes_per_s")]
    pub link_rate: Option<u64>,
}

impl InForce {
    /// Bytes per second at most; `None` where nothing is.
    pub fn most(&self) -> Option<u64> {
        self.limit.into_iter().chain(self.link_rate).min()
    }
}

/// A promise that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromiseError {
    /// Nobody knows what is to be divided.
    #[error(
        "class {name} is promised a part of what the devices can do, and nobody has said how much that is: add --link-rate, \
         or leave reserve and weight out"
    )]
    NoRate {
        /// The class.
        name: &'static str,
    },
    /// More than there is.
    #[error(
        "the classes are promised {promised} bytes per second together, and a link has {rate}: lower their reserves"
    )]
    TooMuch {
        /// All reserves.
        promised: u64,
        /// What a link can do.
        rate: u64,
    },
}

impl Promises {
    /// What these classes were given, in place of what is usual; and what each link can do.
    ///
    /// # Errors
    /// They cannot be kept.
    pub fn new(given: &[(Class, Terms)], link_rate: Option<u64>) -> Result<Promises, PromiseError> {
        let mut promises = Promises { link_rate, ..Promises::default() };
        for &(class, terms) in given {
            promises.terms[class as usize] = terms;
            if link_rate.is_none() && (terms.reserve > 0 || terms.weight != class.usual().weight) {
                return Err(PromiseError::NoRate { name: class.name() });
            }
        }
        let promised = promises.terms.iter().fold(0u64, |sum, terms| sum.saturating_add(terms.reserve));
        match link_rate.filter(|&rate| promised > rate) {
            Some(rate) => Err(PromiseError::TooMuch { promised, rate }),
            None => Ok(promises),
        }
    }

    /// The terms that are in force where nobody says otherwise.
    pub fn usual(class: Class) -> Terms {
        class.usual()
    }

    /// What a class was promised.
    pub fn of(&self, class: Class) -> Terms {
        self.terms[class as usize]
    }

    /// What holds a class back; `None` where it may use what it wants.
    pub fn in_force(&self, class: Class) -> Option<InForce> {
        let (Terms { reserve, limit, weight }, link_rate) = (self.of(class), self.link_rate);
        let held = limit.is_some() || link_rate.is_some();
        held.then_some(InForce { class: class.name(), reserve, limit, weight, link_rate })
    }

    /// The manager of so many links; none where there is nothing to keep.
    pub fn manager(&self, links: usize) -> Option<Manager> {
        let holds = self.link_rate.is_some() || self.terms.iter().any(|terms| terms.limit.is_some());
        let capacity = self.link_rate.map_or(Capacity::Unknown, Capacity::Paced);
        holds.then(|| Manager::new(&vec![capacity; links], &self.terms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_not_promised() {
        let limit = Terms { limit: Some(5), ..Class::Rebuild.usual() };
        let reserve = Terms { reserve: 7, ..Class::Foreground.usual() };
        let weight = Terms { weight: 9, ..Class::Scrub.usual() };
        let new = |given: &[(Class, Terms)], rate| Promises::new(given, rate);
        assert_eq!(new(&[(Class::Rebuild, limit)], None).map(|all| all.of(Class::Rebuild)), Ok(limit));
        assert_eq!(new(&[(Class::Foreground, reserve)], None), Err(PromiseError::NoRate { name: "foreground" }));
        assert_eq!(new(&[(Class::Scrub, weight)], None), Err(PromiseError::NoRate { name: "scrub" }));
        assert_eq!(new(&[(Class::Foreground, reserve)], Some(6)), Err(PromiseError::TooMuch { promised: 7, rate: 6 }));
        assert!(new(&[(Class::Foreground, reserve), (Class::Scrub, weight)], Some(7)).is_ok());
    }

    #[test]
    fn what_holds_a_class_back_is_told_of_it_alone() {
        let limit = Terms { limit: Some(5), ..Class::Rebuild.usual() };
        let promises = Promises::new(&[(Class::Rebuild, limit)], None).expect("it can be kept");
        assert_eq!(promises.in_force(Class::Scrub), None);
        assert_eq!(promises.in_force(Class::Rebuild).map(|held| (held.limit, held.link_rate)), Some((Some(5), None)));
        let rate = Promises::new(&[], Some(7)).expect("it can be kept");
        assert_eq!(rate.in_force(Class::Scrub).map(|held| (held.weight, held.link_rate)), Some((1, Some(7))));
    }

    #[test]
    fn there_is_a_manager_only_where_there_is_something_to_keep() {
        assert!(Promises::default().manager(3).is_none());
        let limit = Terms { limit: Some(5), ..Class::Rebuild.usual() };
        assert!(Promises::new(&[(Class::Rebuild, limit)], None).expect("it can be kept").manager(3).is_some());
        assert!(Promises::new(&[], Some(7)).expect("it can be kept").manager(3).is_some());
        assert!(Class::ALL.into_iter().all(|class| Class::of(class.name()) == Some(class)));
    }
}
