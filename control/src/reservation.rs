//! Who may use how much of what has a rate, so that a class gets what it was promised and nothing that is free stays idle.
//!
//! A [`LinkId`] names anything with a rate: a device's write path, its read path, a peer's ring, an uplink. A [`Path`] is
//! the links that one request uses at once, and a grant holds on all of them. Who shares links are *classes*, each with
//! [`Terms`].
//!
//! ```text
//!   [`epoch`]  pools that are cut at the start of each epoch, from who asked in the one before; too late is denied
//!   [`tags`]   what is asked for waits in a lane for its class and path; the order follows tags of virtual time
//!                 lanes ─▶ tags: who is next ─▶ [`balance`]: does its balance allow it ─▶ window: is there room ─▶ grant
//!              [`plan`]: once a period, rates of the balances from who wants what     [`capacity`]: what a link can do
//! ```
//!
//! `epoch` is the reference, and exact; `tags` is what ships. Both are integers, and know no clock.

pub mod balance;
pub mod capacity;
pub mod epoch;
pub mod plan;
pub mod share;
pub mod tags;

use serde::{Deserialize, Serialize};

/// One of the links that are shared, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub u16);

impl LinkId {
    /// As an index into a table with one entry per link.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One of the classes, counted from 0. A higher number is a higher class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassId(pub u16);

impl ClassId {
    /// As an index into a table with one entry per class.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a class was promised, on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Bytes per second that it gets whenever it wants them.
    pub reserve: u64,
    /// Bytes per second that it never exceeds.
    pub limit: Option<u64>,
    /// Its part of what is left, relative to those of the others; at least 1.
    pub weight: u32,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { reserve: 0, limit: None, weight: 1 }
    }
}

impl Terms {
    /// A class that is promised nothing but its part.
    pub const fn weight(weight: u32) -> Terms {
        Terms { reserve: 0, limit: None, weight }
    }
}

/// The links that a request uses at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    links: [LinkId; PATH_LINKS_MAX],
    count: u8,
}

impl Path {
    /// The path over these; `None` if there are none, too many, or one twice.
    pub fn new(links: &[LinkId]) -> Option<Path> {
        let twice = links.iter().enumerate().any(|(at, link)| links[..at].contains(link));
        if links.is_empty() || links.len() > PATH_LINKS_MAX || twice {
            return None;
        }
        let mut path = Path { links: [LinkId(0); PATH_LINKS_MAX], count: 0 };
        path.links[..links.len()].copy_from_slice(links);
        path.count = u8::try_from(links.len()).ok()?;
        Some(path)
    }

    /// Its links.
    pub fn links(&self) -> &[LinkId] {
        &self.links[..usize::from(self.count)]
    }
}

/// Which rule shares links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// None: who asks first is served first.
    None,
    /// Pools by epoch: the reference.
    Epoch,
    /// Balances and tags.
    #[default]
    Tags,
}

/// From a host's uplink over a rack's and a data centre's to another host's, and a device at each end.
pub const PATH_LINKS_MAX: usize = 7;
/// The most classes that share links.
pub const CLASSES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_each_link_once() {
        let path = |links: &[u16]| Path::new(&links.iter().copied().map(LinkId).collect::<Vec<_>>());
        assert_eq!(path(&[3, 1]).map(|path| path.links().to_vec()), Some(vec![LinkId(3), LinkId(1)]));
        assert_eq!(path(&[0, 1, 2, 3, 4, 5, 6]).map(|path| path.links().len()), Some(PATH_LINKS_MAX));
        assert_eq!((path(&[]), path(&[1, 2, 1]), path(&[0, 1, 2, 3, 4, 5, 6, 7])), (None, None, None));
    }
}
